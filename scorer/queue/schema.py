"""Creates a job's tables, or brings those of an older scorer up to date."""

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection

from scorer.errors import UsageError
from scorer.tables import SCHEMA_VERSION, metadata

MIGRATIONS: dict[int, Callable[[Connection], None]] = {}
"""What turns the version that is the key into the next one. None yet."""


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
    """Return the version of the tables, 0 for an empty database. Raises UsageError for a newer or a foreign one."""
    version = int(db.exec_driver_sql("PRAGMA user_version").scalar_one())
    if version > SCHEMA_VERSION:
        raise UsageError(f"{path} was written by a newer scorer; upgrade scorer to go on with this job")
    if version == 0 and db.exec_driver_sql("SELECT 1 FROM sqlite_master LIMIT 1").first():
        raise UsageError(f"{path} is not the queue of a scorer job; move it away or choose another --job")
    return version
