"""A server that costs next to nothing: just enough of Ollama for the benchmarks, with a fixed time for each answer.

The test double knows Ollama far better, and so takes longer for a request than the dispatcher does. This one runs in a
process of its own; a benchmark measures the process that asks. Never used by tests.
"""

import asyncio
import json
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

MODEL = "bench:1b"
REASON = "The text is clear and mostly sound, but it stops in the middle and says little that is new to a reader."
CHARS_PER_TOKEN = 4


@contextmanager
def serving(servers: int, delay_s: float) -> Iterator[list[str]]:
    """Run so many servers in one child process, each answer taking `delay_s` seconds; yields their URLs."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_process, args=(theirs, servers, delay_s), daemon=True)
    process.start()
    try:
        yield [f"http://127.0.0.1:{port}" for port in ours.recv()]
    finally:
        process.terminate()
        process.join()


def _process(parent: Connection, servers: int, delay_s: float) -> None:
    asyncio.run(_serve(parent, servers, delay_s))


async def _serve(parent: Connection, servers: int, delay_s: float) -> None:
    loop = asyncio.get_running_loop()
    started = [
        await loop.create_server(lambda: _Exchange(delay_s), "127.0.0.1", 0, backlog=1024) for _ in range(servers)
    ]
    parent.send([server.sockets[0].getsockname()[1] for server in started])
    await asyncio.Event().wait()


def _http(document: object) -> bytes:
    body = json.dumps(document).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _chat(score: int | None, prompt_tokens: int) -> bytes:
    """Make an answer; no score is what the load command gets."""
    content = "" if score is None else json.dumps({"score": score, "reason": REASON})
    return _http(
        {
            "model": MODEL,
            "created_at": "2025-01-01T00:00:00.000000Z",
            "message": {"role": "assistant", "content": content},
            "done": True,
            "done_reason": "load" if score is None else "stop",
            "total_duration": 100_000_000,
            "load_duration": 0,
            "prompt_eval_count": prompt_tokens,
            "prompt_eval_duration": 40_000_000,
            "eval_count": 30,
            "eval_duration": 50_000_000,
        }
    )


_QUESTIONS = {
    b"/api/version": _http({"version": "0.20.0"}),
    b"/api/tags": _http({"models": [{"name": MODEL, "model": MODEL, "digest": "ab" * 32}]}),
    b"/api/ps": _http({"models": [{"name": MODEL, "model": MODEL, "size": 1, "size_vram": 1, "context_length": 4096}]}),
}
_SCORES = 10
# one digit more or less would be another Content-Length, so the count of tokens always has five digits
_COUNT = b"54321"
_ANSWERS = [_chat(score + 1, int(_COUNT)) for score in range(_SCORES)]


class _Exchange(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._answered = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = self._buffer[:head_end].lower()
        _, found, length = head.partition(b"content-length:")
        end = head_end + 4 + (int(length.split(b"\r\n", 1)[0]) if found else 0)
        if len(self._buffer) < end:
            return
        body, self._buffer = self._buffer[head_end + 4 : end], self._buffer[end:]
        if not body:
            self._transport.write(_QUESTIONS[head.split(b" ", 2)[1]])
        elif b'"messages":[]' in body:
            self._transport.write(_chat(None, 0))
        else:
            self._answer(len(body) // CHARS_PER_TOKEN)

    def _answer(self, prompt_tokens: int) -> None:
        self._answered += 1
        # leading zeros are no JSON, so the number is padded with white space
        answer = _ANSWERS[self._answered % _SCORES].replace(_COUNT, b"%5d" % prompt_tokens, 1)
        if self._delay_s:
            self._loop.call_later(self._delay_s, self._transport.write, answer)
        else:
            self._transport.write(answer)
