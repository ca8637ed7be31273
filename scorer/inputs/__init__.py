"""Any dataset as rows in order: opening, fingerprint, columns, census.

One door for the rest of the package. Formats live in `parquet` and `jsonl`; everything here reads in order and in
small pieces, and never holds more of a dataset than a few pieces, whatever its size or layout.
"""

from scorer.inputs.census import Census, census, spread
from scorer.inputs.columns import choose_text_column, keep_types, map_columns
from scorer.inputs.dataset import Dataset, open_dataset, reopen

__all__ = [
    "Census",
    "Dataset",
    "census",
    "choose_text_column",
    "keep_types",
    "map_columns",
    "open_dataset",
    "reopen",
    "spread",
]
