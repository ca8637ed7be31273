"""How this program talks to SQLite: one connection, its transactions, its errors. It knows no table.

A job's database has exactly one read-write connection in the world, which also checkpoints; everybody else opens it
read-only for moments (SQLite before 3.51.3 can corrupt a log when two connections write or checkpoint at once, and a
long read keeps the log from shrinking). A commit is on the platter before it returns, a power cut included.

The driver begins no transaction by itself (`isolation_level=None`); `read` and `write` say BEGIN in so many words.
SQLite's errors become `StoreError`, `DiskFull` or `Damaged` here and nowhere else; what is left over is a bug.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Literal, Self

import psutil
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from scorer.errors import Damaged, DiskFull, StoreError, UsageError

BUSY_TIMEOUT_S = 5.0
LOG_CHECKPOINT_PAGES = 4000
LOG_KEPT_BYTES = 16 << 20
LOG_LARGE_BYTES = 24 << 20
LOG_AGAIN_BYTES = 8 << 20

NETWORK_FILE_SYSTEMS = frozenset(
    {"9p", "afpfs", "afs", "beegfs", "ceph", "cifs", "davfs", "drvfs", "glusterfs", "gpfs", "lustre", "ncpfs"}
    | {"nfs", "nfs4", "prl_fs", "smb2", "smb3", "smbfs", "vboxsf", "webdav"}
    | {"fuse.ceph", "fuse.curlftpfs", "fuse.glusterfs", "fuse.juicefs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"}
)

# how Python begins its complaint of a text that it cannot read; SQLite itself looks at no text, and gives no code
_NO_TEXT = "Could not decode to UTF-8"
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_MEANINGS = {
    sqlite3.SQLITE_BUSY: "another process is writing to it; only one run may use a job",
    sqlite3.SQLITE_LOCKED: "another process is writing to it; only one run may use a job",
    sqlite3.SQLITE_CORRUPT: "the database is damaged; only a copy from before can help",
    sqlite3.SQLITE_NOTADB: "this is no SQLite database, or a damaged one",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; is the folder there, and may you write to it?",
    sqlite3.SQLITE_READONLY: "may not be written",
    sqlite3.SQLITE_PERM: "may not be written",
    sqlite3.SQLITE_IOERR: "the disk failed",
    sqlite3.SQLITE_NOMEM: "out of memory",
    sqlite3.SQLITE_PROTOCOL: "its locks do not work on this file system",
    sqlite3.SQLITE_NOLFS: "too large for this file system",
}


class Database:
    """One connection to one file. One caller at a time: nothing here takes turns for them."""

    def __init__(self, path: Path, mode: Literal["ro", "rwc", "ro&immutable=1"]) -> None:
        self.path = path
        self._log = path.with_name(path.name + "-wal")
        self._large_bytes = LOG_LARGE_BYTES
        self._failure: str | None = None
        uri = self._uri(path, mode)

        def connect() -> sqlite3.Connection:
            return sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)

        self._engine = create_engine("sqlite://", creator=connect, poolclass=StaticPool)
        with storing(path):
            self._connection = self._engine.connect()

    @staticmethod
    def _uri(path: Path, mode: str) -> str:
        return f"{path.resolve().as_uri()}?mode={mode}"

    @classmethod
    def open_to_write(cls, path: Path) -> Self:
        """Open the one read-write connection; the file is created if it is absent. Raises StoreError, UsageError."""
        refuse_network_folder(path.parent)
        database = cls(path, "rwc")
        try:
            database._prepare_to_write()
        except StoreError:
            database.close()
            raise
        return database

    @classmethod
    def open_to_read(cls, path: Path) -> Self:
        """Open a connection that neither writes nor checkpoints. Raises StoreError, UsageError."""
        refuse_network_folder(path.parent)
        return cls(path, "ro&immutable=1" if _is_at_rest(path) else "ro")

    def close(self) -> None:
        """Let go of the file. The last connection to write puts the log into the database on its way out.

        Not so after an error of the disk: it would sync once more what failed to sync. The log stays for the next run.
        """
        with storing(self.path), self._log_kept():
            self._connection.close()
            self._engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Read one consistent state. Keep it short: the log cannot shrink below an open read."""
        with storing(self.path), self._connection.begin():
            self._connection.exec_driver_sql("BEGIN DEFERRED")
            yield self._connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Write all or nothing.

        After DiskFull the same transaction may be tried again. After any other StoreError nothing more is written: a
        failed fsync must not be asked again, because the second may succeed without the data.
        """
        if self._failure is not None:
            raise StoreError(self._failure)
        with self._changing(), self._connection.begin():
            self._connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield self._connection

    def tidy_log(self) -> None:
        """Truncate the write-ahead log if it is large, which happens only when some reader is always about.

        It waits for the readers; when they do not leave in time, the next try comes only after the log has grown
        by some more, so that commits do not queue up behind it.
        """
        size_bytes = self._log.stat().st_size
        if size_bytes < self._large_bytes:
            return
        with self._changing(), self._connection.begin():
            busy = self._connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]
        self._large_bytes = size_bytes + LOG_AGAIN_BYTES if busy else LOG_LARGE_BYTES

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Remember the error after which nothing may be written any more."""
        try:
            with storing(self.path):
                yield
        except DiskFull:
            raise
        except StoreError as error:
            self._failure = str(error)
            raise

    @contextmanager
    def _log_kept(self) -> Iterator[None]:
        """After an error, be not the last connection that closes: the last one would move the log's content."""
        if self._failure is None:
            yield
            return
        with closing(sqlite3.connect(self._uri(self.path, "ro"), uri=True)) as another:
            # if it cannot even be read, closing cannot move anything either
            with suppress(sqlite3.Error):
                another.execute("SELECT 1 FROM sqlite_schema").fetchone()
            yield

    def _prepare_to_write(self) -> None:
        with storing(self.path), self._connection.begin():
            mode = self._connection.exec_driver_sql("PRAGMA journal_mode=WAL").scalar_one()
            for setting in (
                "synchronous=FULL",
                "fullfsync=ON",  # macOS: an fsync that reaches the platter; elsewhere it does nothing
                "checkpoint_fullfsync=ON",
                f"wal_autocheckpoint={LOG_CHECKPOINT_PAGES}",
                f"journal_size_limit={LOG_KEPT_BYTES}",
            ):
                self._connection.exec_driver_sql(f"PRAGMA {setting}")
        if mode != "wal":
            raise StoreError(f"{self.path}: this file system cannot hold a write-ahead log; choose another --runs-dir")


