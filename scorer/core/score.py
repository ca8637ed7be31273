"""Turn what a model said into a score, or say why it is none.

The template's output table becomes a JSON Schema that is sent with each request, and the same fields are compiled once
into a parser that checks every completion, since servers may ignore the schema. Nothing is ever repaired: an answer in
a Markdown fence, with a key too many or a number out of bounds is invalid, and the row is tried again. What is accepted
beyond the schema's letter: white space around the object. What JSON Schema accepts and Python would not: `7.0` is an
integer, and `7` a number.

Invariants: `scorer_for` raises nothing but `RowFault` for any text; what it returns has every field, in order, of the
declared type and within its bounds.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NoReturn

import pydantic
from pydantic_core import ErrorDetails

from scorer.errors import FaultKind, RowFault

FieldType = Literal["integer", "number", "string", "boolean", "choice"]
Scorer = Callable[[str], dict[str, object]]

BOOLEAN_WORDS = ("false", "true")
_ECHO_CHARS = 40

# Numbers stay text: one whose key comes again is lost, and may be one that Python refuses to convert.
_pairs = json.JSONDecoder(object_pairs_hook=list, parse_int=str, parse_float=str).decode


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a score. Integers have both bounds, strings a `max_length` in characters, choices their `values`."""

    name: str
    type: FieldType
    minimum: float | None = None
    maximum: float | None = None
    max_length: int | None = None
    values: tuple[str, ...] = ()


def json_schema(fields: Sequence[Field]) -> dict[str, object]:
    """Describe a completion as a JSON Schema: an object of exactly these fields, in this order.

    Bounds always go along: a model under a grammar without them was seen to write an integer of 15 digits.
    """
    return {
        "type": "object",
        "properties": {field.name: _property(field) for field in fields},
        "required": [field.name for field in fields],
        "additionalProperties": False,
    }


def scorer_for(fields: Sequence[Field]) -> Scorer:
    """Compile the fields into a function from one completion to its score.

    That function raises RowFault (INVALID_OUTPUT, with the completion) for everything that is not exactly one JSON
    object with these fields. A repeated key is invalid: which of the two answers would be the right one?
    """
    # Aliases, since a field may be called `copy` or `model_dump`; Any, since pydantic takes annotations as values.
    definitions: dict[str, Any] = {
        f"field_{i}": (_annotation(field), pydantic.Field(alias=field.name)) for i, field in enumerate(fields)
    }
    config = pydantic.ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    answer: type[pydantic.BaseModel] = pydantic.create_model("Answer", __config__=config, **definitions)

    quoted = [f'"{field.name}"' for field in fields]

    def score(completion: str) -> dict[str, object]:
        text = completion.strip()
        if not text:
            _refuse("empty completion", completion)
        try:
            parsed = answer.model_validate_json(text)
        except pydantic.ValidationError as error:
            _refuse(_complaint(error), completion)
        # Every field is there and no other key, so without escapes a key that is written once is there once.
        plain = "\\" not in text and all(text.count(name) == 1 for name in quoted)
        if not plain and len(_pairs(text)) != len(fields):
            _refuse("a key is repeated", completion)
        return parsed.model_dump(by_alias=True)

    return score


def words_of(field: Field) -> tuple[str, ...]:
    """Return the words that name a field's values, in their order; none for numbers and for free text."""
    return BOOLEAN_WORDS if field.type == "boolean" else field.values


def figure_of(value: object, words: Sequence[str]) -> float | None:
    """Return the number by which histograms count a value: itself, or its place among its field's words, from 0.

    None for free text and for what is missing.
    """
    if isinstance(value, str):
        return float(words.index(value)) if words else None
    return float(value) if isinstance(value, int | float) else None


def _property(field: Field) -> dict[str, object]:
    if field.type == "choice":
        return {"type": "string", "enum": list(field.values)}
    bounds = {"minimum": field.minimum, "maximum": field.maximum, "maxLength": field.max_length}
    return {"type": field.type, **{key: bound for key, bound in bounds.items() if bound is not None}}


def _annotation(field: Field) -> object:
    bounds = pydantic.Field(ge=field.minimum, le=field.maximum)
    match field.type:
        case "integer":
            return Annotated[int, pydantic.BeforeValidator(_whole), bounds]
        case "number":
            return Annotated[float, bounds]
        case "string":
            return Annotated[str, pydantic.Field(max_length=field.max_length)]
        case "boolean":
            return bool
        case _:
            return Literal.__getitem__(field.values)


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _refuse(message: str, completion: str) -> NoReturn:
    raise RowFault(FaultKind.INVALID_OUTPUT, message, completion=completion)


def _complaint(error: pydantic.ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    name = _echo(first["loc"][0]) if first["loc"] else ""
    match first["type"]:
        case "json_invalid":
            return f"not JSON: {first['ctx']['error']}"
        case "string_unicode":
            return "not JSON: a lone surrogate is not a character"
        case "model_type":
            return "not a JSON object"
        case "missing":
            return f"{name} is missing"
        case "extra_forbidden":
            return f"{name} was not asked for"
        case "string_too_long":
            return f"{name} is longer than {first['ctx']['max_length']} characters"
        case _:
            return f"{name} {_wrong_value(first)}"


def _wrong_value(error: ErrorDetails) -> str:
    wanted = error["msg"].removeprefix("Input should be ")
    return f"should be {wanted}, not {_echo(error['input'])}"


def _echo(value: object) -> str:
    """Show a value as JSON would, cut short: it is the model's text and may be anything."""
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _ECHO_CHARS else f"{text[:_ECHO_CHARS]}…"
