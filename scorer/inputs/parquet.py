"""Parquet files, in order and flat in memory whatever their row groups.

A file written with one row group of a million rows must cost no more than one with a hundred: so pages are read
through a small buffer instead of whole column chunks (`pre_buffer=False`; 97 MB instead of 945 MB), and nothing here
ever asks for a row out of order. pyarrow.parquet is imported on use, since it costs a tenth of a second.
"""

from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from scorer.inputs.pieces import MAX_BYTES, MAX_ROWS
from scorer.inputs.schemas import agreed
from scorer.inputs.trouble import reading

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_BUFFER_BYTES = 64 << 10


def scan(paths: Sequence[str]) -> tuple[pa.Schema, int]:
    """Return the schema that all files share and the number of rows, from the footers alone.

    Raises UsageError, StoreError.
    """
    rows = 0

    def schemas() -> Iterator[tuple[str, pa.Schema]]:
        nonlocal rows
        for path in paths:
            with reading(path), _open(path) as file:
                rows += file.metadata.num_rows
                yield path, file.schema_arrow.remove_metadata()

    return agreed(schemas()), rows


def read(path: str, schema: pa.Schema, start: int) -> Generator[tuple[int, pa.RecordBatch], None, int]:
    """Yield (index of the first row, batch) with at least the columns of `schema`, from the row group of `start` on.

    Row groups that end before `start` are not touched. Returns the number of rows.
    """
    columns = schema.names
    with _open(path) as file:
        if start >= file.metadata.num_rows:
            return int(file.metadata.num_rows)
        row, groups = _groups_from(file, start)
        batch_rows = _batch_rows(file, columns)
        for batch in file.iter_batches(batch_rows, row_groups=groups, columns=list(columns), use_threads=False):
            yield row, batch
            row += batch.num_rows
    return row


def heads(path: str, schema: pa.Schema, places: int, rows: int) -> Iterator[pa.RecordBatch]:
    """Yield about `rows` rows: the first ones of up to `places` row groups spread over the file."""
    columns = schema.names
    with _open(path) as file:
        filled = [g for g in range(file.num_row_groups) if file.metadata.row_group(g).num_rows]
        chosen = [filled[i * len(filled) // places] for i in range(places)] if len(filled) > places else filled
        batch_rows = _batch_rows(file, columns) if filled else 0
        for n, group in enumerate(chosen):
            # Small groups leave their share to those after them.
            wanted = rows // (len(chosen) - n)
            for batch in file.iter_batches(batch_rows, row_groups=[group], columns=list(columns), use_threads=False):
                taken = min(wanted, batch.num_rows)
                yield batch.slice(0, taken)
                wanted -= taken
                rows -= taken
                if not wanted:
                    break


def _open(path: str) -> "pq.ParquetFile":
    import pyarrow.parquet as pq

    return pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER_BYTES)


def _groups_from(file: "pq.ParquetFile", start: int) -> tuple[int, list[int]]:
    """Return the first row of the row group that holds `start`, and that group and all after it."""
    row = 0
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if row + rows > start:
            return row, list(range(group, file.num_row_groups))
        row += rows
    return row, []


def _batch_rows(file: "pq.ParquetFile", columns: Sequence[str]) -> int:
    """Return how many rows to decode at once so that even the fattest row group's average stays in bounds."""
    metadata = file.metadata
    first = metadata.row_group(0)
    paths = [first.column(i).path_in_schema for i in range(metadata.num_columns)]
    wanted = [i for i, path in enumerate(paths) if any(path == c or path.startswith(f"{c}.") for c in columns)]
    row_bytes = 1
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        if group.num_rows:
            size = sum(group.column(i).total_uncompressed_size for i in wanted)
            row_bytes = max(row_bytes, size // group.num_rows)
    return max(1, min(MAX_ROWS, MAX_BYTES // row_bytes))
