"""The fleet as the rules for the last rows see it: who may take one of those that wait, and what to run twice.

`endgame.py` has the rules; here is what they look at: by host when a slot comes free, by row how long it would take
where. A look is costly, so it is kept for as long as nothing has changed that matters, a moment at most.

Invariant: nothing here changes a host or a row; the fleet asks and acts.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from scorer.core import endgame
from scorer.core.host import HostState, Slot
from scorer.core.market import Floats, Market, Places
from scorer.core.speed import Overruns
from scorer.core.task import Task, TaskKey
from scorer.core.window import Window

LOOK_S = 0.05
FEW_HOSTS = 64
MANY_ROWS = 64
# of the time of a row on the fastest host
SHORT_WHILE = 0.05

Cost = Callable[[HostState, Task], float]


class LastRows:
    """Looks at a fleet near the end of its rows. `hosts` and `market` are the fleet's own, and only read."""

    def __init__(self, hosts: Mapping[str, HostState], market: Market) -> None:
        self._hosts = hosts
        self._market = market
        self._overruns = Overruns()
        self._look: endgame.Look | None = None
        self._fastest_s = 1.0
        self._good_for_s = LOOK_S
        self._running: list[TaskKey] = []

    def learn(self, expected_s: float, actual_s: float) -> None:
        """Take in how long a row took that was expected to take so long."""
        self._overruns.learn(expected_s, actual_s)

    def changed(self, in_flight: int, *, much: bool = False) -> None:
        """Look anew after a change; among many hosts, or many rows in flight, one row more or less changes little."""
        if much or (len(self._hosts) <= FEW_HOSTS and in_flight < MANY_ROWS):
            self._look = None

    def rest(self, name: str) -> None:
        """Note that a host got nothing, which will be so until something changes."""
        if self._look is not None:
            self._look.resting.add(name)

    def rests(self, name: str, now: float, *, waiting: bool) -> bool:
        """Whether the host got nothing a moment ago, since when nothing has changed that matters."""
        look = self._recent(now, waiting=waiting)
        return look is not None and name in look.resting

    def next_look_s(self) -> float:
        """Return after how many seconds another look may find something that no outcome announces."""
        return max(self._fastest_s / 2, LOOK_S)

    def gated(self, name: str, window: Window, scores: Floats, now: float, cost: Cost, *, idle: bool) -> Floats:
        """Return the scores of the waiting rows, infinite for those that the gate does not let this host take.

        `scores` are those of the places taken. `cost` is a row's factor by its history; `idle`: nothing runs anywhere,
        so that waiting for somebody better would be waiting for ever.
        """
        places = window.taken()
        look = self._recent(now, waiting=True) or self._look_at_waiting(window, places, now, cost)
        own = look.hosts.get(name)
        if own is None or len(look.hosts) < 2:
            return scores
        allowed = look.admitted(own)
        if idle:
            allowed |= look.fastest(own)
        open_to = np.zeros(int(places.max()) + 1, dtype=bool)
        open_to[look.places[allowed & (look.places < len(open_to))]] = True
        return np.where(open_to[places], scores, np.inf)

    def worth_a_copy(self, name: str, alone: Callable[[], Mapping[TaskKey, Slot]], now: float) -> Iterator[TaskKey]:
        """Yield the running rows of which a second copy on this host pays, the longest residual first.

        `alone` gives those of which one copy runs.
        """
        look = self._recent(now, waiting=False) or self._look_at_running(alone(), now)
        if name in look.hosts:
            yield from (self._running[i] for i in look.worth_a_copy(look.hosts[name]))

    # -- looking ------------------------------------------------------------------------------------------------------

    def _recent(self, now: float, *, waiting: bool) -> endgame.Look | None:
        """Return the last look if it is still true enough."""
        look = self._look
        fits = look is not None and bool(look.places.size) == waiting and now < look.at + self._good_for_s
        return look if fits else None

    def _look_at_waiting(self, window: Window, places: Places, now: float, cost: Cost) -> endgame.Look:
        names, prices = self._market.priced()
        tasks = [window.at(int(place)) for place in places]
        times = self._market.times_of(names, [(task.key.model, task.chars) for task in tasks])
        for i, task in enumerate(tasks):
            if task.history:
                times[[cost(self._hosts[name], task) == np.inf for name in names], i] = np.inf
        slots = np.array([self._hosts[name].limit.value for name in names], float)
        busy = self._busy(names, now)
        soonest = endgame.Soonest(busy.free_in_s[:, None] + times)
        level_s = endgame.level_s(times, prices, slots, busy)
        self._look = endgame.Look(now, _indices(names), times, soonest, level_s, places)
        return self._look

    def _look_at_running(self, alone: Mapping[TaskKey, Slot], now: float) -> endgame.Look:
        names, _ = self._market.priced()
        hosts = _indices(names)
        times = self._market.times_of(names, [(key.model, slot.task.chars) for key, slot in alone.items()])
        ends = self._busy(names, now).free_in_s[:, None] + times
        for i, slot in enumerate(alone.values()):
            if slot.host in hosts:
                ends[hosts[slot.host], i] = np.inf
        self._running = list(alone)
        residuals_s = self._residuals_s(list(alone.values()), now)
        self._look = endgame.Look(now, hosts, times, endgame.Soonest(ends), residuals_s=residuals_s)
        return self._look

    def _busy(self, names: Sequence[str], now: float) -> endgame.Busy:
        self._fastest_s = min(self._hosts[name].pace.typical_s or np.inf for name in names)
        # a few hosts may take hundreds of rows in a moment
        few = len(self._hosts) <= FEW_HOSTS
        self._good_for_s = min(LOOK_S, SHORT_WHILE * self._fastest_s) if few else LOOK_S
        running = [(i, slot) for i, name in enumerate(names) for slot in self._hosts[name].running.values()]
        at = np.array([i for i, _ in running], dtype=np.intp)
        residuals_s = self._residuals_s([slot for _, slot in running], now)
        work_s: Floats = np.bincount(at, residuals_s, len(names)).astype(float)
        free_in_s = np.full(len(names), np.inf)
        np.minimum.at(free_in_s, at, residuals_s)
        free = [not self._hosts[name].running or self._hosts[name].free(now) > 0 for name in names]
        free_in_s[free] = 0.0
        # nobody need wait for a host that asked for an hour's rest
        rests_s = [self._hosts[name].rests_s(now) for name in names]
        return endgame.Busy(np.maximum(free_in_s, rests_s), work_s)

    def _residuals_s(self, slots: Sequence[Slot], now: float) -> Floats:
        expected_s = np.array([slot.expected_s for slot in slots], float)
        return self._overruns.residuals_s(expected_s, now - np.array([slot.started for slot in slots], float))


def _indices(names: Sequence[str]) -> dict[str, int]:
    return {name: i for i, name in enumerate(names)}
