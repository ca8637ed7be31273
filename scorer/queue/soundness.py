"""Every invariant that the queue's tables can show: one function for tests, crash tests and `scorer verify`."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, delete, func, insert, select

from scorer.database import Database
from scorer.queue import statements as sql
from scorer.queue.schema import schema_version


def problems(path: Path, published: Sequence[str] = ()) -> list[str]:
    """Say what is wrong with a database and cannot be rebuilt, one sentence each; it reads the whole of it.

    To be asked before it is opened to write, which changes it: the run is noted, and closing moves the log into it.
    `published` names files that were made from it.

    Raises Damaged if it can be read no further, UsageError for a newer or a foreign one.
    """
    with closing(Database.open_to_read(path)) as database, database.read() as db:
        # a crash may leave a database without tables or tasks: it has not begun, and nothing was made from it
        has_tables = schema_version(db, path) > 0
        if published and not (has_tables and db.scalars(select(sql.task.c.row).limit(1)).all()):
            return [f"the database knows no row, but there is {published[0]}"]
        return _problems(db) if has_tables else []


def _problems(db: Connection) -> list[str]:
    own_check = [str(line) for line in db.exec_driver_sql("PRAGMA integrity_check(10)").scalars()]
    if own_check != ["ok"]:
        return [f"the database is damaged: {line}" for line in own_check]  # nothing else can be believed
    return [*_states(db), *_numbers(db), *_parts(db)]


def rebuild_tallies(db: Connection) -> None:
    """Sum the results anew."""
    for table, sums in ((sql.host_tally, sql.HOST_SUMS), (sql.score_tally, sql.SCORE_SUMS)):
        db.execute(delete(table))
        db.execute(insert(table).from_select([column.name for column in sums.selected_columns], sums))


def _states(db: Connection) -> Iterator[str]:
    for name, state, table in (("done", sql.DONE, sql.result), ("dead", sql.DEAD, sql.dead)):
        in_state = select(func.count()).select_from(sql.task).where(sql.task.c.state == state)
        tasks = db.scalars(in_state).one()
        rows = db.scalars(select(func.count()).select_from(table)).one()
        matching = db.scalars(in_state.join(table, sql.same_task(sql.task, table))).one()
        if not tasks == rows == matching:
            yield f"{tasks} tasks are {name}, {rows} rows say so, {matching} of them agree"


def _numbers(db: Connection) -> Iterator[str]:
    first, last, rows = db.execute(
        select(func.min(sql.result.c.seq), func.max(sql.result.c.seq), func.count(sql.result.c.seq))
    ).one()
    if rows and (first, last) != (1, rows):
        yield f"the numbers of {rows} results run from {first} to {last}"


def _parts(db: Connection) -> Iterator[str]:
    end = 0
    unrecorded = False
    for number, part in enumerate(db.execute(select(sql.part).order_by(sql.part.c.number))):
        if part.number != number or part.first_seq != end + 1 or part.last_seq < part.first_seq or unrecorded:
            yield f"part {part.number} does not follow the one before it"
        end = part.last_seq
        unrecorded = part.sha256 is None
    if end > (last := db.scalars(sql.LAST_SEQ).one()):
        yield f"the parts end at result {end}, the results at {last}"


def tally_problems(db: Connection) -> Iterator[str]:
    """Say which sums are not those of the results. `rebuild_tallies` mends that."""
    for table, sums in ((sql.host_tally, sql.HOST_SUMS), (sql.score_tally, sql.SCORE_SUMS)):
        names = [column.name for column in sums.selected_columns]
        kept = {tuple(map(_rounded, row)) for row in db.execute(select(*(table.c[name] for name in names)))}
        if kept != {tuple(map(_rounded, row)) for row in db.execute(sums)}:
            yield f"{table.name} is not the sum of the results"


def _rounded(value: object) -> object:
    """Sums of floats depend on the order of adding."""
    return round(value, 3) if isinstance(value, float) else value
