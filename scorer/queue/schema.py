"""Creates a job's tables, or brings those of an older scorer up to date.

The version is SQLite's `user_version`. An older database is brought up to date by the first command that writes, in the
transaction in which that command begins: after a crash it is either old or new. Those that only read take what they
need from either. A newer one is refused by all, and so is one that lacks a table: nothing here ever drops one.
"""

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection

from scorer.errors import Damaged, UsageError
from scorer.tables import SCHEMA_VERSION, metadata


def _say_which_scorer(db: Connection) -> None:
    db.exec_driver_sql("ALTER TABLE run ADD COLUMN scorer TEXT DEFAULT '' NOT NULL")


MIGRATIONS: dict[int, Callable[[Connection], None]] = {1: _say_which_scorer}
"""What turns the version that is the key into the next one, tried on `tests/old_databases`."""


def bring_up_to_date(db: Connection, path: Path) -> None:
    """Make the tables those of this version, in the caller's transaction. Raises UsageError if that cannot be."""
    version = schema_version(db, path)
    if version == 0:
        metadata.create_all(db)
    for old in range(version or SCHEMA_VERSION, SCHEMA_VERSION):
        MIGRATIONS[old](db)
    if version != SCHEMA_VERSION:
        db.exec_driver_sql(f"PRAGMA user_version={SCHEMA_VERSION}")


def schema_version(db: Connection, path: Path) -> int:
    """Return the version of the tables, 0 for an empty database.

    Raises UsageError for a newer or a foreign one, Damaged if tables are missing.
    """
    version = int(db.exec_driver_sql("PRAGMA user_version").scalar_one())
    if version > SCHEMA_VERSION:
        raise UsageError(f"{path} was written by a newer scorer; upgrade scorer to go on with this job")
    if version == 0 and db.exec_driver_sql("SELECT 1 FROM sqlite_master LIMIT 1").first():
        raise UsageError(f"{path} is not the queue of a scorer job; move it away or choose another --job")
    if version == SCHEMA_VERSION:
        there = set(db.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars())
        if missing := sorted(metadata.tables.keys() - there):
            raise Damaged(f"{path}: the database is damaged; it has no table {', '.join(missing)}")
    return version
