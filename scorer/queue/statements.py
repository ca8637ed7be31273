"""The queue's SQL: statements that run often are built once, so that their compiled form is found again."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Integer,
    and_,
    bindparam,
    func,
    insert,
    literal,
    literal_column,
    null,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import Insert, Update

from scorer.core.task import State
from scorer.tables import STATE_CODES, metadata

ENQUEUE_TASKS = 1_000_000
"""Tasks added in one transaction: about 15 MB of write-ahead log."""
LIST_ROWS = 10_000
AT_ONCE = 64
"""Rows in one statement: with 15 columns fewer parameters than any SQLite has room for."""

model, task, attempt, result, dead, host_tally, score_tally, part, run = (
    metadata.tables[name]
    for name in ("model", "task", "attempt", "result", "dead", "host_tally", "score_tally", "part", "run")
)
PENDING, DONE, DEAD = (STATE_CODES[state] for state in (State.PENDING, State.DONE, State.DEAD))


def same_task(one: FromClause, other: FromClause) -> ColumnElement[bool]:
    """Both rows are about the same task."""
    return and_(one.c.model == other.c.model, one.c.row == other.c.row, one.c.sample == other.c.sample)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement for the driver itself, and what picks its parameters in their order out of a row by name.

    What a commit does for each task goes this way: SQLAlchemy's own handling of parameters would cost as much again as
    all the rest of the commit. `group` is the part of an INSERT's text that is repeated for each row, empty where rows
    go one by one. The driver lets other threads run at each step of a statement, and a thread that must wait for its
    turn twice a row takes three times as much CPU, so many rows go in one.
    """

    text: str
    group: str
    pick: Callable[[Mapping[str, Any]], tuple[Any, ...]]

    def writes(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
        """Yield texts with the parameters of these rows; none without rows."""
        if not self.group:
            if rows:
                yield self.text, [self.pick(row) for row in rows]
            return
        for start in range(0, len(rows), AT_ONCE):
            part = rows[start : start + AT_ONCE]
            text = self.text.replace(self.group, ", ".join([self.group] * len(part)))
            yield text, tuple(chain.from_iterable(map(self.pick, part)))


def prepared(statement: Insert | Update) -> Prepared:
    """Make a statement for the driver."""
    made: SQLCompiler = statement.compile(dialect=SQLiteDialect_pysqlite(paramstyle="qmark"))
    names = made.positiontup or ()
    group = f"({', '.join('?' * len(names))})"
    return Prepared(str(made), group if isinstance(statement, Insert) else "", itemgetter(*names))


# Runs

CURRENT_EPOCH = select(func.max(run.c.epoch))
NEXT_EPOCH = select(func.coalesce(func.max(run.c.epoch), 0) + 1)
TOUCH_RUN = update(run).where(run.c.epoch == bindparam("this_epoch")).values(last_commit_at=bindparam("now"))
ELAPSED_US = select(func.coalesce(func.sum(run.c.last_commit_at - run.c.started_at), 0))
# a run that found nothing to do commits nothing; it is no activity, unless there was never any other
_committed = run.c.last_commit_at > run.c.started_at
LAST_ACTIVITY_US = select(func.coalesce(func.max(run.c.last_commit_at).filter(_committed), func.min(run.c.started_at)))
LAST_START_US = select(func.max(run.c.started_at))

# Tasks

TOTAL_CHANGES = select(func.total_changes())

_page_start = tuple_(bindparam("row"), bindparam("sample"))
_page_end = tuple_(bindparam("last_row"), bindparam("last_sample"))

PENDING_PAGE = (
    select(task.c.row, task.c.sample, task.c.tries)
    .where(task.c.model == bindparam("model"), task.c.state == PENDING)
    .where(tuple_(task.c.row, task.c.sample) > _page_start)
    .order_by(task.c.row, task.c.sample)
    .limit(bindparam("count"))
)
# without what the model said: nobody asks for it again, and it may be long
HISTORIES = (
    select(*(column for column in attempt.c if column.name != "completion"))
    .join(task, same_task(attempt, task))
    .where(attempt.c.model == bindparam("model"), attempt.c.void.is_(False), task.c.state == PENDING)
    .where(tuple_(attempt.c.row, attempt.c.sample) > _page_start)
    .where(tuple_(attempt.c.row, attempt.c.sample) <= _page_end)
    .order_by(attempt.c.row, attempt.c.sample, attempt.c.id)
)

# Which of these tasks wait. A list of row values would scan the whole table; this looks each of them up.
_keys = func.json_each(bindparam("keys")).table_valued("value")
WAITING = select(task.c.model, task.c.row, task.c.sample).join_from(
    _keys,
    task,
    and_(
        task.c.model == func.json_extract(_keys.c.value, "$[0]"),
        task.c.row == func.json_extract(_keys.c.value, "$[1]"),
        task.c.sample == func.json_extract(_keys.c.value, "$[2]"),
        task.c.state == PENDING,
    ),
)
# nearly always all of them do, and counting is cheaper than listing
COUNT_WAITING = WAITING.with_only_columns(func.count(), maintain_column_froms=True)

_this_task = and_(
    task.c.model == bindparam("to_model"),
    task.c.row == bindparam("to_row"),
    task.c.sample == bindparam("to_sample"),
)
COUNT_TRY = prepared(update(task).where(_this_task).values(tries=task.c.tries + literal_column("1")))
_task = upsert(task)
# the task is there: this is the form of an update that takes many rows
END_TASK = prepared(
    _task.on_conflict_do_update(
        index_elements=["model", "row", "sample"], set_={"state": _task.excluded.state, "tries": _task.excluded.tries}
    )
)
INSERT_ATTEMPT = prepared(insert(attempt).values({c: bindparam(c.name) for c in attempt.c if c.name != "id"}))
INSERT_RESULT = prepared(insert(result))
INSERT_DEAD = prepared(insert(dead))

_host = upsert(host_tally)
ADD_TO_HOST_TALLY = prepared(
    _host.on_conflict_do_update(
        index_elements=["model", "host"],
        set_={
            name: host_tally.c[name] + _host.excluded[name]
            for name in ("rows", "prompt_tokens", "output_tokens", "busy_s")
        }
        | {"last_finished_at": func.max(host_tally.c.last_finished_at, _host.excluded.last_finished_at)},
    )
)
_score = upsert(score_tally)
ADD_TO_SCORE_TALLY = prepared(
    _score.on_conflict_do_update(
        index_elements=["model", "host", "score"], set_={"rows": score_tally.c.rows + _score.excluded.rows}
    )
)

# The tallies as they should be

HOST_SUMS = select(
    result.c.model,
    result.c.host,
    func.count().label("rows"),
    func.coalesce(func.sum(result.c.prompt_tokens), 0).label("prompt_tokens"),
    func.coalesce(func.sum(result.c.output_tokens), 0).label("output_tokens"),
    func.sum(result.c.duration_s).label("busy_s"),
    func.max(result.c.finished_at).label("last_finished_at"),
).group_by(result.c.model, result.c.host)
SCORE_SUMS = (
    select(result.c.model, result.c.host, result.c.score, func.count().label("rows"))
    .where(result.c.score.is_not(None))
    .group_by(result.c.model, result.c.host, result.c.score)
)

# Results, parts, dead rows

LAST_SEQ = select(func.coalesce(func.max(result.c.seq), 0))
LAST_PART = select(part).order_by(part.c.number.desc()).limit(1)
_published = select(func.coalesce(func.max(part.c.last_seq), 0)).where(part.c.sha256.is_not(None)).scalar_subquery()
UNPUBLISHED = select(
    LAST_SEQ.scalar_subquery() - _published,
    select(result.c.finished_at).where(result.c.seq == _published + 1).scalar_subquery(),
)
RESULT_PAGE = (
    select(
        result.c.seq,
        result.c.row,
        model.c.name,
        result.c.sample,
        result.c.fields,
        result.c.kept,
        literal(State.DONE.value).label("status"),
        null().label("error"),
        result.c.completion,
        result.c.digest,
        result.c.host,
        result.c.attempts,
        result.c.prompt_tokens,
        result.c.output_tokens,
        result.c.duration_s,
        result.c.finished_at,
    )
    .join(model, model.c.id == result.c.model)
    .where(result.c.seq.between(bindparam("first"), bindparam("last")))
    .order_by(result.c.seq)
    .limit(bindparam("count"))
)
DEAD_PAGE = (
    select(
        dead.c.model,
        dead.c.row,
        model.c.name,
        dead.c.sample,
        null().label("fields"),
        dead.c.kept,
        literal(State.DEAD.value).label("status"),
        dead.c.error,
        dead.c.completion,
        dead.c.digest,
        dead.c.host,
        dead.c.attempts,
        dead.c.prompt_tokens,
        dead.c.output_tokens,
        dead.c.duration_s,
        dead.c.finished_at,
    )
    .join(model, model.c.id == dead.c.model)
    .where(tuple_(dead.c.model, dead.c.row, dead.c.sample) > tuple_(*map(bindparam, ("model", "row", "sample"))))
    .order_by(dead.c.model, dead.c.row, dead.c.sample)
    .limit(bindparam("count"))
)

# Adding tasks

_counter = select(bindparam("first", type_=Integer).label("n")).cte("counter", recursive=True)
_counter = _counter.union_all(select(_counter.c.n + 1).where(_counter.c.n + 1 < bindparam("end", type_=Integer)))
_samples = bindparam("samples", type_=Integer)
_INSERT_TASK = insert(task).prefix_with("OR IGNORE")
_INSERT_COUNTED = _INSERT_TASK.from_select(
    ["model", "row", "sample", "state", "tries"],
    select(
        bindparam("of_model", type_=Integer),
        _counter.c.n // _samples,
        _counter.c.n % _samples,
        literal(PENDING),
        literal(0),
    ),
)

Inserts = Iterator[tuple[Insert, Any]]


def inserts_of_tasks(of_model: int, rows: int | Sequence[int], samples: int) -> Inserts:
    """Yield what adds the tasks of these rows (N: 0..N-1) that are missing: statements of bounded size, in order.

    Counting happens inside SQLite, since a million parameters would cost more than the tasks.
    """
    if isinstance(rows, int):
        for first in range(0, rows * samples, ENQUEUE_TASKS):
            end = min(first + ENQUEUE_TASKS, rows * samples)
            yield _INSERT_COUNTED, {"of_model": of_model, "first": first, "end": end, "samples": samples}
        return
    for start in range(0, len(rows), LIST_ROWS):
        yield (
            _INSERT_TASK,
            [
                {"model": of_model, "row": row, "sample": sample, "state": PENDING, "tries": 0}
                for row in rows[start : start + LIST_ROWS]
                for sample in range(samples)
            ],
        )
