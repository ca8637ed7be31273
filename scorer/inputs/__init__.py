"""Any dataset as rows in order: opening, fingerprint, columns, census.

One door for the rest of the package. `opening` turns what the user gave into a `Dataset`: `places` finds the files,
`hub` those of the Hugging Face Hub, and `formats` lists the modules that read each kind. Everything reads in order and
in small pieces, and never holds more of a dataset than a few pieces, whatever its size or layout.
"""

from scorer.inputs.census import Census, census, spread
from scorer.inputs.columns import choose_text_column, keep_types, map_columns
from scorer.inputs.dataset import Dataset
from scorer.inputs.opening import Known, label, normal_source, open_dataset, reopen
from scorer.inputs.vigil import Vigil

__all__ = [
    "Census",
    "Dataset",
    "Known",
    "Vigil",
    "census",
    "choose_text_column",
    "keep_types",
    "label",
    "map_columns",
    "normal_source",
    "open_dataset",
    "reopen",
    "spread",
]
