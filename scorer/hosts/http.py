"""One question over HTTP, one JSON object back; every way in which that can fail is a fault of `scorer.errors`.

Invariants: no redirect is followed, no proxy or netrc of the environment is used, no cookie is kept; a body is read in
pieces and never beyond its cap, and never decoded (a small compressed body can be a large one); cancelling closes the
connection, which is how the work on the server is stopped. The token is in the client's headers and nowhere else: all
that adapters are given of an answer is free of it, so that none can quote it, but for `Answer.as_said`.
"""

import json
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from math import isfinite
from typing import NamedTuple, cast
from urllib.parse import urlencode

import anyio
import httpx
import orjson

import scorer
from scorer.config import HostConfig
from scorer.errors import Fault, FaultKind, HostFault, HostUnusable, RowFault, UnclearFault
from scorer.hosts.base import CONNECT_TIMEOUT_S, MAX_BODY_BYTES
from scorer.hosts.foreign import FOREIGN, fault_of
from scorer.hosts.hush import Hush
from scorer.hosts.transport import Body, Connect, aiohttp_transport

__all__ = ["Answer", "Connect", "Http", "aiohttp_transport", "excerpt", "in_time", "only_host_faults"]

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"

# connect, ask, answer: for questions that need no model
QUESTION_TIMEOUT_S = 2 * CONNECT_TIMEOUT_S
# no limit on reading: whoever asks sets the deadline by cancelling
TIMEOUT = httpx.Timeout(None, connect=CONNECT_TIMEOUT_S, pool=CONNECT_TIMEOUT_S).as_dict()


class Answer(NamedTuple):
    """A whole HTTP answer below 300 or from 400 up. `document` is its JSON object, None if it is anything else.

    JSON is told by reading it, whatever its Content-Type says: proxies and small servers get that wrong. Nothing here
    holds the token but `original`, the document as it came; it is None where that is `document` itself.
    """

    status: int
    headers: httpx.Headers
    body: bytes
    document: dict[str, object] | None
    original: dict[str, object] | None = None

    @property
    def html(self) -> bool:
        """Whether it is a page for people: a proxy's, since no model server sends one."""
        named = "html" in self.headers.get("content-type", "").lower()
        return self.document is None and (named or self.body.lstrip()[:1] == b"<")

    def required(self) -> dict[str, object]:
        """Return the JSON object, or raise the HostFault that its absence is."""
        if self.document is not None:
            return self.document
        if self.html:
            raise HostFault(FaultKind.GATEWAY, f"HTML where JSON belongs: {excerpt(self.body)}")
        raise HostFault(FaultKind.BAD_BODY, f"not a JSON object: {excerpt(self.body)}")

    def as_said(self) -> dict[str, object]:
        """Return the JSON object as it came: for the words of a completion, which no message may quote."""
        document = self.required()
        return document if self.original is None else self.original


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
        self._headers_of = {kind: _with_type(headers, kind) for kind in (JSON, FORM)}
        self._base = config.url.rstrip("/")
        self._urls: dict[str, httpx.URL] = {}
        self._transport = transport
        self._hush = Hush(token)

    async def json(
        self, method: str, path: str, body: Mapping[str, object] | None = None, *, cap: int = MAX_BODY_BYTES
    ) -> Answer:
        """Ask, and return the whole answer whatever its status, redirects excepted.

        `cap` is in bytes. Raises HostFault (unreachable, redirected, encoded, too large, not HTTP) or UnclearFault
        (connection lost).
        """
        request = self._request(method, path) if body is None else self._request(method, path, _encoded(body), JSON)
        return await self._whole(request, cap)

    async def form(self, path: str, fields: Mapping[str, str], *, cap: int = MAX_BODY_BYTES) -> Answer:
        """POST an HTML form, for servers that take nothing else; answers and faults as those of `json`."""
        content = urlencode(fields, encoding="utf-8", errors="replace").encode()
        return await self._whole(self._request("POST", path, content, FORM), cap)

    async def _whole(self, request: httpx.Request, cap: int) -> Answer:
        try:
            response = await self._transport.handle_async_request(request)
            async with aclosing(response):
                _refuse_unwanted(response, self._hush)
                raw = await _read(response, cap)
        except FOREIGN as error:
            raise fault_of(error, self._hush.of_text) from error
        return self._answer(response, raw)

    async def ask(self, path: str, *, timeout_s: float = QUESTION_TIMEOUT_S) -> Answer:
        """GET something that needs no model, so that a server which accepts and stays silent is found out."""
        with in_time(f"GET {path}", timeout_s):
            return await self.json("GET", path)

    async def lines(
        self, path: str, body: Mapping[str, object], refused: Callable[[Answer], Fault]
    ) -> AsyncGenerator[dict[str, object], None]:
        """POST, and yield the JSON object of each line of the reply as it comes.

        No line may be longer than MAX_BODY_BYTES. Raises what `json` raises, and `refused(answer)` unless it is a 200.
        """
        try:
            response = await self._transport.handle_async_request(self._request("POST", path, _encoded(body), JSON))
            async with aclosing(response):
                _refuse_unwanted(response, self._hush)
                if response.status_code != 200:
                    raise refused(self._answer(response, await _read(response, MAX_BODY_BYTES)))
                async with aclosing(_split(response)) as lines:
                    async for line in lines:
                        yield self._object(line)
        except FOREIGN as error:
            raise fault_of(error, self._hush.of_text) from error

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    def hushed(self, text: str) -> str:
        """Return a message without the token, also where it quotes a completion and has cut it short."""
        return self._hush.of_message(text)

    def _answer(self, response: httpx.Response, raw: bytes) -> Answer:
        original = _document(raw)
        document = self._hush.of_document(original, raw)
        different = None if document is original else original
        headers = self._hush.of_headers(response.headers)
        return Answer(response.status_code, headers, self._hush.of_bytes(raw), document, different)

    def _object(self, line: bytes) -> dict[str, object]:
        document = self._hush.of_document(_document(line), line)
        if document is None:
            raise HostFault(FaultKind.BAD_BODY, f"not a JSON object: {excerpt(self._hush.of_bytes(line))}")
        return document

    def _request(self, method: str, path: str, content: bytes | None = None, kind: str = "") -> httpx.Request:
        url = self._urls.get(path)
        if url is None:
            try:
                url = self._urls[path] = httpx.URL(self._base + path)
            except httpx.InvalidURL as error:
                # not all that a URL may be for us is one for httpx
                raise fault_of(error) from error
        return httpx.Request(
            method,
            url,
            headers=self._headers_of.get(kind, self._headers),
            stream=httpx.ByteStream(content or b""),
            # our own transport takes the body as it is; reading it out of a stream costs as much as making the request
            extensions={"timeout": TIMEOUT, "body": content},
        )


