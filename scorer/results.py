"""Parquet files of results: their columns, and how a file comes to be in the results folder only whole.

A file is written under another name outside the results folder, synced, read again, renamed into place, and the folder
is synced. So whoever opens the folder, at any moment, finds whole files of one schema and nothing else. This module
knows no queue: rows come as arguments, and what was written is the return value, for the caller to record.

Which middle columns come from the template and which were kept from the input is noted in the schema's own fields.
Errors: DiskFull (the call may be made again), StoreError (a file that fails to sync must not be synced again), Damaged
(rows that are none).
"""

import errno
import fcntl
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic_core import from_json

from scorer.core.kept import kept_arrays
from scorer.core.result import ResultRow
from scorer.core.score import Field, FieldType
from scorer.core.values import python_values
from scorer.errors import Damaged, DiskFull, StoreError, Torn
from scorer.failpoints import failpoint

DEAD_FILE = "dead.parquet"
MANIFEST_FILE = "manifest.json"
GROUP_ROWS = 5_000
GROUP_BYTES = 32 << 20

_OUTPUT_TYPES: dict[FieldType, pa.DataType] = {
    "integer": pa.int64(),
    "number": pa.float64(),
    "string": pa.string(),
    "boolean": pa.bool_(),
    "choice": pa.string(),
}
_BEFORE = {"row": pa.int64(), "model": pa.string(), "sample": pa.int32()}
_AFTER = {
    "status": pa.string(),
    "error": pa.string(),
    "completion": pa.string(),
    "model_digest": pa.string(),
    "host": pa.string(),
    "attempts": pa.int32(),
    "prompt_tokens": pa.int32(),
    "output_tokens": pa.int32(),
    "duration_s": pa.float64(),
    "finished_at": pa.timestamp("us", tz="UTC"),
}
_SOURCE = b"scorer.source"

# what texts and values that fit neither JSON nor their column's type raise
_NO_RESULT = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, pa.ArrowException)


@dataclass(frozen=True, slots=True)
class ResultFile:
    """A published file: its name in the results folder, rows, size and checksum."""

    name: str
    rows: int
    size_bytes: int
    sha256: str


def results_schema(fields: Sequence[Field], kept: Mapping[str, pa.DataType]) -> pa.Schema:
    """Return the columns of every file of a job, in order: identity, output fields, kept columns, how it went."""
    return pa.schema(
        [pa.field(name, type_) for name, type_ in _BEFORE.items()]
        + [pa.field(field.name, _OUTPUT_TYPES[field.type], metadata={_SOURCE: b"output"}) for field in fields]
        + [pa.field(name, type_, metadata={_SOURCE: b"kept"}) for name, type_ in kept.items()]
        + [pa.field(name, type_) for name, type_ in _AFTER.items()]
    )


def part_name(number: int) -> str:
    """Return the name of a part's file."""
    return f"part-{number:05d}.parquet"


def write_part(
    results_dir: Path, unfinished_dir: Path, number: int, chunks: Iterable[Sequence[ResultRow]], schema: pa.Schema
) -> ResultFile:
    """Publish a part's file, in place of an older one if there is one. Memory: one row group of 32 MiB or so."""
    return _publish(results_dir / part_name(number), unfinished_dir, chunks, schema)


def write_dead(
    results_dir: Path, unfinished_dir: Path, chunks: Iterable[Sequence[ResultRow]], schema: pa.Schema
) -> ResultFile:
    """Publish the file of dead rows, whole, in place of an older one."""
    return _publish(results_dir / DEAD_FILE, unfinished_dir, chunks, schema)


def remove_file(path: Path) -> None:
    """Remove a file if it is there, for good: a power cut does not bring it back."""
    with _touching(path):
        if path.exists():
            path.unlink()
            sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder safe from a power cut: a new or renamed file is lost without that, synced or not."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)


