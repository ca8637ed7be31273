"""The hosts that `peers.py` measures on: Ollama's and OpenAI's chat in one, each with few slots and a speed of its own.

What `server.py` has not: OpenAI's dialect, a queue, unequal speeds, a count of each row, and a front. An answer takes
the time that its host needs for the text, always the same; what no slot is free for waits in the order it came in, and
a question whose asker hangs up is dropped at once, as Ollama does. The front is one address for all hosts: it keeps
what it is asked and gives it to the first host with a free slot, as HAProxy does with `maxconn`, and costs nothing.
"""

import asyncio
import json
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ctypes import Array, c_int
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import RawArray

from server import CHARS_PER_TOKEN, MODEL, REASON

OUTPUT_TOKENS = 30
# every prompt about a row holds them, with the row's number behind the first; what a tool asks for itself does not
ROW, ROW_END, DIGITS = b"<text>", b"</text>", 6


@dataclass(frozen=True)
class Pace:
    """A host: how long it takes to read and write, on how many slots, and after how many tokens it cuts a prompt."""

    overhead_s: float
    slots: int
    prefill_tps: float = 0.0
    decode_tps: float = 0.0
    window: int = 1 << 30

    def times_s(self, tokens: int) -> tuple[float, float]:
        """Return how long reading and writing take on a slot."""
        if not self.prefill_tps:
            return 0.0, 0.0
        return tokens / self.prefill_tps, OUTPUT_TOKENS / self.decode_tps


class Tally:
    """What has happened to each row, in memory that the servers' process shares with this one."""

    def __init__(self, rows: int) -> None:
        self.asked: Array[c_int] = RawArray(c_int, rows)
        self.answered: Array[c_int] = RawArray(c_int, rows)
        self.cut: Array[c_int] = RawArray(c_int, rows)


def score_of(row: int) -> int:
    """Return the score that every host gives to a row."""
    return row * 7 % 10 + 1


