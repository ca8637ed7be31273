"""Job folders: their names, finding them, and the lock that says whether a run lives in one.

Invariants: a job's name never leads out of the runs folder; at most one process holds a job's lock, and the operating
system lets go of it when that process ends, however it ends.
"""

import fcntl
import hashlib
import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path

from filelock import FileLock, Timeout

from scorer.core.utf8 import check_utf8
from scorer.errors import Damaged, ScorerError, StoreError, UsageError
from scorer.jobs.spec import FILE, JobSpec, read_spec
from scorer.results import DEAD_FILE, MANIFEST_FILE, listed_rows, sync_folder

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
MAX_NAME = 64
LOCK = "job.lock"
LOCK_TIMEOUT_S = 0.3
LOCK_POLL_S = 0.02
OWNER = "job.owner.json"
DATABASE = "queue.sqlite"
# what is in no database yet; SQLite throws it away when it finds an empty database beside it
DATABASE_LOG = f"{DATABASE}-wal"
RESULTS = "results"


def check_name(name: str) -> str:
    """Return a job's name if it may be one; UsageError says what may."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be a job's name: lower-case letters, digits, dot, dash and underscore, "
            f"at most {MAX_NAME} of them, beginning with a letter or digit"
        )
    return name


def default_name(dataset: str, template: str, models: tuple[str, ...]) -> str:
    """Name a job after its dataset, template and models, the same each time."""
    stem = Path(dataset).name.split(".")[0]
    whole = "-".join(_slug(part) for part in (stem, template, *models))
    if len(whole) <= MAX_NAME:
        return whole
    tail = hashlib.sha256(whole.encode()).hexdigest()[:8]
    return f"{whole[: MAX_NAME - 9]}-{tail}"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9._]+", "-", text.lower()).strip("-._") or "x"


def jobs_in(runs_dir: Path) -> list[Path]:
    """Return the job folders of a runs folder, the least recently active first; UsageError if it cannot be read.

    A folder that may not be looked into is among them: whoever then reads its job.toml says so, and others go on.
    """
    try:
        folders = [path for path in runs_dir.iterdir() if _may_be_job(path)] if runs_dir.is_dir() else []
    except OSError as error:
        raise UsageError(f"cannot read {runs_dir}: {error.strerror}") from None
    return sorted(folders, key=lambda folder: (last_change(folder), folder.name))


def _may_be_job(folder: Path) -> bool:
    try:
        return (folder / FILE).is_file()
    except OSError:
        return True


def readable_jobs(runs_dir: Path) -> tuple[list[tuple[Path, JobSpec]], list[str]]:
    """Return the jobs of a runs folder, the most recently active first, and a line for each that cannot be read.

    A job.toml that was damaged, that a newer scorer wrote or that is another user's own must not stand in the way of
    other jobs.
    """
    found, unreadable = [], []
    for folder in reversed(jobs_in(runs_dir)):
        try:
            found.append((folder, read_spec(folder)))
        except UsageError as error:
            unreadable.append(passed_over(folder, error))
    return found, unreadable


def passed_over(folder: Path, error: ScorerError) -> str:
    """Return the line that tells of a job that cannot be read, while others are looked at."""
    return f"job {folder.name} is passed over: {str(error).splitlines()[0]}"


def last_change(folder: Path) -> float:
    """Return when a job was last written to (UTC seconds), 0 if one may not look."""
    times = [0.0]
    for name in (FILE, DATABASE, DATABASE_LOG):
        # a run that ends takes its log away at any moment
        with suppress(OSError):
            times.append((folder / name).stat().st_mtime)
    return max(times)


def find_job(runs_dir: Path, name: str) -> Path:
    """Return the folder of a job that exists; UsageError names the nearest and the rest.

    Whatever is listed can be named: a job that was moved aside may have a longer name than a new one.
    """
    known = [path.name for path in jobs_in(runs_dir)]
    if name in known:
        return runs_dir / name
    check_name(name)
    if not known:
        raise UsageError(f"no job {name!r}: there are no jobs in {runs_dir} (--runs-dir names another folder)")
    near = get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known[-5:])}"
    raise UsageError(f"no job {name!r} in {runs_dir}; {hint}")


def is_job(folder: Path) -> bool:
    """Whether a folder holds a job; it touches nothing.

    Raises Damaged if there is what only a job leaves behind, but no job.toml: another job's rows would get its scores.
    UsageError if it may not be read.
    """
    traces = _traces(folder)
    # in this order: whoever makes the job at this moment has its job.toml before anything else
    if _size_bytes(folder / FILE) is not None:
        return True
    check_database(folder)
    if traces:
        raise Damaged(
            f"{folder / FILE} is missing, but there is {traces[0]}: what is published stays readable; "
            f"the job can go on only with a copy of its {FILE}\n"
            "Give this one another name with --job, or begin anew with --fresh (the old folder is kept)"
        )
    return False


def is_in_the_way(folder: Path) -> bool:
    """Whether a folder has to be moved aside before a job can begin there anew, whatever state it is in.

    UsageError if it may not be read.
    """
    return _size_bytes(folder / FILE) is not None or bool(_traces(folder))


def check_database(folder: Path) -> None:
    """Raise Damaged if a job had begun and has no database, UsageError if it may not be read; it touches nothing.

    To be called before a database is opened: a new one would take its place, and what is published would then be taken
    for a stranger's. A job that has nothing else may lack its database, or have an empty file: a crash as it began.
    """
    names = [*published(folder), *_filled(folder, DATABASE_LOG)]
    # in this order: whoever begins the job at this moment has its database before its first result, and before its log
    if names and not _filled(folder, DATABASE):
        state = "is missing" if _size_bytes(folder / DATABASE) is None else "is empty"
        raise Damaged(
            f"{folder / DATABASE} {state}, but there is {names[0]}: what is published stays readable; "
            "the job can go on only with a copy of its database"
        )


def _traces(folder: Path) -> list[str]:
    """Return the names of what only a job that had begun has."""
    return [*_filled(folder, DATABASE, DATABASE_LOG), *published(folder)]


def _filled(folder: Path, *names: str) -> list[str]:
    """Return those files of a folder that are there and not empty."""
    return [name for name in names if _size_bytes(folder / name)]


def _size_bytes(path: Path) -> int | None:
    """Return a file's size, None if it is not there; UsageError if one may not know."""
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def published(folder: Path) -> list[str]:
    """Return the names of what a job has published; UsageError if one may not know."""
    results = folder / RESULTS
    try:
        names = [path.name for path in (*sorted(results.glob("part-*.parquet")), results / DEAD_FILE) if path.exists()]
    except OSError as error:
        raise UsageError(f"cannot read {results}: {error.strerror}") from None
    return [*names, MANIFEST_FILE] if any(listed_rows(folder)) else names


