"""What identifies a dataset: its content, and neither its place nor when its files were changed.

Reading every byte of hundreds of gigabytes at each start is no way to begin, so blocks are sampled. A changed row that
lies between the samples and keeps the size is not seen; anything that a person does to a dataset changes its size.
"""

import hashlib
import os
from collections.abc import Sequence

import pyarrow as pa

from scorer.inputs.trouble import reading

_BLOCK_BYTES = 64 << 10
_BLOCKS = 64
_END_BYTES = 4 << 10

Stamp = tuple[int, int, int, int]
"""Inode, size, and when content and inode were last written to: equal stamps mean that nothing was."""


def fingerprint(files: Sequence[str], schema: pa.Schema, rows: int) -> str:
    """Return 64 hex digits over sizes, schema, row count and sampled blocks.

    The blocks are 64 of 64 KiB spread evenly over all files laid end to end, and of several files also the last 4 KiB
    of each, where Parquet has its statistics and gzip its checksum. Raises UsageError, StoreError.
    """
    sizes = [_size(path) for path in files]
    columns = [f"{field.name!r} {field.type}" for field in schema]
    header = ["scorer-dataset-1", ",".join(map(str, sizes)), str(rows), *columns]
    digest = hashlib.sha256("\n".join(header).encode("utf-8", "surrogatepass"))
    last = max(sum(sizes) - _BLOCK_BYTES, 0)
    wanted = [last * i // (_BLOCKS - 1) for i in range(_BLOCKS)]
    begin = 0
    for path, size in zip(files, sizes, strict=True):
        with reading(path), open(path, "rb") as file:
            while wanted and wanted[0] < begin + size:
                file.seek(wanted.pop(0) - begin)
                digest.update(file.read(_BLOCK_BYTES))
            if len(files) > 1:
                file.seek(max(size - _END_BYTES, 0))
                digest.update(file.read(_END_BYTES))
        begin += size
    return digest.hexdigest()


def stamps(files: Sequence[str]) -> tuple[Stamp | None, ...]:
    """Return a stamp for each file, None for those that cannot be reached now."""
    return tuple(map(_stamp, files))


def _stamp(path: str) -> Stamp | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _size(path: str) -> int:
    with reading(path):
        return os.stat(path).st_size
