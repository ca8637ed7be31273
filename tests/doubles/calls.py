"""From a request's body to a checked call of `/api/chat` or `/api/generate`, or to the refusal of the server's era.

Pure: no clock, no socket. The texts are those of ollama.md's tables. Unknown fields and options are ignored, as the
server does.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from doubles import answers
from doubles.spec import Model, is_era_b, version_tuple, with_tag

PROMPT_FIRST_ERROR = (0, 6)  # older servers advise to pull the model
NO_TYPICAL_P = (0, 34, 1)
MIN_NUM_CTX = 4

_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_LEVELS = ("low", "medium", "high", "max")
_FIELDS: dict[str, tuple[type, str]] = {
    "model": (str, "string"),
    "prompt": (str, "string"),
    "system": (str, "string"),
    "stream": (bool, "bool"),
    "truncate": (bool, "bool"),
    "shift": (bool, "bool"),
    "raw": (bool, "bool"),
    "messages": (list, "[]api.Message"),
    "options": (dict, "map[string]interface {}"),
}
_INTEGERS = (
    "num_ctx num_batch num_gpu main_gpu num_thread num_keep seed num_predict top_k repeat_last_n draft_num_predict"
)
_FLOATS = "top_p min_p typical_p temperature repeat_penalty presence_penalty frequency_penalty"
_OPTIONS: dict[str, str] = (
    dict.fromkeys(_INTEGERS.split(), "integer")
    | dict.fromkeys(_FLOATS.split(), "float32")
    | {"use_mmap": "boolean", "stop": "array"}
)


class Refusal(Exception):
    """An error reply: a status and the text of its `error`."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What a model is loaded with: a difference in any of it is a reload. None is the server's own choice."""

    num_ctx: int | None = None
    num_gpu: int | None = None
    shift: bool | None = None  # era B only
    others: tuple[Any, ...] = ()

    def fits(self, loaded: "LoadOptions") -> bool:
        """Whether a model loaded with `loaded` serves this request as it is."""
        same = (self.num_ctx, self.shift, self.others) == (loaded.num_ctx, loaded.shift, loaded.others)
        return same and (self.num_gpu is None or self.num_gpu == loaded.num_gpu)


@dataclass(frozen=True, slots=True)
class Call:
    """A generation, or with nothing to generate a load command. `kind` is `chat` or `generate`.

    `messages` has generate's system and prompt as messages, too. `schema` is None (no format), `{}` (any JSON) or a
    JSON Schema. `think` is what the model will do. `keep_alive_s` None leaves the model's as it is.
    """

    kind: str
    name: str
    model: Model
    messages: tuple[tuple[str, str], ...]
    stream: bool
    schema: Mapping[str, Any] | None
    think: bool
    truncate: bool
    shift: bool
    keep_alive_s: float | None
    load: LoadOptions
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def user_text(self) -> str:
        """The content of the last message."""
        return self.messages[-1][1] if self.messages else ""

    @property
    def is_load(self) -> bool:
        """Whether it says nothing, which the server takes for a load or unload command."""
        return not self.messages if self.kind == "chat" else not self.user_text

    @property
    def num_predict(self) -> int | None:
        """The cap on output tokens; None is no cap."""
        asked = self.options.get("num_predict", -1)
        return int(asked) if asked > 0 else None

    @property
    def num_keep(self) -> int:
        """Tokens at the front that a cut leaves alone."""
        return int(self.options.get("num_keep", 4))


def decode(body: bytes) -> dict[str, Any]:
    """The body as a JSON object; 400 with the decoder's text."""
    if not body:
        raise Refusal(400, "missing request body")
    try:
        document = json.loads(body)
    except ValueError:
        raise Refusal(400, "invalid character looking for beginning of value") from None
    if not isinstance(document, dict):
        raise Refusal(400, "json: cannot unmarshal array into Go value of type api.ChatRequest")
    for key, (kind, go_type) in _FIELDS.items():
        value = document.get(key)
        if value is not None and not isinstance(value, kind):
            found = {str: "string", bool: "bool", dict: "object", list: "array"}.get(type(value), "number")
            raise Refusal(400, f"json: cannot unmarshal {found} into Go struct field .{key} of type {go_type}")
    return document


def find_model(name: str, models: Mapping[str, Model], version: str) -> Model:
    """The model of that name; 400 and 404 as the server says them."""
    if not re.fullmatch(r"[\w.\-/:@]+", name):
        raise Refusal(400, "invalid model name")
    if model := models.get(with_tag(name).lower()):
        return model
    if version_tuple(version) < PROMPT_FIRST_ERROR:
        raise Refusal(404, f'model "{name}" not found, try pulling it first')
    raise Refusal(404, f"model '{name}' not found")


