"""Every way in which a generation can go wrong, by name.

Four families, by where they strike: `EARLY` replies come at once and use no slot; `ERRORS` are 500s after the work was
done; `SPOILED` replies are well-formed and wrong; `WIRE` faults break the transfer of a sound one. `drop` and `hang`
strike while the slot is busy and are the server's own. A fault never raises, and always leaves an outcome.
"""

import gzip
import json
from collections.abc import Awaitable, Callable
from functools import cache

from doubles import wire
from doubles.answers import answer_value, violation
from doubles.catalogue import State
from doubles.engine import BUSY_TEXT
from doubles.exchange import HTML, TEXT, Exchange, line
from doubles.prompts import half
from doubles.record import ANSWERED, DROPPED
from doubles.replies import Reply
from doubles.spec import Spec, is_era_b

DROP = "drop"  # closed half-way through the work, before any byte
HANG = "hang"  # keeps its slot and says nothing until the client leaves or `release_hangs` lets it answer

RUNNER_STOPPED = (
    "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error, "
    "check ollama server logs for details"
)
OUT_OF_MEMORY = "model requires more system memory (9.1 GiB) than is available (5.2 GiB)"
MID_STREAM = "an error was encountered while running the model: unexpected EOF"
_NGINX = (
    "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n</body>\r\n</html>\r\n"
)
_BLOCK = b"A" * 65536
_BOMB_BYTES = 16 << 20
_NESTING = 100_000


def _fast_500(exchange: Exchange, _spec: Spec) -> None:
    exchange.error(500, "something went wrong")


def _busy_503(exchange: Exchange, spec: Spec) -> None:
    exchange.json(503, {"error": BUSY_TEXT}, {"Retry-After": str(spec.retry_after_s)})


def _limited_429(exchange: Exchange, spec: Spec) -> None:
    exchange.json(429, {"error": "too many requests"}, {"Retry-After": str(spec.retry_after_s)})


def _html(status: int, title: str) -> Callable[[Exchange, Spec], None]:
    def answer(exchange: Exchange, _spec: Spec) -> None:
        exchange.send(status, _NGINX.format(title).encode(), HTML)

    return answer


def _gone(exchange: Exchange, _spec: Spec) -> None:
    exchange.error(499, "request canceled")


def _redirect(exchange: Exchange, _spec: Spec) -> None:
    exchange.send(307, b"", TEXT, {"Location": "/elsewhere"})


def _load_failed(exchange: Exchange, _spec: Spec) -> None:
    exchange.error(500, OUT_OF_MEMORY)


EARLY: dict[str, Callable[[Exchange, Spec], None]] = {
    "fast_500": _fast_500,
    "busy_503": _busy_503,
    "limited_429": _limited_429,
    "html_502": _html(502, "502 Bad Gateway"),
    "html_504": _html(504, "504 Gateway Time-out"),
    "gone_499": _gone,
    "redirect": _redirect,
    "load_failed": _load_failed,
}

ERRORS: dict[str, str] = {
    "server_error": RUNNER_STOPPED,
    "parser_error": "error parsing tool call: raw='{\"score\"', err=unexpected end of JSON input",
    "cuda_error": "an error was encountered while running the model: CUDA error: an illegal memory access",
}


def _garbage(reply: Reply, _version: str) -> None:
    reply.content = "G" * 64


def _invalid(reply: Reply, _version: str) -> None:
    reply.content = violation(reply.call.user_text, reply.call.schema)


def _not_a_number(reply: Reply, _version: str) -> None:
    properties = (reply.call.schema or {}).get("properties") or {"score": {}}
    reply.content = json.dumps(dict.fromkeys(properties, float("nan")))


def _huge_number(reply: Reply, _version: str) -> None:
    reply.content = '{"score": 1' + "0" * 5000 + "}"


def _runaway(reply: Reply, _version: str) -> None:
    """White space for ever, as under the plain "json" format, ended by the cap."""
    reply.content = '{"score":' + " \n" * 4000
    reply.done_reason = "length"
    reply.output_tokens = reply.call.num_predict or 4000


def _nul(reply: Reply, _version: str) -> None:
    reply.content = reply.content.replace(" ", "\0")


def _deep(reply: Reply, _version: str) -> None:
    reply.content = "[" * _NESTING


def _empty(reply: Reply, _version: str) -> None:
    reply.content = ""
    reply.output_tokens = 1


