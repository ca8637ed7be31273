"""Walks over what a job has stored, a page a read, so that no walk holds up a checkpoint however long it takes.

A page is bounded in rows and in bytes: a host may send, and a row may keep, texts of any length.
"""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

from sqlalchemy import CursorResult

from scorer.core.result import ResultRow, most_bytes
from scorer.database import Database
from scorer.queue import statements as sql

PAGE_ROWS = 1000
PAGE_BYTES = 8 << 20


def result_pages(database: Database, first_seq: int, last_seq: int) -> Iterator[list[ResultRow]]:
    """Results of a range, both ends included, in order, a page at a time; other calls may come in between."""
    while first_seq <= last_seq:
        with database.read() as db:
            bounds = {"first": first_seq, "last": last_seq, "count": PAGE_ROWS}
            rows, seq = _page(db.execute(sql.RESULT_PAGE, bounds))
        if not rows:
            return
        yield rows
        first_seq = seq + 1


def dead_pages(database: Database) -> Iterator[list[ResultRow]]:
    """All dead tasks by model, row and sample, a page at a time; other calls may come in between."""
    after = {"model": -1, "row": -1, "sample": -1}
    while True:
        with database.read() as db:
            rows, model = _page(db.execute(sql.DEAD_PAGE, after | {"count": PAGE_ROWS}))
        if not rows:
            return
        yield rows
        after = {"model": model, "row": rows[-1].row, "sample": rows[-1].sample}


def _page(found: CursorResult[Any]) -> tuple[list[ResultRow], int]:
    """Read rows until PAGE_BYTES are full, at least one if there is one; return them and the last one's first column.

    The driver hands out row by row, so what is not taken is never in memory.
    """
    rows: list[ResultRow] = []
    size_bytes, first_column = 0, 0
    # left open, the statement would hold up checkpoints
    with closing(found):
        for columns in found:
            row = ResultRow._make(columns[1:])
            rows.append(row)
            size_bytes += most_bytes(row.fields, row.kept, row.completion, row.error)
            if size_bytes >= PAGE_BYTES:
                break
        if rows:
            first_column = columns[0]
    return rows, first_column
