"""SQLite's own writes, seen and failed at will: its default file layer ("VFS") with four functions exchanged.

The layer is SQLite's documented seam (https://www.sqlite.org/vfs.html). It is changed in place for the time of a test,
in the very library that Python's `sqlite3` uses, so that the code under test needs no change and opens its database as
ever. What SQLite does by itself inside a call is told as well: the folder is synced with a new log's first sync.
"""

import _sqlite3
import ctypes
import errno
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, Structure, c_char_p, c_int, c_int64, c_void_p
from pathlib import Path
from typing import Any, Protocol

OK = 0
OPEN_CREATE = 0x4
OPEN_JOURNAL = 0x800
OPEN_LOG = 0x80000
FULL = sqlite3.SQLITE_FULL
WRITE_FAILED = sqlite3.SQLITE_IOERR_WRITE
SYNC_FAILED = sqlite3.SQLITE_IOERR_FSYNC
TRUNCATE_FAILED = sqlite3.SQLITE_IOERR_TRUNCATE
DELETE_FAILED = sqlite3.SQLITE_IOERR_DELETE
CANNOT_OPEN = sqlite3.SQLITE_CANTOPEN

_WRITE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_TRUNCATE = CFUNCTYPE(c_int, c_void_p, c_int64)
_SYNC = CFUNCTYPE(c_int, c_void_p, c_int)
_OPEN = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, POINTER(c_int))
_DELETE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int)
# names are passed on as the pointers that they are: SQLite keeps them, and finds parameters behind them


class _Vfs(Structure):
    _fields_ = (
        ("version", c_int),
        ("file_size", c_int),
        ("longest_path", c_int),
        ("next", c_void_p),
        ("name", c_char_p),
        ("data", c_void_p),
        ("open", _OPEN),
        ("delete", _DELETE),
    )


class _Methods(Structure):
    """The functions of an open file; those not named here are copied as they are."""

    _fields_ = (
        ("version", c_int),
        ("close", c_void_p),
        ("read", c_void_p),
        ("write", _WRITE),
        ("truncate", _TRUNCATE),
        ("sync", _SYNC),
        ("others", c_void_p * 13),
    )


class _File(Structure):
    _fields_ = (("methods", POINTER(_Methods)),)


class Watcher(Protocol):
    """Who is told of every operation before it happens, and may raise OSError in its place."""

    def create(self, path: Path) -> None:
        """A file that was not there is made."""

    def write(self, path: Path, offset: int, data: bytes) -> None:
        """Bytes are written."""

    def truncate(self, path: Path, size: int) -> None:
        """A file is cut."""

    def sync(self, path: Path) -> None:
        """A file is synced."""

    def sync_folder(self, path: Path) -> None:
        """A folder is synced."""

    def unlink(self, path: Path) -> None:
        """A name is removed."""


def library() -> ctypes.CDLL | None:
    """The library that Python's `sqlite3` runs on; None where its functions cannot be reached."""
    for place in (getattr(_sqlite3, "__file__", None), None):
        found = ctypes.CDLL(place)
        if hasattr(found, "sqlite3_vfs_find") and hasattr(found, "sqlite3_libversion"):
            found.sqlite3_libversion.restype = c_char_p
            if found.sqlite3_libversion().decode() == sqlite3.sqlite_version:
                return found
    return None


@contextmanager
def watched_sqlite(watcher: Watcher, covers: Callable[[Path], bool]) -> Iterator[None]:
    """Tell the watcher what SQLite does to the files that `covers` names."""
    found = library()
    if found is None:
        raise AssertionError("look with `library` first")
    found.sqlite3_vfs_find.restype = POINTER(_Vfs)
    vfs = found.sqlite3_vfs_find(None).contents
    before = _taken(_OPEN, vfs.open), _taken(_DELETE, vfs.delete)
    layer = _Layer(watcher, covers, *before)
    vfs.open, vfs.delete = layer.open, layer.delete
    try:
        yield
    finally:
        vfs.open, vfs.delete = before


class _Layer:
    """The exchanged functions. They are kept alive as long as this object is."""

    def __init__(self, watcher: Watcher, covers: Callable[[Path], bool], real_open: Any, real_delete: Any) -> None:  # noqa: ANN401 (C functions)
        self._watcher = watcher
        self._covers = covers
        self._real_open = real_open
        self._real_delete = real_delete
        self._alive: list[Any] = []
        self.open = _OPEN(self._open)
        self.delete = _DELETE(self._delete)

    def _open(self, vfs: int, name: int | None, file: int, flags: int, out: Any) -> int:  # noqa: ANN401 (a pointer)
        path = _path(name) if name else None
        if path is None or not self._covers(path):
            return self._real_open(vfs, name, file, flags, out)
        new = bool(flags & OPEN_CREATE) and not path.exists()
        try:
            if new:
                self._watcher.create(path)
        except OSError:
            return CANNOT_OPEN
        code = self._real_open(vfs, name, file, flags, out)
        if code == OK:
            self._exchange(ctypes.cast(file, POINTER(_File)).contents, path, flags)
        return code

    def _exchange(self, file: _File, path: Path, flags: int) -> None:
        real = file.methods.contents
        methods = _Methods()
        size = ctypes.sizeof(_Methods) if real.version >= 3 else _Methods.others.offset  # type: ignore[attr-defined]
        ctypes.memmove(ctypes.byref(methods), ctypes.byref(real), size)
        write, truncate = _taken(_WRITE, real.write), _taken(_TRUNCATE, real.truncate)
        sync = _taken(_SYNC, real.sync)
        folder_is_due = bool(flags & OPEN_CREATE and flags & (OPEN_LOG | OPEN_JOURNAL))

        def on_write(file: int, data: int, count: int, offset: int) -> int:
            try:
                self._watcher.write(path, offset, ctypes.string_at(data, count))
            except OSError as error:
                write(file, data, count // 2, offset)
                return _full_or(error, WRITE_FAILED)
            return write(file, data, count, offset)

        def on_truncate(file: int, size: int) -> int:
            return _unless(lambda: self._watcher.truncate(path, size), TRUNCATE_FAILED) or truncate(file, size)

        def on_sync(file: int, flags: int) -> int:
            nonlocal folder_is_due
            if code := _unless(lambda: self._watcher.sync(path), SYNC_FAILED) or sync(file, flags):
                return code
            if folder_is_due:
                folder_is_due = False
                return _unless(lambda: self._watcher.sync_folder(path.parent), SYNC_FAILED)
            return OK

        methods.write, methods.truncate, methods.sync = _WRITE(on_write), _TRUNCATE(on_truncate), _SYNC(on_sync)
        self._alive += [methods, methods.write, methods.truncate, methods.sync]
        file.methods = ctypes.pointer(methods)

    def _delete(self, vfs: int, name: int, sync_folder: int) -> int:
        path = _path(name)
        if self._covers(path) and path.exists():
            if code := _unless(lambda: self._watcher.unlink(path), DELETE_FAILED):
                return code
            if sync_folder:
                self._watcher.sync_folder(path.parent)
        return self._real_delete(vfs, name, sync_folder)


def _taken(kind: Any, function: Any) -> Any:  # noqa: ANN401 (C functions)
    """A function itself: what ctypes gives for a field changes with the field."""
    return kind(ctypes.cast(function, c_void_p).value)


def _path(name: int) -> Path:
    return Path(ctypes.string_at(name).decode())


def _unless(tell: Callable[[], None], code: int) -> int:
    try:
        tell()
    except OSError:
        return code
    return OK


def _full_or(error: OSError, code: int) -> int:
    return FULL if error.errno == errno.ENOSPC else code
