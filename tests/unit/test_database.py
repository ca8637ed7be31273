import sqlite3
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy.exc import DBAPIError

from scorer import database
from scorer.database import Database, refuse_network_folder, store_error
from scorer.errors import Damaged, DiskFull, StoreError, UsageError

Mount = namedtuple("Mount", "mountpoint fstype")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "db.sqlite"


@pytest.fixture
def db(path: Path) -> Iterator[Database]:
    opened = Database.open_to_write(path)
    with opened.write() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x)")
    yield opened
    opened.close()


def test_commits_are_synced_and_logged_ahead(db: Database) -> None:
    with db.read() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "fullfsync", "checkpoint_fullfsync", "journal_size_limit")
        }
    assert settings == {
        "journal_mode": "wal",
        "synchronous": 2,
        "fullfsync": 1,
        "checkpoint_fullfsync": 1,
        "journal_size_limit": 16 << 20,
    }


def test_an_exception_undoes_the_whole_transaction(db: Database) -> None:
    def fail() -> None:
        with db.write() as connection:
            connection.exec_driver_sql("INSERT INTO t VALUES (1)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with db.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM t").scalar_one() == 0


def test_a_read_sees_one_state_while_others_write(db: Database, path: Path) -> None:
    reader = Database.open_to_read(path)
    with reader.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM t").scalar_one() == 0
        with db.write() as writing:
            writing.exec_driver_sql("INSERT INTO t VALUES (1)")
        assert connection.exec_driver_sql("SELECT count(*) FROM t").scalar_one() == 0
    reader.close()


def test_a_lock_held_elsewhere_is_an_error_and_ends_the_writing(
    db: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with db.read() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=1")
    with pytest.raises(StoreError, match="another process is writing"), db.write():
        pass
    other.execute("ROLLBACK")
    other.close()
    with pytest.raises(StoreError, match="another process is writing"), db.write():
        pass


def test_our_own_mistakes_in_sql_are_no_store_errors(db: Database) -> None:
    with pytest.raises(DBAPIError), db.read() as connection:
        connection.exec_driver_sql("SELECT nothing FROM nowhere")
    with pytest.raises(DBAPIError), db.read() as connection:
        connection.exec_driver_sql("SELECT ?", (object(),))


def test_a_text_that_is_none_any_more_is_damage_and_its_content_is_not_repeated(db: Database, path: Path) -> None:
    with db.write() as connection:
        connection.exec_driver_sql("INSERT INTO t VALUES (cast(x'736563726574ff' AS TEXT))")
    with pytest.raises(Damaged, match="damaged") as error, db.read() as connection:
        connection.exec_driver_sql("SELECT x FROM t").all()
    assert str(path) in str(error.value)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("code", "kind", "text"),
    [
        (sqlite3.SQLITE_FULL, DiskFull, "no room left"),
        (sqlite3.SQLITE_IOERR_SHMSIZE, DiskFull, "no room left"),
        (sqlite3.SQLITE_IOERR_FSYNC, StoreError, "the disk failed"),
        (sqlite3.SQLITE_CORRUPT_INDEX, Damaged, "damaged"),
        (sqlite3.SQLITE_NOTADB, Damaged, "damaged"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, StoreError, "another process"),
        (sqlite3.SQLITE_READONLY_DIRECTORY, StoreError, "may not be written"),
    ],
)
def test_every_trouble_has_its_meaning(path: Path, code: int, kind: str, text: str) -> None:
    error = store_error(path, code, "as SQLite says")
    assert type(error) is kind
    assert str(path) in str(error)
    assert text in str(error)


def test_a_broken_constraint_is_a_bug(path: Path) -> None:
    assert store_error(path, sqlite3.SQLITE_CONSTRAINT_UNIQUE, "UNIQUE") is None


def test_after_an_error_the_log_is_left_as_it_is_and_the_next_run_reads_it(path: Path) -> None:
    """Closing would sync once more what has failed to sync, and move it."""
    broken = Database.open_to_write(path)
    with broken.write() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x)")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with broken.read() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=1")
    with pytest.raises(StoreError), broken.write():
        pass
    other.close()
    log = path.with_name(path.name + "-wal")
    before = log.read_bytes()
    broken.close()
    assert log.read_bytes() == before
    whole = Database.open_to_write(path)
    with whole.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM t").scalar_one() == 0
    whole.close()
    assert not log.exists()


def test_a_large_log_is_cut(db: Database, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = path.with_name(path.name + "-wal")
    with db.write() as connection:
        connection.exec_driver_sql("INSERT INTO t VALUES (randomblob(100000))")
    db.tidy_log()
    assert log.stat().st_size > 100_000, "a small log stays"
    monkeypatch.setattr(db, "_large_bytes", 50_000)
    db.tidy_log()
    assert log.stat().st_size == 0


def test_a_reader_that_stays_puts_the_cut_off_without_blocking_every_commit(
    db: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = path.with_name(path.name + "-wal")
    reader = Database.open_to_read(path)
    with db.read() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=1")
    with reader.read() as reading:
        reading.exec_driver_sql("SELECT * FROM t").all()
        with db.write() as connection:
            connection.exec_driver_sql("INSERT INTO t VALUES (randomblob(100000))")
        monkeypatch.setattr(db, "_large_bytes", 50_000)
        db.tidy_log()
        assert log.stat().st_size > 100_000
        assert db._large_bytes == log.stat().st_size + database.LOG_AGAIN_BYTES
    reader.close()
    monkeypatch.setattr(db, "_large_bytes", 50_000)
    db.tidy_log()
    assert log.stat().st_size == 0
    assert db._large_bytes == database.LOG_LARGE_BYTES


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "9p", "SMBFS"])
def test_network_file_systems_are_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    mounts = [Mount("/", "ext4"), Mount(str(tmp_path), kind)]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: mounts)
    with pytest.raises(UsageError, match="--runs-dir") as caught:
        refuse_network_folder(tmp_path / "job")
    assert kind in str(caught.value)


def test_the_nearest_mount_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = [Mount("/", "nfs"), Mount(str(tmp_path), "ext4")]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: mounts)
    refuse_network_folder(tmp_path / "job")


def test_an_unknown_mount_is_let_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: [])
    refuse_network_folder(tmp_path)


def test_a_file_system_without_shared_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # A database in memory cannot have a write-ahead log either.
    monkeypatch.setattr(Database, "_uri", staticmethod(lambda path, mode: "file::memory:"))
    with pytest.raises(StoreError, match="write-ahead log"):
        Database.open_to_write(Path("memory.sqlite"))