@contextmanager
def serving(paces: Sequence[Pace], tally: Tally) -> Iterator[list[str]]:
    """Run a host for each pace in one child process; yields their URLs, and the front's as the last."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_process, args=(theirs, paces, tally), daemon=True)
    process.start()
    try:
        yield [f"http://127.0.0.1:{port}" for port in ours.recv()]
    finally:
        process.terminate()
        process.join()


def _process(parent: Connection, paces: Sequence[Pace], tally: Tally) -> None:
    asyncio.run(_serve(parent, paces, tally))


async def _serve(parent: Connection, paces: Sequence[Pace], tally: Tally) -> None:
    loop = asyncio.get_running_loop()
    hosts = [_Host(pace, tally) for pace in paces]
    places = [_Place([host]) for host in hosts] + [_Place(hosts)]
    for host in hosts:
        host.when_free = [place.go_on for place in places if host in place.hosts]
    started = [await loop.create_server(partial(_Exchange, place), "127.0.0.1", 0, backlog=1024) for place in places]
    parent.send([server.sockets[0].getsockname()[1] for server in started])
    await asyncio.Event().wait()


@dataclass(eq=False)
class _Question:
    """A row that somebody asks about, and how to answer."""

    row: int
    tokens: int
    is_ollamas: bool
    refuses_cuts: bool
    say: Callable[[bytes], None]
    on: "_Host | None" = None
    timer: asyncio.TimerHandle | None = None


@dataclass(eq=False)
class _Host:
    """Slots, and what they work on."""

    pace: Pace
    tally: Tally
    busy: int = 0
    when_free: list[Callable[[], None]] = field(default_factory=list)

    def start(self, question: _Question) -> None:
        """Work on a question; a slot must be free."""
        self.busy += 1
        question.on = self
        if question.tokens > self.pace.window and question.refuses_cuts:
            work_s, answer = 0.0, _too_long(question.tokens, self.pace.window)
        else:
            tokens = min(question.tokens, self.pace.window)
            times_s = self.pace.times_s(tokens)
            work_s, answer = self.pace.overhead_s + sum(times_s), _answer(question, tokens, times_s)
        question.timer = asyncio.get_running_loop().call_later(work_s, self._end, question, answer)

    def _end(self, question: _Question, answer: bytes) -> None:
        self.tally.answered[question.row] += 1
        self.tally.cut[question.row] += question.tokens > self.pace.window and not question.refuses_cuts
        question.say(answer)
        self.free(question)

    def free(self, question: _Question) -> None:
        """Be done with a question, whether it is answered or not."""
        assert question.timer is not None
        question.timer.cancel()
        question.on = None
        self.busy -= 1
        for go_on in self.when_free:
            go_on()


class _Place:
    """An address: a queue before one host, or, as the front, before all of them."""

    def __init__(self, hosts: Sequence[_Host]) -> None:
        self.hosts = hosts
        self._waiting: deque[_Question] = deque()

    def ask(self, question: _Question) -> None:
        """Take a question."""
        self.hosts[0].tally.asked[question.row] += 1
        self._waiting.append(question)
        self.go_on()

    def go_on(self) -> None:
        """Give what waits to the hosts that have a free slot, the least busy first."""
        while self._waiting:
            host = min(self.hosts, key=lambda host: host.busy / host.pace.slots)
            if host.busy >= host.pace.slots:
                return
            host.start(self._waiting.popleft())

    def hang_up(self, question: _Question) -> None:
        """Drop a question that nobody waits for any more."""
        if question.on is not None:
            question.on.free(question)
        elif question in self._waiting:
            self._waiting.remove(question)


def _http(document: object, status: bytes = b"200 OK") -> bytes:
    body = json.dumps(document).encode()
    head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
    return head + body


def _too_long(tokens: int, window: int) -> bytes:
    message = f"request ({tokens} tokens) exceeds the available context size ({window} tokens), try increasing it"
    error = {"code": 400, "message": message, "type": "exceed_context_size_error"}
    details = {**error, "n_prompt_tokens": tokens, "n_ctx": window}
    return _http({"error": json.dumps({"error": details})}, b"400 Bad Request")


def _answer(question: _Question, tokens: int, times_s: tuple[float, float]) -> bytes:
    content = json.dumps({"score": score_of(question.row), "reason": REASON})
    return _ollama(content, tokens, times_s) if question.is_ollamas else _openai(content, tokens)


def _ollama(content: str, tokens: int, times_s: tuple[float, float]) -> bytes:
    return _http(
        {
            "model": MODEL,
            "created_at": "2025-01-01T00:00:00.000000Z",
            "message": {"role": "assistant", "content": content},
            "done": True,
            "done_reason": "stop" if content else "load",
            "total_duration": round(1e9 * sum(times_s)),
            "load_duration": 0,
            "prompt_eval_count": tokens,
            "prompt_eval_duration": round(1e9 * times_s[0]),
            "eval_count": OUTPUT_TOKENS,
            "eval_duration": round(1e9 * times_s[1]),
        }
    )


def _openai(content: str, tokens: int) -> bytes:
    message = {"role": "assistant", "content": content}
    usage = {
        "prompt_tokens": tokens,
        "completion_tokens": OUTPUT_TOKENS,
        "total_tokens": tokens + OUTPUT_TOKENS,
    }
    return _http(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1735689600,
            "model": MODEL,
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": usage,
        }
    )


_LOADED = {"model": MODEL, "name": MODEL, "size": 1, "size_vram": 1, "context_length": 65536}
_QUESTIONS = {
    b"/api/version": _http({"version": "0.20.0"}),
    b"/api/tags": _http({"models": [{"name": MODEL, "model": MODEL, "digest": "ab" * 32}]}),
    b"/api/ps": _http({"models": [_LOADED]}),
    b"/v1/models": _http({"object": "list", "data": [{"id": MODEL, "object": "model"}]}),
}


class _Exchange(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def __init__(self, place: _Place) -> None:
        self._place = place
        self._buffer = b""
        self._question: _Question | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, _error: Exception | None) -> None:
        if self._question is not None:
            self._place.hang_up(self._question)

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
        path = head.split(b" ", 2)[1]
        if not body:
            self._transport.write(_QUESTIONS[path])
        else:
            self._ask(path.startswith(b"/api/"), body)

    def _ask(self, is_ollamas: bool, body: bytes) -> None:
        start = body.find(ROW)
        if start < 0:
            answer = _openai("yes", 1) if not is_ollamas else _ollama("", 1, (0.0, 0.0))
            self._transport.write(answer)
            return
        start += len(ROW)
        tokens = (body.rfind(ROW_END) - start) // CHARS_PER_TOKEN
        refuses_cuts = is_ollamas and json.loads(body).get("truncate") is False
        row = int(body[start : start + DIGITS])
        self._question = _Question(row, tokens, is_ollamas, refuses_cuts, self._say)
        self._place.ask(self._question)

    def _say(self, answer: bytes) -> None:
        self._question = None
        self._transport.write(answer)
