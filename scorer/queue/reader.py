"""Figures about a job for other processes (`status`, `jobs`): read-only, each a short read, whatever the job's size.

What would need a walk over all results is kept as sums by the commits (`host_tally`, `score_tally`).
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from sqlalchemy import Connection, func, select

from scorer.core.result import Counts, DeadKind, HostTotals, Part, ResultRow, Timing
from scorer.core.task import TaskKey
from scorer.database import Database
from scorer.errors import StoreError, UsageError
from scorer.queue import statements as sql
from scorer.queue.batch import microseconds
from scorer.queue.pages import dead_pages, result_pages
from scorer.queue.schema import schema_version


class Reader:
    """A read-only connection. `open` it, `close` it; one caller at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a queue that exists. Raises StoreError if it does not, or has no tables yet, UsageError if newer."""
        database = Database.open_to_read(path)
        try:
            with database.read() as db:
                if schema_version(db, path) == 0:
                    raise StoreError(f"{path}: the job was not started yet")
        except (StoreError, UsageError):
            database.close()
            raise
        return cls(database)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def counts(self, model: str | None = None) -> Counts:
        """How many tasks are in each state, of one model or of all."""
        with self._database.read() as db:
            return counts(db, model)

    def unpublished(self) -> int:
        """How many results are in no recorded part."""
        with self._database.read() as db:
            return int(db.execute(sql.UNPUBLISHED).one()[0])

    def per_host(self) -> list[HostTotals]:
        """What each host has scored, by name, over all models."""
        tally = sql.host_tally.c
        totals = (
            select(
                tally.host,
                func.sum(tally.rows).label("rows"),
                func.sum(tally.prompt_tokens).label("prompt_tokens"),
                func.sum(tally.output_tokens).label("output_tokens"),
                func.sum(tally.busy_s).label("busy_s"),
                (func.max(tally.last_finished_at) / 1e6).label("last_finished_at"),
            )
            .group_by(tally.host)
            .order_by(tally.host)
        )
        with self._database.read() as db:
            return [HostTotals(**row) for row in db.execute(totals).mappings()]

    def recent(self, now: float, window_s: float = 300.0) -> dict[str, int]:
        """Results of the last `window_s` seconds by host; not those that a clock which was put back has made later."""
        result = sql.result.c
        rows = (
            select(result.host, func.count().label("rows"))
            .where(result.finished_at > microseconds(now - window_s), result.finished_at <= microseconds(now))
            .group_by(result.host)
        )
        with self._database.read() as db:
            return {row.host: row.rows for row in db.execute(rows)}

    def timings(self, most: int) -> list[Timing]:
        """What the last scores took, the latest first, where the host reported tokens; `most` results are looked at."""
        result = sql.result.c
        last = (
            select(result.host, result.prompt_tokens, result.output_tokens, result.duration_s, result.finished_at)
            .order_by(result.seq.desc())
            .limit(most)
        )
        with self._database.read() as db:
            return [
                Timing(host, prompt, output, duration_s, finished_us / 1e6)
                for host, prompt, output, duration_s, finished_us in db.execute(last)
                if prompt and output
            ]

    def spans(self, most: int) -> list[tuple[float, float]]:
        """When the requests of the last `most` scores began and ended, UTC seconds, the latest first."""
        result = sql.result.c
        last = select(result.duration_s, result.finished_at).order_by(result.seq.desc()).limit(most)
        with self._database.read() as db:
            return [(finished_us / 1e6 - duration_s, finished_us / 1e6) for duration_s, finished_us in db.execute(last)]

    def score_counts(self) -> dict[str, Counter[float]]:
        """How often each host gave each score, over all models. The job's own histogram is the sum of these."""
        tally = sql.score_tally.c
        rows = select(tally.host, tally.score, func.sum(tally.rows)).group_by(tally.host, tally.score)
        histograms: dict[str, Counter[float]] = {}
        with self._database.read() as db:
            for host, score, count in db.execute(rows):
                histograms.setdefault(host, Counter())[score] = count
        return histograms

    def dead_by_kind(self) -> list[DeadKind]:
        """Dead tasks by kind, the most frequent first, each with its first row as the example."""
        dead = sql.dead.c
        # SQLite takes the bare columns of a group from the row that holds the minimum.
        rows = (
            select(dead.kind, func.count(), func.min(dead.row).label("row"), dead.sample, dead.error, sql.model.c.name)
            .join(sql.model, sql.model.c.id == dead.model)
            .group_by(dead.kind)
            .order_by(func.count().desc(), dead.kind)
        )
        with self._database.read() as db:
            return [
                DeadKind(kind, count, TaskKey(name, row, sample), error)
                for kind, count, row, sample, error, name in db.execute(rows)
            ]

    def extent(self) -> tuple[list[Part], int]:
        """The parts whose files are published, in order, and the number of the last result, all of one moment."""
        recorded = select(sql.part).where(sql.part.c.sha256.is_not(None)).order_by(sql.part.c.number)
        with self._database.read() as db:
            return [Part(*row) for row in db.execute(recorded)], int(db.scalars(sql.LAST_SEQ).one())

    def results(self, first_seq: int, last_seq: int) -> Iterator[list[ResultRow]]:
        """Results of a range, both ends included, in order, a page at a time: each page a short read."""
        return result_pages(self._database, first_seq, last_seq)

    def dead_rows(self) -> Iterator[list[ResultRow]]:
        """All dead tasks by model, row and sample, a page at a time: each page a short read."""
        return dead_pages(self._database)

    def elapsed_s(self) -> float:
        """Time that all runs of the job took, each from its start to its last commit."""
        with self._database.read() as db:
            return elapsed_s(db)

    def last_activity(self) -> float:
        """When the last commit was, or the first start if there was none, UTC seconds."""
        with self._database.read() as db:
            return float(db.scalars(sql.LAST_ACTIVITY_US).one() / 1e6)

    def last_start(self) -> float:
        """When the last run started, UTC seconds."""
        with self._database.read() as db:
            return float(db.scalars(sql.LAST_START_US).one() / 1e6)


def counts(db: Connection, model: str | None) -> Counts:
    """How many tasks are in each state."""
    in_state = {"pending": sql.PENDING, "done": sql.DONE, "dead": sql.DEAD}
    states = select(*(func.count().filter(sql.task.c.state == code).label(name) for name, code in in_state.items()))
    if model is not None:
        number = select(sql.model.c.id).where(sql.model.c.name == model).scalar_subquery()
        states = states.where(sql.task.c.model == number)
    return Counts(**db.execute(states).mappings().one())


def elapsed_s(db: Connection) -> float:
    """Sum of all runs, each from its start to its last commit."""
    return float(db.scalars(sql.ELAPSED_US).one() / 1e6)
