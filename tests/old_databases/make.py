"""Write down the database of a small job as this version of scorer makes it: `python tests/old_databases/make.py`.

To be run, and its file added, with each change of `scorer.tables` that raises SCHEMA_VERSION: the tests compare the
tables of today with the newest file, so that no change goes without a new version, and bring all older ones up to date.
It is SQL and not a database, so that a difference can be read. Files that are there stay as they are.
"""

import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

import entries  # noqa: E402  (needs the path)

from scorer.queue import Queue  # noqa: E402
from scorer.tables import SCHEMA_VERSION  # noqa: E402

NOW = 1_700_000_000.0
ROWS = 12
FOLDER = Path(__file__).parent


def make(path: Path) -> None:
    """Make a job of twelve rows: six done (of which four are in a part), two dead, one tried, four never."""
    queue = Queue.open(path, NOW)
    queue.enqueue(["m"], ROWS, 1)
    queue.commit([entries.done(row) for row in range(6)], NOW + 1)
    queue.commit([entries.tried(6), entries.died(6), entries.tried(7), entries.died(7), entries.tried(8)], NOW + 2)
    queue.fix_part(4)
    queue.record_part(0, 1234, "ab" * 32)
    queue.close()


def dumped(path: Path) -> str:
    """Return a database as the SQL that makes it, its version included."""
    with closing(sqlite3.connect(path)) as db:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        return "\n".join([*db.iterdump(), f"PRAGMA user_version={version};", ""])


def main() -> None:
    """Write the file of this version, if it is not there."""
    target = FOLDER / f"v{SCHEMA_VERSION}.sql"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "queue.sqlite"
        make(path)
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("UPDATE run SET pid = 4711, machine = 'studio'")
        if not target.exists():
            target.write_text(dumped(path), encoding="utf-8")


if __name__ == "__main__":
    main()
