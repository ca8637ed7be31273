"""Read tables of TOML strictly, and say in the user's own terms what is wrong: file, table, key, nearest valid key.

Tables are described by pydantic dataclasses; types and bounds are the rules, field names the valid keys.
Whatever the text, nothing but `UsageError` is raised. Values are never repeated in a message: one of them may be a
secret in the wrong place.
"""

import dataclasses
import json
import tomllib
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

import pydantic
from pydantic_core import ErrorDetails

from scorer.errors import UsageError

STRICT = pydantic.ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

_T = TypeVar("_T")
_SHOWN_CHARS = 60
_WANTED = {
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be a text in quotes",
    "string_too_short": "is empty",
    "too_short": "is empty",
    "list_type": "must be a list in square brackets",
    "dict_type": "must be a table",
}


def parse_toml(text: str, source: str) -> dict[str, Any]:
    """Parse a whole TOML text; UsageError names the source and the place. Any: a value may be all that TOML has."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise UsageError(f"{source}: nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError, and Python's own of an integer with 5,000 digits
        raise UsageError(f"{source}: not valid TOML: {error}") from None


def check(kind: type[_T], table: Mapping[str, object], place: str) -> _T:
    """Make the pydantic dataclass `kind` from a table; UsageError begins with `place` and names the key."""
    known = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]  # pydantic's are dataclasses
    for key in table:
        if key not in known:
            raise UsageError(f"{place}: unknown key {quoted(key)}; {nearest(key, known)}")
    try:
        return kind(**table)
    except pydantic.ValidationError as error:
        raise UsageError(f"{place}: {_complaint(error.errors(include_url=False)[0])}") from None


def quoted(name: str) -> str:
    """Show a name from a file: in quotes, on one line, not endlessly long."""
    return json.dumps(name if len(name) <= _SHOWN_CHARS else f"{name[:_SHOWN_CHARS]}…", ensure_ascii=False)


def nearest(name: str, known: Collection[str]) -> str:
    """Say which of the known names was probably meant, else name them all."""
    close = get_close_matches(name[:_SHOWN_CHARS].lower(), known, n=1)
    if close:
        return f"did you mean {quoted(close[0])}?"
    return f"valid: {', '.join(known)}"


def _complaint(error: ErrorDetails) -> str:
    key = ".".join(str(part)[:_SHOWN_CHARS] for part in error["loc"])
    match error["type"]:
        case "missing":
            return f"{key} is missing"
        case "literal_error":
            return f"{key} must be {error['ctx']['expected']}"
        case "value_error":
            return f"{key} {error['ctx']['error']}"
        case "greater_than_equal" | "greater_than" | "less_than_equal" | "less_than":
            return f"{key} must be {error['msg'].removeprefix('Input should be ')}"
        case kind:
            return f"{key} {_WANTED.get(kind, error['msg'])}"
