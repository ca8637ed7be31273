r"""Which waiting row suits which host: prices.

Hosts differ in kind, not only in speed. A big GPU may read prompts ten times as fast as a laptop but write tokens only
twice as fast, so long prompts belong on the GPU and short ones on the laptop, even when the laptop must wait for them.
That is comparative advantage, and it has a price system.

The best possible finish time T of rows i on hosts h with s_h slots solves a linear programme:

    minimise T   with   sum_h x_hi = 1   for every row,   sum_i x_hi t(h,i) <= s_h T   for every host,   x >= 0.

Its dual has one price y_h a host:

    maximise   sum_i min_h y_h t(h,i)   with   sum_h s_h y_h = 1,   y >= 0.

So any prices give a lower bound on T, and the best ones give T itself; at the optimum every row is on a host with the
smallest y_h t(h,i), and every host that works at all is full. The policy follows: a free slot of host h takes the row
with the smallest

    y_h t(h,i) / min_{k != h} y_k t(k,i),

the row that it is best at compared with everyone else.

The prices are found by tatonnement on softened choices: rows spread over hosts as P(h,i) ~ (y_h t(h,i))^-beta, which
gives loads L_h = sum_i P(h,i) t(h,i) / s_h, and then y_h <- y_h (L_h / mean L)^(1/beta): the overloaded get dearer.
beta = 32 is sharp enough to be near the linear programme and soft enough to converge in two steps from where it was;
when a host appears or goes, beta is annealed from 1. Prices follow the queue as it is: a sample of the rows that wait.

References: Bertsekas, Linear Network Optimization (1991), on auctions and dual prices; Cuturi (2013) on the softened
problem. Rows enter the sample as quantiles of their lengths, since t is linear in the prompt.

Invariants: prices are positive and sum_h s_h y_h = 1 over the hosts that have one; nothing here depends on time.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

BETA = 32.0
ANNEALING = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
ANNEALING_STEPS = 5
BOUND_BETAS = (64.0, 128.0, 256.0, 512.0, 1024.0)
BOUND_STEPS = 30
TINY = 1e-12


def settled(times: Floats, slots: Floats, prices: Floats, betas: Sequence[float], steps: int) -> Floats:
    """Return the prices after `steps` steps at each beta.

    `times` is hosts x rows, in seconds, infinite where a host cannot take a row; `slots` and `prices` are one a host.
    Rows that no host can take count nothing.
    """
    takeable = np.isfinite(times).any(axis=0)
    times = times[:, takeable]
    if not times.size:
        return prices
    with np.errstate(divide="ignore"):
        log_times = np.log(times)
    finite = np.where(np.isfinite(times), times, 0.0)
    log_prices = np.log(prices)
    for beta in betas:
        for _ in range(steps):
            weights = -beta * (log_prices[:, None] + log_times)
            weights = np.exp(weights - weights.max(axis=0))
            weights /= weights.sum(axis=0)
            loads = (weights * finite).sum(axis=1) / slots
            log_prices = log_prices + np.log(np.maximum(loads, TINY * loads.mean()) / loads.mean()) / beta
            log_prices -= np.log((slots * np.exp(log_prices)).sum())
    return np.exp(log_prices)


def from_scratch(times: Floats, slots: Floats) -> Floats:
    """Return prices for hosts of which nothing is known yet but their times."""
    equal = np.full(len(slots), 1.0 / slots.sum())
    return settled(times, slots, equal, ANNEALING, ANNEALING_STEPS)


def best_prices(times: Floats, slots: Floats) -> Floats:
    """Return the prices with the largest dual value met on the way to the linear programme's (within 0.1 % of it)."""
    best = prices = from_scratch(times, slots)
    for beta in (BETA, *BOUND_BETAS):
        for _ in range(BOUND_STEPS // 3):
            prices = settled(times, slots, prices, (beta,), 3)
            best = max(best, prices, key=lambda at: dual_s(times, at))
    return best


def dual_s(times: Floats, prices: Floats) -> float:
    """Return the value of the dual at these prices, a time in seconds that no schedule of these rows can beat.

    It is the sum over rows of the cheapest price x time; rows that no host can take count nothing.
    """
    cheapest = (prices[:, None] * times).min(axis=0)
    return float(cheapest[np.isfinite(cheapest)].sum())
