"""The board: a small file in the job's folder on which a run posts how it stands, for others to read.

The database has one writer and holds facts; what the scheduler believes (speeds, limits, health, the end) is neither.
So the run writes it every two seconds to `progress.json`, which is replaced whole, and `status` reads it. It is a
convenience: it is not synced, nothing is decided by it, and a run goes on without it.

Invariants: a reader sees a whole posting or none; a posting counts only while its process lives and it is younger than
STALE_S, since a killed run leaves its last one behind; a run that ends says so in its last one.
"""

import os
import platform
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anyio
import psutil
import pydantic
from pydantic_core import PydanticSerializationError, to_json

from scorer.dispatch.events import Event, Progress
from scorer.dispatch.seams import Seams

FILE = "progress.json"
FORMAT = 1
EVERY_S = 2.0
# a slow disk or a machine that is short of processor time posts late; one that was suspended, much later
STALE_S = 30.0
KEPT_EVENTS = 12


@dataclass(frozen=True, slots=True)
class Happened:
    """An event, and when it was (UTC seconds)."""

    at: float
    event: Event


@dataclass(frozen=True, slots=True)
class Posting:
    """How a run stood at `at` (UTC seconds), and what had happened last. `ended` says how it ended, once it has."""

    at: float
    pid: int
    machine: str
    progress: Progress
    events: tuple[Happened, ...] = ()
    ended: str | None = None
    format: int = FORMAT


_POSTING = pydantic.TypeAdapter(Posting)


class Board:
    """Where one run posts."""

    def __init__(self, folder: Path, seams: Seams) -> None:
        self._path = folder / FILE
        self._seams = seams
        self._events: deque[Happened] = deque(maxlen=KEPT_EVENTS)
        self._trouble: str | None = None
        self.complain: Callable[[Event], None] = lambda _: None

    def event(self, event: Event) -> None:
        """Remember what happened, for the next posting."""
        self._events.append(Happened(self._seams.wall(), event))

    async def watch(self, progress: Callable[[], Progress]) -> None:
        """Post every two seconds until cancelled."""
        while True:
            await self._post(progress(), None)
            await anyio.sleep(EVERY_S)

    async def close(self, progress: Progress, ended: str) -> None:
        """Post for the last time, however the run ends."""
        with anyio.CancelScope(shield=True):
            await self._post(progress, ended)

    async def _post(self, progress: Progress, ended: str | None) -> None:
        posting = Posting(self._seams.wall(), os.getpid(), platform.node(), progress, tuple(self._events), ended)
        try:
            await self._seams.read(self._write, to_json(posting, fallback=str))
        except (OSError, PydanticSerializationError) as error:
            if self._trouble is None:
                # a full disk is told of elsewhere and costs nothing here; once is enough
                self._trouble = getattr(error, "strerror", None) or str(error)
                text = f"cannot write {self._path}: {self._trouble} (`scorer status` cannot see what goes on)"
                self.complain(Event("board_broken", text, "warning"))
        else:
            self._trouble = None

    def _write(self, posting: bytes) -> None:
        written = self._path.with_name(f"{FILE}.new")
        written.write_bytes(posting)
        written.replace(self._path)


def read_posting(folder: Path) -> Posting | None:
    """Return the last posting of a job's runs, live or not; None if there is none that this version understands."""
    try:
        posting = _POSTING.validate_json((folder / FILE).read_bytes())
    except (OSError, pydantic.ValidationError):
        return None
    return posting if posting.format == FORMAT else None


def live_posting(folder: Path, now: float) -> Posting | None:
    """Return the posting of the run that goes on now, None if there is none. `now` is in UTC seconds.

    The job's lock is not asked: who looks every second must not be in the way of a run that begins.
    """
    posting = read_posting(folder)
    if posting is None or posting.ended is not None or abs(now - posting.at) > STALE_S:
        return None
    here = posting.machine == platform.node()
    return posting if not here or psutil.pid_exists(posting.pid) else None
