"""Everything that a run does to the files below one folder: written down in order, and failed at will.

Two seams are used, and neither is the code's own: the functions of Python's `io` and `os` that it calls, and SQLite's
file layer. Reading is not looked at. The memory that SQLite shares between processes (`-shm`) is no part of it: it is
made anew from the log whenever the last process has gone.
"""

import builtins
import fcntl
import io
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sqlite_seam import watched_sqlite

UNIMPORTANT = ("job.lock", "job.owner.json", "scorer.log", "progress.json", "progress.json.new")
"""Who runs the job, its diary and its display: nothing that a resume needs."""


@dataclass(frozen=True, slots=True)
class Op:
    """One operation. `kind`: create, mkdir, write, truncate, sync, sync_folder, rename, unlink, or `ack`, a promise."""

    kind: str
    path: Path
    offset: int = 0
    data: bytes = b""
    target: Path | None = None
    promise: object = None


@dataclass(slots=True)
class Failure:
    """The `turn`-th operation of these kinds fails with this error number.

    `happened` tells which one that was, `at` how many operations came before it.
    """

    kinds: frozenset[str]
    turn: int
    number: int
    happened: Op | None = None
    at: int = 0
    passed: int = 0


@dataclass(slots=True)
class Disk:
    """What happens below `root`. `failure`: what is to fail; without one everything is only written down."""

    root: Path
    failure: Failure | None = None
    ops: list[Op] = field(default_factory=list)

    def counts(self) -> Counter[str]:
        """How many operations there were of each kind."""
        return Counter(op.kind for op in self.ops)

    def promise(self, what: object) -> None:
        """Note that something was acknowledged here: from now on it must survive."""
        self.ops.append(Op("ack", self.root, promise=what))

    # -- a watcher of SQLite -----------------------------------------------------------------------------------------

    def create(self, path: Path) -> None:
        self._note(Op("create", path))

    def write(self, path: Path, offset: int, data: bytes) -> None:
        self._note(Op("write", path, offset, data))

    def truncate(self, path: Path, size: int) -> None:
        self._note(Op("truncate", path, size))

    def sync(self, path: Path) -> None:
        self._note(Op("sync", path))

    def sync_folder(self, path: Path) -> None:
        self._note(Op("sync_folder", path))

    def unlink(self, path: Path) -> None:
        self._note(Op("unlink", path))

    def rename(self, path: Path, target: Path) -> None:
        self._note(Op("rename", path, target=target))

    def mkdir(self, path: Path) -> None:
        self._note(Op("mkdir", path))

    def _note(self, op: Op) -> None:
        failure = self.failure
        if failure is not None and op.kind in failure.kinds and failure.happened is None:
            failure.passed += 1
            if failure.passed == failure.turn:
                failure.happened, failure.at = op, len(self.ops)
                raise OSError(failure.number, os.strerror(failure.number), str(op.path))
        self.ops.append(op)

    def covers(self, path: Path) -> bool:
        """Whether this file is looked at."""
        return self.root in path.parents and path.name not in UNIMPORTANT

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look at, and fail, what happens meanwhile in this process."""
        with ExitStack() as stack:
            stack.enter_context(watched_sqlite(self, self.covers))
            for module, name, function in _exchanged(self):
                stack.enter_context(patch.object(module, name, function))
            yield


class _Raw(io.FileIO):
    """A file opened for writing whose every write is told, as the system would be told it."""

    def __init__(self, disk: Disk, path: Path, mode: str) -> None:
        self._disk = disk
        self._path = path
        if not path.exists():
            disk.create(path)
        elif "w" in mode:
            disk.truncate(path, 0)
        super().__init__(path, mode)

    def write(self, data: Any, /) -> int:  # noqa: ANN401 (whatever has bytes)
        told = bytes(data)
        at = os.fstat(self.fileno()).st_size if "a" in self.mode else self.tell()
        try:
            self._disk.write(self._path, at, told)
        except OSError:
            super().write(told[: len(told) // 2])
            raise
        return super().write(told)

    def truncate(self, size: int | None = None, /) -> int:
        self._disk.truncate(self._path, self.tell() if size is None else size)
        return super().truncate(size)


def _exchanged(disk: Disk) -> Iterator[tuple[Any, str, Callable[..., Any]]]:
    """The functions to exchange, with what takes their place."""
    files = _Files(disk)
    yield io, "open", files.open
    yield builtins, "open", files.open
    yield os, "open", files.os_open
    yield os, "fsync", files.sync
    yield os, "mkdir", files.mkdir
    for name in ("replace", "rename"):
        yield os, name, files.told(getattr(os, name), disk.rename)
    for name in ("unlink", "remove"):
        yield os, name, files.told(getattr(os, name), disk.unlink)


class _Files:
    """Python's functions, each of which tells first. They take what the real ones take."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._real_open, self._real_os_open = io.open, os.open
        self._real_sync, self._real_mkdir = os.fsync, os.mkdir

    def open(self, file: Any, mode: str = "r", *args: Any, **keys: Any) -> Any:  # noqa: ANN401
        path = self._covered(file)
        if path is None or not set(mode) & set("wa+x"):
            return self._real_open(file, mode, *args, **keys)
        binary = io.BufferedWriter(_Raw(self._disk, path, mode.replace("b", "").replace("t", "")))
        return binary if "b" in mode else io.TextIOWrapper(binary, encoding=keys.get("encoding"))

    def os_open(self, file: Any, flags: int, *args: Any, **keys: Any) -> int:  # noqa: ANN401
        path = self._covered(file)
        if path is not None and flags & os.O_CREAT and not path.exists():
            self._disk.create(path)
        return self._real_os_open(file, flags, *args, **keys)

    def sync(self, descriptor: int) -> None:
        path = _path_of(descriptor)
        if path == self._disk.root or (path.is_dir() and self._disk.covers(path)):
            self._disk.sync_folder(path)
        elif self._disk.covers(path):
            self._disk.sync(path)
        self._real_sync(descriptor)

    def mkdir(self, path: Any, *args: Any, **keys: Any) -> None:  # noqa: ANN401
        found = self._covered(path)
        if found is not None and not found.exists() and found.parent.exists():
            self._disk.mkdir(found)
        self._real_mkdir(path, *args, **keys)

    def told(self, real: Callable[..., Any], tell: Callable[..., None]) -> Callable[..., Any]:
        def function(path: object, *args: Any, **keys: Any) -> Any:  # noqa: ANN401
            if found := self._covered(path):
                tell(found, *(Path(os.path.abspath(arg)) for arg in args if isinstance(arg, str | os.PathLike)))
            return real(path, *args, **keys)

        return function

    def _covered(self, path: object) -> Path | None:
        full = Path(os.path.abspath(path)) if isinstance(path, str | os.PathLike) else None
        return full if full is not None and self._disk.covers(full) else None


def _path_of(descriptor: int) -> Path:
    if sys.platform == "darwin":
        return Path(fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024)).split(b"\0")[0].decode())
    return Path(f"/proc/self/fd/{descriptor}").readlink()
