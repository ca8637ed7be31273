"""Text files as blocks of whole lines, decompressed on the way, in order and in bounded memory.

What every format of lines has in common is decided here: UTF-8 with or without a byte order mark, gzip and zstd by
suffix, how long a line may be, and what a file that is not text at all is told.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import BinaryIO, NamedTuple, cast

import pyarrow as pa

from scorer.errors import UsageError

BLOCK_BYTES = 1 << 20
MAX_LINE_BYTES = 64 << 20
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")
_MAGICS = {
    b"\x1f\x8b": "is compressed with gzip: let its name end in .gz",
    b"\x28\xb5\x2f\xfd": "is compressed with zstd: let its name end in .zst",
    b"PAR1": "is a Parquet file: let its name end in .parquet",
    b"ARROW1": "is an Arrow file: let its name end in .arrow",
    b"PK\x03\x04": "is a zip archive (or a spreadsheet): unpack it, or export it as CSV",
}


class Block(NamedTuple):
    """Whole lines of a file: those that are not blank, with their 1-based numbers (0: unknown place in the file)."""

    path: str
    first_line: int
    text: bytes

    def lines(self) -> list[bytes]:
        """Return the lines that hold something."""
        return [line for line in self.text.split(b"\n") if line and not line.isspace()]

    def numbered(self) -> Iterator[tuple[int, bytes]]:
        """Yield (line number, line) for the lines that hold something."""
        for offset, line in enumerate(self.text.split(b"\n")):
            if line and not line.isspace():
                yield self.first_line + offset if self.first_line else 0, line


def compression(path: str) -> str | None:
    """Return how a file is compressed, by its suffix; None if it is not."""
    return COMPRESSIONS.get(PurePath(path).suffix.lower())


@contextmanager
def decompressed(path: str) -> Iterator[BinaryIO]:
    """Open a file for reading from its beginning, decompressed if its suffix says so.

    A truncated or damaged stream raises OSError without an error number from whatever reads it.
    """
    with open(path, "rb") as file:
        codec = compression(path)
        # An empty file is no gzip stream, but Arrow takes it for one without content.
        if codec is None:
            yield file
        elif not os.fstat(file.fileno()).st_size:
            raise pa.ArrowInvalid(f"the file is empty, without even a {codec} header")
        else:
            with pa.CompressedInputStream(pa.PythonFile(file, "r"), codec) as stream:
                yield cast("BinaryIO", io.BufferedReader(stream, BLOCK_BYTES))


def blocks(path: str, file: BinaryIO, kind: str, advice: str) -> Iterator[Block]:
    """Cut a file into blocks of whole lines.

    `kind` is what the format is called; `advice` is said of a line longer than MAX_LINE_BYTES. Raises UsageError for
    such a line and for what is plainly not text in UTF-8.
    """
    rest, line = bytearray(), 1
    beginning = True
    while data := file.read(BLOCK_BYTES):
        if beginning:
            refuse_other_formats(path, data, kind)
            data = data.removeprefix(BOM)
            beginning = False
        cut = data.rfind(b"\n") + 1
        if not cut:
            rest += data
            if len(rest) > MAX_LINE_BYTES:
                raise UsageError(f"{path}:{line}: the line is longer than {MAX_LINE_BYTES >> 20} MiB; {advice}")
            continue
        text = bytes(rest) + data[:cut]
        rest = bytearray(data[cut:])
        yield Block(path, line, text)
        line += text.count(b"\n")
    if rest:
        yield Block(path, line, bytes(rest))


def refuse_other_formats(path: str, beginning: bytes, kind: str) -> None:
    """Raise UsageError if a file's first bytes are those of another format."""
    if beginning.startswith(_UTF16_BOMS):
        raise UsageError(f"{path}: the file is UTF-16, {kind} must be UTF-8: convert it first")
    for magic, what in _MAGICS.items():
        if beginning.startswith(magic):
            raise UsageError(f"{path}: no {kind}: the file {what}")
