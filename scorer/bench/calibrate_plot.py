"""The picture of a calibration: which label met which score, and what a threshold would cost, for each model."""

from typing import TYPE_CHECKING

import numpy as np

from scorer.bench.calibrate import Agreement, Calibration
from scorer.pictures import INK, PAPER, SERIES, legible, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MAX_WRITTEN = 15


def calibration_picture(found: Calibration) -> "Figure":
    """Draw a calibration: two pictures side by side for each model (and host)."""
    lines = len(found.agreements)
    figure, axes = new_figure(9.6, 4.2 * lines, rows=lines, columns=2)
    for left, right, one in zip(axes[::2], axes[1::2], found.agreements, strict=True):
        _draw_confusion(left, one)
        _draw_thresholds(right, one, found.good_from)
    return figure


def _draw_confusion(axes: "Axes", one: Agreement) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    where = f" on {legible(one.host)}" if one.host else ""
    axes.set_title(f"{legible(one.model)}{where}, n={one.n:,}" + (", rounded" if one.rounded else ""))
    axes.set_xlabel("score")
    axes.set_ylabel("label")
    axes.grid(False)
    if one.confusion is None:
        axes.text(0.5, 0.5, "too many different values", ha="center", transform=axes.transAxes)
        return
    counts = one.confusion.counts
    shades = LinearSegmentedColormap.from_list("shades", [PAPER, SERIES[0]])
    axes.imshow(np.sqrt(counts), cmap=shades, origin="lower", aspect="auto", vmin=0)
    ticks = [f"{value:g}" for value in one.confusion.values]
    axes.set_xticks(range(len(ticks)), ticks)
    axes.set_yticks(range(len(ticks)), ticks)
    if len(ticks) > _MAX_WRITTEN:
        return
    for (label, score), count in np.ndenumerate(counts):
        if count:
            dark = count > counts.max() / 3
            axes.text(score, label, f"{count:,}", ha="center", va="center", color=PAPER if dark else INK)


def _draw_thresholds(axes: "Axes", one: Agreement, good_from: float) -> None:
    axes.set_title(f"good: label >= {good_from:g} ({one.thresholds[0].good:,} of {one.n:,})")
    axes.set_xlabel("threshold: every score from here on is taken")
    axes.set_ylim(0, 1.05)
    at = [found.at for found in one.thresholds]
    for name, colour in (("precision", SERIES[0]), ("recall", SERIES[1]), ("F1", SERIES[2])):
        values = [getattr(found, name.lower()) for found in one.thresholds]
        axes.plot(at, values, "o-", ms=3.5, color=colour, label=name)
    if one.best is not None:
        axes.axvline(one.best.at, color=INK, linestyle=":", label=f"best F1: {one.best.at:g}")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4, labelcolor=INK, frameon=False)
