"""The pictures of a report, as SVG for its page: each takes figures and returns markup, empty if there is nothing."""

from collections.abc import Sequence
from datetime import UTC
from typing import TYPE_CHECKING

from scorer.pictures import GRID, INK, SERIES, inline_svg, legible, new_figure
from scorer.report.facts import Histogram, HostFacts, Throughput
from scorer.report.offsets import Offset

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_HOSTS = 8
MOST_MODELS = 4
MOST_DRAWN = 24
MIN_ROWS = 30
OTHERS = "the others"
DAY_S = 86_400.0


def histogram_plot(histogram: Histogram | None, models: Sequence[str]) -> str:
    """Draw how often each score was given, one line of bars a model."""
    if histogram is None:
        return ""
    drawn = list(models[:MOST_MODELS])
    height = 2.4 if len(drawn) == 1 else 1.7 * len(drawn) + 0.4
    upright = len(drawn) if _is_crowded(histogram, MOST_DRAWN) else 0
    figure, axes = new_figure(9.0, height + 1.3 * upright, rows=len(drawn))
    for one, model in zip(axes, drawn, strict=True):
        counts = histogram.of(model=model)
        lefts, width = _places(histogram)
        one.bar(lefts, counts, width, align="edge", color=SERIES[0])
        _score_axis(one, histogram, MOST_DRAWN)
        _thousands(one)
        if len(drawn) > 1:
            one.set_title(legible(model, 60), loc="left")
        if histogram.single:
            _write_shares(one, lefts, width, counts)
    axes[-1].set_xlabel(legible(histogram.field))
    return inline_svg(figure, "How often each score was given")


