"""The distribution of scores, drawn in text: bars for all, and one line a host so that a host that judges apart shows.

Scores are numbers of any range, few different ones or a million; or words of a list, each counted by its place in it;
or neither, when what a template asks for first is free text. A template may set them no bounds: any finite figure is
drawn, however far from the others or near to them, since a display must never end a run.
"""

import math
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from scorer.show.words import padded, shortened

BAR_CELLS = 40
MOST_VALUES = 21
CLASSES = 10
NAME_CELLS = 20
MOST_HOSTS = 20
NOT_COUNTED = "an older scorer did not count them"
EIGHTHS = " ▁▂▃▄▅▆▇█"
# steps of a scale that people find easy to read
NICE = (1.0, 2.0, 2.5, 5.0, 10.0)
# a step of less, as a share of the scores, is lost in their last digits
FINEST_STEP = 1e-12
# beyond it not every whole number is a float
MOST_WHOLE = 2.0**53
# beyond it two decimals tell nothing, and take hundreds of places
MOST_IN_FULL = 1e15


@dataclass(frozen=True, slots=True)
class Class:
    """A bar of the histogram: scores from `low` up to `high`, which belongs to the next bar unless both are equal.

    `word`: what a single score is called, if not by its figure.
    """

    low: float
    high: float
    word: str = ""

    @property
    def label(self) -> str:
        """How the axis names it."""
        low, high = self.borders
        return low if self.low == self.high else f"{low} to {high}"

    @property
    def borders(self) -> tuple[str, str]:
        """How its lower and its upper border are named: by every digit, so that no two bars have one name."""
        if self.word:
            return (shortened(self.word, NAME_CELLS),) * 2
        return repr(self.low).removesuffix(".0"), repr(self.high).removesuffix(".0")


def classes(scores: Sequence[float]) -> list[Class]:
    """Divide the range of the scores: whole numbers in a small range one by one, gaps too; else into some ten parts.

    The parts have round borders; the last one takes its upper border in. Where figures are too near to each other or
    too far apart for such borders, each score that was given is a class; or all are one, if they are many.
    """
    low, high = min(scores) + 0.0, max(scores) + 0.0
    furthest = max(abs(low), abs(high))
    whole = furthest <= MOST_WHOLE and all(float(score).is_integer() for score in scores)
    if whole and high - low < MOST_VALUES:
        return [Class(float(value), float(value)) for value in range(int(low), int(high) + 1)]
    # each divided by itself: their difference may be more than the greatest float
    least = high / CLASSES - low / CLASSES
    if least > max(FINEST_STEP * furthest, sys.float_info.min):
        parts = _round_parts(low, high, _nice(least))
        if math.isfinite(parts[0].low) and math.isfinite(parts[-1].high):
            return parts
    different = sorted(set(scores))
    return [Class(score, score) for score in different] if len(different) <= MOST_VALUES else [Class(low, high)]


def _round_parts(low: float, high: float, step: float) -> list[Class]:
    first, last = math.floor(low / step), math.ceil(high / step)
    return [Class(_tidy(i * step, step), _tidy((i + 1) * step, step)) for i in range(first, max(last, first + 1))]


def counted(parts: Sequence[Class], scores: Mapping[float, int]) -> list[int]:
    """Count scores by class; what has no class, such as a rare word, is left out."""
    counts = [0] * len(parts)
    if parts[0].low == parts[0].high:
        at = {part.low: i for i, part in enumerate(parts)}
        for score, count in scores.items():
            if score in at:
                counts[at[score]] += count
        return counts
    lows = [part.low for part in parts]
    for score, count in scores.items():
        counts[max(bisect_right(lows, score) - 1, 0)] += count
    return counts


@dataclass(frozen=True, slots=True)
class _Measure:
    """The figure by which a host is compared with all of them, what it is called, and how it is said."""

    name: str
    of: Callable[[Mapping[float, int]], float]
    said: Callable[[float], str]


def scores_text(hosts: Mapping[str, Counter[float]], done: int, words: Sequence[str] = ()) -> str:
    """Return the section about scores; a line that says so if there is nothing to draw; empty without rows.

    `words` name the scores if they are no numbers, which are then their places in it.
    """
    scores = _finite(sum(hosts.values(), Counter()))
    if words:
        return _words_text(hosts, scores, done, words)
    if not scores:
        return "scores: not numbers, so nothing to draw" if done else ""
    parts = classes(sorted(scores))
    lines = [f"scores: mean {_mean_text(mean(scores))}, half of them from {_quantiles(scores)}", *_bars(parts, scores)]
    return "\n".join(lines + _by_host(hosts, parts, _Measure("mean", mean, lambda value: f"mean {_mean_text(value)}")))


