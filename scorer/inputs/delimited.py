"""CSV and TSV files: a header, then rows, in order and in small pieces.

Python's `csv` parser in its strict mode reads them both times, when a dataset is opened and when it is scored. Faster
parsers let a quotation mark that is never closed swallow the rows behind it without a word; here it is an error that
names the line. `scan` reads every file once, whole: it counts the rows, finds every mistake while the user is present,
and decides the columns' types, which are then the same to the last row.

What is accepted and what it means:
    the first line names the columns; `,` separates in .csv and tab in .tsv; blank lines are skipped; CRLF and a UTF-8
    byte order mark are fine; a value with separators, line breaks or quotation marks is quoted, `""` being one mark
    a column is int64 or float64 only if each of its values is written as that number itself is, so that nothing can
    be lost: `007`, `1.10`, `+49`, `1e5`, `NA` or 20 digits make a column text; whole numbers among broken ones are fine
    everything else is text exactly as it stands, dates and truth values too
    an empty value is null in a column of numbers and empty text in a column of text
Anything else raises UsageError: a row with more or fewer values than the header, a wrong quotation mark, bytes that are
not UTF-8, a value longer than MAX_LINE_BYTES, a first line that cannot be names.
"""

import csv
import io
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import PurePath
from typing import BinaryIO, NoReturn

import pyarrow as pa

from scorer.errors import UsageError
from scorer.inputs import lines
from scorer.inputs.lines import Block, blocks, decompressed
from scorer.inputs.pieces import MAX_BYTES, MAX_ROWS
from scorer.inputs.schemas import refuse_other_columns, refuse_twice
from scorer.inputs.trouble import reading

_ADVICE = "a quotation mark may not be closed, or line breaks are missing"
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")
_BROKEN = re.compile(r"-?[0-9]{1,17}(?:\.[0-9]{1,20})?(?:e[+-][0-9]{2,3})?")
_MAX_NAME_CHARS = 1000
_EXACT_IN_FLOAT64 = 1 << 53


@dataclass(slots=True)
class _Kind:
    """What the values of a column have been so far; empty ones say nothing."""

    seen: bool = False
    whole: bool = True
    number: bool = True

    def look(self, values: Sequence[str]) -> None:
        """Take note of more values."""
        for value in filter(None, values):
            self.seen = True
            exact_int = _int64(value) is not None
            self.whole = self.whole and exact_int
            self.number = self.number and (abs(int(value)) <= _EXACT_IN_FLOAT64 if exact_int else _is_float64(value))
            if not (self.whole or self.number):
                return

    @property
    def type(self) -> pa.DataType:
        """Return the type that loses nothing."""
        if self.seen and self.whole:
            return pa.int64()
        return pa.float64() if self.seen and self.number else pa.string()


def scan(paths: Sequence[str]) -> tuple[pa.Schema, int]:
    """Return the columns with types that fit every row of all files, and the number of rows.

    The columns are those of the first file; the others have the same in any order. Raises UsageError, StoreError.
    """
    kinds: dict[str, _Kind] = {}
    rows = 0
    for path in paths:
        with reading(path), decompressed(path) as file:
            table = _Table(path, file)
            if not kinds:
                kinds = {name: _Kind() for name in table.names}
            refuse_other_columns(path, table.names, paths[0], list(kinds))
            for piece in table.pieces():
                rows += len(piece)
                columns = zip(*piece, strict=True)
                for name, values in zip(table.names, columns, strict=True):
                    kind = kinds[name]
                    if kind.whole or kind.number:
                        kind.look(values)
    return pa.schema([(name, kind.type) for name, kind in kinds.items()]), rows


def read(path: str, schema: pa.Schema, start: int) -> Generator[tuple[int, pa.RecordBatch], None, int]:
    """Yield (index of the first row, batch) with the columns of `schema`, from the piece that holds row `start` on.

    Rows before it are parsed, since only that finds where a row ends, but not converted. Returns the number of rows.
    """
    row = 0
    with decompressed(path) as file:
        table = _Table(path, file)
        for name in schema.names:
            if name not in table.names:
                raise UsageError(f"{path}: there is no column `{name}` any more: the file was changed while in use")
        for piece in table.pieces():
            first, row = row, row + len(piece)
            if row > start:
                yield first, _batch(table, piece, schema)
    return row


def heads(path: str, schema: pa.Schema, places: int, rows: int) -> Iterator[pa.RecordBatch]:
    """Yield the first `rows` rows: where a row begins further on cannot be known without reading up to there."""
    del places
    for first, batch in read(path, schema, 0):
        yield batch.slice(0, rows - first)
        if first + batch.num_rows >= rows:
            break


