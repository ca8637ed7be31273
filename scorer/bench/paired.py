"""Is one model better than another on the same questions? Exact McNemar, paired bootstrap, and what could be shown.

Pure functions over numpy arrays: a pair is one question that both models have answered. Comparing pairs removes the
difficulty of the questions from the noise, which is why two models' own intervals may overlap while one is plainly
better.

Invariants: differences are B minus A; a verdict is only given when test and interval agree, else it says borderline;
the same pairs and seed give the same figures.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scorer.bench.statistics import LEVEL, NO_INTERVAL, Floats, Interval, clustered_error

ALPHA = 1 - LEVEL
POWER = 0.8
RESAMPLES = 9_999
SEED = 20_240_229
_SMALLEST_ERROR = 1e-9
_BATCH_DRAWS = 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Two models on the same `n` questions.

    The counts take a question as right when more than half of its samples are. `difference` is B minus A, `interval`
    the bootstrap's, `p` the exact McNemar test's where each question is one independent yes or no, else that of a t
    test on the differences with clustered errors (`test` says which). `detectable` is the smallest difference that so
    many questions, disagreeing as these do, show with a power of 80 %. Without questions nothing is known: NaN.
    """

    n: int
    clusters: int
    accuracy_a: float
    accuracy_b: float
    both_right: int
    only_a: int
    only_b: int
    both_wrong: int
    difference: float
    interval: Interval
    p: float
    mcnemar_p: float
    test: str
    detectable: float


def compare_pairs(a: ArrayLike, b: ArrayLike, clusters: ArrayLike | None = None, *, seed: int = SEED) -> Paired:
    """Compare two models' scores, question by question; each is between 0 and 1, a mean where there are samples."""
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    n = first.size
    named = np.arange(n) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    differences = second - first
    count = int(np.unique(named).size)
    right_a, right_b = first > 0.5, second > 0.5
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    exact = mcnemar_p(only_a, only_b) if n else math.nan
    plain = count == n and bool(np.isin(differences, (-1.0, 0.0, 1.0)).all())
    return Paired(
        n=n,
        clusters=count,
        accuracy_a=float(first.mean()) if n else math.nan,
        accuracy_b=float(second.mean()) if n else math.nan,
        both_right=int((right_a & right_b).sum()),
        only_a=only_a,
        only_b=only_b,
        both_wrong=int((~right_a & ~right_b).sum()),
        difference=float(differences.mean()) if n else math.nan,
        interval=bootstrap_interval(differences, named, seed=seed),
        p=exact if plain else clustered_p(differences, named),
        mcnemar_p=exact,
        test="exact McNemar" if plain else "t test, clustered",
        detectable=smallest_detectable(differences, named),
    )


def mcnemar_p(only_a: int, only_b: int) -> float:
    """Return the two-sided exact p-value from the questions that only A and only B has right; 1 if there are none."""
    from statsmodels.stats.contingency_tables import mcnemar

    return float(mcnemar([[0, only_a], [only_b, 0]], exact=True).pvalue)


def clustered_p(differences: Floats, clusters: ArrayLike) -> float:
    """Return the two-sided p-value of a mean difference of zero, with clustered errors and clusters - 1 degrees.

    1 if all differences are zero. If they are all alike, there is no error to tell, and it is a sign test over the
    clusters. NaN with one cluster.
    """
    from scipy.stats import t

    if not np.any(differences):
        return 1.0 if differences.size else math.nan
    count = np.unique(np.asarray(clusters)).size
    if count < 2:
        return math.nan
    if np.ptp(differences) == 0:
        return mcnemar_p(0, count)
    mean, error = float(differences.mean()), clustered_error(differences, clusters)
    if error < _SMALLEST_ERROR:  # every cluster has the same mean
        return 1.0 if abs(mean) < _SMALLEST_ERROR else mcnemar_p(0, count)
    return float(2 * t.sf(abs(mean) / error, count - 1))


