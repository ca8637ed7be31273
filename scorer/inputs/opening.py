"""Opening a dataset: every mistake that can be found is found here, while the user is present.

A dataset is known by its content and not by its path or modification time, so it may be moved or copied between two
runs. What has been opened once is opened again without a look at every row.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from scorer.errors import UsageError
from scorer.inputs import hub, places
from scorer.inputs.dataset import Dataset
from scorer.inputs.fingerprint import fingerprint, stamps
from scorer.inputs.formats import FORMATS
from scorer.inputs.pieces import plain_type
from scorer.inputs.places import Place


@dataclass(frozen=True, slots=True)
class Known:
    """What is kept of a dataset that was opened before.

    `files` and `revision` are empty unless it came from the Hub, whose cached files are named so that going on with a
    job needs no network.
    """

    source: str
    rows: int
    schema: pa.Schema
    fingerprint: str
    files: tuple[str, ...] = ()
    revision: str = ""


def open_dataset(source: str) -> Dataset:
    """Open a file, folder, glob or `hf://` name (docs/inputs.md); JSON Lines and CSV are read once, whole.

    Raises UsageError: missing, of no known format, broken, without rows or columns, a column name twice, files that
    do not agree; for the Hub also whatever it answered. Raises StoreError when the disk fails.
    """
    place, revision = _place(source)
    before = stamps(place.files)
    found, rows = FORMATS[place.format].scan(place.files)
    schema = pa.schema([(field.name, plain_type(field.type)) for field in found])
    if rows == 0:
        raise UsageError(f"dataset {source} has no rows: nothing to score")
    if not schema.names:
        raise UsageError(f"dataset {source} has no columns")
    digest = fingerprint(place.files, schema, rows)
    return Dataset(place.source, place.format, place.files, schema, rows, digest, revision, place.notes, before)


def reopen(known: Known, moved_to: str | None = None) -> Dataset | None:
    """Open what `open_dataset` has opened before, here or elsewhere, without reading more than the sampled blocks.

    None if this is something else now. Raises UsageError if there is nothing to open, StoreError when the disk fails.
    """
    source = known.source if moved_to is None else moved_to
    if hub.is_hub(source) and source == known.source and known.files and not hub.missing(known.files):
        place, revision = Place(source, "arrow", known.files), known.revision
    else:
        place, revision = _place(source, known.revision)
    before = stamps(place.files)
    if fingerprint(place.files, known.schema, known.rows) != known.fingerprint:
        return None
    content = (known.schema, known.rows, known.fingerprint)
    return Dataset(place.source, place.format, place.files, *content, revision, stamps=before)


def normal_source(source: str) -> str:
    """Return a source as `Dataset.source` has it, without looking whether it is there; UsageError if it is empty."""
    return str(hub.parse(source)) if hub.is_hub(source) else str(places.absolute(source))


def label(source: str) -> str:
    """Return a short name for people and folders: a file's or folder's own, of a glob what is fixed in it."""
    if hub.is_hub(source):
        name = hub.parse(source)
        return "-".join(filter(None, (*name.repo.split("/"), name.config, name.split)))
    fixed = [re.split(r"[.*?\[]", part)[0].strip("-_") for part in Path(source).absolute().parts[1:]]
    return next(filter(None, reversed(fixed)), "rows")


def _place(source: str, revision: str = "") -> tuple[Place, str]:
    if not hub.is_hub(source):
        return places.find(source), ""
    name = hub.parse(source)
    cached = hub.fetch(name.at(revision))
    note = f"{name} is revision {cached.revision}, kept in this job" if cached.revision else ""
    return Place(str(name), "arrow", cached.files, (note,) if note else ()), cached.revision
