"""The second look at lines that Arrow's JSON parser refused: mend them, or say exactly what is wrong.

Slow and careful, with Python's own parser, on the few blocks that need it. Nothing is dropped: a line is mended only
as `scorer.inputs.jsonl` promises, otherwise UsageError names file and line.
"""

import json
import re
from collections.abc import Iterable, Iterator

import pyarrow as pa
from pyarrow import types

from scorer.errors import UsageError

_SURROGATE = re.compile("[\ud800-\udfff]")
_KINDS = {bool: "a truth value", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}


def mended(path: str, lines: Iterable[tuple[int, bytes]]) -> list[bytes]:
    """Return (line number, line) pairs as lines that Arrow accepts, one object each.

    Raises UsageError for a line that is not JSON, not UTF-8 or not an object.
    """
    return [_mended_line(f"{path}:{number}" if number else path, line) for number, line in lines]


def clash(numbers: Iterable[int], lines: Iterable[bytes], schema: pa.Schema) -> str | None:
    """Find the first line where a column holds another kind of value than before; None if there is none.

    `schema` is what the lines before these held. The answer reads "12: column `a` holds a string, …".
    """
    seen: dict[str, str] = {}
    for field in schema:
        seen.update(_kinds_of_type(field.name, field.type))
    for number, line in zip(numbers, lines, strict=True):
        for name, value in json.loads(line).items():
            for path, kind in _kinds_of_value(name, value):
                if seen.setdefault(path, kind) != kind:
                    return (
                        f"{number}: column `{path}` holds {kind}, but {seen[path]} before; "
                        "a column needs one type in all lines"
                    )
    return None


def _mended_line(where: str, line: bytes) -> bytes:
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UsageError(f"{where}: not UTF-8 (byte 0x{line[error.start]:02x}): convert the file to UTF-8") from error
    except json.JSONDecodeError as error:
        raise UsageError(f"{where}: not JSON: {error.msg} (column {error.colno})") from error
    except ValueError as error:  # an integer of more digits than Python reads
        raise UsageError(f"{where}: not a JSON number: {error}") from error
    if not isinstance(value, dict):
        raise UsageError(f"{where}: holds {_kind(value)}, not an object: JSON Lines has one object a line")
    text = json.dumps(value, ensure_ascii=False)
    return _SURROGATE.sub("\ufffd", text).encode("utf-8")


def _kind(value: object) -> str:
    return "null" if value is None else _KINDS[type(value)]


def _kinds_of_value(path: str, value: object) -> Iterator[tuple[str, str]]:
    """Yield (path, kind) of a value and all within it; nulls fit anything and are left out."""
    if value is None:
        return
    yield path, _kind(value)
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _kinds_of_value(f"{path}.{name}", item)
    elif isinstance(value, list):
        for item in value:
            yield from _kinds_of_value(f"{path}[]", item)


def _kinds_of_type(path: str, type_: pa.DataType) -> Iterator[tuple[str, str]]:
    """The same for a type that Arrow inferred."""
    if types.is_null(type_):
        return
    if types.is_struct(type_):
        yield path, _KINDS[dict]
        for field in type_:
            yield from _kinds_of_type(f"{path}.{field.name}", field.type)
    elif types.is_list(type_):
        yield path, _KINDS[list]
        yield from _kinds_of_type(f"{path}[]", type_.value_type)
    elif types.is_boolean(type_):
        yield path, _KINDS[bool]
    else:
        yield path, _KINDS[float] if types.is_integer(type_) or types.is_floating(type_) else _KINDS[str]
