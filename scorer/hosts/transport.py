"""The network: httpx's transport over aiohttp's connections, in production on asyncio.

httpx's own pool looks through all its connections at every request and release, so its cost grows with the number in
flight; aiohttp's does not. Everything outside this file works with any `httpx.AsyncBaseTransport` on any event loop;
aiohttp's exceptions come out as they are, for `foreign` to read.

A kept-alive connection may have died unnoticed (a server restarted, or ended its keep-alive just now). Then the request
was never read, and is sent once more at once, on a connection that is certainly new. All three must hold: the
connection was a used one, not a byte came back, and it broke within STALE_WITHIN_S. Anything else may have been read,
and a second sending could run a row twice or feed a poisonous row to a host that it just brought down.

A machine that vanishes in the middle of a request is found out by the system's own keep-alive after two minutes of
silence, long before the deadline of a long row. Shorter absences cost nothing: the answer comes when it is back.
"""

import asyncio
import errno
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache, partial
from io import BytesIO
from typing import Any, TypeVar, cast
from weakref import WeakSet

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from multidict import CIMultiDict

from scorer.config import HostConfig
from scorer.errors import UsageError

Connect = Callable[[HostConfig], httpx.AsyncBaseTransport]
T = TypeVar("T")

STALE_WITHIN_S = 1.0
# a connection of which the other machine's kernel, not its server, confirms nothing: asked after so long, so often
SILENT_S = 60
ASKED_EVERY_S = 15
ASKED_TIMES = 4
NUMERIC_NAMES = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
NUMERIC_ADDRESS = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
# longer requests go out piece by piece: aiohttp would complain, since writing them at once holds up the event loop
AT_ONCE_BYTES = 1 << 20
# the headers of a reply that anybody looks at; httpx takes each of them apart
READ = frozenset({b"content-type", b"content-encoding", b"location", b"retry-after", b"date", b"server"})


def aiohttp_transport(config: HostConfig) -> httpx.AsyncBaseTransport:
    """Return the production transport of one host. It connects when it is first used, inside the running event loop.

    Raises UsageError when the host's `ca` file cannot be used.
    """
    session = partial(_session, _tls(config))
    return _FreshOnce(pooled=_Pool(partial(session, keep_alive=True)), fresh=_Pool(partial(session, keep_alive=False)))


def _session(context: ssl.SSLContext, *, keep_alive: bool) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=_Connector(
            limit=0,
            ssl=context,
            resolver=_Resolver(),
            socket_factory=_watched_socket,
            force_close=not keep_alive,
        ),
        trust_env=False,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    )


def _watched_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """Open a socket that breaks when the other machine has vanished: it sleeps, or is off the network.

    Such a machine closes nothing, and a request to it would hang for as long as its row may take.
    """
    family, kind, protocol, *_ = address
    opened = socket.socket(family, kind, protocol)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {
        "TCP_KEEPIDLE": SILENT_S,
        "TCP_KEEPALIVE": SILENT_S,  # the same on macOS
        "TCP_KEEPINTVL": ASKED_EVERY_S,
        "TCP_KEEPCNT": ASKED_TIMES,
    }
    for name, value in options.items():
        if hasattr(socket, name):
            opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return opened


def _tls(config: HostConfig) -> ssl.SSLContext:
    """Verification by the host's own CA file if it has one, else by the usual authorities; none needed for http."""
    if not config.url.startswith("https:"):
        # never used: without a CA it would refuse every certificate, and loading the usual ones costs 20 ms a host
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if config.ca is None:
        return httpx.create_ssl_context(trust_env=False)
    try:
        return ssl.create_default_context(cafile=config.ca)
    except OSError as error:
        raise UsageError(f"host {config.name!r}: ca = {str(config.ca)!r} cannot be used: {error}") from error


@dataclass(slots=True)
class _Connection:
    """What became of one request's connection: written by the connector, read by the transport."""

    used: bool = False


_connection: ContextVar[_Connection] = ContextVar("connection")


# the ends of all connections that have carried a request
_used: WeakSet[object] = WeakSet()


class _Protocol(ResponseHandler):
    """Tells whoever reads a body that the rest of it is not HTTP: aiohttp closes the connection and lets them wait."""

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        body = self._payload
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(exc, *cause)
        super().set_exception(exc, *cause)


class _Connector(aiohttp.TCPConnector):
    """Notes of each connection that it gives out whether it was used before; aiohttp's tracing costs far more."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401  (aiohttp's own)
        super().__init__(**settings)
        self._factory = cast("partial[ResponseHandler]", partial(_Protocol, loop=self._loop))

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  (aiohttp's own signature)
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        protocol = connection.protocol
        _connection.get().used = protocol in _used
        _used.add(protocol)
        return connection


class Body(httpx.AsyncByteStream):
    """The body of one reply. Left before its end, it takes the connection with it."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def read(self, cap: int) -> bytes | None:
        """Return the whole of it, None as soon as it is more than `cap` bytes."""
        content = self._response.content
        first = await content.readany()
        if content.at_eof():
            return first if len(first) <= cap else None
        body = bytearray(first)
        while len(body) <= cap:
            piece = await content.readany()
            if not piece:
                return bytes(body)
            body += piece
        return None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._response.content.iter_any():
            yield piece

    async def aclose(self) -> None:
        """Give the connection back, or close it if there is more to come."""
        if not self._response.closed:
            self._response.close()


