"""One question over HTTP, one JSON object back; every way in which that can fail is a fault of `scorer.errors`.

Invariants: no redirect is followed, no proxy or netrc of the environment is used, no cookie is kept; a body is read in
pieces and never beyond its cap, and never decoded (a small compressed body can be a large one); cancelling closes the
connection, which is how the work on the server is stopped. The token is in the client's headers and nowhere else.
"""

import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from math import isfinite
from typing import cast

import anyio
import httpx

import scorer
from scorer.config import HostConfig
from scorer.errors import FaultKind, HostFault, HostUnusable, RowFault, UnclearFault
from scorer.hosts.base import CONNECT_TIMEOUT_S, MAX_BODY_BYTES
from scorer.hosts.foreign import FOREIGN, fault_of
from scorer.hosts.transport import Connect, aiohttp_transport

__all__ = ["Answer", "Connect", "Http", "aiohttp_transport", "excerpt", "only_host_faults"]

# connect, ask, answer: for questions that need no model
QUESTION_TIMEOUT_S = 2 * CONNECT_TIMEOUT_S
# no limit on reading: whoever asks sets the deadline by cancelling
TIMEOUT = httpx.Timeout(None, connect=CONNECT_TIMEOUT_S, pool=CONNECT_TIMEOUT_S).as_dict()


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer below 300 or from 400 up. `document` is its JSON object, None if it is anything else."""

    status: int
    headers: httpx.Headers
    body: bytes
    document: dict[str, object] | None

    @property
    def html(self) -> bool:
        """Whether it is a page for people: a proxy's, since no model server sends one."""
        return "html" in self.headers.get("content-type", "").lower() or self.body.lstrip()[:1] == b"<"

    def required(self) -> dict[str, object]:
        """Return the JSON object, or raise the HostFault that its absence is."""
        if self.document is not None:
            return self.document
        if self.html:
            raise HostFault(FaultKind.GATEWAY, f"HTML where JSON belongs: {excerpt(self.body)}")
        raise HostFault(FaultKind.BAD_BODY, f"not a JSON object: {excerpt(self.body)}")


class Http:
    """One host's HTTP client. `token` is sent as a Bearer token.

    It speaks to the transport directly: an `httpx.AsyncClient` in between adds cookies, redirects, environment and
    decoding, none of which is wanted here, and costs as much as the request itself.
    """

    def __init__(self, config: HostConfig, transport: httpx.AsyncBaseTransport, *, token: str | None = None) -> None:
        headers = httpx.Headers(list(config.headers))
        headers.update({"Accept": "application/json", "Accept-Encoding": "identity"})
        headers.setdefault("User-Agent", f"scorer/{scorer.__version__}")
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        self._headers = headers
        self._headers_with_body = headers.copy()
        self._headers_with_body["Content-Type"] = "application/json"
        self._base = config.url.rstrip("/")
        self._urls: dict[str, httpx.URL] = {}
        self._transport = transport

    async def json(
        self, method: str, path: str, body: Mapping[str, object] | None = None, *, cap: int = MAX_BODY_BYTES
    ) -> Answer:
        """Ask, and return the whole answer whatever its status, redirects excepted.

        `cap` is in bytes. Raises HostFault (unreachable, redirected, encoded, too large, not HTTP) or UnclearFault
        (connection lost).
        """
        try:
            response = await self._transport.handle_async_request(self._request(method, path, body))
            async with aclosing(response):
                _refuse_unwanted(response)
                raw = await _read(response, cap)
        except FOREIGN as error:
            raise fault_of(error) from error
        return Answer(response.status_code, response.headers, raw, _document(raw))

    async def ask(self, path: str, *, timeout_s: float = QUESTION_TIMEOUT_S) -> Answer:
        """GET something that needs no model, so that a server which accepts and stays silent is found out."""
        with anyio.move_on_after(timeout_s):
            return await self.json("GET", path)
        raise HostFault(FaultKind.UNREACHABLE, f"no answer to GET {path} within {timeout_s:g} s", sent=False)

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    def _request(self, method: str, path: str, body: Mapping[str, object] | None) -> httpx.Request:
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = httpx.URL(self._base + path)
        return httpx.Request(
            method,
            url,
            headers=self._headers if body is None else self._headers_with_body,
            content=None if body is None else _encoded(body),
            extensions={"timeout": TIMEOUT},
        )


@contextmanager
def only_host_faults() -> Iterator[None]:
    """Around questions without a row: whatever goes wrong there, the host or its set-up is to blame."""
    try:
        yield
    except RowFault as fault:
        raise HostUnusable(FaultKind.REFUSED_OPTIONS, fault.message) from fault
    except UnclearFault as fault:
        raise HostFault(fault.kind, fault.message) from fault


def excerpt(text: bytes | str, limit: int = 200) -> str:
    """Return the beginning of what a server said, on one line and printable, for a message."""
    if isinstance(text, bytes):
        text = text[: 4 * limit].decode("utf-8", "replace")
    line = "".join(c for c in " ".join(text[: 2 * limit].split()) if c.isprintable())
    return (line[: limit - 1] + "…" if len(line) > limit else line) or "(empty)"


def _encoded(body: Mapping[str, object]) -> bytes:
    text = _ENCODER.encode(body)
    # half of a surrogate pair is no character: some servers refuse the whole request over it
    return text.encode("utf-8", "replace")


def _refuse_unwanted(response: httpx.Response) -> None:
    """Refuse what must not be followed or unpacked, before a byte of the body is read."""
    if 300 <= response.status_code < 400:
        target = excerpt(response.headers.get("location", "nowhere"))
        raise HostFault(FaultKind.GATEWAY, f"HTTP {response.status_code}: redirected to {target}")
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise HostFault(FaultKind.BAD_BODY, f"the body is {excerpt(encoding, 40)}-encoded, unasked")


async def _read(response: httpx.Response, cap: int) -> bytes:
    body = bytearray()
    if response.is_stream_consumed:
        # a transport without a network has it all at once
        body += response.content
    else:
        # httpx promises an iterator only, but it is a generator, and wants to be closed if it is left half-way
        async with aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_raw())) as pieces:
            async for piece in pieces:
                body += piece
                if len(body) > cap:
                    break
    if len(body) > cap:
        raise HostFault(FaultKind.BAD_BODY, f"the body is larger than {cap} bytes")
    return bytes(body)


def _document(body: bytes) -> dict[str, object] | None:
    """Parse strictly: UTF-8, no NaN or infinity by any spelling, no nesting deeper than the parser bears."""
    try:
        value = _DECODER.decode(body.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


def _finite(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise ValueError(text)
    return value


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
