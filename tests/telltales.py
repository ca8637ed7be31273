"""Servers that tell the token they were sent to everybody: each fails in its own way, and quotes the token as it does.

Until the rows come, one is a sound Ollama with the model of the tests, so that it is admitted to a run. `told` counts
how often it has quoted the token, so that a test can see that there was something to keep secret.
"""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

from running import MODEL, model

VERSION = {"version": "0.34.0"}


class Telltale(ThreadingHTTPServer):
    """One server. `misbehave` answers a request; `at_once`: even the first question."""

    daemon_threads = True

    def __init__(self, misbehave: Callable[["Request"], None], *, at_once: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.misbehave = misbehave
        self.at_once = at_once
        self.requests: list[str] = []
        self.told = threading.Semaphore(0)
        self.tokens: set[str] = set()

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class Request(BaseHTTPRequestHandler):
    """One request; `token` is what it brought."""

    protocol_version = "HTTP/1.1"
    server: Telltale

    @property
    def token(self) -> str:
        """The token that came with it, empty without one."""
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def do_GET(self) -> None:
        self._handle({"/api/version": VERSION, "/api/tags": _tags(), "/api/ps": {"models": []}}.get(self.path, {}))

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        loading = b'"messages":[]' in content
        self._handle({"model": MODEL, "done": True, "done_reason": "load"} if loading else None)

    def _handle(self, sound: dict[str, object] | None) -> None:
        self.server.requests.append(self.requestline)
        if sound is not None and not self.server.at_once:
            self.say(200, json.dumps(sound))
            return
        if self.token:
            self.server.tokens.add(self.token)
            self.server.told.release()
        self.server.misbehave(self)

    def say(self, status: int, text: str, **headers: str) -> None:
        """Answer."""
        body = text.encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def _tags() -> dict[str, object]:
    return {"models": [{"name": MODEL, "model": MODEL, "digest": model().hex_digest}]}


def refuse(status: int) -> Callable[[Request], None]:
    """Refuse with words that quote the token, as JSON."""
    return lambda request: request.say(status, json.dumps({"error": f"no entry with {request.token}"}))


def page(status: int) -> Callable[[Request], None]:
    """Show a page for people with all the headers that came."""
    return lambda request: request.say(status, f"<html>{request.headers}</html>", Content_Type="text/html")


def garbage(request: Request) -> None:
    """Answer 200 and something else."""
    request.say(200, f"Bearer {request.token} is very welcome here")


def nested_error(request: Request) -> None:
    """Answer 200, and an error whose text holds one more error, as Ollama passes on what llama-server says."""
    inner = json.dumps({"error": {"message": f"cannot use {request.token}"}})
    request.say(200, json.dumps({"error": inner}).replace("/", "\\/"))


def not_http(request: Request) -> None:
    """Answer with a status line that is none, then hang up."""
    request.wfile.write(f"Bearer {request.token} 200\r\n\r\n".encode())
    request.close_connection = True


def long_line(before: bytes) -> Callable[[Request], None]:
    """Answer with a head of which a line is too long: aiohttp quotes 100 bytes, among them most of the token."""

    def answer(request: Request) -> None:
        token = request.token.encode()
        request.wfile.write(before + b"." * (101 - len(token)) + token + b"." * 9000 + b"\r\n\r\n")
        request.close_connection = True

    return answer


def split_line(request: Request) -> None:
    """Answer with a status line that is none, in two packets, the first of which has most of the token."""
    whole = f"Bearer {request.token} 200\r\n\r\n".encode()
    request.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    request.wfile.write(whole[: whole.index(b" 200") - 1])
    request.wfile.write(whole[whole.index(b" 200") - 1 :])
    request.close_connection = True


def completion(**fields: str) -> Callable[[Request], None]:
    """Answer like a model but for these fields, in which `TOKEN` becomes the token, spelt as Go spells JSON."""

    def answer(request: Request) -> None:
        sound = {"model": MODEL, "done": True, "done_reason": "stop", "message": {"content": '{"score": 7}'}}
        said = {**sound, **{name: value.replace("TOKEN", request.token) for name, value in fields.items()}}
        request.say(200, json.dumps(said).replace("&", "\\u0026"))

    return answer


def parrot(request: Request) -> None:
    """Answer as a model that says the token where a number was asked for."""
    said = {"content": json.dumps({"score": f"Bearer {request.token}"})}
    request.say(200, json.dumps({"model": MODEL, "done": True, "done_reason": "stop", "message": said}))


def drop(request: Request) -> None:
    """Hang up in the middle of the head."""
    request.wfile.write(f"HTTP/1.1 200 OK\r\nX-You-Sent: {request.token}\r\n".encode())
    request.close_connection = True


def redirect_to(url: str) -> Callable[[Request], None]:
    """Send the client somewhere else, with the token in the address."""
    return lambda request: request.say(307, "", Location=f"{url}/?key={quote(request.token, safe='')}")


@contextmanager
def telling(**servers: Telltale) -> Iterator[dict[str, Telltale]]:
    """Run these servers."""
    threads = [threading.Thread(target=server.serve_forever, args=(0.05,)) for server in servers.values()]
    for thread in threads:
        thread.start()
    try:
        yield servers
    finally:
        for server in servers.values():
            server.shutdown()
            server.server_close()
        for thread in threads:
            thread.join()
