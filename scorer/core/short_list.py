"""The next rows that a host would choose, kept for some picks, since ordering the whole window costs more than a pick.

A comparison of hundreds of rows says not only which is best but which come next. For a moment the next picks of the
same host may go by it: not for longer than `GOOD_FOR_S`, so that only hosts which answer dozens of times a second ever
do, and not when more than half of the window has been picked. Small windows are ordered anew each time. So are
those with rows of several models, where one pick may change the model that the next is to have, and those of many
hosts: the others have changed much since a host picked last. Of the last rows each is looked at by itself.

Invariant: a row is given out only if it is the very one that was compared, and still waits.
"""

import math
from collections import deque
from collections.abc import Sized
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scorer.core.task import Task
from scorer.core.window import Window

PART = 2
GOOD_FOR_S = 0.1
FEW_HOSTS = 8


@dataclass(frozen=True, slots=True)
class _List:
    """Places with the births of their tasks, the best first; good until so many picks, and until a time in seconds."""

    best: deque[tuple[int, int]]
    until: int
    until_s: float


class ShortLists:
    """One list a host. `hosts` are the fleet's own, and only counted."""

    def __init__(self, hosts: Sized) -> None:
        self._hosts = hosts
        self._lists: dict[str, _List] = {}
        # when each host asked last, and those that had asked just before
        self._asked: dict[str, float] = {}
        self._hasty: set[str] = set()

    def forget(self) -> None:
        """Drop all lists: hosts have come or gone."""
        self._lists.clear()

    def keep(
        self, name: str, window: Window, places: npt.NDArray[np.intp], scores: npt.NDArray[np.float64], now: float
    ) -> None:
        """Remember the best of these places for a host that has just asked; `scores` go with them, small is good."""
        if name not in self._hasty:
            # nobody would come in time
            return
        count = len(places) // PART
        if count < 2 or window.last or len(window.model_names) > 1 or len(self._hosts) > FEW_HOSTS:
            return
        # of equals the one that came first
        best = np.lexsort((window.births[places], scores))[:count]
        best = places[best[np.isfinite(scores[best])]]
        pairs = zip(best.tolist(), window.births[best].tolist(), strict=True)
        self._lists[name] = _List(deque(pairs), window.picks + count, now + GOOD_FOR_S)

    def next(self, name: str, window: Window, now: float) -> Task | None:
        """Return the best of a host's list that still waits and has no history, None if the window is to be ordered."""
        if now - self._asked.get(name, -math.inf) > GOOD_FOR_S:
            self._hasty.discard(name)
        else:
            self._hasty.add(name)
        self._asked[name] = now
        kept = self._lists.get(name)
        if kept is None or window.last or window.picks > kept.until or now > kept.until_s:
            return None
        while kept.best:
            place, birth = kept.best.popleft()
            task = window.born(place, birth)
            if task is not None:
                return None if task.history else task
        return None
