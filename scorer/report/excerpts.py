"""The texts of the few rows that a report shows, read from the results' files themselves.

Not asked of the database, which lacks columns of types that it does not know (half floats, long decimals) and fails
over values that it cannot say (a time in the year 100,000).

Invariant: of the texts, no more is read than the row groups in which the rows are, one at a time.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from scorer.jobs.writers import plain
from scorer.results import reading

EXCERPT_CHARS = 600

Key = tuple[int, str, int]


@dataclass(frozen=True, slots=True)
class Shown:
    """A row that is shown: its place, its score if it has one, and excerpts of its texts by column."""

    row: int
    model: str
    sample: int
    host: str | None
    score: float | None
    texts: dict[str, str]


def shown(files: Sequence[Path], keys: Sequence[Key], texts: Sequence[str], score: str | None) -> tuple[Shown, ...]:
    """Read a few rows, with their texts cut where they are long, in the order of their keys.

    `score` is the column that is the score: numbers or booleans.
    """
    wanted = list(dict.fromkeys(["host", *([score] if score else []), *texts]))
    found: dict[Key, Shown] = {}
    for path in files:
        with reading(path), pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                places = _places(file, group, set(keys))
                if places:
                    rows = file.read_row_group(group, wanted).take(pa.array(list(places)))
                    found |= {key: _shown(key, rows.slice(i, 1), texts, score) for i, key in enumerate(places.values())}
    return tuple(found[key] for key in keys if key in found)


def _places(file: pq.ParquetFile, group: int, keys: Collection[Key]) -> Mapping[int, Key]:
    """Return where in a row group the keys are, of those that are there."""
    rows = file.read_row_group(group, ["row"])["row"].to_numpy()
    near = np.flatnonzero(np.isin(rows, [row for row, _, _ in keys]))
    if not near.size:
        return {}
    those = file.read_row_group(group, ["model", "sample"]).take(pa.array(near))
    columns = rows[near].tolist(), those["model"].to_pylist(), those["sample"].to_pylist()
    return {place: key for place, key in zip(near.tolist(), zip(*columns, strict=True), strict=True) if key in keys}


def _shown(key: Key, row: pa.Table, texts: Sequence[str], score: str | None) -> Shown:
    value = row[score][0].as_py() if score else None
    said = {name: text for name in texts if (text := _text(row[name][0]))}
    return Shown(*key, row["host"][0].as_py(), None if value is None else float(value), said)


def _text(value: pa.Scalar) -> str:
    """Return a value as a page shows it, empty if it has none."""
    if not value.is_valid:
        return ""
    try:
        said = plain(value.as_py())
    except (ValueError, OverflowError):
        # a time that Python has no word for, such as one in the year 100,000: the number that it is stored as
        said = value.value
    text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
    return text if len(text) <= EXCERPT_CHARS else f"{text[: EXCERPT_CHARS - 1]}…"
