"""Walks over what a job has stored, a page a read, so that no walk holds up a checkpoint however long it takes."""

from collections.abc import Iterator

from scorer.core.result import ResultRow
from scorer.database import Database
from scorer.queue import statements as sql

PAGE_ROWS = 1000


def result_pages(database: Database, first_seq: int, last_seq: int) -> Iterator[list[ResultRow]]:
    """Results of a range, both ends included, in order, a thousand at a time; other calls may come in between."""
    for first in range(first_seq, last_seq + 1, PAGE_ROWS):
        with database.read() as db:
            page = {"first": first, "last": min(first + PAGE_ROWS - 1, last_seq)}
            rows = list(map(ResultRow._make, db.execute(sql.RESULT_PAGE, page).all()))
        yield rows


def dead_pages(database: Database) -> Iterator[list[ResultRow]]:
    """All dead tasks by model, row and sample, a thousand at a time; other calls may come in between."""
    after = {"model": -1, "row": -1, "sample": -1}
    while True:
        with database.read() as db:
            rows = db.execute(sql.DEAD_PAGE, after | {"count": PAGE_ROWS}).all()
        if not rows:
            return
        yield [ResultRow._make(row[1:]) for row in rows]
        after = {"model": rows[-1].model, "row": rows[-1].row, "sample": rows[-1].sample}