class _Resolver(AbstractResolver):
    """Asks the system, which knows the .local names of a home network; c-ares does not.

    The system may take half a minute over the name of a machine that is switched off, and cannot be told to stop. So
    each lookup has a thread of its own: in a pool's, many such names would keep the others waiting until these seem
    unreachable. The connectors look up one name once at a time, so that there are never many more threads than hosts.
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return await _in_own_thread(partial(_look_up, host, port, family))

    async def close(self) -> None:
        """Nothing is held: a lookup that nobody waits for any more ends by itself, or with the program."""


def _look_up(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [
        # spelt out in numbers, with the interface that a link-local address needs
        ResolveResult(
            hostname=host,
            host=socket.getnameinfo(address, NUMERIC_NAMES)[0],
            port=port,
            family=kind,
            proto=proto,
            flags=NUMERIC_ADDRESS,
        )
        for kind, _, proto, _, address in found
    ]


async def _in_own_thread(call: Callable[[], T]) -> T:
    """Return what a call returns that may block for long; neither other calls nor the program's end wait for it."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            tell = partial(ended.set_result, call())
        except Exception as error:  # noqa: BLE001  (raised where the call is awaited)
            tell = partial(ended.set_exception, error)
        with suppress(RuntimeError):  # the loop is closed: the program has gone on without an answer
            loop.call_soon_threadsafe(lambda: ended.done() or tell())

    try:
        threading.Thread(target=run, name="scorer-lookup", daemon=True).start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, "no thread for a lookup can be started") from error
    return await ended


class _Pool(httpx.AsyncBaseTransport):
    """One aiohttp session, made when it is first used.

    The package httpx-aiohttp does the same for any caller, at more than twice the cost.
    """

    def __init__(self, make_session: Callable[[], aiohttp.ClientSession]) -> None:
        self._make_session = make_session
        self._session: aiohttp.ClientSession | None = None
        self._headers: dict[tuple[tuple[bytes, bytes], ...], CIMultiDict[str]] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._session is None:
            self._session = self._make_session()
        limits = request.extensions["timeout"]
        body: bytes | None = request.extensions.get("body") or await request.aread() or None
        response = await self._session.request(
            request.method,
            str(request.url),
            headers=self._prepared(request.headers),
            data=BytesIO(body) if body and len(body) > AT_ONCE_BYTES else body,
            allow_redirects=False,
            timeout=_timeout(limits["connect"], limits["pool"], limits["read"]),
        )
        headers = [(name, value) for name, value in response.raw_headers if name.lower() in READ]
        return httpx.Response(response.status, headers=headers, stream=Body(response), request=request)

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _prepared(self, headers: httpx.Headers) -> CIMultiDict[str]:
        """Turn httpx's headers into aiohttp's, once: a host has but a few sets of them."""
        key = tuple(headers.raw)
        prepared = self._headers.get(key)
        if prepared is None:
            prepared = self._headers[key] = CIMultiDict((name.decode(), value.decode()) for name, value in key)
        return prepared


@lru_cache
def _timeout(connect_s: float, pool_s: float, read_s: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(sock_connect=connect_s, connect=pool_s, sock_read=read_s)


class _FreshOnce(httpx.AsyncBaseTransport):
    """A pool, and connections beside it that are made for one request each."""

    def __init__(self, pooled: httpx.AsyncBaseTransport, fresh: httpx.AsyncBaseTransport) -> None:
        self._pooled = pooled
        self._fresh = fresh

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        clock = asyncio.get_running_loop().time
        connection = _Connection()
        _connection.set(connection)
        sent_at = clock()
        try:
            return await self._pooled.handle_async_request(request)
        except aiohttp.ClientError as error:
            if not (connection.used and _unanswered(error) and clock() - sent_at < STALE_WITHIN_S):
                raise
            first = error
        try:
            return await self._fresh.handle_async_request(request)
        except aiohttp.ClientError:
            # the host may have gone down over this very request, so the first failure, "dropped", is the honest one
            raise first from None

    async def aclose(self) -> None:
        await self._pooled.aclose()
        await self._fresh.aclose()


def _unanswered(error: aiohttp.ClientError) -> bool:
    """Whether an open connection broke before a byte of the reply came."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        # it carries the half-read head when there was one
        return isinstance(error.message, str)
    return isinstance(error, aiohttp.ClientOSError) and not isinstance(error, aiohttp.ClientConnectorError)