def parse_call(kind: str, body: Mapping[str, Any], models: Mapping[str, Model], version: str) -> Call:
    """Check a decoded body as `kind` (`chat` or `generate`); raises Refusal."""
    name = body.get("model") or ""
    if not name:
        raise Refusal(*((400, "model is required") if kind == "chat" else (404, "model '' not found")))
    model = find_model(name, models, version)
    if "completion" not in model.capabilities:
        raise Refusal(400, f'"{name}" does not support {kind}')
    options = _checked_options(body.get("options") or {}, version)
    messages = _messages(body) if kind == "chat" else _prompt(body)
    _check_logprobs(body)
    shift = body.get("shift") is not False
    return Call(
        kind=kind,
        name=name,
        model=model,
        messages=messages,
        stream=body.get("stream") is not False,
        schema=_schema(body.get("format"), version),
        think=_thinks(body.get("think"), name, model),
        truncate=body.get("truncate") is not False,
        shift=shift,
        keep_alive_s=parse_keep_alive(body.get("keep_alive")),
        load=_load_options(options, shift, model, version),
        options=options,
    )


def parse_keep_alive(value: object) -> float | None:
    """Seconds of a `keep_alive` field; negative is for ever (inf), None is the server's default."""
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return math.inf if value < 0 else float(value)
    if not isinstance(value, str):
        raise Refusal(400, f"invalid keep_alive: {value}")
    parts = re.findall(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)", value)
    if not parts or "".join(number + unit for number, unit in parts) != value.lstrip("+-"):
        bare = re.fullmatch(r"[+-]?\d+", value)
        raise Refusal(400, f'time: {"missing unit in" if bare else "invalid"} duration "{value}"')
    return math.inf if value.startswith("-") else sum(float(number) * _UNITS_S[unit] for number, unit in parts)


def _messages(body: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    messages = []
    for message in body.get("messages") or ():
        if not isinstance(message, dict) or not isinstance(message.get("content", ""), str):
            raise Refusal(400, "json: cannot unmarshal into Go struct field ChatRequest.messages of type api.Message")
        messages.append((str(message.get("role", "")), message.get("content", "")))
    return tuple(messages)


def _prompt(body: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    if body.get("raw") and (body.get("template") or body.get("system") or body.get("context")):
        raise Refusal(400, "raw mode does not support template, system, or context")
    system = [("system", body["system"])] if body.get("system") else []
    return (*system, ("user", body.get("prompt") or ""))


def _thinks(think: object, name: str, model: Model) -> bool:
    if think is not None and not isinstance(think, bool) and think not in _LEVELS:
        raise Refusal(400, f"invalid think value: {json.dumps(think)} (must be true, false, or a level)")
    if "thinking" not in model.capabilities:
        if think:
            raise Refusal(400, f'"{name}" does not support thinking')
        return False
    return think is not False or not model.silenceable


def _schema(asked: object, version: str) -> Mapping[str, Any] | None:
    if asked is None or asked == "":
        return None
    if asked == "json":
        return {}
    if not isinstance(asked, dict):
        raise Refusal(500, f'invalid format: {json.dumps(asked)}; expected "json" or a valid JSON Schema object')
    if not answers.is_usable(asked):
        if not is_era_b(version):
            raise Refusal(500, "invalid JSON schema in format")
        inner = {"code": 400, "message": "failed to parse grammar", "type": "invalid_request_error"}
        raise Refusal(400, json.dumps({"error": inner}))
    return asked


def _check_logprobs(body: Mapping[str, Any]) -> None:
    if not 0 <= (body.get("top_logprobs") or 0) <= 20:
        raise Refusal(400, "top_logprobs must be between 0 and 20")


def _checked_options(options: Mapping[str, Any], version: str) -> Mapping[str, Any]:
    for key, value in options.items():
        wanted = _OPTIONS.get(key)
        if wanted is not None and value is not None and not _is(value, wanted):
            raise Refusal(500, f'option "{key}" must be of type {wanted}')
    if "typical_p" in options and version_tuple(version) >= NO_TYPICAL_P:
        raise Refusal(400, "typical_p is no longer supported")
    return {key: value for key, value in options.items() if value is not None}


def _is(value: object, wanted: str) -> bool:
    if wanted == "boolean":
        return isinstance(value, bool)
    if wanted == "array":
        return isinstance(value, list)
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _load_options(options: Mapping[str, Any], shift: bool, model: Model, version: str) -> LoadOptions:
    if model.inference == "mlx":
        return LoadOptions(num_ctx=model.max_context)
    num_ctx = options.get("num_ctx")
    if num_ctx is not None:
        num_ctx = max(int(num_ctx), MIN_NUM_CTX)
        if is_era_b(version):
            num_ctx = min(num_ctx, model.max_context)
    num_gpu = options.get("num_gpu", -1)
    names = ("num_batch", "main_gpu", "use_mmap", "num_thread", "draft_num_predict")
    return LoadOptions(
        num_ctx=num_ctx,
        num_gpu=None if num_gpu == -1 else int(num_gpu),
        shift=shift if is_era_b(version) else None,
        others=tuple(options.get(name) for name in names),
    )
