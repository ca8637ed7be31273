"""The network: httpx's transport over aiohttp's connections, in production on asyncio.

httpx's own pool looks through all its connections at every request and release, so its cost grows with the number in
flight; aiohttp's does not. Everything outside this file works with any `httpx.AsyncBaseTransport` on any event loop.

A kept-alive connection may have died unnoticed (a server restarted, or ended its keep-alive just now). Then the request
was never read, and is sent once more at once, on a connection that is certainly new. All three must hold: the
connection was a used one, not a byte came back, and it broke within STALE_WITHIN_S. Anything else may have been read,
and a second sending could run a row twice or feed a poisonous row to a host that it just brought down.
"""

import asyncio
import ssl
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from scorer.config import HostConfig
from scorer.errors import UsageError

Connect = Callable[[HostConfig], httpx.AsyncBaseTransport]

STALE_WITHIN_S = 1.0


def aiohttp_transport(config: HostConfig) -> httpx.AsyncBaseTransport:
    """Return the production transport of one host. It connects when it is first used, inside the running event loop.

    Raises UsageError when the host's `ca` file cannot be used.
    """
    context = _tls(config)

    def transport(*, keep_alive: bool) -> httpx.AsyncBaseTransport:
        session = partial(_session, context, keep_alive=keep_alive)
        return AiohttpTransport(verify=context, trust_env=False, client=session)

    return _FreshOnce(pooled=transport(keep_alive=True), fresh=transport(keep_alive=False))


def _session(context: ssl.SSLContext, *, keep_alive: bool) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0,
            ssl=context,
            # asks the system, which knows the .local names of a home network; c-ares does not
            resolver=aiohttp.ThreadedResolver(),
            force_close=not keep_alive,
        ),
        trust_env=False,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        trace_configs=[_reuse_tracing()],
    )


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
    """What became of one request's connection: written by aiohttp's tracing, read by the transport."""

    used: bool = False


_connection: ContextVar[_Connection] = ContextVar("connection")


def _reuse_tracing() -> aiohttp.TraceConfig:
    async def reused(_session: aiohttp.ClientSession, _ctx: SimpleNamespace, _params: object) -> None:
        _connection.get().used = True

    async def created(_session: aiohttp.ClientSession, _ctx: SimpleNamespace, _params: object) -> None:
        _connection.get().used = False

    tracing = aiohttp.TraceConfig()
    tracing.on_connection_reuseconn.append(reused)
    tracing.on_connection_create_end.append(created)
    return tracing


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
        except httpx.TransportError as error:
            if not (connection.used and _unanswered(error) and clock() - sent_at < STALE_WITHIN_S):
                raise
            first = error
        try:
            return await self._fresh.handle_async_request(request)
        except httpx.TransportError:
            # the host may have gone down over this very request, so the first failure, "dropped", is the honest one
            raise first from first.__cause__

    async def aclose(self) -> None:
        await self._pooled.aclose()
        await self._fresh.aclose()


def _unanswered(error: httpx.TransportError) -> bool:
    """Whether an open connection broke before a byte of the reply came; httpx-aiohttp calls nearly all a time-out."""
    cause = error.__cause__
    if isinstance(cause, aiohttp.ServerDisconnectedError):
        # it carries the half-read head when there was one
        return isinstance(cause.message, str)
    return isinstance(cause, aiohttp.ClientOSError) and not isinstance(cause, aiohttp.ClientConnectorError)
