"""`scorer simulate --plot`: what each host did over time, the makespan, and the time below which no schedule can get.

A host's band shows how many of its slots were at work, and apart from that how many were at work in vain: copies that
lost, requests that failed. Behind it stands what happened to the host. A fleet of many hosts is drawn as a picture of
lines instead, each shaded by how busy its host was.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from scorer.core.simulate import Result, Try
from scorer.core.simulated import AWAY, SimEvent, SimHost
from scorer.jobs.simulation import Simulated
from scorer.pictures import BAD, FAINT, GRID, INK, PAPER, SERIES, WARN, legible, new_figure, write_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOMENTS = 600
MOST_BANDS = 24
BAND = 0.8
STRIP = 0.12
MOST_NAMED = 60
DASHES = (0, (4, 3))
USEFUL, VAIN = SERIES[0], SERIES[1]
UNITS = (
    (2 * 86_400.0, 86_400.0, "days"),
    (2 * 3600.0, 3600.0, "hours"),
    (300.0, 60.0, "minutes"),
    (0.0, 1.0, "seconds"),
)

Floats = npt.NDArray[np.float64]


def write_timeline(found: Simulated, path: Path) -> None:
    """Draw the scheduler's own run into a file, .svg or .png; UsageError if it cannot be written."""
    write_picture(timeline(found), path)


def timeline(found: Simulated) -> "Figure":
    """Draw the scheduler's own run."""
    result = found.priced
    end_s = max([result.makespan_s, *([result.bound_s] if math.isfinite(result.bound_s) else [])]) * 1.02 or 1.0
    unit_s, unit = next((size, name) for least, size, name in UNITS if end_s >= least)
    draw = _bands if len(found.hosts) <= MOST_BANDS else _lines
    height = min(1.5 + (0.42 if draw is _bands else 0.11) * len(found.hosts), 14.0)
    figure, (axes,) = new_figure(11.0, height)
    draw(axes, found, end_s, unit_s)
    axes.set_xlim(0, end_s / unit_s)
    axes.set_xlabel(f"{unit} since the start")
    axes.grid(visible=False)
    _mark_ends(axes, result, unit_s)
    _explain(figure, found)
    return figure


def shares(tries: Iterable[Try], slots: int, end_s: float, moments: int = MOMENTS) -> Floats:
    """Return for each of `moments` equal spans from 0 to `end_s` which share of the slots these attempts took, 0 to 1.

    Exact: each attempt counts in every span with the seconds that it has there.
    """
    step_s = end_s / moments
    # seconds of work before each border, as the sum over attempts of what of each lies before it
    spans = np.array([(one.start_s, one.end_s) for one in tries], float).reshape(-1, 2)
    borders: Floats = np.arange(moments + 1, dtype=np.float64) * step_s
    before: Floats = _work_before(spans[:, 0], borders) - _work_before(spans[:, 1], borders)
    taken: Floats = np.diff(before) / (step_s * slots)
    return taken


def _work_before(moments: Floats, borders: Floats) -> Floats:
    """Return for each border the sum of how long ago each moment before it was."""
    ordered = np.sort(moments)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    count = np.searchsorted(ordered, borders)
    worked: Floats = count * borders - sums[count]
    return worked


def _bands(axes: "Axes", found: Simulated, end_s: float, unit_s: float) -> None:
    of_host = _by_host(found.priced.tries)
    edges = np.linspace(0, end_s / unit_s, MOMENTS + 1)
    for y, host in enumerate(found.hosts):
        floor = y + BAND / 2
        axes.axhspan(floor - BAND, floor, color=GRID, alpha=0.35, linewidth=0)
        for event in host.events:
            _shade(axes, event, (floor - BAND, floor), end_s, unit_s)
        tries = of_host.get(host.name, [])
        every = shares(tries, host.slots, end_s)
        useful = shares([one for one in tries if one.won], host.slots, end_s)
        # upwards is towards smaller y: the first host stands at the top
        axes.stairs(floor - BAND * np.minimum(every, 1), edges, baseline=floor, fill=True, color=VAIN, linewidth=0)
        axes.stairs(floor - BAND * np.minimum(useful, 1), edges, baseline=floor, fill=True, color=USEFUL, linewidth=0)
    axes.set_yticks(range(len(found.hosts)), [_name(found, host) for host in found.hosts])
    axes.set_ylim(len(found.hosts) - 0.45, -0.55)
    _ink_names(axes)