@contextmanager
def in_time(question: str, timeout_s: float) -> Iterator[None]:
    """Around a question that needs no model: silence for so long is a HostFault."""
    try:
        with anyio.fail_after(timeout_s):
            yield
    except TimeoutError:
        message = f"no answer to {question} within {timeout_s:g} s"
        raise HostFault(FaultKind.UNREACHABLE, message, sent=False) from None


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


def _with_type(headers: httpx.Headers, kind: str) -> httpx.Headers:
    complete = headers.copy()
    complete["Content-Type"] = kind
    return complete


def _encoded(body: Mapping[str, object]) -> bytes:
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:
        # half of a surrogate pair is no character: some servers refuse the whole request over it
        return _ENCODER.encode(body).encode("utf-8", "replace")


def _refuse_unwanted(response: httpx.Response, hush: Hush) -> None:
    """Refuse what must not be followed or unpacked, before a byte of the body is read."""
    if 300 <= response.status_code < 400:
        target = excerpt(hush.of_text(response.headers.get("location", "nowhere")))
        raise HostFault(FaultKind.GATEWAY, f"HTTP {response.status_code}: redirected to {target}")
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise HostFault(FaultKind.BAD_BODY, f"the body is {excerpt(hush.of_text(encoding), 40)}-encoded, unasked")


async def _read(response: httpx.Response, cap: int) -> bytes:
    if isinstance(response.stream, Body):
        whole = await response.stream.read(cap)
        if whole is None:
            raise HostFault(FaultKind.BAD_BODY, f"the body is larger than {cap} bytes")
        return whole
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


async def _split(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """Cut a body into its lines that are not blank; what comes after the last line's end is a line too."""
    rest = bytearray()
    async with aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_raw())) as pieces:
        async for piece in pieces:
            *whole, last = piece.split(b"\n")
            for part in whole:
                rest += part
                if line := rest.strip():
                    yield bytes(line)
                rest.clear()
            rest += last
            if len(rest) > MAX_BODY_BYTES:
                raise HostFault(FaultKind.BAD_BODY, f"a line is longer than {MAX_BODY_BYTES} bytes")
    if line := rest.strip():
        yield bytes(line)


def _document(body: bytes) -> dict[str, object] | None:
    """Parse strictly: UTF-8, no NaN or infinity by any spelling, no nesting deeper than the parser bears."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        # half of a surrogate pair, escaped, is JSON by the letter, and what follows knows what to do with it
        value = _by_the_letter(body)
    return value if isinstance(value, dict) else None


def _by_the_letter(body: bytes) -> object:
    try:
        return _DECODER.decode(body.decode("utf-8"))
    except (ValueError, RecursionError):
        return None


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


def _finite(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise ValueError(text)
    return value


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
