"""The last rows: when nothing more will come, who may take one, and when a second copy of a running row pays.

Without rules for the end, the slowest host takes the last long row and everybody waits for it. Two rules, with r_k the
expected time until host k is free, t(h,i) the expected service time and T* the level to which the waiting work would
fill the fleet:

* Gate. A host takes row i if t(h,i) <= max(1.5 T*, min over k of r_k + t(k,i)): if it will be done before the rest is,
  or nobody else could be done sooner. Otherwise the slot rests; when nothing runs at all, the fastest host takes one.
  Among rows within a tenth of the best price ratio the longest goes first.
* Duplicate. When nothing is left to take, the running row with the longest residual gets a second copy on an idle host,
  if its residual is at least 1.2 t(h,i) and nobody else, busy hosts included, would be clearly sooner. The first answer
  wins, the other's connection is closed. Never more than two copies of a row, nor more extra copies than a tenth of all
  slots.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LEVEL_FACTOR = 1.5
RATIO_SLACK = 1.1
RESIDUAL_FACTOR = 1.2
SOONER_FACTOR = 1.25
EXTRA_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Busy:
    """What the hosts with a price are doing: seconds until a slot is free, and all slots' residuals summed."""

    free_in_s: Floats
    work_s: Floats


def level_s(times: Floats, prices: Floats, slots: Floats, busy: Busy) -> float:
    """Return T*: the time in which the waiting rows (hosts x rows) and what runs would be done if spread ideally."""
    waiting = (prices[:, None] * times).min(axis=0)
    total = waiting[np.isfinite(waiting)].sum() + (prices * busy.work_s).sum()
    return float(total / max((slots * prices).sum(), 1e-12))


def admitted(host: int, times: Floats, busy: Busy, level: float) -> npt.NDArray[np.bool_]:
    """Say for each row whether the gate lets the host take it."""
    ends = busy.free_in_s[:, None] + times
    ends[host] = np.inf
    soonest = ends.min(axis=0)
    in_time = times[host] <= np.maximum(LEVEL_FACTOR * level, soonest)
    allowed: npt.NDArray[np.bool_] = in_time & np.isfinite(times[host])
    return allowed


def longest_of_best(scores: Floats, lengths: Floats) -> int:
    """Return the position of the longest row among those within a tenth of the best score."""
    near = np.flatnonzero(scores <= RATIO_SLACK * scores.min())
    return int(near[np.argmax(lengths[near])])


def worth_a_copy(residual_s: float, own_s: float, others: Sequence[float]) -> bool:
    """Say whether a second copy pays: `own_s` is the time it takes here, `others` when other hosts could be done."""
    if residual_s < RESIDUAL_FACTOR * own_s:
        return False
    return own_s <= SOONER_FACTOR * min(others, default=np.inf)


def most_extra(slots: int) -> int:
    """Return how many extra copies may run at once."""
    return max(1, int(EXTRA_SHARE * slots))
