"""HTTP/1.1 by hand over asyncio transports: just enough of it, and every way of doing it badly.

A connection serves one request at a time and keeps the rest of its bytes; when the client goes, the request's task is
cancelled at once. It can drop, reset, go stale or trickle, which a proper HTTP library would not let us.
"""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

_MAX_HEAD_BYTES = 64 * 1024
_JSON = "application/json; charset=utf-8"
_LINGER_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A whole request; header names are in lower case, the path is without its query."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    keep_alive: bool


class MalformedRequest(Exception):
    """The client did not speak HTTP that we understand."""


Serve = Callable[["Connection", HttpRequest], Awaitable[None]]


class Connection(asyncio.Protocol):
    """One client connection. `members` is the server's set of open connections, `failed` takes a bug's exception."""

    def __init__(self, serve: Serve, members: set["Connection"], failed: Callable[[BaseException], None]) -> None:
        self._serve = serve
        self._members = members
        self._failed = failed
        self._buffer = bytearray()
        self._writable = asyncio.Event()
        self._writable.set()
        self._transport: asyncio.Transport
        self._stale = False
        self.task: asyncio.Task[None] | None = None
        self.closed = asyncio.Event()
        self.reset_by_server = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._members.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._members.discard(self)
        self.closed.set()
        self._writable.set()
        if self.task is not None:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._stale:
            self.reset()
            return
        self._buffer += data
        self._take_next()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _take_next(self) -> None:
        if self.task is not None or self._transport.is_closing():
            return
        try:
            request = take_request(self._buffer)
        except MalformedRequest as error:
            self.send(head(400, "text/plain; charset=utf-8", len(str(error)), {"connection": "close"}))
            self.send(str(error).encode())
            self._transport.close()
            return
        if request is not None:
            self.task = asyncio.get_running_loop().create_task(self._handle(request))
            self.task.add_done_callback(self._finished)

    async def _handle(self, request: HttpRequest) -> None:
        await self._serve(self, request)
        if not request.keep_alive:
            self._transport.close()

    def _finished(self, task: asyncio.Task[None]) -> None:
        self.task = None
        if task.cancelled():
            self._transport.abort()
        elif error := task.exception():
            self._failed(error)
            self.reset()
        else:
            self._take_next()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the client has taken enough of what was sent."""
        await self._writable.wait()
        await asyncio.sleep(0)

    def drop(self) -> None:
        """Close without another byte."""
        self._transport.abort()

    def finish(self) -> None:
        """Close in order, once what was sent has left."""
        self._transport.close()

    def reset(self) -> None:
        """Close with a TCP reset."""
        self.reset_by_server = True
        if not self._transport.is_closing():
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        self._transport.abort()

    def forget(self) -> None:
        """As after a reboot: in use, it is reset; idle, it looks alive until the client's next byte."""
        if self.task is None:
            self._stale = True
        else:
            self.reset()


def take_request(buffer: bytearray) -> HttpRequest | None:
    """Take one whole request off the front of the buffer, or None if more bytes must come. Raises MalformedRequest."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        if len(buffer) > _MAX_HEAD_BYTES:
            raise MalformedRequest("header too long")
        return None
    first, *lines = buffer[:end].decode("latin-1").split("\r\n")
    try:
        method, target, protocol = first.split(" ")
        headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        length = int(headers.get("content-length", "0"))
    except ValueError as error:
        raise MalformedRequest("400 Bad Request") from error
    if "transfer-encoding" in headers:
        raise MalformedRequest("this double wants a Content-Length")
    if len(buffer) < end + 4 + length:
        return None
    body = bytes(buffer[end + 4 : end + 4 + length])
    del buffer[: end + 4 + length]
    keep_alive = protocol == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
    return HttpRequest(method, target.split("?", 1)[0], headers, body, keep_alive)


def head(
    status: int, content_type: str = _JSON, length: int | None = None, more: Mapping[str, str] | None = None
) -> bytes:
    """The status line and headers; without a length the body follows in chunks."""
    phrase = "Client Closed Request" if status == 499 else HTTPStatus(status).phrase
    lines = [f"HTTP/1.1 {status} {phrase}", f"Content-Type: {content_type}"]
    lines.append("Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}")
    lines += [f"{name}: {value}" for name, value in (more or {}).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; the empty one ends it."""
    return b"%x\r\n%b\r\n" % (len(data), data)
