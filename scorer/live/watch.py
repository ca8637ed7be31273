"""`scorer status --watch`: a run seen from another terminal, or from another machine over SSH.

It reads the board (jobs/board.py) and, while no run goes on, the job's status; it writes nothing in the job's folder,
so that neither watching nor the end of watching can touch the run. It stays when a run ends and goes on when another
one of the same job begins. `q` or Ctrl-C ends it, and so does the closing of its terminal.
"""

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.text import Text

from scorer.errors import StoreError, UsageError
from scorer.jobs.board import Posting, live_posting
from scorer.jobs.look import status
from scorer.live.frame import frame
from scorer.live.lines import Paper, job_words
from scorer.live.screen import Screen
from scorer.live.views import JSON_EVERY_S, LINE_EVERY_S
from scorer.show.status import runs_option
from scorer.show.words import dated, moment, shortened

LOOK_S = 1.0
__all__ = ["JSON_EVERY_S", "LINE_EVERY_S", "as_json", "plain_words", "watch_plainly", "watch_terminal"]

# a look into the database of a large job takes a second
RARE_LOOK_S = 10.0


class Watched:
    """A job that is watched: what there is to see of it now."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._looked = float("-inf")
        self._words: list[str] = []

    def look(self) -> tuple[Posting | None, list[str]]:
        """Return the posting of the run that goes on; without one, a few lines that say how the job stands."""
        posting = live_posting(self._folder, time.time())
        if posting is not None:
            self._looked = float("-inf")
        elif time.monotonic() - self._looked >= RARE_LOOK_S:
            self._looked = time.monotonic()
            self._words = self._standing()
        return posting, self._words

    def _standing(self) -> list[str]:
        try:
            found = status(self._folder)
        except (UsageError, StoreError) as error:
            return [str(error)]
        counts = found.counts
        state = "a run is getting ready, or closing" if found.state == "running" else found.state
        lines = [
            f"{self._folder.name}: {state}",
            f"{counts.done:,} of {counts.total:,} done, {counts.dead:,} dead",
            f"last activity {moment(found.last_activity)}",
        ]
        if found.state == "interrupted":
            where = runs_option(self._folder.parent)
            lines.append(f"waiting for it to go on: scorer resume {self._folder.name}{where}")
        return lines


def watch_terminal(folder: Path, console: Console) -> None:
    """Show the job in place until somebody presses q or Ctrl-C, or the terminal is closed."""
    watched = Watched(folder)
    title = f"{folder.name} (q ends the watching, not the run)"

    def drawn(paper: Paper) -> list[Text]:
        posting, words = watched.look()
        if posting is not None:
            return frame(title, posting.progress, posting.events, paper, now=time.time())
        return [Text(shortened(line, paper.width)) for line in [*words, "q ends the watching"]]

    try:
        with _keys() as wait_for_key, Screen(console, keep=True) as screen:
            while True:
                screen.draw(drawn)
                if wait_for_key(LOOK_S) in {"q", "Q", "\x03", "\x04", ""}:
                    return
    except (KeyboardInterrupt, OSError):
        # OSError: the terminal has gone
        return


def watch_plainly(folder: Path, say: Callable[[Posting | None, list[str]], None], every_s: float) -> None:
    """Say how the job stands again and again, until Ctrl-C or until nobody listens any more."""
    watched = Watched(folder)
    try:
        while True:
            say(*watched.look())
            time.sleep(every_s)
    except (KeyboardInterrupt, OSError):
        return


def as_json(posting: Posting | None, words: list[str]) -> dict[str, object]:
    """Return one line for programs: the progress, or how the job stands while no run goes on."""
    when = datetime.now(UTC).isoformat(timespec="milliseconds")
    if posting is None:
        return {"time": when, "event": "standing", "text": "; ".join(words)}
    return {"time": when, "event": "progress", **asdict(posting.progress)}


def plain_words(posting: Posting | None, words: list[str]) -> str:
    """Return one line for a log."""
    return f"{dated(time.time())}  {job_words(posting.progress) if posting else '; '.join(words)}"


@contextmanager
def _keys() -> Iterator[Callable[[float], str | None]]:
    """Let single keys be read as they are pressed; the terminal gets its manners back whatever happens.

    What is yielded waits so many seconds for a key and returns it: None if none came, "" if none can come any more.
    """
    if not sys.stdin.isatty():
        # nothing to read keys from: only Ctrl-C ends it
        yield _wait_without_keys
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)

    def wait(seconds: float) -> str | None:
        ready, _, _ = select.select([keyboard], [], [], seconds)
        return os.read(keyboard, 1).decode("ascii", "replace") if ready else None

    tty.setcbreak(keyboard)
    try:
        yield wait
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _wait_without_keys(seconds: float) -> str | None:
    time.sleep(seconds)
    return None
