"""What the model says to a call, and the shape in which `/api/chat` and `/api/generate` say it.

Pure. A Reply is made sound; a fault may then spoil any of its fields before it is turned into JSON.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from doubles import answers
from doubles.calls import Call
from doubles.prompts import Prompt
from doubles.spec import Spec, version_tuple

_PIECES = 32  # a stream has at most so many chunks
_COUNTED_ONLY_NEW = (0, 30, 0)  # this version leaves cached tokens out of prompt_eval_count
_TELLS_CACHED = (0, 33, 3)


@dataclass(slots=True)
class Reply:
    """A reply before it is JSON. Durations are simulated seconds; `done` false or no `done_reason` is an abort."""

    call: Call
    num_ctx: int
    model: str
    content: str
    thinking: str
    prompt_tokens: int
    output_tokens: int
    done: bool = True
    done_reason: str | None = "stop"
    remote_host: str = ""
    remote_model: str = ""
    total_s: float = 0.0
    load_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    cached_tokens: int = 0

    def document(self, version: str) -> dict[str, Any]:
        """The single object of `stream: false`."""
        document = self._chunk(self.content, self.thinking) | {"done": self.done}
        return document | self._metrics(version) if self.done else document

    def lines(self, version: str) -> list[dict[str, Any]]:
        """The objects of a stream; without the last one if the generation was aborted."""
        chunks = [self._chunk("", self.thinking) | {"done": False}] if self.thinking else []
        chunks += [self._chunk(piece, "") | {"done": False} for piece in _pieces(self.content)]
        if self.done:
            chunks.append(self._chunk("", "") | {"done": True} | self._metrics(version))
        return chunks

    def _chunk(self, content: str, thinking: str) -> dict[str, Any]:
        said: dict[str, Any] = {"thinking": thinking} if thinking else {}
        if self.call.kind == "chat":
            body: dict[str, Any] = {"message": {"role": "assistant", "content": content} | said}
        else:
            body = {"response": content} | said
        remote = {"remote_model": self.remote_model, "remote_host": self.remote_host} if self.remote_host else {}
        return {"model": self.model, **remote, "created_at": datetime.now(UTC).isoformat(), **body}

    def _metrics(self, version: str) -> dict[str, Any]:
        counted_cache = self.cached_tokens if version_tuple(version) == _COUNTED_ONLY_NEW else 0
        metrics: dict[str, Any] = {
            "done_reason": self.done_reason,
            "total_duration": _ns(self.total_s),
            "load_duration": _ns(self.load_s),
            "prompt_eval_count": self.prompt_tokens - counted_cache,
            "prompt_eval_duration": _ns(self.prefill_s),
            "eval_count": self.output_tokens,
            "eval_duration": _ns(self.decode_s),
        }
        if version_tuple(version) >= _TELLS_CACHED:
            metrics["prompt_eval_cached_count"] = self.cached_tokens
        if self.call.kind == "generate" and self.done_reason not in ("load", "unload"):
            metrics["context"] = list(range(self.prompt_tokens + self.output_tokens))
        return {key: value for key, value in metrics.items() if value}


def complete(call: Call, prompt: Prompt, num_ctx: int, spec: Spec) -> Reply:
    """What the model says: sound JSON for the schema, cut where `num_predict` or the context ends."""
    content = _content(call, prompt, spec)
    tokens = spec.output_tokens or answers.count_tokens(content)
    thinking_tokens = call.model.thinking_tokens if call.think else 0
    thinking = "hmm " * thinking_tokens
    reply = Reply(
        call=call,
        num_ctx=num_ctx,
        model=call.name,
        content=content,
        thinking=thinking,
        prompt_tokens=prompt.tokens,
        output_tokens=thinking_tokens + tokens,
        remote_host=call.model.remote_host,
        remote_model=call.model.remote_model or (call.model.name if call.model.remote_host else ""),
    )
    room = [] if call.shift else [max(num_ctx - prompt.tokens, 0)]
    cap = min([reply.output_tokens, *room, *([call.num_predict] if call.num_predict is not None else [])])
    if cap < reply.output_tokens:
        reply.done_reason = "length"
        reply.output_tokens = cap
        reply.thinking = thinking[: cap * answers.TOKEN_CHARS]
        reply.content = content[: len(content) * max(cap - thinking_tokens, 0) // tokens]
    if call.kind == "generate" and call.think and call.schema is not None:
        reply.content, reply.thinking = "", reply.content
    return reply


def nothing(call: Call, reason: str) -> Reply:
    """The reply to a call that says nothing: `load` or `unload`."""
    return Reply(call, 0, call.name, "", "", 0, 0, done_reason=reason)


def _content(call: Call, prompt: Prompt, spec: Spec) -> str:
    if call.schema is None or call.model.inference == "mlx":
        return answers.prose(prompt.seen, spec.salt)
    return json.dumps(answers.answer_value(prompt.seen, call.schema, spec.salt))


def _pieces(text: str) -> Iterator[str]:
    size = max(answers.TOKEN_CHARS, -(-len(text) // _PIECES))
    return (text[i : i + size] for i in range(0, len(text), size))


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
