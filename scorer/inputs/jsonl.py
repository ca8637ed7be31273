"""JSON Lines files: one JSON object a line, in order, in blocks of about a megabyte.

`scan` reads every file once, whole, when a dataset is opened. It counts the rows and finds one type per column that
fits every line, which a streaming reader that infers types from its first block cannot do; every mistake in the file is
thus found while the user is present, with its line number, and not two days into a run.

What is accepted and what it means:
    blank lines are skipped; CRLF and a UTF-8 byte order mark are fine
    a key that a line lacks, and null, are null; a column of whole and broken numbers is float64; one of whole numbers
    that int64 cannot hold is uint64 (ids that are hashes), or float64 where one is negative or beyond that too
    strings stay strings, also when they look like dates; a list that is always empty or null has string items
    NaN and Infinity, which Python writes, are numbers
    half of a surrogate pair ("\\ud800") becomes U+FFFD, the replacement character; of a repeated key the last counts
Anything else raises UsageError: a broken line, one that holds no object, bytes that are not UTF-8, a column with two
kinds of values, nesting deeper than MAX_DEPTH, a line longer than MAX_LINE_BYTES, more than MAX_KEYS different
keys, those of objects in objects included.

Arrow parses the blocks. A block that it refuses is parsed again by `scorer.inputs.jsonrepair`, which either mends what
is listed above or says which line is wrong.
"""

import io
import re
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO

import pyarrow as pa
from pyarrow import types

from scorer.errors import UsageError
from scorer.inputs.jsonrepair import clash, mended
from scorer.inputs.lines import BLOCK_BYTES, BOM, MAX_LINE_BYTES, Block, blocks, compression, decompressed
from scorer.inputs.trouble import reading
from scorer.inputs.width import bounded, keys_in, refuse_sparse, refuse_wide

# Arrow's parser recurses on the C stack, and a line of 100,000 brackets would kill the process.
MAX_DEPTH = 200
_THREADS = 2
_TOO_LONG_FOR_INT64 = re.compile(rb"[0-9]{19}")
_BRACKET_OR_STRING = re.compile(rb'[\[\]{}]|"[^"\\]*(?:\\.[^"\\]*)*"')
_ARRAY_ADVICE = "JSON Lines has one object a line; a JSON array becomes that with `jq -c '.[]' a.json > a.jsonl`"


def scan(paths: Sequence[str]) -> tuple[pa.Schema, int]:
    """Return one schema that fits every line of all files, and the number of rows. Raises UsageError, StoreError."""
    schema, rows, unsigned = pa.schema([]), 0, _Unsigned()
    for path in paths:
        with reading(path), decompressed(path) as file:
            for block, table in _inferred(_blocks(path, file, None)):
                rows += table.num_rows
                schema = _widened(schema, block, table.schema)
                unsigned.look(block, table)
    return unsigned.applied(_changed(schema, _no_null_items)), rows


class _Unsigned:
    """Which columns hold nothing but whole numbers of which uint64 holds all and int64 does not.

    Arrow takes these for float64, where neighbouring ids become one.
    """

    def __init__(self) -> None:
        self._large: set[str] = set()
        self._others: set[str] = set()

    def look(self, block: Block, table: pa.Table) -> None:
        """Take in one more block."""
        import pyarrow.compute as pc

        for name, column in zip(table.schema.names, table.columns, strict=True):
            if name in self._others:
                continue
            if types.is_integer(column.type):
                lowest = pc.min(column).as_py()
                if lowest is not None and lowest < 0:
                    self._others.add(name)
            elif types.is_floating(column.type):
                (self._large if _is_unsigned(block, name) else self._others).add(name)

    def applied(self, schema: pa.Schema) -> pa.Schema:
        """Return the schema with the type of these columns."""
        names = self._large - self._others
        return pa.schema([field.with_type(pa.uint64()) if field.name in names else field for field in schema])