def _words_text(hosts: Mapping[str, Counter[float]], scores: Counter[float], done: int, words: Sequence[str]) -> str:
    """Return the section about scores that are words: of many different ones a bar for those that came most often."""
    if not scores:
        return f"scores: {NOT_COUNTED}; `scorer report` draws them" if done else ""
    places = range(len(words))
    frequent = sorted(places, key=lambda place: -scores[place])
    parts = [Class(place, place, words[place]) for place in sorted(frequent[:MOST_VALUES])]
    top = frequent[0]
    name = shortened(words[top], NAME_CELLS)
    share = _Measure("share", lambda own: own.get(top, 0) / sum(own.values()), lambda value: f"{name} {value:.1%}")
    lines = [f"scores: most often {name}", *_bars(parts, scores)]
    if others := sum(scores[place] for place in frequent[MOST_VALUES:]):
        lines.append(f"  and other values, each less often: {others:,}")
    if (uncounted := done - scores.total()) > 0:
        lines.append(f"  without {uncounted:,} of the rows: {NOT_COUNTED}")
    return "\n".join(lines + _by_host(hosts, parts, share))


def _bars(parts: Sequence[Class], scores: Counter[float]) -> list[str]:
    """Return a line for each class."""
    counts = counted(parts, scores)
    total, most = scores.total(), max(counts)
    labels = [part.label for part in parts]
    width = max(map(cell_len, labels))
    return [
        f"  {padded(label, width, right=True)}  {padded(_bar(count / most), BAR_CELLS)} {count:>9,}  "
        f"{count / total:6.1%}".rstrip()
        for label, count in zip(labels, counts, strict=True)
    ]


def mean(scores: Mapping[float, int]) -> float:
    """Return the mean score."""
    rows = sum(scores.values())
    total = sum(score * count for score, count in scores.items())
    # the sum of figures near the greatest float is none
    return total / rows if math.isfinite(total) else sum(score / rows * count for score, count in scores.items())


def _mean_text(value: float) -> str:
    return f"{value:.2f}" if abs(value) < MOST_IN_FULL else f"{value:g}"


def _by_host(hosts: Mapping[str, Counter[float]], parts: Sequence[Class], measure: _Measure) -> list[str]:
    """Return one line a host if there are several; of many, those that are farthest from all by the measure."""
    if len(hosts) < 2:
        return []
    own = {host: found for host, scores in hosts.items() if (found := _finite(scores))}
    overall = measure.of(sum(own.values(), Counter()))
    apart = sorted(own, key=lambda host: -abs(measure.of(own[host]) - overall))
    shown = sorted(apart[:MOST_HOSTS])
    lines = [f"  by host, from {parts[0].borders[0]} to {parts[-1].borders[1]}:"]
    width = min(NAME_CELLS, max(map(len, shown)))
    for host in shown:
        counts = counted(parts, own[host])
        line = "".join(_column(count / max(*counts, 1)) for count in counts)
        name = padded(shortened(host, width), width)
        lines.append(f"    {name}  {line}  {measure.said(measure.of(own[host]))} of {own[host].total():,}")
    if len(own) > len(shown):
        lines.append(f"    and {len(own) - len(shown):,} more, nearer to the {measure.name} of all")
    return lines


def _bar(share: float) -> str:
    """Return a bar; whatever is there at all is seen."""
    return "█" * max(round(share * BAR_CELLS), 1) if share else ""


def _column(share: float) -> str:
    return EIGHTHS[max(round(share * 8), 1)] if share else EIGHTHS[0]


def _quantiles(scores: Mapping[float, int]) -> str:
    """Return the middle half of the scores in words."""
    total, seen, found = sum(scores.values()), 0, []
    wanted = [0.25, 0.75]
    for score in sorted(scores):
        seen += scores[score]
        while wanted and seen >= wanted[0] * total:
            found.append(score)
            wanted.pop(0)
    return f"{_figure(found[0])} to {_figure(found[1])}"


def _figure(value: float) -> str:
    """Return a score in few digits, but with all that stand before its point."""
    return f"{value:g}" if abs(value) < 1e5 else f"{value:.15g}"


def _nice(step: float) -> float:
    size = 10.0 ** math.floor(math.log10(step))
    return next(nice * size for nice in NICE if nice * size >= step * (1 - 1e-9))


def _tidy(value: float, step: float) -> float:
    """Return a border without the dust of binary fractions."""
    return round(value, 2 - math.floor(math.log10(step))) + 0.0


def _finite(scores: Mapping[float, int]) -> Counter[float]:
    return Counter({score: count for score, count in scores.items() if math.isfinite(score)})
