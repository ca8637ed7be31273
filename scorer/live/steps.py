"""How `hosts pull` and `hosts warm` look while they work: bars in a terminal, a line now and then in a log, or JSON.

Each is a context manager around the work and takes `Step`s meanwhile. What a server said is made harmless first.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol, Self, TextIO

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.progress_bar import ProgressBar
from rich.table import Column
from rich.text import Text

from scorer.jobs.hosts.steps import Step
from scorer.live.tape import Begin, Tape, beside
from scorer.show.words import clock, duration, one_line

LINE_EVERY_S = 30.0
JSON_EVERY_S = 1.0
LONGEST_NAME = 20
SIGNS = {"done": "done", "failed": "FAILED", "skipped": "skipped"}
MARKS = {"done": ("✓", "green"), "failed": ("✗", "red"), "skipped": ("-", "dim")}
GIGABYTE = 1e9
GAP = "  "


class StepView(Protocol):
    """Where the steps of a long command are shown."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the place as it was."""

    def step(self, step: Step) -> None:
        """Show how far a host has come."""


def sizes(step: Step) -> str:
    """Return how much of how much is there, empty while it is not known."""
    if not step.total_bytes:
        return ""
    share = (step.completed_bytes or 0) / step.total_bytes
    return f"{int(share * 100)} % of {step.total_bytes / GIGABYTE:.1f} GB"


class _Mark(SpinnerColumn):
    """A spinner while something goes on, and then a sign of how it ended."""

    def render(self, task: Task) -> RenderableType:
        """Return one character."""
        state = task.fields["state"]
        return super().render(task) if state == "working" else Text(*MARKS[state])


class _Bar(BarColumn):
    """A bar while something goes on."""

    def render(self, task: Task) -> ProgressBar:
        """Return the bar, empty for what has failed."""
        bar = super().render(task)
        if task.fields["state"] in {"failed", "skipped"}:
            bar.total, bar.completed, bar.pulse = 1.0, 0.0, False
        return bar


class _Time(ProgressColumn):
    """The time that is left at the pace of the last moments, or that has passed where no end is known."""

    def render(self, task: Task) -> Text:
        """Return it as people say it."""
        if task.fields["state"] != "working":
            return Text("")
        if task.total is None:
            return Text(duration(task.elapsed))
        return Text(f"{duration(task.time_remaining)} left" if task.time_remaining is not None else "")


class TerminalSteps:
    """One line a host and model, with a bar while it is known how much there is to do."""

    def __init__(self, console: Console) -> None:
        name = Column(no_wrap=True, overflow="ellipsis", max_width=LONGEST_NAME)
        text = Column(no_wrap=True, overflow="ellipsis", ratio=1)
        self._progress = Progress(
            _Mark(),
            TextColumn("{task.fields[host]}", table_column=name, markup=False),
            TextColumn("{task.fields[model]}", table_column=name, markup=False),
            _Bar(bar_width=16),
            TextColumn("{task.fields[text]}", table_column=text, markup=False),
            _Time(),
            console=console,
            expand=True,
        )
        self._tasks: dict[tuple[str, str], TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def step(self, step: Step) -> None:
        """Draw the host's line anew."""
        key = step.host, step.model
        if key not in self._tasks:
            self._tasks[key] = self._progress.add_task(
                "", total=None, host=step.host, model=step.model, text="", state=step.state
            )
        ended = step.state != "working"
        total = step.total_bytes or (1 if ended else None)
        completed = total if step.state == "done" else (step.completed_bytes or 0)
        said = "" if step.total_bytes and step.text.startswith("pulling") else one_line(step.text)
        text = GAP.join(filter(None, (sizes(step) if not ended else "", said)))
        self._progress.update(self._tasks[key], total=total, completed=completed, text=text, state=step.state)
        if ended:
            self._progress.stop_task(self._tasks[key])


class PlainSteps:
    """For logs and pipes: a line when something ends or is new, and while it goes on one every half a minute.

    The work goes on when nobody reads any more.
    """

    def __init__(self, stream: TextIO, now: Callable[[], float] = time.monotonic, begin: Begin = beside) -> None:
        self._tape = Tape(stream, lambda count: f"{clock(time.time())}  {count:,} lines were lost: nobody read", begin)
        self._now = now
        self._said: dict[tuple[str, str], tuple[str, float]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._tape.close()

    def step(self, step: Step) -> None:
        """Print a line if it is time for one."""
        key = step.host, step.model
        text, at_s = self._said.get(key, ("", 0.0))
        if step.state == "working" and step.text == text and self._now() - at_s < LINE_EVERY_S:
            return
        self._said[key] = step.text, self._now()
        parts = (SIGNS.get(step.state, ""), step.model, sizes(step), one_line(step.text))
        self._tape.say(f"{clock(time.time())}  {step.host}: {'  '.join(filter(None, parts))}")


class JsonSteps:
    """For programs: one object a line, of each host and model at most one a second while it only goes on."""

    def __init__(self, stream: TextIO, now: Callable[[], float] = time.monotonic, begin: Begin = beside) -> None:
        self._tape = Tape(stream, lambda count: _json("lines_lost", {"lines": count}), begin)
        self._now = now
        self._said: dict[tuple[str, str], tuple[str, float]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._tape.close()

    def step(self, step: Step) -> None:
        """Print the step if it is news."""
        key = step.host, step.model
        text, at_s = self._said.get(key, ("", 0.0))
        if step.state == "working" and step.text == text and self._now() - at_s < JSON_EVERY_S:
            return
        self._said[key] = step.text, self._now()
        self.event("step", asdict(step))

    def event(self, kind: str, fields: dict[str, object]) -> None:
        """Print an event of any kind."""
        self._tape.say(_json(kind, fields))


def _json(kind: str, fields: dict[str, object]) -> str:
    line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": kind, **fields}
    return json.dumps(line, default=str)