def write_manifest(job_dir: Path, unfinished_dir: Path, parts: Sequence[ResultFile], dead: ResultFile | None) -> None:
    """Replace the manifest by one of these files, atomically. To be called after everything it lists is published."""
    path = job_dir / MANIFEST_FILE
    unfinished = unfinished_dir / MANIFEST_FILE
    with _touching(path):
        unfinished_dir.mkdir(parents=True, exist_ok=True)
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(manifest(parts, dead))
            file.flush()
            _sync(file.fileno())
        failpoint("manifest-synced")
        os.replace(unfinished, path)
        failpoint("manifest-replaced")
        sync_folder(job_dir)


def manifest(parts: Sequence[ResultFile], dead: ResultFile | None) -> str:
    """Return the manifest's text."""
    content = {
        "rows": sum(part.rows for part in parts) + (dead.rows if dead else 0),
        "parts": [_listed(part) for part in parts],
        "dead": _listed(dead) if dead else None,
    }
    return json.dumps(content, indent=1) + "\n"


def listed_rows(job_dir: Path) -> tuple[int, int]:
    """Return how many rows the manifest lists, in parts and dead; none if there is no manifest or it is torn."""
    try:
        content = json.loads((job_dir / MANIFEST_FILE).read_bytes())
        return sum(part["rows"] for part in content["parts"]), (content["dead"] or {"rows": 0})["rows"]
    except (OSError, ValueError, KeyError, TypeError):
        return 0, 0


def describe_file(path: Path) -> ResultFile | None:
    """Read a file's size, checksum and row count; None if it is not there, rows -1 if it is not whole."""
    with _touching(path):
        if not path.exists():
            return None
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        try:
            with reading(path):
                rows = pq.read_metadata(path).num_rows
        except Torn:
            rows = -1
        return ResultFile(path.name, rows, path.stat().st_size, digest)


def check_file(path: Path, expected: ResultFile) -> str | None:
    """Say what is wrong with a published file, compared with what was recorded of it."""
    found = describe_file(path)
    if found is None:
        return f"{path.name} is missing"
    if found.rows != expected.rows:
        return f"{path.name} has {found.rows} rows, not {expected.rows}" if found.rows >= 0 else f"{path.name} is torn"
    if found != expected:
        return f"{path.name} has changed since it was published"
    return None


def same_rows(path: Path, chunks: Iterable[Sequence[ResultRow]], schema: pa.Schema) -> bool:
    """Whether a file holds exactly these rows in this order; one that cannot be read to its end does not."""
    expected = (_batch(rows, schema) for rows in chunks)
    due = _batch([], schema)
    try:
        for batch in _batches(path, schema):
            start = 0
            while start < batch.num_rows:
                due = due if due.num_rows else next(expected, due)
                count = min(batch.num_rows - start, due.num_rows)
                with reading(path):
                    same = bool(count) and _equal(batch.slice(start, count), due.slice(0, count))
                if not same:
                    return False
                start, due = start + count, due.slice(count)
    except Torn:
        return False
    return not due.num_rows and next(expected, None) is None