def make_folder(folder: Path) -> None:
    """Make a job's folder; UsageError if its path is not UTF-8."""
    check_utf8(str(folder.absolute()), "the job's folder")
    make_lasting(folder / RESULTS)


def make_lasting(folder: Path) -> None:
    """Make a folder, and those above it, so that a power cut does not take it away again with all that is in it."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def move_aside(folder: Path) -> Path:
    """Rename a job's folder to `<job>.1` or the next free number; nothing is deleted."""
    number = 1
    while (target := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    folder.rename(target)
    return target


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a job's lock.

    UsageError tells which process on which machine holds it already; StoreError if the folder cannot be written.
    """
    # who only looks whether it is taken holds it for a moment
    lock = FileLock(folder / LOCK, timeout=LOCK_TIMEOUT_S)
    try:
        lock.acquire(poll_interval=LOCK_POLL_S)
    except Timeout:
        raise UsageError(f"job {folder.name} is in use by {_owner(folder)}; `scorer status` watches it") from None
    except OSError as error:
        raise StoreError(f"cannot write {folder / LOCK}: {error.strerror}") from None
    try:
        _write_owner(folder)
        yield
    finally:
        lock.release()


def is_locked(folder: Path) -> bool:
    """Whether a living process runs or repairs this job now; UsageError if one may not know.

    A share of the lock is asked for, for which it is enough to read: a colleague's job may be looked at too.
    """
    try:
        file = os.open(folder / LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise UsageError(f"cannot read {folder / LOCK}: {error.strerror}") from None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def _write_owner(folder: Path) -> None:
    try:
        (folder / OWNER).write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
    except OSError as error:
        raise StoreError(f"cannot write {folder / OWNER}: {error.strerror}") from None


def _owner(folder: Path) -> str:
    try:
        owner = json.loads((folder / OWNER).read_text())
        return f"process {owner['pid']} on {owner['host']}"
    except (OSError, ValueError, KeyError):
        # the owner has the lock but has not yet written its name
        return "another process"
