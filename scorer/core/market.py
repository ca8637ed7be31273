"""What each host is believed to take for each row, at which price, and the choice that follows.

The market knows hosts by index and models by the window's numbers; lengths are in characters, since those are known
before a row is sent. It learns from replies (`learn`), sets prices when enough has changed (`reprice`), and orders the
waiting rows for a host (`scores`). Rules that have to do with one row's history are the fleet's.

Invariant: a host that has not replied, or may not take rows now, has no price and influences no choice.
"""

from collections import defaultdict
from collections.abc import Sequence
from math import isfinite

import numpy as np
import numpy.typing as npt

from scorer.core.estimate import TokenRatio
from scorer.core.host import Slot
from scorer.core.price import BETA, from_scratch, settled
from scorer.core.residence import NOTHING, Prospect, Residence
from scorer.core.speed import Outputs, Speed
from scorer.core.task import Reply
from scorer.core.window import Window

REPRICE_EVERY = 32
STEPS = 2
FIRST_REPLIES = 3
CLASSES = 64
MANY_HOSTS = 256

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]


class Market:
    """Times and prices of all hosts."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}
        self._models: dict[str, int] = {}
        self._speeds: defaultdict[tuple[int, int], Speed] = defaultdict(Speed)
        self._outputs: defaultdict[int, Outputs] = defaultdict(Outputs)
        self._ratios: defaultdict[int, TokenRatio] = defaultdict(TokenRatio)
        self._present = np.zeros(0, dtype=bool)
        self._slots = np.zeros(0)
        self._prices = np.zeros(0)
        self._replied = np.zeros(0, dtype=bool)
        self._counts: defaultdict[int, int] = defaultdict(int)
        # seconds a row whatever its length, and a character: as arrays over all, and for one row at a time
        self._learned: dict[tuple[int, int], tuple[float, float]] = {}
        self._fixed_s = np.zeros((0, 0))
        self._per_char_s = np.zeros((0, 0))
        self._largest_chars = np.zeros((0, 0))
        self._residence = Residence()
        self._since_repricing = 0
        self._every = REPRICE_EVERY
        self._stale = True
        # by place of the window: where the row is cheapest, at what cost, and the second lowest cost
        # only among many hosts: those that are cheapest for any row at the present prices
        self._contending: Places | None = None
        self._seen: Places = np.zeros(0, dtype=np.intp)
        self._by: Places = np.zeros(0, dtype=np.intp)
        self._cheapest = np.zeros(0)
        self._second = np.zeros(0)

    # -- who is there -----------------------------------------------------------------------------------------------

    def host(self, name: str) -> int:
        """Return a host's index, new if it was never seen."""
        if name not in self._index:
            self._index[name] = len(self._index)
            self._grow(len(self._index), len(self._models))
        return self._index[name]

    def set_present(self, name: str, *, present: bool) -> bool:
        """Say whether a host may take rows now, and return whether that is new: the others' prices change with it."""
        host = self.host(name)
        if self._present[host] == present:
            return False
        self._present[host] = present
        self._stale = True
        self._forget_costs()
        return True

    def set_slots(self, name: str, slots: int) -> None:
        """Say how many rows a host takes at once."""
        host = self.host(name)
        self._slots[host] = slots

    def set_largest(self, name: str, model: str, chars: float) -> None:
        """Say how many characters fit a host's context; infinite where the server itself is to judge."""
        host, column = self.host(name), self._model(model)
        self._largest_chars[host, column] = chars

    def knows(self, name: str) -> bool:
        """Whether a host has a price, and so a choice."""
        host = self._index.get(name)
        return host is not None and self._counts[host] > 0 and bool(self._present[host])

    # -- learning -----------------------------------------------------------------------------------------------------

    def ratio(self, model: str) -> TokenRatio:
        """Return what is known of a model's characters per token."""
        return self._ratios[self._model(model)]

    def learn(self, slot: Slot, reply: Reply, duration_s: float, window: Window) -> None:
        """Take in a reply, and let prices follow when it is time."""
        host, model, chars = self.host(slot.host), self._model(slot.task.key.model), slot.task.chars
        ratio = self._ratios[model]
        counted = ratio.counted(reply, chars)
        self._speeds[host, model].learn(counted, duration_s)
        self._outputs[model].learn(counted.output_tokens)
        ratio.learn(chars, reply.prompt_tokens)
        self._refresh_times(host, model)
        self._guess_others(host, model)
        if slot.loads and reply.load_s is not None:
            self._residence.set_loaded(host, model, reply.load_s)
        self._counts[host] += 1
        self._since_repricing += 1
        if self._counts[host] == 1:
            self._replied[host] = True
            self._enter(host, window)
            self._stale = True
            self._forget_costs()
        early = self._counts[host] <= FIRST_REPLIES and len(self._index) <= CLASSES
        if early or self._since_repricing >= self._every:
            self.reprice(window)

    def worked(self, name: str, duration_s: float) -> None:
        """Note how long a host was busy with the model that it has."""
        if len(self._models) > 1:
            self._residence.worked(self.host(name), duration_s)

    def set_loaded(self, name: str, model: str, load_s: float | None = None) -> None:
        """Say which model a host has in memory, or is about to; `load_s`: what loading it took, where that is known."""
        self._residence.set_loaded(self.host(name), self._model(model), load_s)

    def loaded(self, name: str) -> str | None:
        """Return the model that a host has in memory, None if it is not known to have any."""
        column = self._residence.loaded(self.host(name))
        return None if column == NOTHING else list(self._models)[column]

    def load_s(self, name: str, model: str) -> float:
        """Return the seconds that a host would first need to load this model, 0 where it has it or nothing is known."""
        return self._residence.load_s(self.host(name), self._model(model))

    def _guess_others(self, host: int, model: int) -> None:
        """Believe of models that a host has not replied with yet what it has shown with this one, or it never would."""
        if len(self._models) == 1:
            return
        unknown = [m for m in self._models.values() if (host, m) not in self._speeds]
        self._fixed_s[host, unknown] = self._fixed_s[host, model]
        self._per_char_s[host, unknown] = self._per_char_s[host, model]

    def time_s(self, name: str, model: str, chars: int) -> float | None:
        """Return the seconds a row is expected to take on a host, None before its first reply."""
        host = self._index.get(name)
        column = self._model(model)
        if host is None or not self._counts[host]:
            return None
        learned = self._learned.get((host, column))
        if learned is not None:
            return learned[0] + learned[1] * chars
        time_s = float(self._fixed_s[host, column] + self._per_char_s[host, column] * chars)
        return time_s if isfinite(time_s) else None

    def _refresh_times(self, host: int, model: int) -> None:
        fixed_s, per_token_s = self._speeds[host, model].times(self._outputs[model].mean)
        per_char_s = per_token_s / self._ratios[model].chars_per_token
        self._learned[host, model] = fixed_s, per_char_s
        self._fixed_s[host, model], self._per_char_s[host, model] = fixed_s, per_char_s

    # -- prices -------------------------------------------------------------------------------------------------------

    def reprice(self, window: Window) -> None:
        """Let the prices follow what waits; from scratch when hosts have come or gone."""
        self._since_repricing = 0
        self._every = max(REPRICE_EVERY, len(self._index) // 2, int(self._slots.sum()) // 4)
        for host, model in self._speeds:
            self._refresh_times(host, model)
        hosts = np.flatnonzero(self._present & self._replied)
        places = self._sample(window)
        if not hosts.size or not places.size:
            return
        times = self._times(hosts, window, places)
        slots = np.maximum(self._slots[hosts], 1.0)
        if self._stale:
            prices = from_scratch(times, slots)
        else:
            before = self._prices[hosts]
            prices = settled(times, slots, before / (slots * before).sum(), (BETA,), STEPS)
        self._stale = False
        self._prices[hosts] = np.maximum(prices, 1e-12)
        self._forget_costs()
        if len(self._models) > 1:
            self._compare_models(window)

    def _compare_models(self, window: Window) -> None:
        """Let hosts decide between the models of which rows are left."""
        hosts = np.flatnonzero(self._present & (self._prices > 0))
        prospects = {}
        for name in window.model_names:
            if window.left(name):
                lengths, model = np.array(window.recent(name), float), self._model(name)
                times = self._times_for(hosts, np.full(len(lengths), model), lengths)
                prospects[model] = Prospect.of(self._prices[hosts, None] * times, times, window.left(name))
        if len(prospects) > 1 and hosts.size:
            self._residence.decide(hosts.tolist(), prospects, max(float(self._slots[hosts].sum()), 1.0))

    def _forget_costs(self) -> None:
        self._seen[:] = -1
        self._contending = None

    def _enter(self, host: int, window: Window) -> None:
        """Give a host that has just replied for the first time a price at which half of the rows would suit it."""
        others = np.flatnonzero(self._present & (self._prices > 0))
        places = self._sample(window)
        if others.size and places.size:
            cheapest = (self._prices[others, None] * self._times(others, window, places)).min(axis=0)
            own = self._times(np.array([host]), window, places)[0]
            both = np.isfinite(own) & np.isfinite(cheapest)
            if both.any():
                self._prices[host] = np.median(cheapest[both] / own[both])
        if not self._prices[host] > 0:
            self._prices[host] = 1.0

    def _sample(self, window: Window) -> Places:
        """Return places that stand for the waiting rows: all, or quantiles of their lengths, each model's share."""
        places = window.taken()
        classes = CLASSES if len(self._index) > MANY_HOSTS else 2 * CLASSES
        if (len(self._models) == 1 and places.size <= classes) or not places.size:
            return places
        places = places[np.lexsort((window.lengths[places], window.models[places]))]
        # a model of which much is left behind the window counts for more than it has rows in it
        ends = np.cumsum(window.shares(places))
        at: Places = np.searchsorted(ends, (np.arange(classes) + 0.5) * ends[-1] / classes)
        return np.asarray(places[at], dtype=np.intp)

    def _times(self, hosts: Places, window: Window, places: Places) -> Floats:
        """Return t(h, i) in seconds, hosts x places; infinite where a host cannot take the row."""
        return self._times_for(hosts, self._columns(window)[window.models[places]], window.lengths[places])

    def _columns(self, window: Window) -> Places:
        """Return the market's own index of each of the window's models."""
        return np.array([self._model(name) for name in window.model_names], dtype=np.intp)

    def _times_for(self, hosts: Places, models: Places, lengths: Floats) -> Floats:
        times = np.empty((len(hosts), len(models)))
        for model in range(len(self._models)):
            # mostly there is one model, and then nothing is copied
            rows = slice(None) if len(self._models) == 1 else models == model
            own = self._fixed_s[hosts, model, None] + self._per_char_s[hosts, model, None] * lengths[rows]
            largest = self._largest_chars[hosts, model, None]
            if np.isfinite(largest).any():
                own[lengths[rows] > largest] = np.inf
            times[:, rows] = own
        return times

    # -- the choice ---------------------------------------------------------------------------------------------------

    def scores(self, name: str, window: Window, places: Places) -> Floats:
        """Return how well each of the waiting rows suits a host, smaller is better, infinite if it cannot take it.

        The price of the row here over its price at the best of the others; only order has a meaning.
        """
        host = self._index[name]
        own = self._own_times(host, window, places)
        self._appraise(window, places)
        elsewhere = np.where(self._by[places] == host, self._second[places], self._cheapest[places])
        only_here = np.isinf(elsewhere)
        if not only_here.any():
            scores: Floats = own * self._prices[host] / elsewhere
        elif only_here.all():
            scores = np.ones(len(places))
        else:
            # what nobody else can take comes first, and is not compared
            scores = np.where(only_here, 0.0, own * self._prices[host] / np.where(only_here, 1.0, elsewhere))
        scores[np.isinf(own)] = np.inf
        if not self._residence.load_s(host):
            return scores
        columns = self._columns(window)
        return self._residence.preferred(host, scores, columns[window.models[places]], columns.tolist())

    def _own_times(self, host: int, window: Window, places: Places) -> Floats:
        """Return t(h, i) for one host, the load of a model included where it would have to switch."""
        if len(self._models) > 1 or np.isfinite(self._largest_chars[host, 0]):
            (own,) = self._times(np.array([host]), window, places)
        else:
            own = self._fixed_s[host, 0] + self._per_char_s[host, 0] * window.lengths[places]
        times: Floats = own
        return times

    def _appraise(self, window: Window, places: Places) -> None:
        """Find for each row where it is cheapest and second cheapest, unless that is known already."""
        if len(self._seen) < len(window.births):
            more = len(window.births) - len(self._seen)
            self._seen = np.append(self._seen, np.full(more, -1))
            self._by = np.append(self._by, np.full(more, -1))
            self._cheapest = np.append(self._cheapest, np.full(more, np.inf))
            self._second = np.append(self._second, np.full(more, np.inf))
        new = places[self._seen[places] != window.births[places]]
        if not new.size:
            return
        hosts = np.flatnonzero(self._present & (self._prices > 0))
        if hosts.size > MANY_HOSTS:
            if self._contending is None:
                self._contending = self._contenders(hosts, window, self._sample(window))
            hosts = self._contending
        costs = self._prices[hosts, None] * self._times(hosts, window, new)
        columns = np.arange(new.size)
        first = costs.argmin(axis=0)
        self._by[new] = hosts[first]
        self._cheapest[new] = costs[first, columns]
        costs[first, columns] = np.inf
        self._second[new] = costs.min(axis=0)
        self._seen[new] = window.births[new]

    def _contenders(self, hosts: Places, window: Window, sample: Places) -> Places:
        """Return the hosts that are cheapest or second cheapest for any row of a sample: the others cannot matter."""
        costs = self._prices[hosts, None] * self._times(hosts, window, sample)
        return hosts[np.unique(np.argpartition(costs, 1, axis=0)[:2])]

    def priced(self) -> tuple[list[str], Floats]:
        """Return the hosts that have a price, and these prices."""
        hosts = np.flatnonzero(self._present & self._replied)
        names = list(self._index)
        return [names[host] for host in hosts], self._prices[hosts]

    def times_of(self, names: Sequence[str], rows: Sequence[tuple[str, int]]) -> Floats:
        """Return the seconds of rows, given as model and characters: hosts x rows, infinite where one cannot.

        What a host would need to load another model than the one it has is in them.
        """
        hosts = np.array([self._index[name] for name in names], dtype=np.intp)
        models = np.array([self._model(model) for model, _ in rows], dtype=np.intp)
        times = self._times_for(hosts, models, np.array([chars for _, chars in rows], float))
        if len(self._models) > 1:
            times += self._residence.loads_s(hosts, models)
        return times

    # -- room ---------------------------------------------------------------------------------------------------------

    def _model(self, name: str) -> int:
        """Return a model's column, new if it was never seen."""
        column = self._models.get(name)
        if column is None:
            column = self._models[name] = len(self._models)
            self._grow(len(self._index), len(self._models))
        return column

    def _grow(self, hosts: int, models: int) -> None:
        def widened(array: Floats, fill: float) -> Floats:
            wide = np.full((hosts, models), fill)
            wide[: array.shape[0], : array.shape[1]] = array
            return wide

        more = hosts - len(self._prices)
        self._present = np.append(self._present, np.zeros(more, dtype=bool))
        self._slots = np.append(self._slots, np.ones(more))
        self._prices = np.append(self._prices, np.zeros(more))
        self._replied = np.append(self._replied, np.zeros(more, dtype=bool))
        self._fixed_s = widened(self._fixed_s, np.inf)
        self._per_char_s = widened(self._per_char_s, 0.0)
        self._largest_chars = widened(self._largest_chars, np.inf)

    def speed(self, name: str) -> tuple[float, float] | None:
        """Return the tokens per second that one request on a host reads and writes, with the model it has now."""
        host = self._index.get(name, -1)
        speed = self._speeds.get((host, self._residence.loaded(host)))
        if speed is None or not speed.prefill_s.value or not speed.decode_s.value:
            return None
        return 1 / speed.prefill_s.value, 1 / speed.decode_s.value
