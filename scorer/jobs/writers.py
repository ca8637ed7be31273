"""One file of results in the format that its name asks for: Parquet, JSON Lines or CSV, the last two also compressed.

What a format lacks is written as text that can be read back: bytes as base64, lists and structs in CSV as JSON, times
as ISO 8601, in Parquet as JSON what it has no type for, such as structs without fields; numbers that are not finite
become null in JSON, which has none. A single value that a format cannot say is a UsageError with its column.
Spreadsheets run cells that begin with `= + - @`; such a cell, a column's name too, is given a leading quote only on
request, since that would damage code and negative numbers.
"""

import base64
import json
import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Protocol, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from pyarrow import types

from scorer.errors import UsageError

FORMATS = {".parquet": "parquet", ".pq": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
GROUP_BYTES = 32 << 20
FORMULA_STARTS = "=+-@\t\r"


@dataclass(frozen=True, slots=True)
class Format:
    """How a file is to be written: `name` is parquet, jsonl or csv; `compression` None or what Arrow calls it."""

    name: str
    compression: str | None

    @classmethod
    def of(cls, path: Path) -> Self:
        """Tell it by the file's name; UsageError if it cannot be told."""
        stem, last = path.stem, path.suffix.lower()
        compression = COMPRESSIONS.get(last)
        name = FORMATS.get(Path(stem).suffix.lower() if compression else last)
        if name is None or (compression and name == "parquet"):
            raise UsageError(
                f"{path}: its name must end in .parquet, .jsonl or .csv (the last two also with .gz or .zst behind)"
            )
        return cls(name, compression)


class Writer(Protocol):
    """Takes batches of one schema; `close` completes the file.

    `columns` are the names that it has in the file. `notes` say what the reader would not expect.
    """

    columns: tuple[str, ...]
    notes: tuple[str, ...]

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch; UsageError if it holds a value that the format cannot say."""

    def close(self) -> None:
        """Write what is left; UsageError as from `write`."""


def open_writer(path: Path, format_: Format, schema: pa.Schema, *, escape_formulas: bool) -> Writer:
    """Begin a new file."""
    if format_.name == "parquet":
        return _Parquet(path, schema)
    if format_.name == "csv":
        return _Csv(path, format_, schema, escape_formulas=escape_formulas)
    return _JsonLines(path, format_, schema)


class _Parquet:
    """Gathers batches into row groups that compress well."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.columns = tuple(schema.names)
        self._schema = pa.schema([field if _parquet_has(field) else field.with_type(pa.string()) for field in schema])
        self.notes = tuple(
            f"the column `{field.name}` is written as JSON text, since Parquet has no type for {field.type}"
            for field, written in zip(schema, self._schema, strict=True)
            if field.type != written.type
        )
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._waiting: list[pa.RecordBatch] = []
        self._bytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        arrays = [
            array if array.type == wanted.type else _json_text(array, wanted.name)
            for array, wanted in zip(batch.columns, self._schema, strict=True)
        ]
        self._waiting.append(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._bytes += batch.nbytes
        if self._bytes >= GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        with self._writer:
            self._flush()

    def _flush(self) -> None:
        batches, self._waiting, self._bytes = self._waiting, [], 0
        if batches:
            table = pa.Table.from_batches(batches, self._schema)
            try:
                self._writer.write_table(table, row_group_size=table.num_rows)
            except pa.ArrowException as error:
                raise _unsayable_in(table, pq.write_table, error, _NOT_IN_PARQUET) from None


class _Csv:
    def __init__(self, path: Path, format_: Format, schema: pa.Schema, *, escape_formulas: bool) -> None:
        self.notes: tuple[str, ...] = ()
        self._escapes = escape_formulas
        self._schema = pa.schema([(field.name, _csv_type(field.type)) for field in schema])
        self.columns = tuple(_escaped(name) if escape_formulas else name for name in schema.names)
        self._header = pa.schema(list(zip(self.columns, self._schema.types, strict=True)))
        with ExitStack() as stack:
            out = stack.enter_context(pa.output_stream(str(path), compression=format_.compression))
            self._writer = stack.enter_context(pyarrow.csv.CSVWriter(out, self._header))
            self._open = stack.pop_all()

    def write(self, batch: pa.RecordBatch) -> None:
        arrays = [self._plain(array, wanted) for array, wanted in zip(batch.columns, self._schema, strict=True)]
        try:
            self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._header))
        except pa.ArrowException as error:
            simple = pa.Table.from_arrays(arrays, schema=self._schema)
            raise _unsayable_in(simple, pyarrow.csv.write_csv, error, _NOT_AS_TEXT) from None

    def close(self) -> None:
        self._open.close()

    def _plain(self, array: pa.Array, field: pa.Field) -> pa.Array:
        wanted = field.type
        if array.type != wanted:
            number = types.is_floating(wanted)
            array = array.cast(wanted) if number else pa.array(_texts(array, field.name), wanted)
        if self._escapes and (types.is_string(wanted) or types.is_large_string(wanted)):
            risky = pc.match_substring_regex(array, f"^[{FORMULA_STARTS}]".replace("-", r"\-"))
            quoted = pc.binary_join_element_wise(pa.scalar("'", wanted), array, pa.scalar("", wanted))
            array = pc.if_else(pc.fill_null(risky, False), quoted, array)
        return array


