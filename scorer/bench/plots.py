"""The pictures of a benchmark report, as SVG that stands inside a page and follows its colours, light or dark."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from scorer.bench.report import HostFigures, Report
from scorer.pictures import FAINT, GRID, INK, SERIES, inline_svg, legible, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINE_IN = 0.24
_AROUND_IN = 1.05


def accuracy_plot(report: Report) -> str:
    """Draw each suite's accuracy with its interval, a dot for each model; the number of answers beside each."""
    figure, axes = _canvas(len(report.suites) * (len(report.models) + 0.9))
    y, ticks = 0.0, []
    for suite in report.suites:
        ticks.append(y + (len(report.models) - 1) / 2)
        for model in report.models:
            mean = report.cell(suite, model).accuracy
            if mean.n:
                colour = _colour(report, model)
                axes.plot([mean.interval.low, mean.interval.high], [y, y], color=colour, linewidth=2.2, alpha=0.55)
                axes.plot([mean.value], [y], "o", color=colour, markersize=6)
                axes.text(1.02, y, f"{mean.value:.1%}  n={mean.n:,}", va="center", fontsize=8.5, color=INK)
            y += 1
        axes.axhline(y - 0.05, color=GRID, linewidth=0.8)
        y += 0.9
    axes.set_yticks(ticks, [legible(suite) for suite in report.suites])
    axes.set_ylim(y - 0.9, -0.8)
    axes.set_xlim(0, 1.22)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
    axes.set_xlabel("accuracy, with its 95% interval")
    _legend(figure, [(_colour(report, model), model) for model in report.models])
    return inline_svg(figure, "Accuracy with intervals for each suite and model; the table below has the figures")


def disagreement_plot(report: Report) -> str:
    """Draw for each two models and each suite in how many questions only one of them is right; empty for one model."""
    bars = [(found, one) for found in report.comparisons for one in found.suites if one.paired.n]
    if not bars:
        return ""
    figure, axes = _canvas(len(bars) * 1.25)
    most = max(max(one.paired.only_a, one.paired.only_b) for _, one in bars) or 1
    for y, (found, one) in enumerate(bars):
        for count, model, side in ((one.paired.only_a, found.a, -1), (one.paired.only_b, found.b, 1)):
            axes.barh(y, side * count, color=_colour(report, model), height=0.62)
            towards = "left" if side > 0 else "right"
            beside = side * (count + most * 0.03)
            axes.text(beside, y, f"{count:,}", va="center", ha=towards, fontsize=8.5, color=INK)
    axes.axvline(0, color=FAINT, linewidth=0.8)
    axes.set_yticks(range(len(bars)), [f"{legible(one.suite)}  n={one.paired.n:,}" for _, one in bars])
    axes.set_ylim(len(bars) - 0.5, -0.6)
    axes.set_xlim(-most * 1.3, most * 1.3)
    axes.set_xticks([])
    axes.set_xlabel("questions that only this model has right")
    _legend(figure, [(_colour(report, model), model) for model in report.models])
    return inline_svg(figure, "Questions that only one of two models has right; the table below has the figures")


def time_plot(report: Report) -> str:
    """Draw how long each host took for an answer: median and middle half, in seconds; empty without hosts."""
    if not report.hosts:
        return ""
    figure, axes = _canvas(len(report.hosts) * 1.5)
    for y, host in enumerate(report.hosts):
        axes.barh(y, host.three_quarters_s - host.quarter_s, left=host.quarter_s, color=SERIES[0], height=0.5)
        axes.plot([host.median_s] * 2, [y - 0.33, y + 0.33], color=INK, linewidth=2)
    _host_lines(axes, report.hosts)
    axes.set_xlabel("seconds an answer: the middle half, and the median")
    return inline_svg(figure, "Seconds an answer on each host; the table below has the figures")


def tokens_plot(report: Report) -> str:
    """Draw the tokens that each host read and wrote; empty without hosts."""
    if not report.hosts:
        return ""
    figure, axes = _canvas(len(report.hosts) * 1.5)
    for y, host in enumerate(report.hosts):
        axes.barh(y - 0.19, host.prompt_tokens, color=SERIES[0], height=0.34)
        axes.barh(y + 0.19, host.output_tokens, color=SERIES[1], height=0.34)
    _host_lines(axes, report.hosts)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel("tokens")
    _legend(figure, [(SERIES[0], "read (prompts)"), (SERIES[1], "written (answers)")])
    return inline_svg(figure, "Tokens read and written on each host; the table below has the figures")


def _canvas(lines: float) -> "tuple[Figure, Axes]":
    """Make a figure high enough for so many lines of text, with upright grid lines only."""
    figure, (axes,) = new_figure(8.6, _AROUND_IN + _LINE_IN * lines)
    axes.grid(False)
    axes.grid(True, axis="x")
    axes.tick_params(length=0)
    return figure, axes


def _host_lines(axes: "Axes", hosts: Sequence[HostFigures]) -> None:
    axes.set_yticks(range(len(hosts)), [f"{legible(host.host)}  n={host.answers:,}" for host in hosts])
    axes.set_ylim(len(hosts) - 0.4, -0.6)
    axes.set_xlim(left=0)


def _colour(report: Report, model: str) -> str:
    return SERIES[report.models.index(model) % len(SERIES)]


def _legend(figure: "Figure", entries: Sequence[tuple[str, str]]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], marker="s", linestyle="", color=colour, label=legible(name)) for colour, name in entries]
    figure.legend(handles=handles, loc="outside upper left", ncols=min(len(handles), 3), frameon=False, labelcolor=INK)
