"""Files of made-up rows for the benchmarks."""

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

WORDS = ["the", "value", "of", "a", "row", "returns", "checks", "index", "file", "list", "when", "none", "is"]
CHUNK = 10_000


def _texts(rng: random.Random, count: int, chars: int) -> list[str]:
    return [" ".join(rng.choices(WORDS, k=chars // 5))[:chars] for _ in range(count)]


def write_parquet(path: Path, rows: int, chars: int, row_group: int) -> None:
    """Write a column `text` of about so many characters a row, in row groups of the given size."""
    rng = random.Random(0)
    group: list[pa.Table] = []
    with pq.ParquetWriter(path, pa.schema({"id": pa.int64(), "text": pa.string()}), compression="zstd") as writer:
        for start in range(0, rows, CHUNK):
            count = min(CHUNK, rows - start)
            group.append(pa.table({"id": range(start, start + count), "text": _texts(rng, count, chars)}))
            if sum(len(table) for table in group) >= row_group or start + count == rows:
                writer.write_table(pa.concat_tables(group), row_group_size=row_group)
                group = []


def write_jsonl(path: Path, rows: int, chars: int) -> None:
    """Write the same as JSON Lines."""
    rng = random.Random(0)
    with path.open("w") as file:
        for start in range(0, rows, CHUNK):
            texts = _texts(rng, min(CHUNK, rows - start), chars)
            file.writelines(f'{{"id": {start + i}, "text": "{text}"}}\n' for i, text in enumerate(texts))