def _is_unsigned(block: Block, name: str) -> bool:
    if _TOO_LONG_FOR_INT64.search(block.text) is None:
        return False
    try:
        _parse(block, block.lines(), pa.schema([(name, pa.uint64())]))
    except UsageError:
        # all of it was parsed a moment ago: it is only this column that is something else
        return False
    return True


def _widened(schema: pa.Schema, block: Block, found: pa.Schema) -> pa.Schema:
    try:
        # Of a table without explicit schema only the types are right: apache/arrow#51305.
        schema = pa.unify_schemas([schema, _changed(found, _no_dates)], promote_options="permissive")
    except pa.ArrowException as error:
        raise _wrong(block, schema, error) from error
    refuse_wide(block.path, schema)
    return schema


def read(path: str, schema: pa.Schema, start: int) -> Generator[tuple[int, pa.RecordBatch], None, int]:
    """Yield (index of the first row, batch) with the columns of `schema`, from the block that holds row `start` on.

    Blocks before it are counted, not parsed. Returns the number of rows.
    """
    row = 0
    with decompressed(path) as file:
        for block in _blocks(path, file, keys_in(schema)):
            lines = block.lines()
            first, row = row, row + len(lines)
            if row <= start:
                continue
            for batch in _parse(block, lines, schema).to_batches():
                yield first, batch
                first += batch.num_rows
    return row


