"""A look at a few rows before a run, and rows picked for a pilot.

Both are cheap on any dataset: the census reads a bounded sample, the pilot's rows are computed from the row count.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from scorer.core.values import Unreadable, python_values
from scorer.inputs.dataset import Dataset


@dataclass(frozen=True, slots=True)
class Census:
    """What a sample of the mapped text looks like.

    `sampled` rows were looked at; `empty` of them have nothing but nulls and blanks in every mapped column. `lengths`
    are the characters of the mapped columns together, one a sampled row; `mean_chars` and `max_chars` are over these.
    """

    sampled: int
    empty: int
    mean_chars: float
    max_chars: int
    lengths: tuple[int, ...]


def census(dataset: Dataset, columns: Sequence[str], sample: int = 1000) -> Census:
    """Count empty rows and characters on about `sample` rows from up to 8 places of the dataset.

    Time and memory are bounded whatever the file. The price: a Parquet file with one row group is sampled from its
    head alone, with a few row groups from the heads of these, and long JSON lines give fewer rows.
    """
    lengths: list[int] = []
    empty = 0
    names = list(dict.fromkeys(columns))
    for batch in dataset.sample(names, sample):
        values = [python_values(batch.column(name)) for name in names]
        for i in range(batch.num_rows):
            texts = [_text(column[i]) for column in values]
            lengths.append(sum(map(len, texts)))
            # A template without variables has a prompt all the same.
            empty += bool(texts) and not any(text.strip() for text in texts)
    count = len(lengths)
    return Census(count, empty, sum(lengths) / max(count, 1), max(lengths, default=0), tuple(lengths))


def spread(rows: int, count: int, seed: int = 0) -> list[int]:
    """Pick `count` distinct rows of `rows`, ascending: one at random from each of `count` equal stretches.

    The same arguments give the same rows. With `count` ≥ `rows` it is every row.
    """
    if count >= rows:
        return list(range(rows))
    rng = random.Random(seed)
    return [rng.randrange(i * rows // count, (i + 1) * rows // count) for i in range(count)]


def _text(value: object) -> str:
    # what Python cannot hold is in no prompt
    return "" if value is None or isinstance(value, Unreadable) else value if isinstance(value, str) else str(value)
