"""Which run uses which host: one lock a server, in the user's state folder, for all runs on this machine.

The lock is the operating system's, so a process that ends, however it ends, lets go of it; the note beside it only says
whose it is, and an old one does no harm. Nothing is stored in a job folder or sent to a host.

Invariants: of all processes on this machine at most one holds a server's lock; the names of two spellings of one server
(`same_place`) are one lock; a note that can be read is whole.
"""

import hashlib
import json
import os
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import platformdirs
import psutil
from filelock import FileLock, Timeout

from scorer.core.url import is_loopback, same_place
from scorer.errors import UsageError


@dataclass(frozen=True, slots=True)
class Holder:
    """The run that uses a host. `job` is empty, and `pid` 0, while it has not yet written its name."""

    job: str
    pid: int
    machine: str

    def __str__(self) -> str:
        whose = f"job {self.job}" if self.job else "another run"
        return f"{whose} (process {self.pid} on {self.machine})" if self.pid else whose


class Claim(Protocol):
    """A host that is ours until it is released."""

    def release(self) -> None:
        """Let others have the host. Does nothing the second time."""


class Claims(Protocol):
    """How a run makes sure that it is the only one on a host."""

    def take(self, url: str) -> Claim | Holder:
        """Return the claim to the server at a normal URL, or who has it."""

    def name(self, job: str) -> None:
        """Say from now on, of what is held too, that it is this job's."""

    def close(self) -> None:
        """Release every claim."""


class NoClaim:
    """A host that nobody need share: the embedded engine, or any host in a simulation."""

    def release(self) -> None:
        """Do nothing."""


class NoClaims:
    """Where no other run can be: a simulation."""

    def take(self, url: str) -> Claim | Holder:
        """Return a claim to anything."""
        return NoClaim()

    def name(self, job: str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


NO_CLAIMS = NoClaims()


@dataclass(slots=True)
class _Held:
    """A server's lock, held by this process for as long as `claims` are out."""

    lock: FileLock | None
    note: Path
    claims: int = 0


class HostLocks:
    """Claims by lock files in `folder`, for a run of `job`.

    Two claims of the same run to one server go together: a host whose table was edited is claimed anew before the old
    requests to it have ended. `share`: hosts of other runs may be used as well; those nobody has are still locked.
    """

    def __init__(self, folder: Path, job: str = "", *, share: bool = False) -> None:
        self._job = job
        self._folder = folder
        self._share = share
        self._held: dict[str, _Held] = {}

    def take(self, url: str) -> Claim | Holder:
        """Return the claim to the server at a normal URL, or who has it. UsageError if the folder cannot be used."""
        if not url:
            return NoClaim()
        name = _name(url)
        held = self._held.get(name)
        if held is None:
            lock, note = self._acquired(name), self._folder / f"{name}.json"
            if lock is None and not self._share:
                return _read(note) or Holder("", 0, "")
            if lock is not None:
                self._noted(lock, note)
            held = self._held[name] = _Held(lock, note)
        held.claims += 1
        return _LockClaim(self, name)

    def name(self, job: str) -> None:
        """Say from now on, of what is held too, that it is this job's."""
        self._job = job
        for held in self._held.values():
            if held.lock is not None:
                self._write(held.note)

    def close(self) -> None:
        """Release every claim."""
        for name in list(self._held):
            self._let_go(name)

    def give_back(self, name: str) -> None:
        """One claim fewer; the last one lets go of the lock."""
        held = self._held.get(name)
        if held is not None:
            held.claims -= 1
            if not held.claims:
                self._let_go(name)

    def _let_go(self, name: str) -> None:
        held = self._held.pop(name)
        if held.lock is not None:
            held.note.unlink(missing_ok=True)
            held.lock.release()

    def _acquired(self, name: str) -> FileLock | None:
        # released in whichever thread the run ends
        lock = FileLock(self._folder / f"{name}.lock", timeout=0, thread_local=False)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock.acquire()
        except Timeout:
            return None
        except (OSError, NotImplementedError) as error:
            raise self._unusable(error) from None
        return lock

    def _noted(self, lock: FileLock, note: Path) -> None:
        try:
            self._write(note)
        except UsageError:
            # not ours until others can read whose it is
            lock.release()
            raise

    def _write(self, note: Path) -> None:
        holder = Holder(self._job, os.getpid(), socket.gethostname())
        whole = note.with_suffix(f".{os.getpid()}.tmp")
        try:
            whole.write_text(json.dumps(asdict(holder)), encoding="utf-8")
            whole.replace(note)
        except OSError as error:
            raise self._unusable(error) from None

    def _unusable(self, error: Exception) -> UsageError:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        return UsageError(
            f"cannot note in {self._folder} which hosts are in use: {reason}\n"
            "Set XDG_STATE_HOME to a folder on a local disk that you may write to."
        )


@dataclass(slots=True)
class _LockClaim:
    locks: HostLocks
    name: str
    _released: bool = False

    def release(self) -> None:
        """Let go, once."""
        if not self._released:
            self._released = True
            self.locks.give_back(self.name)


def state_folder(environ: Mapping[str, str]) -> Path:
    """Return where the locks of this user are: under $XDG_STATE_HOME if that is set, on a Mac too."""
    chosen = environ.get("XDG_STATE_HOME", "")
    # the specification of these variables: a relative path is to be ignored
    root = Path(chosen) / "scorer" if Path(chosen).is_absolute() else platformdirs.user_state_path("scorer", False)
    return root / "hosts"


def holder_of(folder: Path, url: str) -> Holder | None:
    """Return which run uses the server at a normal URL, None if none does; takes nothing from anybody."""
    name = _name(url)
    holder = _read(folder / f"{name}.json") if url else None
    if holder is None or (holder.machine == socket.gethostname() and not psutil.pid_exists(holder.pid)):
        return None
    lock = FileLock(folder / f"{name}.lock", timeout=0, thread_local=False)
    try:
        with lock:
            return None
    except Timeout:
        return holder
    except OSError:
        # without its lock file the note is an old one
        return None


def _read(note: Path) -> Holder | None:
    with suppress(OSError, ValueError, TypeError):
        return Holder(**json.loads(note.read_text(encoding="utf-8")))
    return None


def _name(url: str) -> str:
    """Name a server's files: for people to recognise, and by a hash to tell it from all others."""
    place = same_place(url)
    if is_loopback(url):
        # a home folder may be shared by machines, each with a localhost of its own
        place = f"{place} on {socket.gethostname()}"
    readable = re.sub(r"[^a-z0-9.]+", "-", place.partition("://")[2].lower()).strip("-.")[:60]
    return f"{readable}-{hashlib.sha256(place.encode()).hexdigest()[:12]}"