def bootstrap_interval(differences: Floats, clusters: ArrayLike, *, seed: int = SEED) -> Interval:
    """Return the percentile interval of a mean difference over resampled clusters (pairs stay together).

    NaN with fewer than two clusters.
    """
    from scipy.stats import bootstrap

    _, codes = np.unique(np.asarray(clusters), return_inverse=True)
    sizes = np.bincount(codes).astype(np.float64) if codes.size else np.zeros(0)
    if sizes.size < 2:
        return NO_INTERVAL
    sums = np.bincount(codes, weights=differences)
    found = bootstrap(
        (sums, sizes),
        lambda total, size, axis: total.sum(axis=axis) / size.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, _BATCH_DRAWS // sizes.size),
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(found.low), float(found.high))


def smallest_detectable(differences: Floats, clusters: ArrayLike) -> float:
    """Return the smallest true difference that would be found with 80 % power at an alpha of 5 %.

    From the observed discordance: with no true difference, the mean square of the differences is their variance, the
    rate of disagreement where scores are 0 or 1 (Connor 1987). Models cannot differ by more than they disagree, so
    where the result is above the rate, the rate is taken to be the difference itself. Clusters count as the number of
    independent questions that have the same standard error. NaN without questions; 1 if nothing could be shown.
    """
    from statsmodels.stats.power import NormalIndPower

    n = differences.size
    if not n:
        return math.nan
    independent_n = n / _design_effect(differences, clusters)
    power = NormalIndPower(ddof=0)
    effect = float(power.solve_power(nobs1=independent_n, alpha=ALPHA, power=POWER, ratio=0))
    discordance = float(np.mean(differences**2))
    found = effect * math.sqrt(discordance)
    return min(1.0, found if 0 < found <= discordance else effect**2)


def _design_effect(differences: Floats, clusters: ArrayLike) -> float:
    """Say how many clustered questions tell as much as one independent question; never less than 1."""
    clustered, independent = clustered_error(differences, clusters), clustered_error(differences, _each(differences))
    if not independent > 0 or math.isnan(clustered):
        return 1.0
    return max(1.0, (clustered / independent) ** 2)


def _each(values: Floats) -> NDArray[np.int64]:
    return np.arange(values.size)


def is_shown(p: float, interval: Interval) -> bool | None:
    """Whether a difference is shown; None where test and interval do not agree or nothing can be told."""
    if math.isnan(p):
        return None
    if math.isnan(interval.low):
        return False if p >= ALPHA else None
    excluded = interval.low > 0 or interval.high < 0
    return excluded if (p < ALPHA) == excluded else None


def verdict(found: Paired, a: str, b: str, *, p: float | None = None) -> str:
    """Say in plain words what a comparison shows; `p` replaces the p-value by one corrected for several suites."""
    if not found.n:
        return f"nothing to compare: no question was answered by both {a} and {b}"
    tested = found.p if p is None else p
    shown = is_shown(tested, found.interval)
    better, worse = (b, a) if found.difference > 0 else (a, b)
    asked = "1 question" if found.n == 1 else f"{found.n:,} questions"
    figures = (
        f"{b} {found.accuracy_b:.1%} against {a} {found.accuracy_a:.1%} on the same {asked}: "
        f"{points(found.difference)} points"
    )
    if not math.isnan(found.interval.low):
        figures += f" ({LEVEL:.0%} interval {points(found.interval.low)} to {points(found.interval.high)})"
    if not math.isnan(tested):
        figures += f", p = {tested:.2g}" if tested >= 0.001 else ", p < 0.001"
    if shown:
        return f"{better} is better than {worse}. {figures}."
    limit = f"So many questions show a difference from about {100 * found.detectable:.1f} points on."
    if shown is None:
        return f"Borderline: this does not settle which is better. {figures}. {limit}"
    if found.only_a + found.only_b == 0 and found.difference == 0:
        return f"No difference: {a} and {b} are right and wrong on the same of {asked}. {limit}"
    return f"No difference shown. {figures}. {limit}"


def points(share: float) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    return f"{100 * share:+.1f}"


def holm(ps: list[float]) -> list[float]:
    """Return p-values corrected for there being several (Holm); NaN stays NaN and does not count."""
    from statsmodels.stats.multitest import multipletests

    known = [p for p in ps if not math.isnan(p)]
    corrected = iter(multipletests(known, method="holm")[1]) if known else iter(())
    return [p if math.isnan(p) else float(next(corrected)) for p in ps]
