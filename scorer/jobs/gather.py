"""All results of a job so far, as Parquet files of one schema: its published parts, and a copy of what is in none yet.

Reads only, also while the job runs: published parts never change, and the rest is read page by page from the queue.
Invariant: no (row, model, sample) is there twice, whatever is committed meanwhile: the results of one moment come
first, and what is dead after it has no result of before.
"""

from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from scorer.core.result import Counts, Part
from scorer.database import refuse_network_folder
from scorer.errors import StoreError, Torn, UsageError
from scorer.jobs.asking import thawed
from scorer.jobs.folder import DATABASE, RESULTS, check_database
from scorer.jobs.spec import JobSpec, read_spec, schema_of
from scorer.queue import Reader
from scorer.results import ResultFile, check_file, part_name, reading, write_dead, write_part


@dataclass(frozen=True, slots=True)
class Gathered:
    """A job's results. `files` may be empty; `schema` is that of each; `counts` are those of the moment."""

    folder: Path
    spec: JobSpec
    schema: pa.Schema
    files: tuple[Path, ...]
    counts: Counts


def gather(folder: Path, scratch_dir: Path) -> Gathered:
    """Find a job's results, putting what is not published yet into files in a scratch folder that exists.

    Each part is compared with the checksum that was recorded of it: a flipped bit may read as another value. That takes
    a second or two for each GB, a small part of what follows.

    Raises UsageError if the job has not begun, StoreError if the database or a published part is missing or damaged.
    """
    spec = read_spec(folder)
    check_database(folder)
    if not (folder / DATABASE).exists():
        raise UsageError(f"job {folder.name} was submitted but has not begun; `scorer resume {folder.name}` begins it")
    reader = Reader.open(folder / DATABASE)
    try:
        counts = reader.counts()
        parts, last_seq = reader.extent()
        published = tuple(_checked(folder, part) for part in parts)
        schema = _schema(spec, folder, published)
        fresh = _copied(reader, parts[-1].last_seq + 1 if parts else 1, last_seq, scratch_dir, schema)
    finally:
        reader.close()
    return Gathered(folder, spec, schema, (*published, *fresh), counts)


def published_spec(folder: Path) -> JobSpec:
    """Return the spec of a job of which only published parts will be read; UsageError if a newer scorer wrote it.

    A database that is missing or damaged stands in nobody's way, and on a network file system, where a finished job may
    have been copied, it is not opened.
    """
    spec = read_spec(folder)
    try:
        refuse_network_folder(folder)
    except UsageError:
        return spec
    with suppress(StoreError):
        Reader.open(folder / DATABASE).close()
    return spec


def _checked(folder: Path, part: Part) -> Path:
    """Return where a part is; Torn if it is not there as it was written."""
    path = folder / RESULTS / part_name(part.number)
    if check_file(path, ResultFile(path.name, part.rows, part.size_bytes or 0, part.sha256 or "")) is not None:
        reason = "is not what was written" if path.exists() else "is missing"
        raise Torn(f"{path} {reason}: `scorer verify {folder.name}` makes it anew")
    return path


def _schema(spec: JobSpec, folder: Path, published: tuple[Path, ...]) -> pa.Schema:
    """Return the schema of the parts, or without any the one that they will have."""
    if not published:
        return schema_of(spec, thawed(spec.template, folder))
    with reading(published[-1]):
        return pq.read_schema(published[-1])


def _copied(reader: Reader, first: int, last: int, scratch_dir: Path, schema: pa.Schema) -> list[Path]:
    files = []
    unfinished_dir = scratch_dir / "unfinished"
    if last >= first:
        written = write_part(scratch_dir / "fresh", unfinished_dir, 0, reader.results(first, last), schema)
        files.append(scratch_dir / "fresh" / written.name)
    dead = reader.dead_rows()
    if (page := next(dead, None)) is not None:
        written = write_dead(scratch_dir / "dead", unfinished_dir, chain([page], dead), schema)
        files.append(scratch_dir / "dead" / written.name)
    return files