def _length(reply: Reply, _version: str) -> None:
    reply.content = reply.content[: len(reply.content) // 2]
    reply.output_tokens = max(reply.output_tokens // 2, 1)
    reply.done_reason = "length"


def _done_false(reply: Reply, _version: str) -> None:
    reply.done = False
    reply.done_reason = None


def _odd_reason(reply: Reply, _version: str) -> None:
    reply.done_reason = "load"


def _wrong_model(reply: Reply, _version: str) -> None:
    reply.model = "somebody-else:latest"


def _remote(reply: Reply, _version: str) -> None:
    reply.remote_host = "https://ollama.com:443"
    reply.remote_model = reply.model


def _thinking_only(reply: Reply, _version: str) -> None:
    reply.thinking = "Let me think about this. " * 8
    reply.content = ""
    reply.done_reason = "length"


def _truncate_half(reply: Reply, _version: str) -> None:
    _misjudge(reply, half(reply.num_ctx, reply.call.num_keep))


def _truncate_full(reply: Reply, version: str) -> None:
    _misjudge(reply, reply.num_ctx - is_era_b(version))


def _misjudge(reply: Reply, prompt_tokens: int) -> None:
    reply.prompt_tokens = prompt_tokens
    reply.content = json.dumps(answer_value(f"cut\0{reply.call.user_text}", reply.call.schema or {}))


SPOILED: dict[str, Callable[[Reply, str], None]] = {
    "garbage": _garbage,
    "invalid": _invalid,
    "not_a_number": _not_a_number,
    "huge_number": _huge_number,
    "runaway": _runaway,
    "nul": _nul,
    "deep": _deep,
    "empty": _empty,
    "length": _length,
    "done_false": _done_false,
    "odd_reason": _odd_reason,
    "wrong_model": _wrong_model,
    "remote": _remote,
    "thinking_only": _thinking_only,
    "truncate_half": _truncate_half,
    "truncate_full": _truncate_full,
}


def cuts(fault: str | None) -> bool:
    """Whether a fault is a prompt that is cut without a word."""
    return fault in ("truncate_half", "truncate_full")


class Transfer:
    """A sound payload that a WIRE fault is to send, in lines if it is a stream; `state` gives it the pace."""

    def __init__(self, exchange: Exchange, content_type: str, lines: list[bytes], state: State) -> None:
        self.exchange = exchange
        self.content_type = content_type
        self.lines = lines
        self.payload = b"".join(lines)
        self.state = state


async def _reset_mid_body(transfer: Transfer) -> None:
    exchange, payload = transfer.exchange, transfer.payload
    exchange.begin(transfer.content_type, len(payload))
    exchange.connection.send(payload[: len(payload) // 2])
    exchange.close(DROPPED)
    exchange.connection.reset()


async def _short_body(transfer: Transfer) -> None:
    exchange, payload = transfer.exchange, transfer.payload
    exchange.begin(transfer.content_type, len(payload))
    exchange.connection.send(payload[: len(payload) // 2])
    exchange.close(DROPPED)
    exchange.connection.finish()


async def _half_json(transfer: Transfer) -> None:
    half_way = transfer.payload[: len(transfer.payload) // 2]
    transfer.exchange.send(200, half_way, transfer.content_type)


async def _error_line(transfer: Transfer) -> None:
    kept = transfer.lines[: len(transfer.lines) // 2]
    transfer.exchange.send(200, b"".join([*kept, line({"error": MID_STREAM})]), transfer.content_type)


async def _gzip(transfer: Transfer) -> None:
    encoded = gzip.compress(transfer.payload, 1, mtime=0)
    transfer.exchange.send(200, encoded, transfer.content_type, {"Content-Encoding": "gzip"})


async def _bomb(transfer: Transfer) -> None:
    transfer.exchange.send(200, _bomb_bytes(), transfer.content_type, {"Content-Encoding": "gzip"})


@cache
def _bomb_bytes() -> bytes:
    return gzip.compress(bytes(_BOMB_BYTES), 6, mtime=0)


async def _huge(transfer: Transfer) -> None:
    """Send for ever, as fast as the client reads; ends only by its leaving."""
    exchange = transfer.exchange
    exchange.begin(transfer.content_type)
    exchange.connection.send(wire.chunk(b'{"model":"'))
    while True:
        exchange.connection.send(wire.chunk(_BLOCK))
        await exchange.connection.drain()


async def _trickle(transfer: Transfer) -> None:
    exchange, payload = transfer.exchange, transfer.payload
    exchange.begin(transfer.content_type, len(payload))
    for i in range(len(payload)):
        await transfer.state.clock.wait(transfer.state.spec.trickle_s)
        if i == len(payload) - 1:
            exchange.close(ANSWERED)
        exchange.connection.send(payload[i : i + 1])


async def _empty_body(transfer: Transfer) -> None:
    """Send the status of a success and nothing more, in order: so exo ends when it fails."""
    transfer.exchange.begin(transfer.content_type)
    transfer.exchange.close(DROPPED)
    transfer.exchange.connection.send(wire.chunk(b""))


async def _head_only(transfer: Transfer) -> None:
    """Send the status of a success and hang up: so exo ends when a machine of its cluster is lost."""
    transfer.exchange.begin(transfer.content_type)
    transfer.exchange.close(DROPPED)
    transfer.exchange.connection.finish()


async def _gigabyte(transfer: Transfer) -> None:
    """Promise a body of 1 GB, and send it as fast as the client reads."""
    exchange = transfer.exchange
    exchange.begin(transfer.content_type, 1 << 30)
    while True:
        exchange.connection.send(_BLOCK)
        await exchange.connection.drain()


async def _nan(transfer: Transfer) -> None:
    transfer.exchange.send(200, b'{"eval_count": NaN, ' + transfer.payload[1:], transfer.content_type)


async def _nul_bytes(transfer: Transfer) -> None:
    transfer.exchange.send(200, bytes(len(transfer.payload)), transfer.content_type)


async def _wrong_type(transfer: Transfer) -> None:
    transfer.exchange.send(200, b"<!doctype html><title>Sign in</title>", HTML)


async def _deep_json(transfer: Transfer) -> None:
    transfer.exchange.send(200, b'{"model":' + b"[" * _NESTING, transfer.content_type)


WIRE: dict[str, Callable[[Transfer], Awaitable[None]]] = {
    "reset_mid_body": _reset_mid_body,
    "short_body": _short_body,
    "half_json": _half_json,
    "error_line": _error_line,
    "gzip": _gzip,
    "bomb": _bomb,
    "huge": _huge,
    "gigabyte": _gigabyte,
    "empty_body": _empty_body,
    "head_only": _head_only,
    "nan": _nan,
    "nul_bytes": _nul_bytes,
    "trickle": _trickle,
    "wrong_type": _wrong_type,
    "deep_json": _deep_json,
}

KINDS = frozenset({DROP, HANG, *EARLY, *ERRORS, *SPOILED, *WIRE})
HARMLESS = frozenset({None, HANG, "trickle"})  # what arrives at last is sound
