"""A job's results in row order, however large: a distribution sort with a bounded memory.

Parts hold results in the order in which they were committed. Each is read once, and its rows are dealt out to buckets,
each a range of rows of about 16 MiB; what lies in a bucket is appended to one scratch file, compressed. Then one bucket
after the other is read, sorted and handed out. The ranges come from the parts' own statistics, so that one part of long
texts makes narrow buckets there and no bucket is much larger than the others.

Parts know only how large their rows are as encoded, where a long text that repeats counts once. So what each bucket
holds is measured while dealing out, and one that has become too large for the memory is dealt out again, more narrowly.

Chosen over DuckDB's external sort, which needs more memory the more rows there are (256 MB did not do for a million).
Invariants: what comes out is what went in, in order of (row, model, sample); values and types are untouched; what is in
memory at once is a bucket of twice the size aimed at, or the results of a single row.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from scorer.results import reading

BUCKET_BYTES = 16 << 20
BATCH_ROWS = 1024
ORDER = [("row", "ascending"), ("model", "ascending"), ("sample", "ascending")]

Ints = npt.NDArray[np.int64]
Span = tuple[int, int, int]
"""A first row, a last row, and how many bytes lie there."""


class Choice(Protocol):
    """Which results to take."""

    def mask(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        """Return for each row of a batch, which has row, model and sample, whether it is taken."""


class RowsInOrder:
    """The rows of some result files, sorted into a scratch file when it is made; `batches` may be asked repeatedly.

    Raises Torn or StoreError for a file that cannot be read, with its name.
    """

    def __init__(self, files: Sequence[Path], schema: pa.Schema, scratch_dir: Path, choice: Choice | None) -> None:
        self._path = scratch_dir / "sorted"
        with self._path.open("w+b") as file:
            buckets = _dealt(_chosen(files, schema, choice), bucket_edges(files), file)
            self._buckets = list(_narrowed(buckets, file))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows in order, at most 1,024 at a time."""
        with self._path.open("rb") as file:
            for bucket in self._buckets:
                in_order = pa.concat_tables(bucket.tables(file)).sort_by(ORDER).combine_chunks()
                yield from in_order.to_batches(max_chunksize=BATCH_ROWS)


@dataclass(slots=True)
class _Bucket:
    """What lies in a range of rows: where in the scratch file, its first and last row, its size in memory."""

    first: int
    last: int
    size_bytes: int = 0
    pieces: list[tuple[int, int]] = field(default_factory=list)

    def add(self, batch: pa.RecordBatch, file: BinaryIO) -> None:
        rows = batch.column("row").to_numpy()
        self.first, self.last = min(self.first, int(rows.min())), max(self.last, int(rows.max()))
        self.size_bytes += batch.nbytes
        self.pieces.append(_appended(file, batch))

    def tables(self, file: BinaryIO) -> Iterator[pa.Table]:
        for start, size in self.pieces:
            file.seek(start)
            yield pa.ipc.open_stream(file.read(size)).read_all()


def bucket_edges(files: Sequence[Path]) -> Ints:
    """Return the rows at which buckets begin, but for the first: about so many bytes lie between two of them."""
    return _edges([span for path in files for span in _spans(path)])


def _edges(spans: Sequence[Span]) -> Ints:
    if not spans:
        return np.array([], np.int64)
    first, last, size_bytes = (np.array(column, float) for column in zip(*spans, strict=True))
    # as if a span's bytes were spread evenly over its rows: their sum is a line with a bend at each span's ends
    bends = np.unique(np.concatenate([first, last + 1]))
    heights = np.zeros(len(bends))
    for start, end, amount in zip(first, last + 1, size_bytes, strict=True):
        heights += amount * np.clip((bends - start) / (end - start), 0, 1)
    levels = np.arange(BUCKET_BYTES, heights[-1], BUCKET_BYTES)
    edges: Ints = np.unique(np.interp(levels, heights, bends).astype(np.int64))
    return edges


def _spans(path: Path) -> Iterator[Span]:
    with reading(path):
        metadata = pq.read_metadata(path)
    column = metadata.schema.to_arrow_schema().get_field_index("row")
    for group in (metadata.row_group(i) for i in range(metadata.num_row_groups)):
        if group.num_rows:
            known = group.column(column).statistics
            yield known.min, known.max, group.total_byte_size


def _chosen(files: Sequence[Path], schema: pa.Schema, choice: Choice | None) -> Iterator[pa.Table]:
    """Yield the rows of each row group that are to be taken."""
    for path in files:
        # an error of who takes the rows does not come through here
        with reading(path), pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group).cast(schema)
                yield table if choice is None else _masked(table, choice)


def _masked(table: pa.Table, choice: Choice) -> pa.Table:
    batches = table.to_batches()
    return pa.Table.from_batches([batch.filter(choice.mask(batch)) for batch in batches], table.schema)


def _dealt(tables: Iterable[pa.Table], edges: Ints, file: BinaryIO) -> list[_Bucket]:
    """Deal rows out to the buckets between the edges; return those that hold some, in order."""
    buckets: dict[int, _Bucket] = {}
    for table in tables:
        if not table.num_rows:
            continue
        (batch,) = table.combine_chunks().to_batches()
        numbers = np.searchsorted(edges, batch.column("row").to_numpy(), side="right")
        order = np.argsort(numbers, kind="stable")
        found, starts = np.unique(numbers[order], return_index=True)
        for number, places in zip(found.tolist(), np.split(order, starts[1:]), strict=True):
            row = batch.column("row")[int(places[0])].as_py()
            buckets.setdefault(number, _Bucket(row, row)).add(batch.take(pa.array(places)), file)
    return [buckets[number] for number in sorted(buckets)]


def _narrowed(buckets: list[_Bucket], file: BinaryIO) -> Iterator[_Bucket]:
    """Deal out again, as often as it takes, what is too large and of more rows than one."""
    waiting = buckets[::-1]
    while waiting:
        bucket = waiting.pop()
        if bucket.size_bytes <= 2 * BUCKET_BYTES or bucket.first == bucket.last:
            yield bucket
        else:
            # of more than two sizes, the last edge lies in the upper half: each part is narrower than the whole
            edges = _edges([(bucket.first, bucket.last, bucket.size_bytes)])
            waiting.extend(reversed(_dealt(bucket.tables(file), edges, file)))


def _appended(file: BinaryIO, batch: pa.RecordBatch) -> tuple[int, int]:
    start = file.seek(0, os.SEEK_END)
    with pa.ipc.new_stream(file, batch.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
        stream.write_batch(batch)
    return start, file.tell() - start