class _Table:
    """A file with its header read, about to yield its rows."""

    def __init__(self, path: str, file: BinaryIO) -> None:
        self.path = path
        self._delimiter = "\t" if ".tsv" in (suffix.lower() for suffix in PurePath(path).suffixes[-2:]) else ","
        # The limit belongs to the process; nothing else here parses CSV.
        csv.field_size_limit(lines.MAX_LINE_BYTES)
        text = (io.StringIO(_text(block), newline="") for block in blocks(path, file, "CSV", _ADVICE))
        self._rows = csv.reader(chain.from_iterable(text), strict=True, delimiter=self._delimiter)
        self.names = self._header()

    def pieces(self) -> Iterator[list[list[str]]]:
        """Yield rows, at most MAX_ROWS at once and about MAX_BYTES characters; none is empty."""
        piece: list[list[str]] = []
        chars = 0
        width = len(self.names)
        while True:
            before = self._rows.line_num
            try:
                row = next(self._rows, None)
            except csv.Error as error:
                self._misquoted(before, error)
            if row is None:
                break
            if len(row) != width:
                if not row:
                    continue
                self._ragged(before, row)
            piece.append(row)
            chars += sum(map(len, row))
            if len(piece) == MAX_ROWS or chars >= MAX_BYTES:
                yield piece
                piece, chars = [], 0
        if piece:
            yield piece

    def _header(self) -> list[str]:
        try:
            names = next(filter(None, self._rows), None)
        except csv.Error as error:
            self._misquoted(0, error)
        if names is None:
            raise UsageError(f"{self.path}: the file is empty; its first line must name the columns")
        where = f"{self.path}:{self._rows.line_num}"
        # zeros in every other byte are the mark of UTF-16 without a mark
        if any("\0" in name for name in names):
            raise UsageError(
                f"{where}: NUL characters in the names of the columns; is the file UTF-16? convert it to UTF-8"
            )
        if all(_is_number(name) for name in names) or any(len(name) > _MAX_NAME_CHARS for name in names):
            raise UsageError(f"{where}: looks like a row; the first line must name the columns")
        self._refuse_other_separator(where, names)
        refuse_twice(self.path, names)
        return names

    def _refuse_other_separator(self, where: str, names: list[str]) -> None:
        if len(names) > 1:
            return
        for separator, called in ((";", "semicolons"), ("\t", "tabs"), ("|", "`|`"), (",", "commas")):
            if separator in names[0]:
                ours = "tabs, as .tsv says" if self._delimiter == "\t" else "commas, as .csv says"
                raise UsageError(f"{where}: one column named {names[0][:60]!r}: separated by {called}, not by {ours}?")

    def _misquoted(self, before: int, error: csv.Error) -> NoReturn:
        row = f"the row that begins in line {before + 1}"
        if "field larger" in str(error) or "unexpected end" in str(error):
            raise UsageError(
                f"{self.path}:{before + 1}: a value of the row that begins here never ends: a "
                "quotation mark is not closed (inside a value, write it twice)"
            ) from error
        raise UsageError(
            f"{self.path}:{self._rows.line_num}: wrong quotation mark in {row} ({error}); "
            'inside a quoted value, write it twice: ""'
        ) from error

    def _ragged(self, before: int, row: list[str]) -> NoReturn:
        values, columns = _count(len(row), "value"), _count(len(self.names), "column")
        raise UsageError(
            f"{self.path}:{before + 1}: {values}, but the header names {columns}; "
            "a value with a separator or line break in it must be quoted"
        )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' if number != 1 else ''}"


def _text(block: Block) -> str:
    try:
        return block.text.decode("utf-8")
    except UnicodeDecodeError as error:
        line = block.first_line + block.text.count(b"\n", 0, error.start)
        byte = block.text[error.start]
        raise UsageError(f"{block.path}:{line}: not UTF-8 (byte 0x{byte:02x}): convert the file to UTF-8") from error


def _batch(table: _Table, piece: list[list[str]], schema: pa.Schema) -> pa.RecordBatch:
    if not schema.names:
        return pa.RecordBatch.from_arrays([pa.nulls(len(piece))], names=["nothing"]).select([])
    arrays = []
    for field in schema:
        at = table.names.index(field.name)
        arrays.append(_array(table.path, field, [row[at] for row in piece]))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _array(path: str, field: pa.Field, values: list[str]) -> pa.Array:
    convert = _NUMBERS.get(field.type)
    if convert is None:
        return pa.array(values, field.type)
    numbers: list[int | float | None] = []
    for value in values:
        try:
            numbers.append(convert(value) if value else None)
        except ValueError:
            raise UsageError(
                f"{path}: column `{field.name}` holds {value[:40]!r}, no number as before: it was changed while in use"
            ) from None
    return pa.array(numbers, field.type)


_NUMBERS: dict[pa.DataType, Callable[[str], int | float]] = {pa.int64(): int, pa.float64(): float}


def _int64(value: str) -> int | None:
    if not _WHOLE.fullmatch(value):
        return None
    number = int(value)
    return number if -(1 << 63) <= number < 1 << 63 else None


def _is_float64(value: str) -> bool:
    return bool(_BROKEN.fullmatch(value)) and repr(float(value)) == value


def _is_number(value: str) -> bool:
    return _int64(value) is not None or _is_float64(value)
