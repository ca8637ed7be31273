"""How a run looks while it goes on: live lines in a terminal, now and then a plain line in a log, or JSON events.

A view only reads: it can be slow, broken or absent without the run noticing. People's text goes to stderr.
"""

import dataclasses
import json
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

import anyio
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from scorer.dispatch.events import Event, HostProgress, Progress
from scorer.show import duration, rate

REFRESH_S = 0.5
LINE_EVERY_S = 60.0
JSON_EVERY_S = 5.0
SHOWN_EVENTS = 4
QUIET_KINDS = frozenset({"attempt_failed", "row_dead"})


def job_line(progress: Progress) -> str:
    """Return the job's state in one line."""
    share = (progress.done + progress.dead) / progress.total if progress.total else 1.0
    dead = f", {progress.dead:,} dead" if progress.dead else ""
    state = f"PAUSED: {progress.paused}" if progress.paused else f"{duration(progress.eta_s)} left"
    return f"{share:6.1%}  {progress.done:,} of {progress.total:,} done{dead}  {rate(progress.rows_per_s)}  {state}"


def host_line(host: HostProgress, width: int = 14) -> str:
    """Return one host's state in one line."""
    line = (
        f"{host.name[:width]:<{width}} {host.state:<9} {host.running}/{host.limit} slots  {host.rows:>7,} rows  "
        f"{rate(host.rows_per_s)}  {host.prompt_tps:,.0f} in {host.output_tps:,.0f} out tok/s"
    )
    if host.state not in {"up", "busy"} and host.last_fault:
        line = f"{host.name[:width]:<{width}} {host.state:<9} {host.last_fault}"
    return _one_line(line)


def _one_line(text: str) -> str:
    """Replace what would move the cursor: a server's own words may be in it."""
    return "".join(char if char.isprintable() else " " for char in text)


class TerminalView:
    """Lines that stay in place: the job, one a host, the last few events above them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._events: deque[str] = deque(maxlen=SHOWN_EVENTS)
        self._drawing = False

    def event(self, event: Event) -> None:
        """Print what matters for long above the live lines, keep the rest for a moment."""
        if not self._drawing or event.kind not in QUIET_KINDS:
            style = "" if event.level == "info" else "yellow"
            self._console.print(Text(event.text, style=style), soft_wrap=True)
        else:
            self._events.append(_one_line(event.text))

    async def watch(self, progress: Callable[[], Progress]) -> None:
        """Draw twice a second until cancelled."""
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            self._drawing = True
            try:
                while True:
                    live.update(self._drawn(progress()), refresh=True)
                    await anyio.sleep(REFRESH_S)
            finally:
                self._drawing = False

    def _drawn(self, progress: Progress) -> Group:
        lines = [Text(f"  {text}", style="dim", no_wrap=True, overflow="ellipsis") for text in self._events]
        lines.append(Text(job_line(progress), style="bold", no_wrap=True, overflow="ellipsis"))
        lines += [Text(host_line(host), no_wrap=True, overflow="ellipsis") for host in progress.hosts]
        return Group(*lines)


class PlainView:
    """For logs and pipes: events as they come, failed attempts left to scorer.log, progress once a minute."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def event(self, event: Event) -> None:
        """Print one line."""
        if event.kind not in QUIET_KINDS:
            self._say(event.text)

    async def watch(self, progress: Callable[[], Progress]) -> None:
        """Print the job's line every minute until cancelled."""
        while True:
            await anyio.sleep(LINE_EVERY_S)
            self._say(job_line(progress()))

    def _say(self, text: str) -> None:
        print(f"{datetime.now(UTC):%H:%M:%S}  {text}", file=self._stream, flush=True)


class JsonView:
    """For programs: one event a line, and the progress every few seconds as an event of kind `progress`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def event(self, event: Event) -> None:
        """Print the event."""
        self._say({"event": event.kind, "level": event.level, "text": event.text, **event.details})

    async def watch(self, progress: Callable[[], Progress]) -> None:
        """Print the progress until cancelled."""
        while True:
            self._say({"event": "progress", **dataclasses.asdict(progress())})
            await anyio.sleep(JSON_EVERY_S)

    def _say(self, fields: dict[str, object]) -> None:
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **fields}
        print(json.dumps(line, default=str), file=self._stream, flush=True)