def hosts_plot(histogram: Histogram | None, hosts: Sequence[HostFacts]) -> str:
    """Draw each host's scores side by side, each host's as shares of its own rows over the outline of all."""
    shown = [host.host for host in hosts if host.rows >= MIN_ROWS][:MOST_HOSTS]
    if histogram is None or len(shown) < 2:
        return ""
    columns = min(len(shown), 4)
    lines = -(-len(shown) // columns)
    figure, axes = new_figure(9.0, 1.75 * lines + 0.2, rows=lines, columns=columns)
    everything = _shares(histogram.of())
    lefts, width = _places(histogram)
    gap = 0.1 if histogram.single else 0.0
    outline = [left - gap for left in lefts] + [lefts[-1] + width + gap]
    top = max(max(_shares(histogram.of(host=host))) for host in shown)
    for one in axes[len(shown) :]:
        one.set_visible(False)
    for one, host in zip(axes, shown, strict=False):
        counts = histogram.of(host=host)
        one.bar(lefts, _shares(counts), width, align="edge", color=SERIES[0])
        one.stairs(everything, outline, color=INK, linewidth=1, baseline=None)
        one.set_ylim(0, top * 1.08)
        one.set_title(f"{legible(host, 18)}  n={sum(counts):,}", fontsize=9, loc="left")
        one.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        one.locator_params(axis="y", nbins=3)
        _score_axis(one, histogram, 5)
    return inline_svg(figure, "Scores by host: bars are the host's own, the line is all hosts together")


def offsets_plot(found: Sequence[Offset]) -> str:
    """Draw how far each host's scores are from the others', with the interval."""
    known = [
        (one.host, one.value, one.low, one.high, SERIES[1] if one.differs else SERIES[0])
        for one in found
        if one.value is not None and one.low is not None and one.high is not None
    ][:MOST_DRAWN]
    if len(known) < 2:
        return ""
    figure, (axes,) = new_figure(9.0, 0.32 * len(known) + 0.8)
    for y, (_, value, low, high, colour) in enumerate(known):
        axes.plot([low, high], [y, y], color=colour, linewidth=2.4, solid_capstyle="round")
        axes.plot([value], [y], "o", color=colour, markersize=6)
    axes.axvline(0, color=INK, linewidth=0.9)
    _host_axis(axes, [host for host, *_ in known])
    reach = max(max(abs(low), abs(high)) for _, _, low, high, _ in known) * 1.15 or 1.0
    axes.set_xlim(-reach, reach)
    axes.set_xlabel("scores lower or higher than the others give to prompts of about the same length (95 % interval)")
    return inline_svg(figure, "How far each host's scores are from the others'")


def throughput_plot(throughput: Throughput | None, hosts: Sequence[HostFacts]) -> str:
    """Draw rows an hour over time, a layer for each host."""
    layers = _layers(throughput, hosts) if throughput else {}
    if throughput is None or not layers or len(next(iter(layers.values()))) < 2:
        return ""
    per_hour = 3600.0 / throughput.step_s
    moments = len(next(iter(layers.values()))) + 1
    # Matplotlib's dates are days since 1970
    edges = [(throughput.start_at + i * throughput.step_s) / DAY_S for i in range(moments)]
    figure, (axes,) = new_figure(9.0, 3.0)
    below = [0.0] * (len(edges) - 1)
    for i, (host, counts) in enumerate(layers.items()):
        above = [base + count * per_hour for base, count in zip(below, counts, strict=True)]
        colour = GRID if host == OTHERS else SERIES[i % len(SERIES)]
        axes.fill_between(
            edges,
            [*below, below[-1]],
            [*above, above[-1]],
            step="post",
            color=colour,
            label=legible(host, 24),
            linewidth=0,
        )
        below = above
    axes.set_ylim(0)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylabel("rows an hour")
    _thousands(axes)
    _time_axis(axes)
    figure.legend(
        loc="outside upper left", ncols=5, fontsize=9, handlelength=1, handleheight=1, frameon=False, labelcolor=INK
    )
    return inline_svg(figure, "Rows an hour over time by host")


def durations_plot(hosts: Sequence[HostFacts]) -> str:
    """Draw how long each host's requests took: the middle eight tenths, and the median."""
    drawn = hosts[:MOST_DRAWN]
    if not drawn:
        return ""
    figure, (axes,) = new_figure(9.0, 0.32 * len(drawn) + 0.8)
    for y, host in enumerate(drawn):
        axes.barh(y, host.slow_s - host.fast_s, left=host.fast_s, height=0.45, color=SERIES[0], alpha=0.55)
        axes.plot([host.median_s] * 2, [y - 0.3, y + 0.3], color=INK, linewidth=2)
    _host_axis(axes, [host.host for host in drawn])
    axes.set_xlim(0)
    axes.set_xlabel("seconds a row: from the fastest tenth to the slowest, and the median, about")
    return inline_svg(figure, "Seconds a row by host")


def _layers(throughput: Throughput, hosts: Sequence[HostFacts]) -> dict[str, tuple[int, ...]]:
    names = [host.host for host in hosts if host.host in throughput.rows]
    if len(names) <= MOST_HOSTS:
        return {name: throughput.rows[name] for name in names}
    layers = {name: throughput.rows[name] for name in names[: MOST_HOSTS - 1]}
    rest = [throughput.rows[name] for name in names[MOST_HOSTS - 1 :]]
    return layers | {OTHERS: tuple(map(sum, zip(*rest, strict=True)))}


def _places(histogram: Histogram) -> tuple[list[float], float]:
    """Return where the bars begin, and how wide they are."""
    edges = histogram.edges
    if histogram.single:
        return [edge - 0.4 for edge in edges], 0.8
    return list(edges[:-1]), edges[1] - edges[0]


def _score_axis(axes: "Axes", histogram: Histogram, most: int) -> None:
    if histogram.labels:
        axes.set_xticks(histogram.edges, _words(histogram, most))
        if _is_crowded(histogram, most):
            axes.tick_params(axis="x", labelrotation=90, labelsize=8 if most >= MOST_DRAWN else 6)
    elif histogram.single and len(histogram.edges) <= most:
        axes.set_xticks(histogram.edges, [f"{edge:.15g}" for edge in histogram.edges])
    else:
        axes.locator_params(axis="x", nbins=5 if most < MOST_DRAWN else 10, integer=histogram.single)


def _words(histogram: Histogram, most: int) -> list[str]:
    return [legible(label, 24 if most >= MOST_DRAWN else 8) for label in histogram.labels]


def _is_crowded(histogram: Histogram, most: int) -> bool:
    """Whether the words do not fit beside one another under a picture in which there is room for so many numbers."""
    return len(histogram.labels) * max(map(len, _words(histogram, most)), default=0) > 5 * most


def _write_shares(axes: "Axes", lefts: Sequence[float], width: float, counts: Sequence[int]) -> None:
    total = sum(counts)
    for left, count in zip(lefts, counts, strict=True):
        if count and len(counts) <= MOST_DRAWN:
            share = f"{count / total:.0%}" if count / total >= 0.005 else "<1%"
            axes.annotate(
                share, (left + width / 2, count), (0, 2), textcoords="offset points", ha="center", fontsize=8, color=INK
            )
    axes.margins(y=0.14)


def _host_axis(axes: "Axes", hosts: Sequence[str]) -> None:
    axes.set_yticks(range(len(hosts)), [legible(host, 24) for host in hosts])
    axes.set_ylim(len(hosts) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    for label in axes.get_yticklabels():
        label.set_color(INK)


def _time_axis(axes: "Axes") -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(tz=UTC, minticks=3, maxticks=10)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))  # type: ignore[no-untyped-call]
    axes.set_xlabel("UTC")


def _thousands(axes: "Axes") -> None:
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value == int(value) else f"{value:,.1f}")
    axes.locator_params(axis="y", nbins=5)


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts) or 1
    return [count / total for count in counts]
