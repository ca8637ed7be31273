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

Both compare one host with all others for many rows at once. What is the same for every host is worked out once, in a
`Look` at the fleet, which the fleet keeps for as long as it is true enough.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.intp]

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


class Soonest:
    """By row, when the first of all hosts could be done with it, and the first of the others."""

    def __init__(self, ends: Floats) -> None:
        """`ends` is hosts x rows, in seconds from now, infinite where a host is not to take the row."""
        rows = np.arange(ends.shape[1])
        self._by = ends.argmin(axis=0)
        self._first = ends[self._by, rows]
        others = ends.copy()
        others[self._by, rows] = np.inf
        self._second = others.min(axis=0)

    def without(self, host: int) -> Floats:
        """Return by row the soonest end on any host but this one."""
        soonest: Floats = np.where(self._by == host, self._second, self._first)
        return soonest


@dataclass(slots=True)
class Look:
    """The fleet at one moment near the end, as far as it is the same for every host that asks.

    `hosts` maps those with a price to their rows in `times` (hosts x rows, seconds). The rows are the waiting ones, at
    `places` of the window, or the running ones once none waits. `resting` are hosts that got nothing at this look.
    """

    at: float
    hosts: dict[str, int]
    times: Floats
    soonest: Soonest
    level_s: float = 0.0
    places: Places = field(default_factory=lambda: np.zeros(0, dtype=np.intp))
    residuals_s: Floats = field(default_factory=lambda: np.zeros(0))
    resting: set[str] = field(default_factory=set)

    def admitted(self, host: int) -> Flags:
        """Say for each waiting row whether the gate lets the host take it."""
        own = self.times[host]
        in_time = own <= np.maximum(LEVEL_FACTOR * self.level_s, self.soonest.without(host))
        allowed: Flags = in_time & np.isfinite(own)
        return allowed

    def fastest(self, host: int) -> Flags:
        """Say for each waiting row whether no host takes less time for it."""
        own = self.times[host]
        fastest: Flags = (own <= self.times.min(axis=0)) & np.isfinite(own)
        return fastest

    def worth_a_copy(self, host: int) -> Places:
        """Return the running rows of which a second copy on this host pays, the longest residual first."""
        own = self.times[host]
        pays = (self.residuals_s >= RESIDUAL_FACTOR * own) & (own <= SOONER_FACTOR * self.soonest.without(host))
        chosen = np.flatnonzero(pays & np.isfinite(own))
        return chosen[np.argsort(-self.residuals_s[chosen], kind="stable")]


def level_s(times: Floats, prices: Floats, slots: Floats, busy: Busy) -> float:
    """Return T*: the time in which the waiting rows (hosts x rows) and what runs would be done if spread ideally."""
    waiting = (prices[:, None] * times).min(axis=0)
    total = waiting[np.isfinite(waiting)].sum() + (prices * busy.work_s).sum()
    return float(total / max((slots * prices).sum(), 1e-12))


def longest_of_best(scores: Floats, lengths: Floats) -> int:
    """Return the position of the longest row among those within a tenth of the best score."""
    near = np.flatnonzero(scores <= RATIO_SLACK * scores.min())
    return int(near[np.argmax(lengths[near])])


def most_extra(slots: int) -> int:
    """Return how many extra copies may run at once."""
    return max(1, int(EXTRA_SHARE * slots))
