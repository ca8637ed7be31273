"""Real loopback servers that misbehave byte by byte, and real clients against them."""

import asyncio
import ssl
from collections.abc import AsyncIterator

import pytest
from rough_server import Handler, MakeClient, Peer, Serve, Served

from scorer.config import HostConfig
from scorer.hosts.http import Http, aiohttp_transport


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
async def client() -> AsyncIterator[MakeClient]:
    """Production clients, closed with the test."""
    made: list[Http] = []

    def make(url: str, **settings: object) -> Http:
        config = HostConfig(name="h", url=url, **settings)  # type: ignore[arg-type]
        made.append(Http(config, aiohttp_transport(config)))
        return made[-1]

    yield make
    for http in made:
        await http.close()
