"""A dataset: what it is, what identifies it, and its rows in order.

`open_dataset` finds every mistake that can be found without reading for hours; `Dataset.read` then streams. A dataset
is known by its content and not by its path or modification time, so it may be moved or copied between two runs.
Invariants: rows keep the file's order, `read` yields each row from `start` on exactly once, and memory does not depend
on the number of rows or the size of row groups.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import pyarrow as pa

from scorer.errors import ScorerError, StoreError, UsageError
from scorer.inputs import jsonl, parquet
from scorer.inputs.pieces import pieces, plain_batch, plain_type

SUFFIXES = {".parquet": "parquet", ".pq": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_BLOCK_BYTES = 64 << 10
_BLOCKS = 64


@dataclass(frozen=True, slots=True)
class Dataset:
    """An opened dataset.

    `source` is what the user gave, made absolute; `files` absolute paths in order; `format` "parquet" or "jsonl".
    `schema` has the types that `read` yields: plain text instead of dictionaries and views, for JSON Lines what fits
    every line. `fingerprint` is 64 hex digits over size, schema, row count and sampled blocks.
    """

    source: str
    format: str
    files: tuple[str, ...]
    schema: pa.Schema
    rows: int
    fingerprint: str

    def read(self, columns: Sequence[str], start: int = 0) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield (index of the first row, batch) in dataset order from row `start` on, with these columns only.

        A batch has at most 256 rows and, unless a single row is larger, 8 MiB. Text that is not UTF-8 arrives with
        U+FFFD in place of the wrong bytes. Raises UsageError when the file is damaged or has changed since it was
        opened, StoreError when the disk fails.
        """
        names = list(dict.fromkeys(columns))
        end = start
        try:
            for first, batch in self._batches(names, start):
                end = first + batch.num_rows
                if end > start:
                    row = max(first, start)
                    wanted = plain_batch(batch.slice(row - first), names, f"{self.source}, rows from {row}")
                    yield from pieces(row, wanted)
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(self.source, error) from error
        if end < self.rows:
            raise UsageError(f"{self.source}: ends after {end} of {self.rows} rows: it was changed while in use")

    def sample(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Yield about `rows` rows from a few places spread over the dataset, in bounded time and memory.

        Parquet: the heads of up to 8 row groups, so a file with a single row group is sampled from its head alone.
        JSON Lines: 8 places by position in the file. A dataset of no more than `rows` rows comes whole.
        """
        names = list(dict.fromkeys(columns))
        try:
            for batch in self._heads(names, rows):
                yield plain_batch(batch, names, self.source)
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(self.source, error) from error

    def _batches(self, columns: list[str], start: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield batches of any size; the first may begin before `start`."""
        if self.format == "parquet":
            return parquet.read(self.files[0], columns, start)
        return jsonl.read(self.files[0], self._only(columns), start)

    def _heads(self, columns: list[str], rows: int, places: int = 8) -> Iterator[pa.RecordBatch]:
        if self.rows <= rows:
            return (batch for _, batch in self._batches(columns, 0))
        if self.format == "parquet":
            return parquet.heads(self.files[0], columns, places, rows)
        return jsonl.heads(self.files[0], self._only(columns), places, rows)

    def _only(self, columns: list[str]) -> pa.Schema:
        return pa.schema([self.schema.field(name) for name in columns])


def open_dataset(source: str) -> Dataset:
    """Open a Parquet (.parquet, .pq) or JSON Lines (.jsonl, .ndjson) file; a JSON Lines file is read once, whole.

    Raises UsageError: missing, a folder, unknown suffix, broken, without rows or columns, a column name twice.
    """
    path = Path(source).absolute()
    try:
        format_ = _format(path, source)
        scan = parquet.scan if format_ == "parquet" else jsonl.scan
        found, rows = scan(str(path))
        schema = pa.schema([(field.name, plain_type(field.type)) for field in found])
        _check(source, schema, rows)
        fingerprint = _fingerprint(path, schema, rows)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(source, error) from error
    return Dataset(str(path), format_, (str(path),), schema, rows, fingerprint)


def reopen(source: str, rows: int, schema: pa.Schema, fingerprint: str) -> Dataset | None:
    """Open what `open_dataset` has opened before, here or elsewhere, without reading more than the sampled blocks.

    `rows`, `schema` and `fingerprint` are what was found then. None if this is something else. Raises UsageError if
    there is no such file.
    """
    path = Path(source).absolute()
    try:
        format_ = _format(path, source)
        if _fingerprint(path, schema, rows) != fingerprint:
            return None
    except OSError as error:
        raise _unreadable(source, error) from error
    return Dataset(str(path), format_, (str(path),), schema, rows, fingerprint)


def _format(path: Path, source: str) -> str:
    if path.is_dir():
        inside = sorted(p.name for p in path.iterdir() if p.suffix in SUFFIXES)
        hint = f", for example {Path(source) / inside[0]}" if inside else ""
        raise UsageError(f"dataset {source} is a folder: name one {_suffixes()} file{hint}")
    if not path.exists():
        near = get_close_matches(path.name, _neighbours(path), 1, 0.5)
        hint = f"did you mean {Path(source).with_name(near[0])}?" if near else f"give a {_suffixes()} file"
        raise UsageError(f"dataset {source} does not exist: {hint}")
    if not path.is_file():
        raise UsageError(f"dataset {source} is not a regular file: save it as one first")
    format_ = SUFFIXES.get(path.suffix.lower())
    if format_ is None:
        raise UsageError(f"dataset {source}: cannot tell its format by its name, which must end in {_suffixes()}")
    return format_


def _neighbours(path: Path) -> list[str]:
    try:
        return [p.name for p in path.parent.iterdir() if p.suffix.lower() in SUFFIXES]
    except OSError:
        return []  # only a hint is lost: the folder itself is missing or closed to us


def _suffixes() -> str:
    *most, last = SUFFIXES
    return f"{', '.join(most)} or {last}"


def _check(source: str, schema: pa.Schema, rows: int) -> None:
    if rows == 0:
        raise UsageError(f"dataset {source} has no rows: nothing to score")
    if not schema.names:
        raise UsageError(f"dataset {source} has no columns")
    twice = [name for name, count in Counter(schema.names).items() if count > 1]
    if twice:
        raise UsageError(f"dataset {source} has more than one column named `{'`, `'.join(twice)}`: rename them")


def _fingerprint(path: Path, schema: pa.Schema, rows: int) -> str:
    """Hash size, schema, row count, and 64 KiB blocks spread evenly from the first byte to the last."""
    size = path.stat().st_size
    columns = [f"{field.name!r} {field.type}" for field in schema]
    digest = hashlib.sha256("\n".join(["scorer-dataset-1", str(size), str(rows), *columns]).encode())
    with path.open("rb") as file:
        for i in range(_BLOCKS):
            file.seek((max(size - _BLOCK_BYTES, 0)) * i // (_BLOCKS - 1))
            digest.update(file.read(_BLOCK_BYTES))
    return digest.hexdigest()


def _unreadable(source: str, error: Exception) -> ScorerError:
    """Map what pyarrow and the system raise: an error number means the system, none means the file's content."""
    reason = " ".join(str(error).split())
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
        return UsageError(f"dataset {source} cannot be opened: {error.strerror}")
    if isinstance(error, OSError) and error.errno:
        return StoreError(f"dataset {source} cannot be read: {reason}")
    return UsageError(f"dataset {source} is damaged or not what its name says: {reason[:200]}")