def heads(path: str, schema: pa.Schema, places: int, rows: int) -> Iterator[pa.RecordBatch]:
    """Yield about `rows` rows (fewer where lines are long) from `places` places spread evenly over the file's bytes.

    A compressed file has but one place, its beginning.
    """
    if compression(path):
        with decompressed(path) as file:
            first = next(blocks(path, file, "JSON Lines", _ARRAY_ADVICE), Block(path, 1, b""))
            yield from _first_rows(first, schema, rows)
        return
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        for place in range(places):
            begin, end = size * place // places, size * (place + 1) // places
            lines = _lines_between(file, begin, end, -(-rows // places))
            if lines:
                text = b"".join(lines)
                block = Block(path, 0, text.removeprefix(BOM) if begin == 0 else text)
                yield from _first_rows(block, schema, len(lines))


def _first_rows(block: Block, schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:
    for piece in bounded(block, keys_in(schema)):
        if rows <= 0:
            return
        table = _parse(piece, piece.lines(), schema).slice(0, rows)
        yield from table.to_batches()
        rows -= table.num_rows


def _blocks(path: str, file: BinaryIO, keys: int | None) -> Iterator[Block]:
    """Cut a file into blocks that are small enough when `keys` keys are read from them, None for all there are."""
    for block in blocks(path, _not_an_array(path, file), "JSON Lines", _ARRAY_ADVICE):
        yield from bounded(block, keys)


def _not_an_array(path: str, file: BinaryIO) -> BinaryIO:
    """Refuse the other thing that a .json file can be, before 64 MiB of its one line have been read."""
    if isinstance(file, io.BufferedReader) and file.peek(1).removeprefix(BOM).lstrip()[:1] == b"[":
        raise UsageError(f"{path}:1: holds a list, not an object: {_ARRAY_ADVICE}")
    return file


def _inferred(blocks: Iterator[Block]) -> Iterator[tuple[Block, pa.Table]]:
    """Parse blocks without a schema, in order, a few at a time: Arrow's share runs beside Python's."""
    waiting: deque[tuple[Block, Future[pa.Table]]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        for block in blocks:
            waiting.append((block, pool.submit(_parse, block, block.lines(), None)))
            if len(waiting) > _THREADS:
                first, table = waiting.popleft()
                yield first, table.result()
        for first, table in waiting:
            yield first, table.result()


def _lines_between(file: BinaryIO, begin: int, end: int, count: int) -> list[bytes]:
    """Return up to `count` lines, and about BLOCK_BYTES, that start in [begin, end)."""
    # From the byte before, so that a line which starts exactly at `begin` is not taken for the rest of another.
    file.seek(max(begin - 1, 0))
    if begin:
        file.readline(MAX_LINE_BYTES)
    lines: list[bytes] = []
    taken = 0
    while len(lines) < count and taken < BLOCK_BYTES and file.tell() < end:
        lines.append(file.readline(MAX_LINE_BYTES))
        taken += len(lines[-1])
    return lines


def _parse(block: Block, lines: list[bytes], schema: pa.Schema | None) -> pa.Table:
    """Parse a block's lines, into `schema` if there is one. Raises UsageError naming the line."""
    _refuse_deep(block, lines)
    if schema is None:
        refuse_sparse(block)
    # What Arrow lets pass and we do not: wrong UTF-8, null as a row, two objects on a line or one over two.
    if _is_utf8(block.text) and all(line.lstrip().startswith(b"{") for line in lines):
        try:
            table = _arrow(b"\n".join(lines), schema)
        except pa.ArrowException:
            table = None
        if table is not None and table.num_rows == len(lines):
            return table
    text = b"\n".join(mended(block.path, block.numbered()))
    try:
        return _arrow(text, schema)
    except pa.ArrowException as error:
        raise _wrong(block, schema or pa.schema([]), error) from error


def _arrow(text: bytes, schema: pa.Schema | None) -> pa.Table:
    import pyarrow.json as pj

    if not text:
        return (pa.schema([]) if schema is None else schema).empty_table()
    return pj.read_json(
        pa.BufferReader(text),
        read_options=pj.ReadOptions(use_threads=False, block_size=len(text) + 1),
        parse_options=pj.ParseOptions(
            explicit_schema=schema, unexpected_field_behavior="infer" if schema is None else "ignore"
        ),
    )


def _wrong(block: Block, schema: pa.Schema, error: Exception) -> UsageError:
    """Say which line of a block cannot be read together with what came before it."""
    # Raises by itself if a line is not even JSON.
    lines = mended(block.path, block.numbered())
    found = clash((number for number, _ in block.numbered()), lines, schema)
    return UsageError(f"{block.path}:{found}" if found else f"{block.path}:{block.first_line}: {error}")


def _refuse_deep(block: Block, lines: list[bytes]) -> None:
    for index, line in enumerate(lines):
        # Two counts are cheap, and nearly every line has too few brackets to be deep.
        if line.count(b"[") + line.count(b"{") > MAX_DEPTH and _depth(line) > MAX_DEPTH:
            number = [n for n, _ in block.numbered()][index]
            raise UsageError(f"{block.path}:{number}: nested deeper than {MAX_DEPTH} levels")


def _depth(line: bytes) -> int:
    """Return how deep the brackets of a line go, those inside strings aside."""
    deepest = depth = 0
    for match in _BRACKET_OR_STRING.finditer(line):
        token = match.group()
        depth += (token in b"[{") - (token in b"]}")
        deepest = max(deepest, depth)
    return deepest


def _is_utf8(text: bytes) -> bool:
    if text.isascii():
        return True
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _no_dates(type_: pa.DataType, in_list: bool) -> pa.DataType:
    """Undo Arrow's guess that a string which looks like a date is one."""
    del in_list
    return pa.string() if types.is_temporal(type_) else type_


def _no_null_items(type_: pa.DataType, in_list: bool) -> pa.DataType:
    """Give lists that hold nothing but nulls an item type: Arrow reads list<null> wrongly (apache/arrow#51305)."""
    return pa.string() if in_list and types.is_null(type_) else type_


def _each_leaf(
    type_: pa.DataType, change: Callable[[pa.DataType, bool], pa.DataType], in_list: bool = False
) -> pa.DataType:
    if types.is_list(type_):
        return pa.list_(type_.value_field.with_type(_each_leaf(type_.value_type, change, True)))
    if types.is_struct(type_):
        return pa.struct([field.with_type(_each_leaf(field.type, change)) for field in type_])
    return change(type_, in_list)


def _changed(schema: pa.Schema, change: Callable[[pa.DataType, bool], pa.DataType]) -> pa.Schema:
    return pa.schema([(field.name, _each_leaf(field.type, change)) for field in schema])
