"""How well two raters agree: a model's scores and a person's labels of the same rows.

Pure functions over two numpy arrays of equal length, one pair of numbers a row. statsmodels, scipy and krippendorff do
the formulas. Each measure sees something else: kappa and alpha punish a judge who is always two points too kind,
Spearman's coefficient does not, and precision and recall are what filtering by a threshold will cost.

Invariants: NaN where a measure is not defined (no pairs, or everything alike), never zero or one; the threshold is
chosen on the same labels that measure it, so it flatters a little, more so the fewer there are.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scorer.bench.statistics import LEVEL, NO_INTERVAL, Floats, Interval, wilson

MAX_CATEGORIES = 25
_SMALLEST_VARIANCE = 1e-12
_ROUNDING = 1e-12
MAX_ALPHA_VALUES = 2_000  # Krippendorff's alpha compares each value with each


@dataclass(frozen=True, slots=True)
class Coefficient:
    """A measure of agreement over `n` pairs, with its interval where there is one."""

    n: int
    value: float
    interval: Interval = NO_INTERVAL


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often each label (lines) met each score (columns): `counts` [labels, scores] over the same `values`."""

    values: tuple[float, ...]
    counts: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Threshold:
    """What taking all rows with a score of at least `at` would mean, when labels of at least some value are good.

    `taken` rows have the score, `good` the label, `hits` both. Precision is hits of taken, recall hits of good.
    """

    at: float
    taken: int
    good: int
    hits: int
    precision: float
    precision_interval: Interval
    recall: float
    recall_interval: Interval
    f1: float


def kappa(labels: ArrayLike, scores: ArrayLike) -> Coefficient:
    """Return the quadratic-weighted kappa (Cohen 1968), weighted by the squared distance of the values themselves.

    The interval is normal, from the large-sample variance; there is none where that is zero, as it is when a rater
    always says the same. NaN if no value differs or more than `MAX_CATEGORIES` do.
    """
    from scipy.stats import norm
    from statsmodels.stats.inter_rater import cohens_kappa

    table = confusion(labels, scores)
    n = int(np.asarray(labels).size)
    if table is None or len(table.values) < 2:
        return Coefficient(n, math.nan)
    with np.errstate(invalid="ignore", divide="ignore"):  # tests of no agreement, which are not used
        found = cohens_kappa(table.counts, weights=np.asarray(table.values), wt="quadratic")
    value, variance = float(found.kappa), float(found.var_kappa)
    if variance < _SMALLEST_VARIANCE:
        return Coefficient(n, value)
    half = float(norm.ppf((1 + LEVEL) / 2)) * math.sqrt(variance)
    return Coefficient(n, value, Interval(max(value - half, -1.0), min(value + half, 1.0)))


def spearman(labels: ArrayLike, scores: ArrayLike) -> Coefficient:
    """Return Spearman's rank correlation with the interval of Bonett and Wright (2000); NaN if either is constant.

    Fisher's transformation with a variance of (1 + r²/2) / (n - 3); no interval for a perfect order or fewer than
    four pairs.
    """
    from scipy.stats import norm, spearmanr

    first, second = _pair(labels, scores)
    n = first.size
    if n < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return Coefficient(n, math.nan)
    value = float(np.clip(spearmanr(first, second).statistic, -1.0, 1.0))
    if np.isclose(abs(value), 1, rtol=0, atol=_ROUNDING):  # a perfect order is not always exactly 1
        return Coefficient(n, math.copysign(1, value))
    if n < 4:
        return Coefficient(n, value)
    half = float(norm.ppf((1 + LEVEL) / 2)) * math.sqrt((1 + value**2 / 2) / (n - 3))
    middle = math.atanh(value)
    return Coefficient(n, value, Interval(math.tanh(middle - half), math.tanh(middle + half)))


def alpha(labels: ArrayLike, scores: ArrayLike, level: Literal["interval", "ordinal"]) -> Coefficient:
    """Return Krippendorff's alpha; NaN if all are the same or too many differ."""
    from krippendorff import alpha as reliability

    first, second = _pair(labels, scores)
    if not 1 < np.unique(np.concatenate([first, second])).size <= MAX_ALPHA_VALUES:
        return Coefficient(first.size, math.nan)
    return Coefficient(first.size, float(reliability(np.stack([first, second]), level_of_measurement=level)))


def confusion(labels: ArrayLike, scores: ArrayLike) -> Confusion | None:
    """Count how often each label met each score; None for no pairs or more than `MAX_CATEGORIES` values."""
    first, second = _pair(labels, scores)
    values, codes = np.unique(np.concatenate([first, second]), return_inverse=True)
    if not 0 < values.size <= MAX_CATEGORIES:
        return None
    counts = np.zeros((values.size, values.size), dtype=np.int64)
    np.add.at(counts, (codes[: first.size], codes[first.size :]), 1)
    return Confusion(tuple(values.tolist()), counts)


def thresholds(labels: ArrayLike, scores: ArrayLike, good_from: float) -> list[Threshold]:
    """Return what each score would mean as a threshold, ascending; `good_from`: the lowest label that is good."""
    first, second = _pair(labels, scores)
    good = first >= good_from
    found = []
    for at in np.unique(second):
        taken = second >= at
        found.append(_threshold(float(at), int(taken.sum()), int(good.sum()), int((taken & good).sum())))
    return found


def best_threshold(candidates: list[Threshold]) -> Threshold | None:
    """Return the threshold with the highest F1, of equal ones the highest; None if no label is good."""
    known = [candidate for candidate in candidates if candidate.good]
    return max(known, key=lambda candidate: (candidate.f1, candidate.at), default=None)


def upper_half(labels: ArrayLike) -> float:
    """Return the lowest label in the upper half of the labels' range, which counts as good if nobody says otherwise."""
    observed = np.unique(np.asarray(labels, dtype=np.float64))
    middle = (observed[0] + observed[-1]) / 2
    above = observed[observed > middle]
    return float(above[0]) if above.size else float(observed[-1])


def _threshold(at: float, taken: int, good: int, hits: int) -> Threshold:
    return Threshold(
        at=at,
        taken=taken,
        good=good,
        hits=hits,
        precision=hits / taken,
        precision_interval=wilson(hits, taken),
        recall=hits / good if good else math.nan,
        recall_interval=wilson(hits, good),
        f1=2 * hits / (taken + good),
    )


def _pair(labels: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats]:
    return np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
