"""The double's judgement: an answer that is a pure function of the user text and the schema.

A test computes the same answer with `expected_answer` and compares. It has nothing to do with the text's meaning, and
it does not depend on seed, temperature or host (except through a host's `salt`).
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

TOKEN_CHARS = 4
TEMPLATE_TOKENS = 8  # what the chat template adds to the messages
_WORDS = ("clear", "short", "useful", "broken", "plain", "odd", "careful", "dense", "naive", "sound")
_TYPES = {"object", "array", "string", "integer", "number", "boolean", "null"}
_WIDTH = 100  # of a range that the schema leaves open

Schema = Mapping[str, Any]


def expected_answer(user_text: str, schema: Schema, salt: str = "") -> dict[str, Any]:
    """What a sound double answers to this text; `schema` describes an object, as `format` does."""
    answer = answer_value(user_text, schema, salt)
    if not isinstance(answer, dict):
        raise TypeError(f"the schema describes a {schema.get('type')}, not an object")
    return answer


def answer_value(user_text: str, schema: Schema, salt: str = "") -> Any:  # noqa: ANN401 - any JSON value
    """The same for any schema, object or not."""
    return _value(schema, _root(user_text, salt), "$")


def prose(user_text: str, salt: str = "") -> str:
    """The answer of a model that was given no schema, or ignores it."""
    return f"This looks {_string({}, _root(user_text, salt), '$')} to me."


def count_tokens(text: str) -> int:
    """Tokens of a text: a quarter of its characters, rounded up."""
    return -(-len(text) // TOKEN_CHARS)


def is_usable(schema: object) -> bool:
    """Whether the server could make a grammar of it."""
    if not isinstance(schema, Mapping):
        return False
    kinds = schema.get("type", "object")
    if not all(kind in _TYPES for kind in (kinds if isinstance(kinds, list) else [kinds])):
        return False
    inner = [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]
    return all(is_usable(part) for part in inner + ([schema["items"]] if "items" in schema else []))


def violation(user_text: str, schema: object) -> str:
    """JSON that breaks the schema in one place only: the first property is out of bounds, or of another type."""
    if not isinstance(schema, Mapping) or not schema.get("properties"):
        return "[]"
    answer = expected_answer(user_text, schema)
    name, part = next(iter(schema["properties"].items()))
    numeric = part.get("type") in ("integer", "number")
    answer[name] = part["maximum"] + 1 if numeric and "maximum" in part else {"not": "this"}
    return json.dumps(answer)


def _root(user_text: str, salt: str) -> bytes:
    return sha256(f"{salt}\0{user_text}".encode("utf-8", "surrogatepass")).digest()


def _value(schema: Schema, root: bytes, path: str) -> Any:  # noqa: ANN401 - any JSON value
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][_draw(root, path) % len(schema["enum"])]
    if "anyOf" in schema:
        return _value(schema["anyOf"][0], root, path)
    kind = schema.get("type", "object")
    return _MAKERS[kind[0] if isinstance(kind, list) else kind](schema, root, path)


def _draw(root: bytes, path: str) -> int:
    return int.from_bytes(sha256(root + path.encode()).digest()[:8])


def _object(schema: Schema, root: bytes, path: str) -> dict[str, Any]:
    properties = schema.get("properties") or {"answer": {"type": "string"}}
    return {name: _value(part, root, f"{path}.{name}") for name, part in properties.items()}


def _array(schema: Schema, root: bytes, path: str) -> list[Any]:
    least = schema.get("minItems", 0)
    size = least + _draw(root, path) % (schema.get("maxItems", least + 2) - least + 1)
    return [_value(schema.get("items", {"type": "integer"}), root, f"{path}[{i}]") for i in range(size)]


def _bounds(schema: Schema, step: int) -> tuple[float, float]:
    low, high = schema.get("minimum"), schema.get("maximum")
    if "exclusiveMinimum" in schema:
        low = schema["exclusiveMinimum"] + step
    if "exclusiveMaximum" in schema:
        high = schema["exclusiveMaximum"] - step
    if low is None:
        low = 0 if high is None else min(0, high - _WIDTH)
    return low, low + _WIDTH if high is None else high


def _integer(schema: Schema, root: bytes, path: str) -> int:
    low, high = _bounds(schema, 1)
    return int(low) + _draw(root, path) % (int(high) - int(low) + 1)


def _number(schema: Schema, root: bytes, path: str) -> float:
    low, high = _bounds(schema, 0)
    share = (1 + _draw(root, path) % 999) / 1000  # strictly inside, so exclusive bounds hold too
    return min(max(round(low + (high - low) * share, 3), low), high)


def _string(schema: Schema, root: bytes, path: str) -> str:
    drawn = _draw(root, path)
    text = " ".join(_WORDS[drawn // 10**i % 10] for i in range(4))
    most = schema.get("maxLength", len(text))
    return text[:most].ljust(min(schema.get("minLength", 0), most), "x")


def _boolean(_schema: Schema, root: bytes, path: str) -> bool:
    return _draw(root, path) % 2 == 1


def _null(_schema: Schema, _root: bytes, _path: str) -> None:
    return None


_MAKERS = {
    "object": _object,
    "array": _array,
    "integer": _integer,
    "number": _number,
    "string": _string,
    "boolean": _boolean,
    "null": _null,
}