def _lines(axes: "Axes", found: Simulated, end_s: float, unit_s: float) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    hosts = sorted(found.hosts, key=lambda host: -found.priced.hosts[host.name].rows)
    of_host = _by_host(found.priced.tries)
    every = np.array([shares(of_host.get(host.name, []), host.slots, end_s) for host in hosts])
    useful = np.array([shares([t for t in of_host.get(h.name, []) if t.won], h.slots, end_s) for h in hosts])
    edges = np.linspace(0, end_s / unit_s, MOMENTS + 1)
    rows = np.arange(len(hosts) + 1) - 0.5
    for share, colour in ((every, VAIN), (useful, USEFUL)):
        shades = LinearSegmentedColormap.from_list("busy", [(1, 1, 1, 0), colour])
        axes.pcolormesh(edges, rows, np.minimum(share, 1), cmap=shades, vmin=0, vmax=1, rasterized=True)
    for y, host in enumerate(hosts):
        for event in host.events:
            _shade(axes, event, (y - 0.5, y + 0.5), end_s, unit_s)
    if len(hosts) <= MOST_NAMED:
        axes.set_yticks(range(len(hosts)), [_name(found, host) for host in hosts], fontsize=7)
    else:
        axes.set_yticks([])
        axes.set_ylabel(f"{len(hosts):,} hosts, those with most rows at the top")
    axes.set_ylim(len(hosts) - 0.5, -0.5)
    _ink_names(axes)


def _by_host(tries: Sequence[Try]) -> dict[str, list[Try]]:
    found: dict[str, list[Try]] = {}
    for one in tries:
        found.setdefault(one.host, []).append(one)
    return found


def _shade(axes: "Axes", event: SimEvent, band: tuple[float, float], end_s: float, unit_s: float) -> None:
    """Show behind a band what happened to its host."""
    if event.kind == "joins":
        start_s, until_s = 0.0, event.at_s
    else:
        start_s, until_s = event.at_s, min(event.until_s or end_s, end_s)
    if until_s <= start_s:
        return
    away = event.kind in AWAY or event.kind == "joins"
    colour = FAINT if away else (WARN if event.kind == "slows" else BAD)
    span = [start_s / unit_s, until_s / unit_s]
    axes.fill_between(span, *band, color=colour, alpha=0.16, linewidth=0, hatch="///" if away else None)
    if event.kind == "slows":
        # a host at work hides what stands behind it
        axes.fill_between(span, band[1], band[1] + STRIP * (band[1] - band[0]), color=colour, linewidth=0)
    if (until_s - start_s) / end_s > 0.07:
        words = {"joins": "not there yet", "slows": f"{event.factor:g}x slower", "fails_fast": "fails at once"}
        label = axes.text(sum(span) / 2, sum(band) / 2, words.get(event.kind, event.kind), color=INK, zorder=5)
        label.set(ha="center", va="center", fontsize=8)
        label.set_bbox({"facecolor": PAPER, "alpha": 0.75, "linewidth": 0, "pad": 1.5})


def _mark_ends(axes: "Axes", result: Result, unit_s: float) -> None:
    axes.axvline(result.makespan_s / unit_s, color=INK, linewidth=1.2)
    if math.isfinite(result.bound_s):
        axes.axvline(result.bound_s / unit_s, color=INK, linewidth=1.2, linestyle=DASHES)


def _explain(figure: "Figure", found: Simulated) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    result = found.priced
    bound = f"bound {result.bound_s:,.0f} s" if math.isfinite(result.bound_s) else "no schedule finishes"
    ratio = f", {result.ratio:.3f} times the bound" if math.isfinite(result.bound_s) else ""
    left = f", {result.unfinished:,} rows never" if result.unfinished else ""
    figure.legend(
        handles=[
            Patch(color=USEFUL, label="at work"),
            Patch(color=VAIN, label=f"in vain (second copies: {result.duplicated:,}, failed: {result.wasted:,})"),
            Line2D([], [], color=INK, label=f"makespan {result.makespan_s:,.0f} s{ratio}{left}"),
            Line2D([], [], color=INK, linestyle=DASHES, label=bound),
        ],
        loc="outside upper left",
        ncols=4,
        fontsize=8.5,
        frameon=False,
        labelcolor=INK,
        handlelength=1.9,
        columnspacing=1.2,
    )


def _name(found: Simulated, host: SimHost) -> str:
    used = found.priced.hosts[host.name]
    return f"{legible(host.name, 20)}  {used.rows / max(found.work.rows, 1):.0%}"


def _ink_names(axes: "Axes") -> None:
    for label in axes.get_yticklabels():
        label.set_color(INK)