def _batches(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Read a file with these columns; what its reader makes of it between two batches is none of its errors."""
    with reading(path), pq.ParquetFile(path) as file:
        if file.schema_arrow.names != schema.names:
            raise Torn(f"{path} has other columns")
        # group by group: a batch over several would have any number of bytes
        for group in range(file.num_row_groups):
            yield from file.iter_batches(GROUP_ROWS, row_groups=[group])


def _publish(path: Path, unfinished_dir: Path, chunks: Iterable[Sequence[ResultRow]], schema: pa.Schema) -> ResultFile:
    unfinished = unfinished_dir / path.name
    with _touching(path):
        unfinished_dir.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            rows = _write(unfinished, chunks, schema)
        except (DiskFull, Damaged):
            unfinished.unlink(missing_ok=True)
            raise
        failpoint("part-synced")
        written = describe_file(unfinished)
        if written is None or written.rows != rows:
            raise StoreError(f"{unfinished}: {rows} rows were written and cannot be read again")
        os.replace(unfinished, path)
        failpoint("part-replaced")
        sync_folder(path.parent)
    return written


def _write(path: Path, chunks: Iterable[Sequence[ResultRow]], schema: pa.Schema) -> int:
    rows = 0
    with _touching(path), path.open("wb") as file:
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for group in _groups(chunks, schema):
                writer.write_table(group, row_group_size=max(group.num_rows, 1))
                rows += group.num_rows
        failpoint("part-written")
        file.flush()
        _sync(file.fileno())
    return rows


def _groups(chunks: Iterable[Sequence[ResultRow]], schema: pa.Schema) -> Iterator[pa.Table]:
    """Gather chunks into row groups that compress well, and stay small when the texts are long."""
    batches: list[pa.RecordBatch] = []
    for chunk in chunks:
        batches.append(_batch(chunk, schema))
        if sum(b.num_rows for b in batches) >= GROUP_ROWS or sum(b.nbytes for b in batches) >= GROUP_BYTES:
            yield pa.Table.from_batches(batches, schema)
            batches = []
    if batches:
        yield pa.Table.from_batches(batches, schema)


def _batch(rows: Sequence[ResultRow], schema: pa.Schema) -> pa.RecordBatch:
    """Return rows of the database as Arrow's. Damaged if one of them is nothing that was ever written there."""
    try:
        return _columns(rows, schema)
    except _NO_RESULT as error:
        if len(rows) == 1:
            text = f"the database is damaged: what it holds of row {rows[0].row} is no result ({error})"
            raise Damaged(text) from error
        for row in rows:
            _batch([row], schema)
        # each of them is one: the fault is ours
        raise


def _columns(rows: Sequence[ResultRow], schema: pa.Schema) -> pa.RecordBatch:
    columns = dict(zip(ResultRow._fields, zip(*rows, strict=True), strict=False)) if rows else {}
    scores = [from_json(text, cache_strings="keys") if text else {} for text in columns.get("fields", ())]
    kept_types = {field.name: field.type for field in schema if _source(field) == b"kept"}
    kept = kept_arrays(columns.get("kept", ()), kept_types)
    return pa.RecordBatch.from_arrays([_array(field, columns, scores, kept) for field in schema], schema=schema)


def _array(
    field: pa.Field,
    columns: Mapping[str, Sequence[Any]],
    scores: Sequence[Mapping[str, Any]],
    kept: Mapping[str, pa.Array],
) -> pa.Array:
    match _source(field):
        case b"output":
            return pa.array([score.get(field.name) for score in scores], field.type)
        case b"kept":
            return kept[field.name]
    if field.name == "finished_at":
        return pa.array(columns.get("finished_us", ()), pa.int64()).view(field.type)
    return pa.array(columns.get(field.name, ()), field.type)


def _source(field: pa.Field) -> bytes | None:
    return (field.metadata or {}).get(_SOURCE)


def _equal(found: pa.RecordBatch, expected: pa.RecordBatch) -> bool:
    """Compare values; Parquet has fewer types than Arrow, so what was read is cast first."""
    table = pa.Table.from_batches([found]).cast(expected.schema)
    return all(
        # Arrow holds that NaN differs from NaN
        one.equals(other) or repr(python_values(one)) == repr(python_values(other))
        for one, other in zip(table.columns, map(pa.chunked_array, zip(expected.columns)), strict=True)
    )


def _listed(file: ResultFile) -> dict[str, object]:
    return {"file": file.name, "rows": file.rows, "bytes": file.size_bytes, "sha256": file.sha256}


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what reading a Parquet file raises into ours: Torn for its content, StoreError for the disk."""
    with _touching(path):
        try:
            yield
        except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
            # the disk's errors have a number; Arrow has none for what it cannot decode
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise Torn(f"{path} is not what was written: `scorer verify` makes it anew") from error


@contextmanager
def _touching(path: Path) -> Iterator[None]:
    """Turn the file system's errors into ours."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"{path}: no room left on the disk") from error
        raise StoreError(f"{path}: {error.strerror or error}") from error


def _sync(descriptor: int) -> None:
    """Bring a file to the platter: on macOS fsync alone stops at the drive's cache."""
    if sys.platform == "darwin":  # pragma: no cover  (only there)
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)
