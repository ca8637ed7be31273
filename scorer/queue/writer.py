"""The connection that writes: enqueue, walk, commit, revive, keep the books of the parts.

One caller at a time; all calls block. Every call that writes raises DiskFull (it may be made again) or StoreError (the
process must stop writing).
"""

import json
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from sqlalchemy import Connection, delete, exists, func, insert, select, true, update
from sqlalchemy.engine import Row

from scorer import __version__
from scorer.core.result import Counts, Entry, Part, Pending, ResultRow
from scorer.core.task import Attempt, Blame, TaskKey
from scorer.database import Database
from scorer.errors import FaultKind, StoreError, UsageError
from scorer.failpoints import failpoint
from scorer.queue import statements as sql
from scorer.queue.batch import Batch, Key, microseconds
from scorer.queue.pages import dead_pages, result_pages
from scorer.queue.reader import counts, elapsed_s
from scorer.queue.schema import bring_up_to_date
from scorer.queue.soundness import rebuild_tallies, tally_problems


class Queue:
    """The one connection that writes. `open` it, `close` it."""

    def __init__(self, database: Database, epoch: int, models: dict[str, int]) -> None:
        self._database = database
        self._epoch = epoch
        self._models = models

    @classmethod
    def open(cls, path: Path, now: float) -> Self:
        """Open the queue, new if it is absent, and become the only process that may write.

        Raises UsageError for a network file system, a foreign file, and a queue that a newer scorer wrote.
        """
        database = Database.open_to_write(path)
        try:
            with database.write() as db:
                bring_up_to_date(db, path)
                epoch = db.scalars(sql.NEXT_EPOCH).one()
                times = {"started_at": microseconds(now), "last_commit_at": microseconds(now)}
                who = {"pid": os.getpid(), "machine": platform.node(), "scorer": __version__}
                db.execute(insert(sql.run), {"epoch": epoch} | who | times)
                models = _numbers_of_models(db)
        except (StoreError, UsageError):
            database.close()
            raise
        return cls(database, epoch, models)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def enqueue(self, models: Sequence[str], rows: int | Sequence[int], samples: int) -> int:
        """Add the tasks that are missing and return how many those were. `rows`: N means 0..N-1.

        Not one transaction, but one for every million tasks: call it at each start. Adding what is there changes
        nothing, which is also how a pilot grows into the whole job.
        """
        added = 0
        for model in models:
            for statement, tasks in sql.inserts_of_tasks(self._number_of(model), rows, samples):
                with self._writing() as db:
                    before = db.scalars(sql.TOTAL_CHANGES).one()
                    db.execute(statement, tasks)
                    added += db.scalars(sql.TOTAL_CHANGES).one() - before
                    failpoint("enqueue-written")
                failpoint("enqueue-done")
        return added

    def pending(self, model: str, after: tuple[int, int] | None, count: int) -> list[Pending]:
        """Return up to `count` waiting tasks behind (row, sample) `after`, in that order, with what failed before.

        Asked page by page it reads the tasks once in all, whatever the holes.
        """
        after_row, after_sample = after or (-1, -1)
        page = {"model": self._models[model], "row": after_row, "sample": after_sample}
        with self._database.read() as db:
            tasks = db.execute(sql.PENDING_PAGE, page | {"count": count}).all()
            if not tasks:
                return []
            end = {"last_row": tasks[-1].row, "last_sample": tasks[-1].sample}
            histories: dict[tuple[int, int], tuple[Attempt, ...]] = {}
            for attempt in db.execute(sql.HISTORIES, page | end):
                of_task = (attempt.row, attempt.sample)
                histories[of_task] = (*histories.get(of_task, ()), _attempt(attempt))
        return [
            Pending(TaskKey(model, row, sample), tries, histories.get((row, sample), ()))
            for row, sample, tries in tasks
        ]

    def commit(self, batch: Sequence[Entry], now: float) -> int:
        """Make a batch durable in its order, all of it or nothing; return how many of its entries counted.

        The first answer wins: an entry for a task that is not waiting (any more) is ignored.
        """
        failpoint("commit-begun")
        keys = [(self._models[entry.key.model], entry.key.row, entry.key.sample) for entry in batch]
        with self._writing() as db:
            rows = Batch(db.scalars(sql.LAST_SEQ).one(), _waiting(db, keys))
            counted = sum([rows.add(key, entry) for key, entry in zip(keys, batch, strict=True)])
            for statement, values in rows.writes():
                db.exec_driver_sql(statement, values)
            db.execute(sql.TOUCH_RUN, {"this_epoch": self._epoch, "now": microseconds(now)})
            failpoint("commit-written")
        failpoint("commit-done")
        self._database.tidy_log()
        return counted

    def counts(self, model: str | None = None) -> Counts:
        """How many tasks are in each state, of one model or of all."""
        with self._database.read() as db:
            return counts(db, model)

    def elapsed_s(self) -> float:
        """Time that all runs of the job took, each from its start to its last commit."""
        with self._database.read() as db:
            return elapsed_s(db)

    def hosts_that_scored(self) -> set[str]:
        """The names of the hosts that have done rows of this job, of whatever model."""
        with self._database.read() as db:
            return set(db.execute(select(sql.host_tally.c.host).where(sql.host_tally.c.rows > 0)).scalars())

    def dead_kinds(self) -> dict[str, int]:
        """How many tasks died of each kind, the most frequent first."""
        dead = select(sql.dead.c.kind, func.count().label("tasks")).group_by(sql.dead.c.kind)
        with self._database.read() as db:
            return {row.kind: row.tasks for row in db.execute(dead.order_by(func.count().desc(), sql.dead.c.kind))}

    def revive(self, kind: str | None) -> int:
        """Put dead tasks (of one kind, or all) back to pending and return how many those were.

        What was held against them is void; their tries stay counted. `dead.parquet` must be gone before.
        """
        chosen = true() if kind is None else sql.dead.c.kind == kind
        with self._writing() as db:
            for table, values in ((sql.task, {"state": sql.PENDING}), (sql.attempt, {"void": True})):
                is_chosen = exists().where(sql.same_task(sql.dead, table), chosen)
                db.execute(update(table).where(is_chosen).values(values))
            revived = db.execute(delete(sql.dead).where(chosen)).rowcount
            failpoint("retry-written")
        failpoint("retry-done")
        return revived

    def parts(self) -> list[Part]:
        """All parts in order; only the last may be one whose file is not recorded."""
        with self._database.read() as db:
            return [Part(*row) for row in db.execute(select(sql.part).order_by(sql.part.c.number))]

    def fix_part(self, limit_rows: int) -> Part | None:
        """Fix the range of the next part, before its file is written; None when every result is in a part.

        A part that was fixed but not recorded comes first, as it is.
        """
        with self._writing() as db:
            last = db.execute(sql.LAST_PART).one_or_none()
            if last is not None and last.sha256 is None:
                return Part(*last)
            number, first = (0, 1) if last is None else (last.number + 1, last.last_seq + 1)
            end = min(db.scalars(sql.LAST_SEQ).one(), first + limit_rows - 1)
            if end < first:
                return None
            db.execute(insert(sql.part), {"number": number, "first_seq": first, "last_seq": end})
        return Part(number, first, end)

    def record_part(self, number: int, size_bytes: int, sha256: str) -> None:
        """Record that a part's file is published whole, with its size and checksum."""
        with self._writing() as db:
            file = {"size_bytes": size_bytes, "sha256": sha256}
            db.execute(update(sql.part).where(sql.part.c.number == number).values(file))

    def unpublished(self) -> tuple[int, float | None]:
        """How many results are in no recorded part, and when the first of them finished (UTC seconds)."""
        with self._database.read() as db:
            rows, finished_us = db.execute(sql.UNPUBLISHED).one()
        return rows, None if finished_us is None else finished_us / 1e6

    def results(self, first_seq: int, last_seq: int) -> Iterator[list[ResultRow]]:
        """Results of a range, both ends included, in order, a page at a time; other calls may come in between."""
        return result_pages(self._database, first_seq, last_seq)

    def dead_rows(self) -> Iterator[list[ResultRow]]:
        """All dead tasks by model, row and sample, a page at a time; other calls may come in between."""
        return dead_pages(self._database)

    def tally_problems(self) -> list[str]:
        """Compare the sums with the results; `rebuild_tallies` mends what is found."""
        with self._database.read() as db:
            return list(tally_problems(db))

    def rebuild_tallies(self) -> None:
        """Sum the results anew."""
        with self._writing() as db:
            rebuild_tallies(db)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._database.write() as db:
            if db.scalars(sql.CURRENT_EPOCH).one() != self._epoch:
                raise StoreError(f"{self._database.path}: another process took over this job; this one stops")
            yield db

    def _number_of(self, model: str) -> int:
        if model not in self._models:
            with self._writing() as db:
                db.execute(insert(sql.model), {"name": model})
                self._models = _numbers_of_models(db)
        return self._models[model]


def _numbers_of_models(db: Connection) -> dict[str, int]:
    return {row.name: row.id for row in db.execute(select(sql.model))}


def _attempt(row: Row[tuple[object, ...]]) -> Attempt:
    return Attempt(
        host=row.host,
        blame=Blame(row.blame),
        kind=FaultKind(row.kind),
        message=row.message,
        downed=row.downed,
        permanent=row.permanent,
        sent=row.sent,
    )


def _waiting(db: Connection, keys: Sequence[Key]) -> set[Key]:
    """Return those of the tasks that are pending."""
    each, asked = set(keys), {"keys": json.dumps(keys)}
    if db.scalars(sql.COUNT_WAITING, asked).one() == len(keys) == len(each):
        return each
    return {(model, row, sample) for model, row, sample in db.execute(sql.WAITING, asked)}
