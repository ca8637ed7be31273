"""The server's end of real loopback connections, for tests that decide byte by byte what comes back."""

import asyncio
import re
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from scorer.hosts.http import Http


class Peer:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.reader = reader
        self.writer = writer
        self.number = number

    async def request(self) -> bytes:
        """One whole request."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        return head + (await self.reader.readexactly(int(length[1])) if length else b"")

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, body: bytes, *, status: str = "200 OK", headers: str = "") -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        await self.say(head.encode() + body)

    def reset(self) -> None:
        """Close with RST, as a killed process or a rebooted machine does."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def gone(self) -> bool:
        """Wait until the client has closed its end."""
        return await self.reader.read(1) == b""


@dataclass
class Served:
    url: str
    connections: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    listening: asyncio.Server | None = None

    def stop_listening(self) -> None:
        """Refuse new connections, keep those there are."""
        assert self.listening is not None
        self.listening.close()


Handler = Callable[[Peer], Awaitable[None]]
Serve = Callable[..., Awaitable[Served]]
MakeClient = Callable[..., Http]
