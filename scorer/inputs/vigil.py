"""Whether a dataset is still what it was when it was opened, looked at while it is read.

Invariant: what was read before a look that raised nothing is the content that the fingerprint stands for, as far as
its samples tell. So whoever reads first and looks then never uses a row of another content.
"""

import os

from scorer.errors import DatasetChanged
from scorer.inputs.dataset import Dataset
from scorer.inputs.fingerprint import fingerprint, stamps


class Vigil:
    """Looks at a dataset's files again and again: at their stamps, and where those differ at the content."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._stamps = dataset.stamps

    def look(self) -> None:
        """Raise DatasetChanged if the content is another one; a file that was touched, moved away or lost is none."""
        dataset = self._dataset
        now = stamps(dataset.files)
        # what is open can be read on when its name is gone
        now = tuple(new or old for new, old in zip(now, self._stamps, strict=True))
        if now == self._stamps:
            return
        changed = next(path for path, new, old in zip(dataset.files, now, self._stamps, strict=True) if new != old)
        if fingerprint(dataset.files, dataset.schema, dataset.rows) != dataset.fingerprint:
            raise self._changed(f"{changed} is not what this job began with")
        self._stamps = now

    def explain(self) -> None:
        """Raise DatasetChanged if that is why the dataset can be read no more: a file is another one, or gone."""
        self.look()
        for path in self._dataset.files:
            if not os.path.lexists(path):
                raise self._changed(f"{path} is gone")

    def _changed(self, what: str) -> DatasetChanged:
        return DatasetChanged(
            f"dataset {self._dataset.source} was changed while in use: {what}. No row was sent with the new content, "
            "and what was scored before is kept. Put the dataset back as it was and `scorer resume` goes on from here; "
            "to score the new content, begin another job (--fresh)."
        )