def _escaped(name: str) -> str:
    return f"'{name}" if name.startswith(tuple(FORMULA_STARTS)) else name


class _JsonLines:
    def __init__(self, path: Path, format_: Format, schema: pa.Schema) -> None:
        self.columns = tuple(schema.names)
        self.notes: tuple[str, ...] = ()
        self._out = pa.output_stream(str(path), compression=format_.compression)
        self._names = schema.names

    def write(self, batch: pa.RecordBatch) -> None:
        columns = [_json_values(array, name) for array, name in zip(batch.columns, self._names, strict=True)]
        lines = (
            json.dumps(dict(zip(self._names, row, strict=True)), ensure_ascii=False, allow_nan=False)
            for row in zip(*columns, strict=True)
        )
        self._out.write(("\n".join(lines) + "\n").encode("utf-8", "backslashreplace"))

    def close(self) -> None:
        self._out.close()


def _json_values(array: pa.Array, name: str) -> list[object]:
    type_ = array.type
    try:
        values: list[object] = array.to_pylist()
        if types.is_integer(type_) or types.is_boolean(type_) or types.is_string(type_) or types.is_large_string(type_):
            return values
        return [plain(value) for value in values]
    except (ValueError, OverflowError) as error:
        raise _unsayable(name, type_, error, _NOT_AS_TEXT) from None


def plain(value: object) -> object:
    """Return a value as JSON has it."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case bytes():
            return base64.b64encode(value).decode("ascii")
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Decimal():
            return str(value)
        case dict():
            return {str(key): plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [plain(inner) for inner in value]
        case None | bool() | int() | str():
            return value
    return str(value)


def _csv_type(type_: pa.DataType) -> pa.DataType:
    if types.is_float16(type_):
        return pa.float64()  # Arrow's own writer has no halves
    kept = (
        types.is_primitive(type_)  # numbers, booleans, dates and times
        and not (types.is_duration(type_) or types.is_interval(type_))
    )
    return type_ if kept or types.is_string(type_) or types.is_large_string(type_) else pa.string()


def _texts(array: pa.Array, name: str) -> list[str | None]:
    """Return the values of a column as text, those of lists and structs as JSON."""
    if types.is_run_end_encoded(array.type):
        array = pc.run_end_decode(array)
    values = _json_values(array, name)
    if types.is_nested(array.type):
        return [None if value is None else json.dumps(value, ensure_ascii=False) for value in values]
    return [None if value is None else str(value) for value in values]


def _json_text(array: pa.Array, name: str) -> pa.Array:
    values = _json_values(array, name)
    return pa.array([None if value is None else json.dumps(value, ensure_ascii=False) for value in values], pa.string())


def _parquet_has(field: pa.Field) -> bool:
    """Whether Parquet has a type for a column: asked by writing one without rows."""
    try:
        pq.write_table(pa.schema([field]).empty_table(), BytesIO())
    except (pa.ArrowException, OSError):
        return False
    return True


_NOT_IN_PARQUET = "leave --join out: without it the column is not needed, and `row` joins the results to the dataset"
_NOT_AS_TEXT = "Parquet may hold it: name a file that ends in .parquet"


def _unsayable_in(
    table: pa.Table, write: Callable[[pa.Table, BytesIO], object], error: pa.ArrowException, advice: str
) -> UsageError:
    """Find the column that Arrow could not write, by writing each alone."""
    for field in table.schema:
        try:
            write(table.select([field.name]), BytesIO())
        except pa.ArrowException as cause:
            return _unsayable(field.name, field.type, cause, advice)
    return UsageError(f"{error}; {advice}")


def _unsayable(name: str, type_: pa.DataType, error: Exception, advice: str) -> UsageError:
    reason = str(error).splitlines()[0]
    return UsageError(f"the column `{name}` ({type_}) holds a value that cannot be written: {reason}; {advice}")
