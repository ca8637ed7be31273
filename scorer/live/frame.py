"""One picture of a run that fits its terminal: what is left out when there are few lines is decided here.

First to go are the events, then hosts; the job's own lines stay.
"""

from collections.abc import Sequence

from rich.text import Text

from scorer.dispatch.events import Progress
from scorer.jobs.board import Happened
from scorer.live.lines import HostTable, Paper, event_line, job_lines, others_line, shown_hosts
from scorer.show.words import shortened

MOST_EVENTS = 4
# a terminal needs this many lines before events get some
ROOMY = 14


def frame(title: str, progress: Progress, events: Sequence[Happened], paper: Paper, *, now: float) -> list[Text]:
    """Return the lines, at most one less than the terminal has, none wider than it. `now` is in UTC seconds."""
    up = sum(host.well for host in progress.hosts)
    heading = f"{title}: {up:,} of {len(progress.hosts):,} hosts up"
    lines = [Text(shortened(heading, paper.width), style="bold")] if title and paper.height > 4 else []
    lines += job_lines(progress, paper, now)
    recent = list(events)[-MOST_EVENTS:] if paper.height >= ROOMY else []
    lines += _host_lines(progress, paper, room=paper.height - 1 - len(lines) - len(recent))
    lines += [event_line(happened, paper) for happened in recent]
    return lines[: max(1, paper.height - 1)]


def _host_lines(progress: Progress, paper: Paper, room: int) -> list[Text]:
    hosts = progress.hosts
    if room < 2 or not hosts:
        return []
    table = HostTable(progress, paper)
    # the titles take one line, and so do those for whom there is none
    most = room - 1 if len(hosts) <= room - 1 else room - 2
    shown = shown_hosts(hosts, max(most, 0))
    lines = [table.header(), *(table.line(host) for host in shown)]
    if len(shown) < len(hosts):
        names = {host.name for host in shown}
        lines.append(others_line([host for host in hosts if host.name not in names], paper))
    return lines
