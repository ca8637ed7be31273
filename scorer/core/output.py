"""Read a template's `[output.*]` tables into the fields of a score.

Every field is bounded, so that a model under a grammar cannot run on: integers by value, strings by length, choices by
their list. A number's bounds are optional, since servers' grammars limit its digits anyway.

Invariants: there is a field `score` and it comes first; no name clashes with a column of the results, in any case of
letters, because DuckDB and SQLite do not tell `Score` from `score`.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import pydantic
from pydantic.dataclasses import dataclass as table

from scorer.core.checked import STRICT, check, nearest, quoted
from scorer.core.score import Field
from scorer.errors import UsageError

RESERVED = frozenset(
    {"row", "model", "sample", "status", "error", "completion", "model_digest", "host", "attempts"}
    | {"prompt_tokens", "output_tokens", "duration_s", "finished_at"}
)
"""Names of the results' own columns."""

_LARGEST_INTEGER = 2**53  # above it, not every integer survives a server that keeps numbers as doubles
_LONGEST_STRING = 1999  # llama.cpp's grammars refuse 2,000 repetitions and more
_LONGEST_NAME = 64
_Exact = Annotated[int, pydantic.Field(ge=-_LARGEST_INTEGER, le=_LARGEST_INTEGER)]


@table(frozen=True, slots=True, config=STRICT)
class _Integer:
    type: Literal["integer"]
    minimum: _Exact
    maximum: _Exact

    def field(self, name: str) -> Field:
        return Field(name, self.type, minimum=self.minimum, maximum=self.maximum)


@table(frozen=True, slots=True, config=STRICT)
class _Number:
    type: Literal["number"]
    minimum: float | None = None
    maximum: float | None = None

    def field(self, name: str) -> Field:
        return Field(name, self.type, minimum=self.minimum, maximum=self.maximum)


@table(frozen=True, slots=True, config=STRICT)
class _String:
    type: Literal["string"]
    max_length: Annotated[int, pydantic.Field(ge=1, le=_LONGEST_STRING)]

    def field(self, name: str) -> Field:
        return Field(name, self.type, max_length=self.max_length)


@table(frozen=True, slots=True, config=STRICT)
class _Boolean:
    type: Literal["boolean"]

    def field(self, name: str) -> Field:
        return Field(name, self.type)


@table(frozen=True, slots=True, config=STRICT)
class _Choice:
    type: Literal["choice"]
    values: Annotated[list[Annotated[str, pydantic.Field(min_length=1)]], pydantic.Field(min_length=1)]

    def field(self, name: str) -> Field:
        return Field(name, self.type, values=tuple(self.values))


_Kind = _Integer | _Number | _String | _Boolean | _Choice
_KINDS: dict[str, type[_Kind]] = {
    "integer": _Integer,
    "number": _Number,
    "string": _String,
    "boolean": _Boolean,
    "choice": _Choice,
}


def fields_from(output: Mapping[str, object], source: str) -> tuple[Field, ...]:
    """Read all output tables of one template, score first; UsageError names the source, the table and the key."""
    fields = [_field(name, table, f"{source}: [output.{_bare(name)}]") for name, table in output.items()]
    if not any(field.name == "score" for field in fields):
        raise UsageError(f"{source}: no field called score; add a table [output.score]")
    names: dict[str, str] = {}
    for field in fields:
        if other := names.get(field.name.lower()):
            raise UsageError(
                f"{source}: [output.{field.name}] and [output.{other}] differ only in upper and lower case"
            )
        names[field.name.lower()] = field.name
    return tuple(sorted(fields, key=lambda field: field.name != "score"))


def _field(name: str, table: object, place: str) -> Field:
    if not (name.isascii() and name.isidentifier() and len(name) <= _LONGEST_NAME):
        raise UsageError(f"{place}: the name of a field has letters, digits and _ only, at most {_LONGEST_NAME}")
    if name.lower() in RESERVED:
        raise UsageError(f"{place}: the results have a column {name.lower()} of their own; choose another name")
    if not isinstance(table, dict):
        raise UsageError(f'{place} must be a table, with a line such as type = "integer"')
    kind = table.get("type")
    if kind is None:
        raise UsageError(f"{place}: type is missing; one of {', '.join(_KINDS)}")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise UsageError(f"{place}: unknown type; {nearest(kind if isinstance(kind, str) else '', _KINDS)}")
    field = check(_KINDS[kind], table, place).field(name)
    if field.minimum is not None and field.maximum is not None and field.minimum > field.maximum:
        raise UsageError(f"{place}: minimum is above maximum")
    if len(set(field.values)) != len(field.values):
        raise UsageError(f"{place}: values has the same value twice")
    return field


def _bare(name: str) -> str:
    return name if name.isidentifier() else quoted(name)
