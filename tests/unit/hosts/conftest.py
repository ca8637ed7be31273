"""Real loopback servers that misbehave byte by byte, and real clients against them."""

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from scorer.config import HostConfig
from scorer.hosts.http import Http, aiohttp_transport


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


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start servers whose every connection is handled by a coroutine; they end with the test."""
    servers: list[tuple[asyncio.Server, Served]] = []

    async def start(handler: Handler, tls: ssl.SSLContext | None = None) -> Served:
        served = Served("")

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            served.connections += 1
            task = asyncio.current_task()
            assert task is not None
            served.tasks.add(task)
            try:
                await handler(Peer(reader, writer, served.connections))
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass
            finally:
                served.tasks.discard(task)
                writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        served.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        served.listening = server
        servers.append((server, served))
        return served

    yield start
    for server, served in servers:
        server.close()
        for task in list(served.tasks):
            task.cancel()
        await asyncio.gather(*served.tasks, return_exceptions=True)


@pytest.fixture
async def client() -> AsyncIterator[Callable[..., Http]]:
    """Production clients, closed with the test."""
    made: list[Http] = []

    def make(url: str, **settings: object) -> Http:
        config = HostConfig(name="h", url=url, **settings)  # type: ignore[arg-type]
        made.append(Http(config, aiohttp_transport(config)))
        return made[-1]

    yield make
    for http in made:
        await http.close()
