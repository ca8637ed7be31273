"""A job's results in row order, however large: a distribution sort with a bounded memory.

Parts hold results in the order in which they were committed. Each is read once, and its rows are dealt out to buckets,
each a range of rows of about 16 MiB; what lies in a bucket is appended to one scratch file, compressed. Then one bucket
after the other is read, sorted and handed out. The ranges come from the parts' own statistics, so that one part of long
texts makes narrow buckets there and no bucket is much larger than the others.

Chosen over DuckDB's external sort, which needs more memory the more rows there are (256 MB did not do for a million).
Invariants: what comes out is what went in, in order of (row, model, sample); values and types are untouched.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

BUCKET_BYTES = 16 << 20
BATCH_ROWS = 1024
ORDER = [("row", "ascending"), ("model", "ascending"), ("sample", "ascending")]

Ints = npt.NDArray[np.int64]


class Choice(Protocol):
    """Which results to take."""

    def mask(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        """Return for each row of a batch, which has row, model and sample, whether it is taken."""


class RowsInOrder:
    """The rows of some result files, sorted into a scratch file when it is made; `batches` may be asked repeatedly."""

    def __init__(self, files: Sequence[Path], schema: pa.Schema, scratch_dir: Path, choice: Choice | None) -> None:
        self._schema = schema
        self._path = scratch_dir / "sorted"
        self._edges = bucket_edges(files)
        self._pieces: list[list[tuple[int, int]]] = [[] for _ in range(len(self._edges) + 1)]
        with self._path.open("wb") as out:
            for path in files:
                with pq.ParquetFile(path) as file:
                    for group in range(file.num_row_groups):
                        self._deal(file.read_row_group(group), out, choice)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows in order, at most 1,024 at a time."""
        with self._path.open("rb") as file:
            for pieces in self._pieces:
                tables = []
                for start, size in pieces:
                    file.seek(start)
                    tables.append(pa.ipc.open_stream(file.read(size)).read_all())
                if tables:
                    in_order = pa.concat_tables(tables).sort_by(ORDER).combine_chunks()
                    yield from in_order.to_batches(max_chunksize=BATCH_ROWS)

    def _deal(self, table: pa.Table, out: "pa.NativeFile", choice: Choice | None) -> None:
        if table.num_rows:
            (batch,) = table.cast(self._schema).combine_chunks().to_batches()
            chosen = batch if choice is None else batch.filter(choice.mask(batch))
            if chosen.num_rows:
                self._append(chosen, out)

    def _append(self, batch: pa.RecordBatch, out: "pa.NativeFile") -> None:
        buckets = np.searchsorted(self._edges, batch.column("row").to_numpy(), side="right")
        order = np.argsort(buckets, kind="stable")
        found, starts = np.unique(buckets[order], return_index=True)
        for bucket, rows in zip(found, np.split(order, starts[1:]), strict=True):
            self._pieces[bucket].append(_appended(out, batch.take(pa.array(rows))))


def bucket_edges(files: Sequence[Path]) -> Ints:
    """Return the rows at which buckets begin, but for the first: about so many bytes lie between two of them."""
    spans = [span for path in files for span in _spans(path)]
    if not spans:
        return np.array([], np.int64)
    first, last, size_bytes = (np.array(column, float) for column in zip(*spans, strict=True))
    # as if a group's bytes were spread evenly over its rows: their sum is a line with a bend at each group's ends
    bends = np.unique(np.concatenate([first, last + 1]))
    heights = np.zeros(len(bends))
    for start, end, amount in zip(first, last + 1, size_bytes, strict=True):
        heights += amount * np.clip((bends - start) / (end - start), 0, 1)
    levels = np.arange(BUCKET_BYTES, heights[-1], BUCKET_BYTES)
    edges: Ints = np.unique(np.interp(levels, heights, bends).astype(np.int64))
    return edges


def _spans(path: Path) -> Iterator[tuple[int, int, int]]:
    metadata = pq.read_metadata(path)
    column = metadata.schema.to_arrow_schema().get_field_index("row")
    for group in (metadata.row_group(i) for i in range(metadata.num_row_groups)):
        if group.num_rows:
            known = group.column(column).statistics
            yield known.min, known.max, group.total_byte_size


def _appended(out: "pa.NativeFile", batch: pa.RecordBatch) -> tuple[int, int]:
    start = out.tell()
    with pa.ipc.new_stream(out, batch.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
        stream.write_batch(batch)
    return start, out.tell() - start
