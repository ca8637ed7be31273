"""A dataset: what it is, and its rows in order.

Invariants: rows keep the order of the files and within each; `read` yields each row from `start` on exactly once;
memory does not depend on the number of rows or files, nor on the size of row groups.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from scorer.errors import UsageError
from scorer.inputs.fingerprint import Stamp
from scorer.inputs.formats import FORMATS, Batches, Format
from scorer.inputs.pieces import pieces, plain_batch
from scorer.inputs.trouble import reading

_PLACES = 8


@dataclass(frozen=True, slots=True)
class Dataset:
    """An opened dataset.

    `source` is what the user gave, paths made absolute; `files` absolute paths in order; `format` "parquet", "jsonl",
    "csv" or "arrow". `schema` has the types that `read` yields: plain text instead of dictionaries and views, for text
    formats what fits every row. `fingerprint` is 64 hex digits. `revision` is the commit of a dataset of the Hub.
    `notes` are choices made while it was opened, one line each to print. `stamps` say when each file was last written
    to, as it was just before the fingerprint was taken.
    """

    source: str
    format: str
    files: tuple[str, ...]
    schema: pa.Schema
    rows: int
    fingerprint: str
    revision: str = ""
    notes: tuple[str, ...] = field(default=(), compare=False)
    stamps: tuple[Stamp | None, ...] = field(default=(), compare=False, repr=False)

    def read(self, columns: Sequence[str], start: int = 0) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield (index of the first row, batch) in dataset order from row `start` on, with these columns only.

        A batch has at most 256 rows and, unless a single row is larger, 8 MiB. Text that is not UTF-8 arrives with
        U+FFFD in place of the wrong bytes. Raises UsageError when a file is damaged or has changed since it was
        opened, StoreError when the disk fails.
        """
        wanted = self._only(columns)
        first = 0
        for path in self.files:
            with reading(path):
                rows = yield from _placed(
                    path, self._format.read(path, wanted, max(start - first, 0)), wanted, first, start
                )
            first += rows
        if first != self.rows:
            raise UsageError(f"{self.source}: ends after {first} of {self.rows} rows: it was changed while in use")

    def sample(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Yield about `rows` rows from a few places spread over the dataset, in bounded time and memory.

        A dataset of no more than `rows` rows comes whole, otherwise up to 8 files: of Parquet and Arrow files the
        heads of up to 8 row groups or batches in all, of JSON Lines 8 places by position; CSV, Arrow streams and
        whatever is compressed are sampled from the beginnings of the files alone.
        """
        wanted = self._only(columns)
        if self.rows <= rows:
            yield from (batch for _, batch in self.read(wanted.names))
            return
        count = len(self.files)
        chosen = self.files if count <= _PLACES else [self.files[i * count // _PLACES] for i in range(_PLACES)]
        share, places = -(-rows // len(chosen)), -(-_PLACES // len(chosen))
        for path in chosen:
            with reading(path):
                for batch in self._format.heads(path, wanted, places, min(share, rows)):
                    rows -= batch.num_rows
                    yield plain_batch(batch, wanted, path)

    @property
    def _format(self) -> Format:
        return FORMATS[self.format]

    def _only(self, columns: Sequence[str]) -> pa.Schema:
        return pa.schema([self.schema.field(name) for name in dict.fromkeys(columns)])


def _placed(path: str, batches: Batches, wanted: pa.Schema, first: int, start: int) -> Batches:
    """Turn a file's batches of any size, whose indexes begin at 0, into pieces of the dataset from row `start` on."""
    while True:
        try:
            row, batch = next(batches)
        except StopIteration as end:
            return int(end.value)
        row += first
        if row + batch.num_rows > start:
            begin = max(row, start)
            where = f"{path}, rows from {begin - first}"
            yield from pieces(begin, plain_batch(batch.slice(begin - row), wanted, where))
