"""The server: listens, routes, keeps the record, and has the controls that a test or an Event works at run time.

Everything in here runs in one event loop. `doubles.ollama` gives it a thread or a process.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any

from doubles import catalogue, wire
from doubles.calls import Refusal
from doubles.catalogue import State
from doubles.engine import Clock, Engine
from doubles.exchange import HTML, TEXT, Exchange
from doubles.generation import Generations
from doubles.pulling import pull
from doubles.record import CANCELLED, RESET, Log
from doubles.spec import Event, Model, Spec

LOOPBACK = "127.0.0.1"

Handler = Callable[[State, Exchange], Awaitable[None]]


class Server:
    """One double on one port. Make it inside the running loop; `bugs` collects its own exceptions."""

    generations_type = Generations
    exchange_type = Exchange

    def __init__(self, spec: Spec, log: Log, port: int = 0) -> None:
        clock = Clock(spec.time_scale)
        engine = Engine(spec, clock, log, spec.version, load_error=spec.load_error)
        self.state = State(spec, log, clock, engine, _by_name(spec.models))
        self.generations = self.generations_type(self.state, self._work_due_events)
        self.connections: set[wire.Connection] = set()
        self.bugs: list[BaseException] = []
        self._waiting = [event for event in spec.events if event.at_request is not None]
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self._socket = _bound(port)
        self.port: int = self._socket.getsockname()[1]
        self._routes = self._make_routes()

    @property
    def url(self) -> str:
        """The base URL; it stays the same for as long as the server lives, up or down."""
        return f"http://{LOOPBACK}:{self.port}"

    async def start(self) -> None:
        """Listen, and set the timers of the events."""
        await self.come_back()
        loop = asyncio.get_running_loop()
        for event in self.state.spec.events:
            if event.at_s is not None:
                loop.call_later(event.at_s / self.state.spec.time_scale, self._work_later, event)

    async def close(self) -> None:
        """Close every socket and wait for the requests to end."""
        self.stop_listening()
        self._socket.close()
        tasks = [c.task for c in self.connections if c.task is not None] + list(self._tasks)
        closed = [connection.closed.wait() for connection in self.connections]
        for connection in list(self.connections):
            connection.reset()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *closed, return_exceptions=True)

    async def come_back(self, _value: object = None) -> None:
        """Listen again on the same port."""
        if self._listener is None:
            loop = asyncio.get_running_loop()
            self._listener = await loop.create_server(self._connected, sock=self._socket, backlog=1024)

    def stop_listening(self) -> None:
        """Refuse new connections and leave the open ones alone. The port stays ours, so nobody else can get it."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            self._socket = _bound(self.port)

    async def go_down(self, for_s: float | None = None) -> None:
        """As when the machine dies: refuse connections, reset the open ones, unload; come back after `for_s`."""
        self.stop_listening()
        self.state.engine.forget()
        for connection in list(self.connections):
            connection.reset()
        if for_s is not None:
            loop = asyncio.get_running_loop()
            loop.call_later(for_s / self.state.spec.time_scale, self._work_later, Event(action="come_back"))

    async def restart(self, _value: object = None) -> None:
        """Unload everything, reset what is in flight; idle connections look alive until they are used."""
        self.state.engine.forget()
        for connection in list(self.connections):
            connection.forget()

    async def set_speed(self, factor: float) -> None:
        """Make all later work `factor` times as fast as the spec says."""
        self.state.engine.speed = factor

    async def change_version(self, version: str) -> None:
        """Be another version from now on."""
        self.state.engine.version = version

    async def change_digest(self, name: str | None = None) -> None:
        """Give one model, or all, another digest, as a pull of a newer one does."""
        for key, model in self.state.models.items():
            if name in (None, model.name, model.full_name):
                self.state.models[key] = replace(model, digest=sha256(model.hex_digest.encode()).hexdigest())

    async def set_models(self, models: tuple[Model, ...]) -> None:
        """Have these models and no others."""
        self.state.models = _by_name(models)

    async def fail_loads(self, text: str | None) -> None:
        """Let every later load end with a 500 of this text; None lets them succeed."""
        self.state.engine.load_error = text or ""

    async def unload_all(self, _value: object = None) -> None:
        """Let go of all models at once, as memory pressure does."""
        self.state.engine.forget()

    async def release_hangs(self, _value: object = None) -> None:
        """Let everything that hangs now answer."""
        self.generations.released.set()
        self.generations.released = asyncio.Event()

    def _connected(self) -> wire.Connection:
        return wire.Connection(self._serve, self.connections, self.bugs.append)

    async def _serve(self, connection: wire.Connection, request: wire.HttpRequest) -> None:
        log = self.state.log
        record = log.open(request.method, request.path, request.headers)
        exchange = self.exchange_type(connection, request, record, log, self.state.clock.now_s())
        try:
            await self._route(exchange)
        except Refusal as refusal:
            exchange.error(refusal.status, refusal.text)
        except asyncio.CancelledError:
            exchange.close(RESET if connection.reset_by_server else CANCELLED)
            raise

    async def _route(self, exchange: Exchange) -> None:
        request, token = exchange.request, self.state.spec.token
        if token and request.headers.get("authorization") != f"Bearer {token}":
            exchange.send(401, b"<html><h1>401 Authorization Required</h1></html>", HTML)
            return
        methods = self._routes.get(request.path)
        if methods is None:
            exchange.send(404, b"404 page not found", TEXT)
        elif request.method not in methods:
            exchange.send(405, b"405 method not allowed", TEXT)
        else:
            await methods[request.method](self.state, exchange)

    def _make_routes(self) -> dict[str, dict[str, Handler]]:
        return {
            "/": {"GET": catalogue.root, "HEAD": catalogue.root},
            "/api/version": {"GET": catalogue.version, "HEAD": catalogue.version},
            "/api/tags": {"GET": catalogue.tags, "HEAD": catalogue.tags},
            "/api/ps": {"GET": catalogue.ps},
            "/api/show": {"POST": catalogue.show},
            "/api/pull": {"POST": pull},
            "/api/chat": {"POST": self.generations.chat},
            "/api/generate": {"POST": self.generations.generate},
        }

    async def _work_due_events(self, generation: int) -> None:
        due = [event for event in self._waiting if event.at_request is not None and event.at_request <= generation]
        for event in due:
            self._waiting.remove(event)
            await ACTIONS[event.action](self, event.value)

    def _work_later(self, event: Event) -> None:
        async def work() -> None:
            try:
                await ACTIONS[event.action](self, event.value)
            except Exception as error:
                self.bugs.append(error)
                raise

        task = asyncio.get_running_loop().create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


ACTIONS: dict[str, Callable[[Server, Any], Awaitable[None]]] = {
    "set_speed": Server.set_speed,
    "go_down": Server.go_down,
    "come_back": Server.come_back,
    "restart": Server.restart,
    "change_digest": Server.change_digest,
    "change_version": Server.change_version,
    "fail_loads": Server.fail_loads,
    "unload_all": Server.unload_all,
    "release_hangs": Server.release_hangs,
}


def _by_name(models: tuple[Model, ...]) -> dict[str, Model]:
    return {model.full_name.lower(): model for model in models}


def _bound(port: int) -> socket.socket:
    """A socket that holds the port without listening: connections are refused."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((LOOPBACK, port))
    sock.setblocking(False)
    return sock
