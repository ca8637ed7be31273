"""The lines of the display as values: the job, one line a host, the last events. No terminal here, only its width.

Columns have fixed widths, so that nothing jumps when a figure grows, and every line fits. Colour never says anything
alone (states are words) and is only of the kind that shows on dark and light grounds alike: red, magenta, green.
Whatever a server said goes through `shortened`, so that it cannot move the cursor.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from scorer.dispatch.events import HostProgress, Progress
from scorer.jobs.board import Happened
from scorer.show.words import clock, coming, duration, figure, padded, rate, rate_unit, shortened

TROUBLE = "magenta"
ERROR = "red"
BAR = "green"
MEDIUM_CELLS = 100
WIDE_CELLS = 130
MOST_BAR_CELLS = 60
MOST_NAME_CELLS = 24
LEAST_NAME_CELLS = 8
BAD = frozenset({"failing", "left out"})


@dataclass(frozen=True, slots=True)
class Paper:
    """What is drawn on: columns and lines of the terminal, and whether it can show more than ASCII."""

    width: int
    height: int
    ascii_only: bool = False

    @property
    def bar(self) -> str:
        """The bar's two characters: done, to do."""
        return "#-" if self.ascii_only else "━─"


def job_words(progress: Progress) -> str:
    """Return the job's state in one line of plain text, for logs."""
    parts = [f"{_percent(progress)}  {_counts(progress)}", rate(progress.rows_per_s), _left(progress)]
    if progress.hosts:
        parts.append(f"{sum(host.well for host in progress.hosts)} of {len(progress.hosts)} hosts up")
    return "  ".join(parts)


def job_lines(progress: Progress, paper: Paper, now: float) -> list[Text]:
    """Return the bar and, below it, the rate and the end. `now` is in UTC seconds."""
    percent, counts = _percent(progress), _counts(progress)
    cells = min(MOST_BAR_CELLS, paper.width - len(percent) - len(counts) - 4)
    line = Text(f"{percent} ", style="bold")
    if cells >= 10:
        full = round(_share(progress) * cells)
        line.append(paper.bar[0] * full, style=BAR).append(paper.bar[1] * (cells - full) + " ", style="not bold")
    line.append(f" {counts}")
    line.truncate(paper.width)
    if progress.paused:
        return [line, Text(shortened(f"PAUSED: {progress.paused}", paper.width), style=f"bold {ERROR}")]
    if progress.hosts and not any(host.well for host in progress.hosts):
        return [line, Text(shortened("no host is up: waiting for one to come back", paper.width), style=TROUBLE)]
    words = f"{rate(progress.rows_per_s)}, {_left(progress)}"
    if progress.eta_s is not None and progress.eta_s > 60:
        ends = f", ends {coming(now + progress.eta_s, now)}"
        words += ends if len(words + ends) <= paper.width else ""
    return [line, Text(shortened(words, paper.width))]


def event_line(happened: Happened, paper: Paper) -> Text:
    """Return one event in one line, with its time."""
    style = {"info": "", "warning": TROUBLE, "error": ERROR}[happened.event.level]
    when = clock(happened.at)
    return Text(f"{when} ", style="dim").append(shortened(happened.event.text, paper.width - len(when) - 1), style)


def _share(progress: Progress) -> float:
    return (progress.done + progress.dead) / progress.total if progress.total else 1.0


def _percent(progress: Progress) -> str:
    """Return the share that has ended; not 100 % before all has."""
    share = _share(progress)
    return f"{min(share, 0.999) if share < 1 else share:6.1%}"


def _counts(progress: Progress) -> str:
    dead = f", {progress.dead:,} dead" if progress.dead else ""
    return f"{progress.done:,} of {progress.total:,} done{dead}"


def _left(progress: Progress) -> str:
    if progress.paused:
        return f"PAUSED: {shortened(progress.paused, 200)}"
    if progress.eta_s is None:
        return "time left not known yet" if progress.done + progress.dead < progress.total else "nothing left"
    if progress.eta_low_s is None or progress.eta_high_s is None:
        return f"perhaps {duration(progress.eta_s)} left"
    low, high = duration(progress.eta_low_s), duration(progress.eta_high_s)
    between = f" ({low} to {high})" if low != high else ""
    return f"about {duration(progress.eta_s)} left{between}"


# -- hosts ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    cells: int
    value: Callable[[HostProgress], str]
    right: bool = True


