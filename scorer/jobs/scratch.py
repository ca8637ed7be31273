"""A folder beside a file, for what is made before the file is: gone at the end, or when the same file is made again.

A process that is killed leaves its folder behind, with as much in it as the file would have had. So each folder has a
lock in it, which the operating system lets go of when its process ends, and whoever makes the same file next removes
the folders that nobody holds.

Invariants: nothing is removed but folders of exactly this form of name, for this file, with a lock that could be taken;
links are not followed; what cannot be locked or removed is left alone.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

LOCK = "lock"


@contextmanager
def scratch(to: Path) -> Iterator[Path]:
    """Make a folder beside a file that is to be made, for as long as the block lasts; OSError if it cannot be."""
    beside = to.absolute().parent
    _remove_stale(beside, to.name)
    while True:
        with tempfile.TemporaryDirectory(prefix=_prefix(to.name), dir=beside) as name:
            lock = FileLock(Path(name) / LOCK, timeout=0)
            if _held(lock):
                try:
                    yield Path(name)
                finally:
                    lock.release()
                return


def _prefix(name: str) -> str:
    return f".{name}.export-"


def _held(lock: FileLock) -> bool:
    """Take the lock of one's own new folder; False if somebody has taken the folder for a stale one just then."""
    try:
        lock.acquire()
    except (Timeout, FileNotFoundError):
        return False
    except NotImplementedError:
        # no locks on this disk: then nobody else can take it either, and nobody removes anything
        return True
    if Path(lock.lock_file).exists():
        return True
    lock.release()
    return False


def _remove_stale(beside: Path, name: str) -> None:
    ours = re.compile(re.escape(_prefix(name)) + r"[a-z0-9_]{8}")
    try:
        found = [beside / entry for entry in os.listdir(beside) if ours.fullmatch(entry)]
    except PermissionError:
        # one may write into some folders without seeing what is in them
        return
    for folder in found:
        if folder.is_symlink() or not (folder / LOCK).is_file():
            continue
        try:
            with FileLock(folder / LOCK, timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        except (Timeout, OSError, NotImplementedError):
            # somebody's who is at work, or of another user
            continue
