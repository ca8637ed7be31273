"""A double of a Petals gateway: one form, HTTP 200 to everything, and a traceback where something went wrong.

It is the double of Ollama behind another door, with its slots, speeds, faults, record and controls. A model there has
no grammar, so `PetalsSpec` decides what the double says: sound answers follow `schema`, with `tail` after them.
What stands before the first blank line of a prompt counts as the system text, the rest as the row.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from doubles.calls import Call, Refusal
from doubles.catalogue import State
from doubles.exchange import TEXT, Exchange
from doubles.generation import Generations
from doubles.ollama import OllamaDouble
from doubles.prompts import prompt_tokens
from doubles.record import Log
from doubles.replies import Reply
from doubles.server import Handler, Server
from doubles.spec import Spec

TRACEBACK = 'Traceback (most recent call last):\n  File "/app/http_api.py", line 36, in http_api_generate\n    …\n'


@dataclass(frozen=True, slots=True)
class PetalsSpec:
    """What the model behind the gateway says: an answer to `schema`, then `tail`; cut answers have no tail."""

    schema: Mapping[str, Any] = field(default_factory=dict)
    tail: str = "</s>"


class PetalsDouble(OllamaDouble):
    """A double in a thread of its own, as a context manager; see `OllamaDouble`."""

    def __init__(self, spec: Spec | None = None, says: PetalsSpec | None = None, port: int = 0) -> None:
        super().__init__(spec, port)
        self._says = says or PetalsSpec()

    def _make_server(self, log: Log, port: int) -> Server:
        return _Server(self.spec, log, port, self._says)


class _Exchange(Exchange):
    def error(self, status: int, text: str) -> None:
        """Send an error as the gateway words it, whose last line names the exception."""
        last = text if text.startswith(("KeyError: ", "ValueError: ")) else f"RuntimeError: {text}"
        self.json(200, {"ok": False, "traceback": f"{TRACEBACK}{last}\n"})


class _Generations(Generations):
    server: "_Server"

    async def answer(self, state: State, exchange: Exchange) -> None:
        """Answer /api/v1/generate."""
        await self.chat(state, exchange)

    def _decode(self, body: bytes) -> dict[str, Any]:
        return dict(parse_qsl(body.decode(), keep_blank_values=True))

    def _call(self, kind: str, body: dict[str, Any]) -> Call:
        name = body.get("model")
        if name not in {model.name for model in self._state.models.values()}:
            raise Refusal(200, f"KeyError: {name!r}")
        system, _, row = body["inputs"].partition("\n\n")
        context, tokens, cap = (
            self._state.spec.default_num_ctx,
            prompt_tokens([system, row]),
            int(body["max_new_tokens"]),
        )
        if tokens + cap > context:
            text = f"ValueError: Maximum length exceeded: prefix 0 + current {tokens} exceeds pre-allocated maximum "
            raise Refusal(200, text + str(context))
        messages = [{"role": "system", "content": system}, {"role": "user", "content": row.removesuffix("\n\n")}]
        native = {
            "model": name,
            "messages": messages,
            "stream": False,
            "format": dict(self.server.says.schema),
            "truncate": False,
            "options": {"num_ctx": context, "num_predict": cap},
        }
        return super()._call(kind, native)

    def _document(self, reply: Reply, version: str) -> dict[str, Any]:
        finished = reply.done and reply.done_reason == "stop"
        return {"ok": True, "outputs": reply.content + (self.server.says.tail if finished else "")}


class _Server(Server):
    generations_type = _Generations
    exchange_type = _Exchange

    def __init__(self, spec: Spec, log: Log, port: int, says: PetalsSpec) -> None:
        self.says = says
        super().__init__(spec, log, port)
        assert isinstance(self.generations, _Generations)
        self.generations.server = self

    def _make_routes(self) -> dict[str, dict[str, Handler]]:
        assert isinstance(self.generations, _Generations)
        return {"/": {"GET": _page}, "/api/v1/generate": {"POST": self.generations.answer}}


async def _page(_state: State, exchange: Exchange) -> None:
    exchange.send(200, b"<!doctype html><title>Petals Chat</title>", TEXT)