def _is_at_rest(path: Path) -> bool:
    """Whether nobody writes to a database, in a folder where even a reader's index of the log could not be made.

    Such is another user's job that does not run: then all is in the one file.
    """
    effective = os.access in os.supports_effective_ids
    log = path.with_name(path.name + "-wal")
    return not os.access(path.parent, os.W_OK, effective_ids=effective) and not log.exists()


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours, with the file's name. What was being written has been rolled back."""
    try:
        yield
    except DBAPIError as error:
        meaning = _meaning(path, error.orig)
        if meaning is None:
            raise
        raise meaning from error


def _meaning(path: Path, error: BaseException | None) -> StoreError | None:
    message, code = str(error), getattr(error, "sqlite_errorcode", None)
    if message.startswith(_NO_TEXT):
        # all was text when it was written; what there is now may be anything, and long
        return store_error(path, sqlite3.SQLITE_CORRUPT, message.partition(" with text")[0])
    return None if code is None else store_error(path, code, message)


def store_error(path: Path, code: int, message: str) -> StoreError | None:
    """Say what an SQLite result code (https://www.sqlite.org/rescode.html) means for the run; None if it is a bug."""
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE):  # the latter: no room for the log's index
        return DiskFull(f"{path}: no room left on the disk")
    meaning = _MEANINGS.get(code & 0xFF)  # the low byte is the kind, the rest the detail
    kind = Damaged if code & 0xFF in _DAMAGE else StoreError
    return None if meaning is None else kind(f"{path}: {meaning} ({message})")


def refuse_network_folder(folder: Path) -> None:
    """Raise UsageError if the folder is on a network file system, whose locks and shared memory SQLite cannot trust."""
    place = folder.resolve()
    kinds = {Path(mount.mountpoint): mount.fstype for mount in psutil.disk_partitions(all=True)}
    mount = next((m for m in (place, *place.parents) if m in kinds), None)
    if mount is not None and kinds[mount].lower() in NETWORK_FILE_SYSTEMS:
        raise UsageError(
            f"{folder} is on a network file system ({kinds[mount]} at {mount}): a job's database is not safe there.\n"
            "Choose a folder on a local disk with --runs-dir; the finished results can be copied anywhere."
        )
