"""How a run looks while it goes on: lines that stay in place in a terminal, a line a minute in a log, or JSON events.

A view only reads: it can be slow, stuck, broken or absent without the run noticing. One whose terminal or pipe has gone
falls silent. People's text goes to stderr. Who makes a view closes it, when nothing waits for that any more.
"""

import dataclasses
import json
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TextIO

import anyio
from rich.console import Console
from rich.text import Text

from scorer.dispatch.events import Event, Progress
from scorer.jobs.board import Happened
from scorer.live.frame import MOST_EVENTS, frame
from scorer.live.lines import ERROR, TROUBLE, job_words
from scorer.live.screen import Screen
from scorer.live.scribe import AtOnce, Beside, Scribe
from scorer.live.tape import Begin, Tape, beside
from scorer.show.words import dated, harmless

REFRESH_S = 0.5
LINE_EVERY_S = 60.0
JSON_EVERY_S = 5.0
# too many of these to keep: a terminal shows them for a moment, a log leaves them to scorer.log
QUIET_KINDS = frozenset({"attempt_failed", "row_dead"})
# said for programs; people read it in other words
UNSAID_KINDS = frozenset({"job"})


class TerminalView:
    """Lines that stay in place, below what is worth keeping."""

    def __init__(self, console: Console, scribe: Callable[[], Scribe] = Beside) -> None:
        self._console = console
        self._new_scribe = scribe
        self._scribe: Scribe = AtOnce()
        self._events: deque[Happened] = deque(maxlen=MOST_EVENTS)
        self._drawing = False
        self._title = ""

    def event(self, event: Event) -> None:
        """Print what matters for long above the living lines, keep the rest for a moment."""
        self._title = str(event.details.get("job", "")) if event.kind == "job" else self._title
        if event.kind in UNSAID_KINDS:
            return
        happened = Happened(time.time(), event)
        if self._drawing and event.kind in QUIET_KINDS:
            self._events.append(happened)
            return
        style = {"info": "", "warning": TROUBLE, "error": ERROR}[event.level]
        text = Text(f"{dated(happened.at)} ", style="dim").append(harmless(event.text), style)
        self._scribe.write(lambda: self._console.print(text))

    async def watch(self, progress: Callable[[], Progress]) -> None:
        """Draw twice a second until cancelled."""
        screen = Screen(self._console)
        self._scribe, self._drawing = self._new_scribe(), True
        try:
            while not self._scribe.gone:
                picture = partial(frame, self._title, progress(), tuple(self._events), now=time.time())
                self._scribe.draw(partial(screen.draw, picture))
                await anyio.sleep(REFRESH_S)
        finally:
            self._scribe.draw(screen.stop)
            self._scribe.finish()
            gone = self._scribe.gone
            self._scribe, self._drawing = AtOnce(), False
            self._scribe.gone = gone

    def close(self) -> bool:
        """Do nothing: whoever sits at a terminal lets it go on when they want to see more."""
        return True


class PlainView:
    """For logs and pipes: events as they come, failed attempts left to scorer.log, progress once a minute."""

    def __init__(self, stream: TextIO, begin: Begin = beside) -> None:
        self._tape = Tape(stream, lambda count: _plain(f"{count:,} lines were lost, since nobody read them"), begin)

    def event(self, event: Event) -> None:
        """Print one line."""
        if event.kind not in QUIET_KINDS | UNSAID_KINDS:
            self._tape.say(_plain(event.text))

    async def watch(self, progress: Callable[[], Progress]) -> None:
        """Print the job's line every minute until cancelled."""
        while True:
            await anyio.sleep(LINE_EVERY_S)
            self._tape.say(_plain(job_words(progress())))

    def close(self) -> bool:
        """Wait for whoever reads it; False if nobody does."""
        self._tape.close()
        return not self._tape.gone


class JsonView:
    """For programs: one event a line, and the progress every few seconds as an event of kind `progress`."""

    def __init__(self, stream: TextIO, begin: Begin = beside) -> None:
        self._tape = Tape(stream, lambda count: _json({"event": "lines_lost", "lines": count}), begin)

    def event(self, event: Event) -> None:
        """Print the event."""
        self._tape.say(_json({"event": event.kind, "level": event.level, "text": event.text, **event.details}))

    async def watch(self, progress: Callable[[], Progress]) -> None:
        """Print the progress until cancelled."""
        while True:
            self._tape.say(_json({"event": "progress", **dataclasses.asdict(progress())}))
            await anyio.sleep(JSON_EVERY_S)

    def close(self) -> bool:
        """Wait for whoever reads it; False if nobody does."""
        self._tape.close()
        return not self._tape.gone


def _plain(text: str) -> str:
    return f"{dated(time.time())}  {harmless(text)}"


def _json(fields: dict[str, object]) -> str:
    return json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **fields}, default=str)
