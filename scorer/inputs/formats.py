"""The formats that can be read, each with its suffixes and the three things a dataset asks of it.

`scan(paths)` returns the schema that all files share and the number of rows in them. `read(path, schema, start)` yields
(index in the file of the first row, batch) with at least the columns of `schema`, of any size; the first batch may
begin before row `start`; it returns the number of rows in the file. `heads(path, schema, places, rows)` yields about
so many rows from up to so many places of the file.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

import pyarrow as pa

from scorer.inputs import arrow, delimited, jsonl, parquet
from scorer.inputs.lines import COMPRESSIONS

Batches = Generator[tuple[int, pa.RecordBatch], None, int]


@dataclass(frozen=True, slots=True)
class Format:
    """One format. `compressible`: whether its files may be compressed as a whole, .gz or .zst behind the suffix."""

    name: str
    suffixes: tuple[str, ...]
    scan: Callable[[Sequence[str]], tuple[pa.Schema, int]]
    read: Callable[[str, pa.Schema, int], Batches]
    heads: Callable[[str, pa.Schema, int, int], Iterator[pa.RecordBatch]]
    compressible: bool = False


_ALL = (
    Format("parquet", (".parquet", ".pq"), parquet.scan, parquet.read, parquet.heads),
    Format("jsonl", (".jsonl", ".ndjson", ".json"), jsonl.scan, jsonl.read, jsonl.heads, compressible=True),
    Format("csv", (".csv", ".tsv"), delimited.scan, delimited.read, delimited.heads, compressible=True),
    Format("arrow", (".arrow", ".feather", ".ipc"), arrow.scan, arrow.read, arrow.heads),
)
FORMATS = {format_.name: format_ for format_ in _ALL}
_BY_SUFFIX = {suffix: format_ for format_ in _ALL for suffix in format_.suffixes}


def kind_of(name: str) -> tuple[str, str]:
    """Return the format's name and the compression's suffix ("" if none) of a file by its name; ("", …) if unknown."""
    suffixes = [suffix.lower() for suffix in PurePath(name).suffixes]
    packed = suffixes.pop() if suffixes and suffixes[-1] in COMPRESSIONS else ""
    format_ = _BY_SUFFIX.get(suffixes[-1]) if suffixes else None
    if format_ is None or (packed and not format_.compressible):
        return "", packed
    return format_.name, packed


def known_suffixes() -> str:
    """Return the suffixes that are known, for people."""
    plain = ", ".join(suffix for format_ in _ALL for suffix in format_.suffixes if suffix != ".json")
    packed = " and ".join(format_.suffixes[0] for format_ in _ALL if format_.compressible)
    return f"{plain} ({packed} also with {' or '.join(COMPRESSIONS)})"
