"""Arrow IPC files and streams (.arrow, .feather, .ipc; also what `datasets` saves and caches), flat in memory.

The file is mapped and read in slices, since one record batch may hold the whole table; what has been read is given back
to the system as we go. A batch whose buffers are compressed can only be decompressed whole: memory then follows the
largest batch, of the columns that are asked for.

Arrow trusts its files, and a wrong offset would kill the process: every slice is checked before anything looks into it.
A stream without its end mark is refused, because one that was cut between two batches looks like a whole one.
"""

import mmap
import os
from collections.abc import Generator, Iterator, Sequence

import pyarrow as pa
import pyarrow.ipc
from pyarrow import types

from scorer.errors import UsageError
from scorer.inputs.lines import refuse_other_formats
from scorer.inputs.pieces import MAX_ROWS, is_text
from scorer.inputs.schemas import agreed
from scorer.inputs.trouble import reading

_FILE_MAGIC = b"ARROW1"
_OLD_FEATHER_MAGIC = b"FEA1"
_END_MARK = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_GIVE_BACK_BYTES = 16 << 20
# the system maps so much around a batch's header, if nothing else of the batch is looked at
_LOOKED_AT_BYTES = 64 << 10


def scan(paths: Sequence[str]) -> tuple[pa.Schema, int]:
    """Return the schema that all files share, and the number of rows. Raises UsageError, StoreError."""
    rows = 0

    def schemas() -> Iterator[tuple[str, pa.Schema]]:
        nonlocal rows
        for path in paths:
            with reading(path):
                source = _Source(path)
                yield path, source.schema.remove_metadata()
                rows += sum(batch.num_rows for batch in source.batches(_cheapest(source.schema)))

    return agreed(schemas()), rows


def read(path: str, schema: pa.Schema, start: int) -> Generator[tuple[int, pa.RecordBatch], None, int]:
    """Yield (index of the first row, batch) with the columns of `schema`, from row `start` on.

    Returns the number of rows.
    """
    source = _Source(path)
    row = 0
    for batch in source.batches(schema.names or _cheapest(source.schema)):
        first = max(0, (start - row) // MAX_ROWS * MAX_ROWS) if start > row else 0
        for offset in range(first, batch.num_rows, MAX_ROWS):
            source.refuse_changed()
            piece = batch.slice(offset, MAX_ROWS)
            _refuse_unsound(piece)
            yield row + offset, piece
            source.give_back(piece.nbytes)
        row += batch.num_rows
    return row


def heads(path: str, schema: pa.Schema, places: int, rows: int) -> Iterator[pa.RecordBatch]:
    """Yield about `rows` rows: slices spread over up to `places` record batches, which are spread over a file.

    Of a stream it is the first batches, for nothing says where the others are.
    """
    source = _Source(path)
    batches = list(source.chosen(schema.names or _cheapest(source.schema), places))
    slices = -(-places // max(len(batches), 1))
    share = -(-rows // max(len(batches) * slices, 1))
    for batch in batches:
        for i in range(slices):
            begin, end = batch.num_rows * i // slices, batch.num_rows * (i + 1) // slices
            piece = batch.slice(begin, min(share, end - begin))
            _refuse_unsound(piece)
            yield piece


class _Source:
    """A mapped file. Whatever is read from it keeps the mapping alive."""

    def __init__(self, path: str) -> None:
        with open(path, "rb") as file:
            self._bytes = os.fstat(file.fileno()).st_size
            magic = file.read(len(_FILE_MAGIC))
            if not magic:
                raise pa.ArrowInvalid("the file is empty")
            if magic.startswith(_OLD_FEATHER_MAGIC):
                raise UsageError(f"{path}: Feather of version 1 is not read; write it again with a newer pyarrow")
            self._is_file = magic == _FILE_MAGIC
            if not self._is_file:
                refuse_other_formats(path, magic, "Arrow file")
                file.seek(max(self._bytes - len(_END_MARK), 0))
                if file.read() != _END_MARK:
                    raise pa.ArrowInvalid("no Arrow file, or an Arrow stream without its end: it was cut short")
            self._mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._path = path
        self._given_back_after = 0
        buffer = pa.BufferReader(pa.py_buffer(self._mapped))
        self._contents = pa.ipc.open_file(buffer) if self._is_file else None
        self.schema = (self._contents or pa.ipc.open_stream(buffer)).schema

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield all record batches with these columns; no columns means all."""
        fields = [self.schema.names.index(name) for name in columns]
        options = pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False)
        # A file is a stream with a table of contents. Read as a file with some columns only, it would be copied whole.
        skipped = len(_FILE_MAGIC) + 2 if self._is_file else 0
        buffer = pa.py_buffer(self._mapped).slice(skipped)
        reader = pa.ipc.open_stream(pa.BufferReader(buffer), options=options)
        count = 0
        while True:
            self.refuse_changed()
            batch = next(reader, None)
            if batch is None:
                break
            yield batch
            count += 1
            self.give_back(_LOOKED_AT_BYTES)
        if self._contents is not None and count != self._contents.num_record_batches:
            raise pa.ArrowInvalid(f"{count} of {self._contents.num_record_batches} record batches are there")

    def chosen(self, columns: Sequence[str], places: int) -> Iterator[pa.RecordBatch]:
        """Yield up to `places` record batches."""
        if self._contents is None:
            yield from (batch for batch, _ in zip(self.batches(columns), range(places), strict=False))
            return
        count = self._contents.num_record_batches
        for index in range(count) if count <= places else [i * count // places for i in range(places)]:
            yield self._contents.get_batch(index).select(list(columns))

    def refuse_changed(self) -> None:
        """Raise UsageError if the file is no longer as long as its mapping, beyond whose end reading is deadly."""
        if self._mapped.size() != self._bytes:
            raise UsageError(f"{self._path}: its size changed while in use")

    def give_back(self, read_bytes: int) -> None:
        """Let the system have the pages that were read, now and then."""
        self._given_back_after += read_bytes
        if self._given_back_after >= _GIVE_BACK_BYTES:
            self._mapped.madvise(mmap.MADV_DONTNEED)
            self._given_back_after = 0


def _cheapest(schema: pa.Schema) -> list[str]:
    """Name one column to count rows by; numbers are the least work where buffers are compressed."""
    if not schema.names:
        return []
    fixed = [field.name for field in schema if types.is_primitive(field.type)]
    return [*fixed, schema.names[0]][:1]


def _refuse_unsound(batch: pa.RecordBatch) -> None:
    """Raise ArrowInvalid for offsets that lead nowhere. Wrong UTF-8 is left to those who mend it."""
    for array in batch.columns:
        array.validate()
        if is_text(array.type):
            binary = pa.binary() if types.is_string(array.type) else pa.large_binary()
            array.view(binary).validate(full=True)
        elif not types.is_primitive(array.type):
            array.validate(full=True)
