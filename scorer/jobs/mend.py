"""Repair and second chances: `verify` and `retry`. Both hold the job's lock, so never beside a run."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import tomlkit

from scorer.database import Database
from scorer.errors import Damaged, UsageError
from scorer.jobs.asking import recipes_of, thawed
from scorer.jobs.folder import DATABASE, check_database, locked, published
from scorer.jobs.spec import FILE, JobSpec, TemplateSpec, read_spec, schema_of, write_spec
from scorer.publish import DAMAGE, Finding, Publisher
from scorer.queue import Queue, Reader, problems
from scorer.results import remove_file
from scorer.templates import Asking


def retry(
    folder: Path,
    *,
    kind: str | None,
    num_ctx: int | None,
    num_predict: int | None,
    tell: Callable[[str], None] = lambda _: None,
) -> int:
    """Put dead rows (of one kind, or all) back to pending and return how many; UsageError if there are none.

    `num_ctx` and `num_predict` change the job's template options from now on, for rows that had too little room; `tell`
    hears of what that changes, since it is so for all rows.
    """
    with _opened(folder) as (spec, queue, publisher):
        kinds = _dead_kinds(folder)
        if not kinds:
            raise UsageError(f"job {folder.name} has no dead rows")
        if kind is not None and kind not in kinds:
            listing = ", ".join(f"{name} ({rows})" for name, rows in kinds.items())
            raise UsageError(f"job {folder.name} has no dead rows of kind {kind!r}; it has: {listing}")
        if num_ctx is not None or num_predict is not None:
            changed = _with_options(spec.template, folder, num_ctx, num_predict)
            write_spec(folder, replace(spec, template=changed))
            for line in _changes(thawed(spec.template, folder), thawed(changed, folder)):
                tell(line)
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


def _with_options(template: TemplateSpec, folder: Path, num_ctx: int | None, num_predict: int | None) -> TemplateSpec:
    document = tomlkit.parse(template.text)
    options = document.setdefault("options", tomlkit.table())
    for key, value in (("num_ctx", num_ctx), ("num_predict", num_predict)):
        if value is not None:
            options[key] = value
    changed = replace(template, text=tomlkit.dumps(document))
    # checked like any other; the fingerprint stays, since `run` with the same file means the same job
    thawed(changed, folder)
    return changed


def _changes(before: Asking, now: Asking) -> Iterator[str]:
    for key, was, there in (
        ("num_ctx", str(before.options.num_ctx), str(now.options.num_ctx)),
        ("num_predict", _answer_lengths(before), _answer_lengths(now)),
    ):
        if was != there:
            yield f"{key} is now {there}, was {was}, for all rows that are still to come"


def _answer_lengths(asking: Asking) -> str:
    """Return the most tokens of an answer; the suites of a benchmark may each have their own."""
    lengths = {way.num_predict for way in recipes_of(asking).values()}
    return " to ".join(str(tokens) for tokens in sorted({min(lengths), max(lengths)}))


def verify(folder: Path) -> list[Finding]:
    """Check a job's database, parts and invariants, and rebuild what can be rebuilt; a damaged database is a finding.

    Raises StoreError where the disk does not let it look or repair.
    """
    try:
        check_database(folder)
        with locked(folder):
            # before anything is written: the run itself is noted in the database
            if damage := _damage(folder):
                return [Finding(problem, DAMAGE, repaired=False) for problem in damage]
            with _at_work(folder) as (_, _, publisher):
                return [*_stale_spec(folder), *publisher.verify(repair=True)]
    except Damaged as error:
        return [Finding(str(error), DAMAGE, repaired=False)]


def _damage(folder: Path) -> list[str]:
    database = folder / DATABASE
    if database.with_name(f"{DATABASE}-journal").exists():
        # a crash as it was made, before it had a write-ahead log: SQLite takes that back, which is to write
        Database.open_to_write(database).close()
    return problems(database, published(folder)) if database.exists() else []


def _stale_spec(folder: Path) -> Iterator[Finding]:
    stale = folder / f"{FILE}.tmp"
    if stale.exists():
        remove_file(stale)
        yield Finding(f"{stale.name} was left unfinished by a crash", f"{FILE} is whole: removed", repaired=True)


@contextmanager
def _opened(folder: Path) -> Iterator[tuple[JobSpec, Queue, Publisher]]:
    check_database(folder)
    with locked(folder), _at_work(folder) as opened:
        yield opened


@contextmanager
def _at_work(folder: Path) -> Iterator[tuple[JobSpec, Queue, Publisher]]:
    """Open what belongs to a job. The lock is held."""
    spec = read_spec(folder)
    template = thawed(spec.template, folder)
    queue = Queue.open(folder / DATABASE, time.time())
    try:
        yield spec, queue, Publisher(queue, folder, schema_of(spec, template))
    finally:
        queue.close()
