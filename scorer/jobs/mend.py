"""Repair and second chances: `verify` and `retry`. Both hold the job's lock, so never beside a run."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import tomlkit

from scorer import templates
from scorer.errors import UsageError
from scorer.jobs.folder import DATABASE, locked
from scorer.jobs.spec import FILE, JobSpec, TemplateSpec, read_spec, schema_of, write_spec
from scorer.publish import Finding, Publisher
from scorer.queue import Queue, Reader


def retry(folder: Path, *, kind: str | None, num_ctx: int | None, num_predict: int | None) -> int:
    """Put dead rows (of one kind, or all) back to pending and return how many; UsageError if there are none.

    `num_ctx` and `num_predict` change the job's template options from now on, for rows that had too little room.
    """
    with _opened(folder) as (spec, queue, publisher):
        kinds = _dead_kinds(folder)
        if not kinds:
            raise UsageError(f"job {folder.name} has no dead rows")
        if kind is not None and kind not in kinds:
            listing = ", ".join(f"{name} ({rows})" for name, rows in kinds.items())
            raise UsageError(f"job {folder.name} has no dead rows of kind {kind!r}; it has: {listing}")
        if num_ctx is not None or num_predict is not None:
            write_spec(folder, replace(spec, template=_with_options(spec.template, num_ctx, num_predict)))
        publisher.before_retry()
        revived = queue.revive(kind)
        publisher.finish()
        return revived


def _dead_kinds(folder: Path) -> dict[str, int]:
    reader = Reader.open(folder / DATABASE)
    try:
        return {dead.kind: dead.count for dead in reader.dead_by_kind()}
    finally:
        reader.close()


def _with_options(template: TemplateSpec, num_ctx: int | None, num_predict: int | None) -> TemplateSpec:
    document = tomlkit.parse(template.text)
    options = document.setdefault("options", tomlkit.table())
    for key, value in (("num_ctx", num_ctx), ("num_predict", num_predict)):
        if value is not None:
            options[key] = value
    text = tomlkit.dumps(document)
    # checked like any template; the fingerprint stays, since `run` with the same file means the same job
    templates.loads(text, "retry")
    return replace(template, text=text)


def verify(folder: Path) -> list[Finding]:
    """Check a job's database, parts and invariants, and rebuild what can be rebuilt."""
    with _opened(folder) as (_, _, publisher):
        return publisher.verify(repair=True)


@contextmanager
def _opened(folder: Path) -> Iterator[tuple[JobSpec, Queue, Publisher]]:
    with locked(folder):
        spec = read_spec(folder)
        template = templates.loads(spec.template.text, f"{folder / FILE}: template")
        queue = Queue.open(folder / DATABASE, time.time())
        try:
            yield spec, queue, Publisher(queue, folder, schema_of(spec, template))
        finally:
            queue.close()
