"""How sure a share or a mean is: Wilson intervals, clustered standard errors, averages over suites, pass@k.

Pure functions over numpy arrays; scipy and statsmodels do the formulas. Nothing here rounds, prints or knows where the
numbers come from.

Invariants: what cannot be known is NaN and never zero: the mean of nothing, the standard error of one observation or
of one cluster. Questions that share a passage, and samples of one question, are not independent: they are a cluster,
and an interval is never narrower for ignoring that.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.95
# below it observations, or the means of clusters, are all alike: the square root makes much of what rounding leaves
_SMALLEST_ERROR = 1e-6

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """Both ends of an interval at the level `LEVEL`; NaN where there is none."""

    low: float
    high: float


NO_INTERVAL = Interval(math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of `n` observations in `clusters` clusters.

    `error` is its standard error, clustered if there are fewer clusters than observations. `wilson` treats the
    observations as independent; `interval` is the one to show, which does not.
    """

    n: int
    clusters: int
    value: float
    error: float
    wilson: Interval
    interval: Interval

    @property
    def clustered(self) -> bool:
        """Whether observations share clusters."""
        return self.clusters < self.n


NOTHING = Mean(0, 0, math.nan, math.nan, NO_INTERVAL, NO_INTERVAL)


@dataclass(frozen=True, slots=True)
class PassAtK:
    """The chance that at least one of `k` samples is right, over the `n` questions that have so many samples."""

    k: int
    n: int
    value: float
    error: float
    interval: Interval


def wilson(right: float, n: float) -> Interval:
    """Return Wilson's interval for a share of `right` in `n`; NaN if there are none.

    Neither needs to be whole: with clusters, `n` is the number of independent observations that tell as much.
    """
    from statsmodels.stats.proportion import proportion_confint

    if n == 0:
        return NO_INTERVAL
    low, high = proportion_confint(right, n, alpha=1 - LEVEL, method="wilson")
    return Interval(float(low), float(high))


def clustered_error(values: ArrayLike, clusters: ArrayLike) -> float:
    """Return the standard error of a mean whose observations are independent only between clusters.

    `values`, `clusters`: one each per observation. The sandwich estimator of Liang and Zeger (1986) on a regression on
    a constant, with statsmodels' correction for few clusters; with a cluster for each observation it is the usual
    standard error. NaN with fewer than two clusters.
    """
    from statsmodels.regression.linear_model import OLS

    observed = np.asarray(values, dtype=np.float64)
    _, codes = np.unique(np.asarray(clusters), return_inverse=True)
    if not observed.size or codes.max() == 0:
        return math.nan
    if np.ptp(observed) == 0:
        return 0.0
    fitted = OLS(observed, np.ones_like(observed)).fit(cov_type="cluster", cov_kwds={"groups": codes})
    return math.sqrt(max(float(fitted.cov_params()[0, 0]), 0.0))


def share(values: ArrayLike, clusters: ArrayLike | None = None, *, drawn: int | None = None) -> Mean:
    """Return the mean of values between 0 and 1 with its uncertainty; `clusters` names each observation's cluster.

    The interval is Wilson's for the number of independent observations that would have the clustered standard error
    (Dean and Pagano 2015), so that it stays between 0 and 1. That number is at most `drawn`: how many answers the
    values sum up, if not one each. Where all observations are alike it is taken to be the number of clusters. A single
    cluster says nothing about others: its interval is Wilson's, and holds for that cluster only.
    """
    observed = np.asarray(values, dtype=np.float64)
    n = observed.size
    if not n:
        return NOTHING
    named = np.arange(n) if clusters is None else np.asarray(clusters)
    count = int(np.unique(named).size)
    value = float(observed.mean())
    error = clustered_error(observed, named)
    naive = wilson(float(observed.sum()), n)
    independent = count == n and bool(np.isin(observed, (0.0, 1.0)).all())
    if independent or count == 1:
        return Mean(n, count, value, error, naive, naive)
    if np.ptp(observed) == 0:
        effective_n = float(count)
    else:
        # a variance that is almost zero, since each cluster has the same mean, is no reason to claim more than was seen
        effective_n = min(value * (1 - value) / max(error, _SMALLEST_ERROR) ** 2, drawn or n)
    return Mean(n, count, value, error, naive, wilson(value * effective_n, effective_n))


def macro(means: Sequence[Mean]) -> Mean:
    """Return the unweighted mean of independent means: every suite counts the same, whatever its size.

    `NOTHING` unless each of them has observations: averages over different suites cannot be compared. The interval is
    normal, cut to what a share can be, and NaN as soon as one mean has no standard error. Where all observations of a
    mean are alike, its error on each side is the one that its interval has there (Zou and Donner 2008), since four
    right of four are no reason to be certain; `error` then has the larger one.
    """
    from scipy.stats import norm

    if not means or not all(mean.n for mean in means):
        return NOTHING
    z = float(norm.ppf((1 + LEVEL) / 2))
    value = float(np.mean([mean.value for mean in means]))
    below, above, error = (
        float(np.linalg.norm(errors) / len(means)) for errors in zip(*(_errors(mean, z) for mean in means), strict=True)
    )
    interval = Interval(max(value - z * below, 0.0), min(value + z * above, 1.0))
    clusters = sum(mean.clusters for mean in means)
    shown = NO_INTERVAL if math.isnan(error) else interval
    return Mean(sum(mean.n for mean in means), clusters, value, error, NO_INTERVAL, shown)


def _errors(mean: Mean, z: float) -> tuple[float, float, float]:
    """Return a mean's standard error below it, above it, and on the larger side."""
    if math.isnan(mean.error) or mean.error > _SMALLEST_ERROR:
        return mean.error, mean.error, mean.error
    below, above = (mean.value - mean.interval.low) / z, (mean.interval.high - mean.value) / z
    return below, above, max(below, above)


def pass_at_k(right: ArrayLike, samples: ArrayLike, k: int, clusters: ArrayLike | None = None) -> PassAtK:
    """Return the unbiased estimate of pass@k (Chen et al. 2021) from `right` of `samples` per question.

    For one question it is one minus the chance that `k` samples drawn without replacement are all wrong, which is
    hypergeometric. Questions with fewer than `k` samples are left out.
    """
    from scipy.stats import hypergeom

    good, drawn = np.asarray(right, dtype=np.int64), np.asarray(samples, dtype=np.int64)
    enough = drawn >= k
    chances = 1 - hypergeom.pmf(0, drawn[enough], good[enough], k)
    named = None if clusters is None else np.asarray(clusters)[enough]
    mean = share(chances, named, drawn=int(drawn[enough].sum()))
    return PassAtK(k, mean.n, mean.value, mean.error, mean.interval)


def ks(samples: int) -> list[int]:
    """Return the k for which pass@k is worth telling: 1, 2, 4, … and the number of samples itself."""
    return sorted({2**power for power in range(samples.bit_length())} | {samples})


def plain(value: Any) -> Any:  # noqa: ANN401 - any nesting of dictionaries, lists and numbers
    """Return a nesting of values as JSON takes it: NaN as null, numpy's numbers as Python's."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
