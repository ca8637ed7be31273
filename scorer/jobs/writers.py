"""One file of results in the format that its name asks for: Parquet, JSON Lines or CSV, the last two also compressed.

What a format lacks is written as text that can be read back: bytes as base64, lists and structs in CSV as JSON, times
as ISO 8601; numbers that are not finite become null in JSON, which has none. Spreadsheets run cells that begin with
`= + - @`; such a cell is given a leading quote only on request, since that would damage code and negative numbers.
"""

import base64
import json
import math
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
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
    """Takes batches of one schema; `close` completes the file."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch."""

    def close(self) -> None:
        """Write what is left."""


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
        self._schema = schema
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._waiting: list[pa.RecordBatch] = []
        self._bytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        self._waiting.append(batch)
        self._bytes += batch.nbytes
        if self._bytes >= GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._waiting:
            table = pa.Table.from_batches(self._waiting, self._schema)
            self._writer.write_table(table, row_group_size=table.num_rows)
            self._waiting, self._bytes = [], 0


class _Csv:
    def __init__(self, path: Path, format_: Format, schema: pa.Schema, *, escape_formulas: bool) -> None:
        self._escapes = escape_formulas
        self._fields = list(schema)
        plain = pa.schema([(field.name, _csv_type(field.type)) for field in schema])
        with ExitStack() as stack:
            out = stack.enter_context(pa.output_stream(str(path), compression=format_.compression))
            self._writer = stack.enter_context(pyarrow.csv.CSVWriter(out, plain))
            self._open = stack.pop_all()
        self._schema = plain

    def write(self, batch: pa.RecordBatch) -> None:
        arrays = [self._plain(array, wanted.type) for array, wanted in zip(batch.columns, self._schema, strict=True)]
        self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))

    def close(self) -> None:
        self._open.close()

    def _plain(self, array: pa.Array, wanted: pa.DataType) -> pa.Array:
        if array.type != wanted:
            array = pa.array([_csv_text(value, array.type) for value in array.to_pylist()], wanted)
        if self._escapes and (types.is_string(wanted) or types.is_large_string(wanted)):
            risky = pc.match_substring_regex(array, f"^[{FORMULA_STARTS}]".replace("-", r"\-"))
            quoted = pc.binary_join_element_wise(pa.scalar("'", wanted), array, pa.scalar("", wanted))
            array = pc.if_else(pc.fill_null(risky, False), quoted, array)
        return array


class _JsonLines:
    def __init__(self, path: Path, format_: Format, schema: pa.Schema) -> None:
        self._out = pa.output_stream(str(path), compression=format_.compression)
        self._names = schema.names

    def write(self, batch: pa.RecordBatch) -> None:
        columns = [_json_values(array) for array in batch.columns]
        lines = (
            json.dumps(dict(zip(self._names, row, strict=True)), ensure_ascii=False, allow_nan=False)
            for row in zip(*columns, strict=True)
        )
        self._out.write(("\n".join(lines) + "\n").encode("utf-8", "backslashreplace"))

    def close(self) -> None:
        self._out.close()


def _json_values(array: pa.Array) -> list[object]:
    values: list[object] = array.to_pylist()
    type_ = array.type
    if types.is_integer(type_) or types.is_boolean(type_) or types.is_string(type_) or types.is_large_string(type_):
        return values
    return [plain(value) for value in values]


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
    return value


def _csv_type(type_: pa.DataType) -> pa.DataType:
    kept = (
        types.is_primitive(type_)  # numbers, booleans, dates and times
        and not (types.is_duration(type_) or types.is_float16(type_) or types.is_interval(type_))
    )
    return type_ if kept or types.is_string(type_) or types.is_large_string(type_) else pa.string()


def _csv_text(value: object, type_: pa.DataType) -> str | None:
    if value is None:
        return None
    simple = plain(value)
    return json.dumps(simple, ensure_ascii=False) if types.is_nested(type_) else str(simple)
