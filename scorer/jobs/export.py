"""`scorer export`: a job's results as one file, in row order, beside the input's columns if wanted.

Reads the job and never writes to it, also while it runs. The file appears whole or not at all: it is made in a scratch
folder beside its place and moved there at the end. Memory does not depend on the number of rows.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from scorer.errors import DiskFull, ScorerError, StoreError, UsageError
from scorer.jobs.condition import Chosen, Condition
from scorer.jobs.gather import Gathered, gather
from scorer.jobs.joined import Join
from scorer.jobs.places import check_place
from scorer.jobs.rows_in_order import RowsInOrder
from scorer.jobs.scratch import scratch
from scorer.jobs.sealed import readable
from scorer.jobs.spec import read_spec, thawed_types
from scorer.jobs.submit import found_again
from scorer.jobs.writers import Format, open_writer


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """What `scorer export` was told. `dataset`: where the dataset is now, for `join`."""

    to: Path
    join: bool = False
    where: str | None = None
    dataset: str | None = None
    force: bool = False
    escape_formulas: bool = False


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written. `dead` of the `rows` have no score; `pending` of the job's tasks have not ended yet.

    `notes` say what the file has otherwise than one would expect.
    """

    job: str
    file: Path
    format: str
    rows: int
    dead: int
    pending: int
    size_bytes: int
    columns: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """Return it as plain JSON values."""
        return {
            "job": self.job,
            "file": str(self.file),
            "format": self.format,
            "rows": self.rows,
            "dead": self.dead,
            "pending": self.pending,
            "bytes": self.size_bytes,
            "columns": list(self.columns),
        }


def export(folder: Path, options: ExportOptions) -> Exported:
    """Write a job's results to one file.

    Raises UsageError for what the user can put right (the file's name, the condition, a dataset that has moved or
    changed), DiskFull and StoreError for what the disk or the job's own files do.
    """
    format_ = Format.of(options.to)
    spec = read_spec(folder)
    dataset = found_again(folder.name, spec.dataset, options.dataset) if options.join else None
    check_place(options.to, folder, spec, force=options.force, sources=dataset.files if dataset else ())
    if options.escape_formulas and format_.name != "csv":
        raise UsageError(f"--escape-formulas is for CSV, and {options.to} will be {format_.name}")
    try:
        with scratch(options.to) as scratch_dir:
            found = gather(folder, scratch_dir)
            if not found.files:
                raise UsageError(f"job {folder.name} has no results yet: no row has ended")
            join = Join(dataset, found.schema) if dataset else None
            return _Export(found, options, join, scratch_dir).write()
    except OSError as error:
        raise _blamed(error, options.to) from error


class _Export:
    def __init__(self, found: Gathered, options: ExportOptions, join: Join | None, scratch_dir: Path) -> None:
        self._found = found
        self._options = options
        self._join = join
        self._scratch_dir = scratch_dir

    def write(self) -> Exported:
        """Choose, sort, join, write, and move into place."""
        found = self._found
        if self._options.where is None:
            return self._written(RowsInOrder(found.files, found.schema, self._scratch_dir, None), None)
        condition = Condition(self._options.where, found.files, found.schema, self._scratch_dir)
        with closing(condition):
            if not condition.concerns(self._inputs(), joined=self._join is not None):
                rows = RowsInOrder(found.files, found.schema, self._scratch_dir, condition.chosen())
                return self._written(rows, None)
            rows = RowsInOrder(found.files, found.schema, self._scratch_dir, None)
            return self._written(rows, self._chosen_by_input(condition, rows))

    def _inputs(self) -> pa.Schema:
        """Return the input's columns as a condition may name them, or could with `--join`."""
        if self._join is not None:
            return self._join.inputs
        columns = thawed_types(self._found.spec.dataset.schema)
        return pa.schema([column for column in columns if column.name not in self._found.schema.names])

    def _chosen_by_input(self, condition: Condition, rows: RowsInOrder) -> Chosen:
        """Return what a condition over the input's columns chooses: a pass of its own, over these columns alone."""
        if self._join is None:
            raise AssertionError("a condition over the input needs the input")
        needed = condition.among(self._join.inputs.names)
        schema = readable(self._join.schema(needed))
        batches = self._join.batches(rows.batches(), needed)
        known = (batch.select(schema.names) for batch in batches)
        return condition.chosen(pa.RecordBatchReader.from_batches(schema, known))

    def _written(self, rows: RowsInOrder, chosen: Chosen | None) -> Exported:
        to, unfinished = self._options.to, self._scratch_dir / "unfinished-export"
        schema = self._found.schema if self._join is None else self._join.schema(None)
        schema = schema.remove_metadata()
        written = dead = 0
        format_ = Format.of(to)
        writer = open_writer(unfinished, format_, schema, escape_formulas=self._options.escape_formulas)
        with closing(writer):
            for batch in self._batches(rows, chosen):
                writer.write(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
                written += batch.num_rows
                dead += _dead(batch)
        _move(unfinished, to, force=self._options.force)
        return Exported(
            job=self._found.folder.name,
            file=to,
            format=format_.name,
            rows=written,
            dead=dead,
            pending=self._found.counts.pending,
            size_bytes=to.stat().st_size,
            columns=writer.columns,
            notes=writer.notes,
        )

    def _batches(self, rows: RowsInOrder, chosen: Chosen | None) -> Iterator[pa.RecordBatch]:
        results = rows.batches()
        if chosen is not None:
            masked = (batch.filter(chosen.mask(batch)) for batch in results)
            results = (batch for batch in masked if batch.num_rows)
        return results if self._join is None else self._join.batches(results, None)


def _dead(batch: pa.RecordBatch) -> int:
    return int(pc.sum(pc.equal(batch.column("status"), "dead")).as_py() or 0)


def _move(unfinished: Path, to: Path, *, force: bool) -> None:
    """Put a complete file into its place, for good; UsageError if something came into its place meanwhile."""
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    if to.exists() and not force:
        raise UsageError(f"{to} has come into being meanwhile; name another file, or replace it with --force")
    os.replace(unfinished, to)


def _blamed(error: OSError, to: Path) -> ScorerError:
    """Say what the file system's error means: a place that may not be written, a full disk, a broken one."""
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return UsageError(f"cannot write {to}: {error.strerror}; name another place")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"no room left on the disk of {to}; sorting needs about as much room again beside it")
    return StoreError(f"cannot write {to}: {error.strerror or error}")