class HostTable:
    """The hosts' lines for one width: which columns there is room for, and how wide the names may be."""

    def __init__(self, progress: Progress, paper: Paper) -> None:
        self._paper = paper
        self._gap = "  " if paper.width >= MEDIUM_CELLS else " "
        factor, unit = rate_unit(max((host.rows_per_s for host in progress.hosts), default=0.0))
        rows = max(sum(host.rows for host in progress.hosts), 1)
        few = [
            _Column("state", 8, lambda host: host.state, right=False),
            _Column("slots", 7, lambda host: f"{host.running}/{host.limit}"),
            _Column("rows", 9, lambda host: f"{host.rows:,}"),
            _Column("share", 5, lambda host: f"{host.rows / rows:.0%}"),
        ]
        rates = [
            _Column(unit, 8, lambda host: _now(host, host.rows_per_s * factor)),
            _Column("tok/s in", 8, lambda host: _now(host, host.prompt_tps)),
            _Column("out", 6, lambda host: _now(host, host.output_tps)),
        ]
        if paper.width >= WIDE_CELLS:
            rates += [
                _Column("read t/s", 8, lambda host: _known(host.prefill_tps)),
                _Column("write t/s", 9, lambda host: _known(host.decode_tps)),
                _Column("a row", 6, lambda host: _seconds(host.row_s)),
            ]
        longest = max((cell_len(host.name) for host in progress.hosts), default=0)
        while few and LEAST_NAME_CELLS + self._cells([*few, *rates]) > paper.width:
            # a narrow terminal does without the last ones
            (rates or few).pop()
        room = max(LEAST_NAME_CELLS, min(MOST_NAME_CELLS, paper.width - self._cells([*few, *rates])))
        name = _Column("host", max(4, min(longest, room)), lambda host: host.name, right=False)
        self._few = [name, *few] if paper.width >= MEDIUM_CELLS else [name, *few[:1]]
        self._all = [name, *few, *rates]

    def _cells(self, columns: Sequence[_Column]) -> int:
        return sum(column.cells + len(self._gap) for column in columns)

    def header(self) -> Text:
        """Return the titles of the columns."""
        titles = self._gap.join(padded(column.title, column.cells, right=column.right) for column in self._all)
        if self._paper.width >= WIDE_CELLS:
            titles += f"{self._gap}last fault"
        return self._fitting(Text(titles, style="underline"))

    def line(self, host: HostProgress) -> Text:
        """Return one host's line: its figures; of a host that is not well what is the matter, instead or behind."""
        fault = host.last_fault or ""
        wide = self._paper.width >= WIDE_CELLS
        columns = self._all if host.well or wide or not fault else self._few
        style = "" if host.well else ERROR if host.state in BAD else TROUBLE
        cells = [
            padded(shortened(column.value(host), column.cells), column.cells, right=column.right) for column in columns
        ]
        line = Text(self._gap.join(cells[:1]))
        for number, cell in enumerate(cells[1:]):
            line.append(self._gap).append(cell, style if number == 0 else "")
        if fault and (wide or not host.well):
            room = self._paper.width - line.cell_len - len(self._gap)
            line.append(self._gap).append(shortened(fault, room), style)
        return self._fitting(line)

    def _fitting(self, line: Text) -> Text:
        line.truncate(self._paper.width)
        return line


def _now(host: HostProgress, value: float) -> str:
    """Return a rate; a host that is not at work has none, whatever it did before."""
    return figure(value) if host.well else "-"


def _known(tps: float | None) -> str:
    return "?" if tps is None else figure(tps)


def _seconds(seconds: float | None) -> str:
    return "?" if seconds is None else f"{figure(seconds)}s"


def shown_hosts(hosts: Sequence[HostProgress], most: int) -> list[HostProgress]:
    """Choose the hosts for which there are lines, in their order: up to half of them in trouble, then the busiest.

    Busy is who has done most rows: that changes slowly, so that lines do not jump about.
    """
    if len(hosts) <= most:
        return list(hosts)
    by_rows = sorted(range(len(hosts)), key=lambda i: (-hosts[i].rows, i))
    troubled = [i for i in by_rows if not hosts[i].well]
    well = [i for i in by_rows if hosts[i].well]
    first = troubled[: max(most // 2, most - len(well))]
    return [hosts[i] for i in sorted([*first, *well[: most - len(first)]])]


def others_line(hidden: Sequence[HostProgress], paper: Paper) -> Text:
    """Return what is said of the hosts without a line: `… and 43 more: 40 up, 3 down`."""
    up = sum(host.well for host in hidden)
    down = f", {len(hidden) - up:,} down" if up < len(hidden) else ""
    dots = "..." if paper.ascii_only else "…"
    return Text(shortened(f"{dots} and {len(hidden):,} more: {up:,} up{down}", paper.width), style="dim")
