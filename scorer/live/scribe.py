"""Writing to a terminal without ever waiting for it.

A terminal may stop taking what is written: Ctrl-S, a laptop that sleeps with an SSH session open. Whoever writes then
waits, and the run must not. So one thread writes, and all that is asked of it is kept in order: the last picture only,
since nobody needs an old one, and at most MOST_LINES of what goes above it.

Invariants: everything the thread does happens in the order in which it was asked; a terminal that has gone (OSError)
ends the writing for good and nothing else; any other error is a bug and is raised at whoever asks next.
"""

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

MOST_LINES = 1000
PATIENCE_S = 2.0

Job = Callable[[], None]


class Scribe(Protocol):
    """Whoever does the writing; tests bring one that writes at once."""

    @property
    def gone(self) -> bool:
        """Whether there is no terminal any more."""

    def write(self, job: Job) -> None:
        """Do a piece of writing in its turn."""

    def draw(self, job: Job) -> None:
        """Do a piece of writing in its turn, or never if another picture is asked for before."""

    def finish(self, each_s: float = 0.0) -> None:
        """Wait a moment for all that was asked, or for longer while a piece is done every `each_s` seconds.

        What a terminal or a reader does not take by then is lost.
        """


class AtOnce:
    """Writes in the caller's own thread."""

    def __init__(self) -> None:
        self.gone = False

    def write(self, job: Job) -> None:
        """Do it now."""
        try:
            if not self.gone:
                job()
        except OSError:
            self.gone = True

    draw = write

    def finish(self, each_s: float = 0.0) -> None:
        """Nothing is left to do."""


class Beside:
    """Writes in a thread of its own, which ends with the process if its terminal keeps it waiting.

    Of what has to wait the last `most` pieces are kept; `tell_lost` says in their place how many were not.
    """

    def __init__(self, most: int = MOST_LINES, tell_lost: Callable[[int], None] | None = None) -> None:
        self.gone = False
        self._jobs: deque[Job] = deque(maxlen=most)
        self._tell_lost = tell_lost
        self._lost = self._done = 0
        self._picture: Job | None = None
        self._closing = False
        self._bug: BaseException | None = None
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="scorer-display", daemon=True)
        self._thread.start()

    def write(self, job: Job) -> None:
        """Let the thread do it in its turn."""
        with self._change:
            self._raise_bug()
            self._lost += len(self._jobs) == self._jobs.maxlen
            self._jobs.append(job)
            self._change.notify_all()

    def draw(self, job: Job) -> None:
        """Let the thread do it after all that was asked before, unless another picture comes first."""
        with self._change:
            self._raise_bug()
            self._picture = job
            self._change.notify_all()

    def finish(self, each_s: float = 0.0) -> None:
        """Wait as the protocol says, and end the thread; `gone` if not even one piece was done in `each_s`."""
        with self._change:
            self._closing = True
            self._change.notify_all()
        self._thread.join(PATIENCE_S)
        while each_s and self._thread.is_alive() and not self.gone:
            done = self._done
            self._thread.join(each_s)
            self.gone |= self._thread.is_alive() and self._done == done
        self._raise_bug()

    def _raise_bug(self) -> None:
        if self._bug is not None:
            raise self._bug

    def _run(self) -> None:
        try:
            while (job := self._next()) is not None:
                job()
                self._done += 1
        except OSError:
            self.gone = True
        except Exception as error:  # noqa: BLE001 - handed to the thread that asks next
            self._bug = error

    def _next(self) -> Job | None:
        """Wait for something to do; None when there will be nothing more."""
        with self._change:
            while not (self._jobs or self._picture or self._closing):
                self._change.wait()
            if self._lost and self._tell_lost is not None:
                lost, self._lost = self._lost, 0
                return partial(self._tell_lost, lost)
            if self._jobs:
                return self._jobs.popleft()
            picture, self._picture = self._picture, None
            return picture
