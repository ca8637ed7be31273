"""Databases of older versions of scorer, as they were written down then, are brought up to date and gone on with."""

import sqlite3
from contextlib import closing
from pathlib import Path

import entries
import pytest
from old_databases.make import FOLDER, ROWS, make

from scorer import __version__
from scorer.core.result import Counts, Part
from scorer.queue import Queue, Reader, problems
from scorer.tables import SCHEMA_VERSION

NOW = 1_800_000_000.0
OLDER = sorted(FOLDER.glob("v*.sql"))


def restored(written: Path, path: Path) -> Path:
    with closing(sqlite3.connect(path)) as db:
        db.executescript(written.read_text(encoding="utf-8"))
    return path


def columns(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Name, type, whether it may be null, and place in the key of each table's columns; and all indexes."""
    with closing(sqlite3.connect(path)) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {name: db.execute(f"PRAGMA table_info({name})").fetchall() for name in names}
        indexes = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' ORDER BY name").fetchall()
    return {**found, "indexes": indexes}


def test_every_version_is_written_down_so_that_no_change_goes_without_a_new_one() -> None:
    assert {path.stem for path in OLDER} == {f"v{version}" for version in range(1, SCHEMA_VERSION + 1)}


@pytest.mark.parametrize("written", OLDER, ids=lambda path: path.stem)
def test_an_older_database_has_the_tables_of_a_new_one_and_all_its_rows(written: Path, tmp_path: Path) -> None:
    old, new = restored(written, tmp_path / "old.sqlite"), tmp_path / "new.sqlite"
    make(new)
    assert problems(old) == [], "as it is, before anything is written"
    queue = Queue.open(old, NOW)
    assert problems(old) == []
    assert queue.tally_problems() == []
    assert queue.counts() == Counts(pending=ROWS - 8, done=6, dead=2)
    assert queue.parts() == [Part(0, 1, 4, 1234, "ab" * 32)]
    assert [pending.key.row for pending in queue.pending("m", None, ROWS)] == [8, 9, 10, 11]
    assert queue.pending("m", None, 1)[0].history != ()
    assert queue.commit([entries.done(8), entries.done(5)], NOW) == 1
    assert queue.revive(None) == 2
    queue.close()
    assert columns(old) == columns(new)
    Queue.open(old, NOW).close()
    assert columns(old) == columns(new)


@pytest.mark.parametrize("written", OLDER, ids=lambda path: path.stem)
def test_who_only_looks_can_read_an_older_database_and_leaves_it_as_it_is(written: Path, tmp_path: Path) -> None:
    path = restored(written, tmp_path / "old.sqlite")
    before = path.read_bytes()
    reader = Reader.open(path)
    assert reader.counts().done == 6
    assert [len(page) for page in reader.results(1, 6)] == [6]
    assert [len(page) for page in reader.dead_rows()] == [2]
    assert reader.dead_by_kind()
    assert reader.per_host()
    reader.close()
    assert path.read_bytes() == before


def test_each_start_is_noted_with_the_version_that_started(tmp_path: Path) -> None:
    path = restored(OLDER[0], tmp_path / "old.sqlite")
    Queue.open(path, NOW).close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT epoch, scorer FROM run").fetchall() == [(1, ""), (2, __version__)]
