"""How large JSON Lines become as a table, and blocks small enough for it.

A table has a cell for every key in every row, whether the row has that key or not. Objects that are maps, from ids or
file names to something, bring new keys with every line, so that a megabyte of them makes gigabytes of cells. Three
things bound that: blocks are halved until they cannot make more than CELLS, a dataset may have MAX_KEYS different keys,
and a single line, which cannot be halved, is looked at key by key.
"""

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from pyarrow import types

from scorer.errors import UsageError
from scorer.inputs.jsonrepair import mended
from scorer.inputs.lines import MAX_LINE_BYTES, Block

MAX_KEYS = 10_000
# Arrow takes up to 16 bytes for a cell. No line whose objects have the same keys makes so many: a key and its value are
# more than four bytes long.
CELLS = MAX_LINE_BYTES // 4
_NEWLINE, _COLON, _BRACE = b"\n:{"
_PLAIN_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")


def bounded(block: Block, keys: int | None = None) -> Iterator[Block]:
    """Yield a block in pieces of whole lines none of which makes more than CELLS cells, a piece of one line aside.

    `keys` is how many keys are read from it, None for all that it has. Both factors are upper bounds, since what counts
    them does not know which braces and colons are in strings.
    """
    text = block.text
    cut = _middle(text) if _most_cells(text, keys) > CELLS else 0
    if not cut:
        yield block
        return
    second = block.first_line + _count(text[:cut], _NEWLINE) if block.first_line else 0
    yield from bounded(Block(block.path, block.first_line, text[:cut]), keys)
    yield from bounded(Block(block.path, second, text[cut:]), keys)


def keys_in(type_: pa.DataType | pa.Schema) -> int:
    """Return how many keys a schema or type has, those of objects in it included."""
    if isinstance(type_, pa.Schema) or types.is_struct(type_):
        return sum(1 + keys_in(inner.type) for inner in type_)
    return keys_in(type_.value_type) if types.is_list(type_) else 0


def refuse_wide(path: str, schema: pa.Schema) -> None:
    """Raise UsageError if a schema has more than MAX_KEYS keys, and say where most of them are."""
    if keys_in(schema) <= MAX_KEYS:
        return
    _, place = max(_objects(schema, ""))
    if not place:
        raise UsageError(f"{path}: more than {MAX_KEYS} different keys; JSON Lines wants the same few a line")
    without, as_list = shlex.quote(f"del({place})"), shlex.quote(f"{place} |= to_entries")
    raise UsageError(
        f"{path}: more than {MAX_KEYS} different keys, most of them in {place}; each would be a column\n"
        f"Leave it out with `jq -c {without} a.jsonl > b.jsonl`, or make it a list with `jq -c {as_list}`"
    )


def _objects(type_: pa.DataType | pa.Schema, place: str) -> Iterator[tuple[int, str]]:
    """Yield (number of its own keys, place) of every object; a place is what jq calls it, empty for the lines."""
    if isinstance(type_, pa.Schema) or types.is_struct(type_):
        fields = list(type_)
        yield len(fields), place
        for inner in fields:
            name = inner.name if _PLAIN_NAME.fullmatch(inner.name) else f"[{json.dumps(inner.name)}]"
            yield from _objects(inner.type, f"{place}.{name}")
    elif types.is_list(type_):
        yield from _objects(type_.value_type, f"{place}[]")


def refuse_sparse(block: Block) -> None:
    """Raise UsageError if lines that cannot be halved make more than CELLS cells.

    Such a line holds a list of objects that have different keys. Python parses it, but only if it may be one.
    """
    if _most_cells(block.text, None) <= CELLS:
        return
    rows = _Rows()
    rows.take_all([json.loads(line) for line in mended(block.path, block.numbered())])
    if rows.cells() > CELLS:
        raise UsageError(
            f"{block.path}:{block.first_line}: a list whose objects have thousands of different keys, each of which "
            "would be a column\nGive the objects of a list the same few keys, such as `key` and `value`"
        )


@dataclass(slots=True)
class _Rows:
    """Objects that become the rows of one table: the lines, or the items of all lists in one place."""

    rows: int = 0
    keys: set[str] = field(default_factory=set)
    lists: dict[str, "_Rows"] = field(default_factory=dict)

    def take_all(self, values: Sequence[object]) -> None:
        self.rows += len(values)
        for value in values:
            self._take(value, "")

    def _take(self, value: object, place: str) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                key = f"{place}.{name}"
                self.keys.add(key)
                self._take(inner, key)
        elif isinstance(value, list):
            self.lists.setdefault(place, _Rows()).take_all(value)

    def cells(self) -> int:
        return self.rows * len(self.keys) + sum(rows.cells() for rows in self.lists.values())


def _most_cells(text: bytes, keys: int | None) -> int:
    return _count(text, _BRACE) * (_count(text, _COLON) if keys is None else keys)


def _count(text: bytes, byte: int) -> int:
    # thirty times as fast as bytes.count
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == byte))


def _middle(text: bytes) -> int:
    """Return where the line begins at which a text is best cut in two, 0 if there is no such line."""
    middle = len(text) // 2
    cut = text.find(b"\n", middle) + 1
    return cut if 0 < cut < len(text) else text.rfind(b"\n", 0, middle) + 1
