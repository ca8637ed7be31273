"""The distribution of scores, drawn in text: bars for all, and one line a host so that a host that judges apart shows.

Scores are numbers of any range, few different ones or a million; or none, when what a template asks for first is not a
number.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scorer.show.words import padded, shortened

BAR_CELLS = 40
MOST_VALUES = 21
CLASSES = 10
NAME_CELLS = 20
MOST_HOSTS = 20
EIGHTHS = " ▁▂▃▄▅▆▇█"
# steps of a scale that people find easy to read
NICE = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Class:
    """A bar of the histogram: scores from `low` up to `high`, which belongs to the next bar unless both are equal."""

    low: float
    high: float

    @property
    def label(self) -> str:
        """How the axis names it."""
        return f"{self.low:g}" if self.low == self.high else f"{self.low:g} to {self.high:g}"


def classes(scores: Sequence[float]) -> list[Class]:
    """Divide the range of the scores: whole numbers in a small range one by one, gaps too; else into some ten parts.

    The parts have round borders; the last one takes its upper border in.
    """
    low, high = min(scores), max(scores)
    if all(float(score).is_integer() for score in scores) and high - low < MOST_VALUES:
        return [Class(float(value), float(value)) for value in range(int(low), int(high) + 1)]
    if low == high:
        return [Class(low, high)]
    step = _nice((high - low) / CLASSES)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [Class(_tidy(i * step, step), _tidy((i + 1) * step, step)) for i in range(first, max(last, first + 1))]


def counted(parts: Sequence[Class], scores: Mapping[float, int]) -> list[int]:
    """Count scores by class."""
    counts = [0] * len(parts)
    if parts[0].low == parts[0].high:
        at = {part.low: i for i, part in enumerate(parts)}
        for score, count in scores.items():
            counts[at[score]] += count
        return counts
    first, step = parts[0].low, parts[0].high - parts[0].low
    for score, count in scores.items():
        counts[min(max(int((score - first) / step + 1e-9), 0), len(parts) - 1)] += count
    return counts


def scores_text(hosts: Mapping[str, Counter[float]], done: int) -> str:
    """Return the section about scores; a line that says so if there are rows but no numbers; empty without rows."""
    scores = _finite(sum(hosts.values(), Counter()))
    if not scores:
        return "scores: not numbers, so nothing to draw" if done else ""
    parts = classes(sorted(scores))
    counts = counted(parts, scores)
    total, most = sum(counts), max(counts)
    labels = [part.label for part in parts]
    width = max(map(len, labels))
    lines = [f"scores: mean {mean(scores):.2f}, half of them from {_quantiles(scores)}"]
    for label, count in zip(labels, counts, strict=True):
        bar = padded(_bar(count / most), BAR_CELLS)
        lines.append(f"  {label:>{width}}  {bar} {count:>9,}  {count / total:6.1%}".rstrip())
    if len(hosts) > 1:
        lines += _by_host(hosts, parts, mean(scores))
    return "\n".join(lines)


def mean(scores: Mapping[float, int]) -> float:
    """Return the mean score."""
    return sum(score * count for score, count in scores.items()) / sum(scores.values())


def _by_host(hosts: Mapping[str, Counter[float]], parts: Sequence[Class], overall: float) -> list[str]:
    """Return one line a host; of many, those whose mean is farthest from that of all."""
    own = {host: found for host, scores in hosts.items() if (found := _finite(scores))}
    apart = sorted(own, key=lambda host: -abs(mean(own[host]) - overall))
    shown = sorted(apart[:MOST_HOSTS])
    lines = [f"  by host, from {parts[0].low:g} to {parts[-1].high:g}:"]
    width = min(NAME_CELLS, max(map(len, shown)))
    for host in shown:
        counts = counted(parts, own[host])
        line = "".join(_column(count / max(counts)) for count in counts)
        name = padded(shortened(host, width), width)
        lines.append(f"    {name}  {line}  mean {mean(own[host]):.2f} of {sum(counts):,}")
    if len(own) > len(shown):
        lines.append(f"    and {len(own) - len(shown):,} more, nearer to the mean of all")
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
    return f"{found[0]:g} to {found[1]:g}"


def _nice(step: float) -> float:
    size = 10.0 ** math.floor(math.log10(step))
    return next(nice * size for nice in NICE if nice * size >= step * (1 - 1e-9))


def _tidy(value: float, step: float) -> float:
    """Return a border without the dust of binary fractions."""
    return round(value, max(0, 2 - math.floor(math.log10(step)))) + 0.0


def _finite(scores: Mapping[float, int]) -> Counter[float]:
    return Counter({score: count for score, count in scores.items() if math.isfinite(score)})
