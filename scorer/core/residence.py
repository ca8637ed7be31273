"""Which model each host has in memory, and when it pays to load another.

Switching costs a load, tens of seconds. A host that compared the waiting rows one by one would switch for each long row
that nobody else is after, so models are compared as wholes: what the rows of a model, as they come, cost on this host
over what they cost at the best of the others (its *promise*, small is good). A host stays with its model unless another
promises clearly more, counting the load over the host's share of what is left of it; and when the rows of its model run
out, it goes where the others go that see about the same promises, since within one model each then takes what suits it.

Hosts and models are the market's numbers. Invariant: nothing here depends on time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]

# prices never rest: a switch must promise so much more, and a load so many times its own length of work
SWITCH_MARGIN = 0.15
LOADS_WORTH = 10.0
BEHIND = 1e6
NOTHING = -1


@dataclass(frozen=True, slots=True)
class Prospect:
    """What a model promises, by host: what its rows cost there over the best of the others, and their mean seconds.

    The promise is 0 where no other host could do them, infinite where this one could not. `left` rows are left.
    """

    promises: Floats
    mean_s: Floats
    left: int

    @classmethod
    def of(cls, costs: Floats, times: Floats, left: int) -> "Prospect":
        """Work it out from some of the model's rows: costs and seconds, hosts x rows."""
        order = np.argsort(costs, axis=0)[:2]
        rows = np.arange(costs.shape[1])
        second = costs[order[-1], rows] if len(costs) > 1 else np.full(len(rows), np.inf)
        elsewhere = np.where(order[0] == np.arange(len(costs))[:, None], second, costs[order[0], rows])
        own, others = costs.sum(axis=1), elsewhere.sum(axis=1)
        with np.errstate(invalid="ignore"):
            return cls(np.where(np.isfinite(own), own / others, np.inf), times.mean(axis=1), left)


class Residence:
    """The models that hosts have in memory."""

    def __init__(self) -> None:
        self._loaded: dict[int, int] = {}
        self._load_s: dict[int, float] = {}
        self._worked_s: dict[int, float] = {}
        self._wanted: dict[int, int] = {}
        self._promises: dict[tuple[int, int], float] = {}

    def set_loaded(self, host: int, model: int, load_s: float | None = None) -> None:
        """Say which model a host has, or is about to have; `load_s`: what loading it took, where that is known."""
        if self._loaded.get(host) != model:
            self._worked_s[host] = 0.0
            self._wanted.pop(host, None)
        self._loaded[host] = model
        if load_s is not None:
            self._load_s[host] = load_s

    def worked(self, host: int, duration_s: float) -> None:
        """Note that a host has worked so long with the model that it has."""
        self._worked_s[host] = self._worked_s.get(host, 0.0) + duration_s

    def loaded(self, host: int) -> int:
        """Return the model that a host has in memory, NOTHING if it is not known to have any."""
        return self._loaded.get(host, NOTHING)

    def load_s(self, host: int, model: int | None = None) -> float:
        """Return the seconds a host needs to load another model than it has; 0 if it has this one, or none is known."""
        return 0.0 if model is not None and self.loaded(host) == model else self._load_s.get(host, 0.0)

    def loads_s(self, hosts: Places, models: Places) -> Floats:
        """Return the seconds of loading that rows of these models would need first, hosts x rows."""
        loads = np.array([self._load_s.get(host, 0.0) for host in hosts.tolist()])
        there = np.array([self.loaded(host) for host in hosts.tolist()])
        return np.where(there[:, None] == models, 0.0, loads[:, None])

    def decide(self, hosts: Sequence[int], prospects: Mapping[int, Prospect], slots: float) -> None:
        """Find for each host the model that it should do now. `prospects` have one place a host, by model."""
        self._wanted.clear()
        for i, host in enumerate(hosts):
            load_s, loaded = self._load_s.get(host, 0.0), self.loaded(host)
            if load_s <= 0:
                continue
            own = {model: float(prospect.promises[i]) for model, prospect in prospects.items()}
            self._promises |= {(host, model): promise for model, promise in own.items()}
            if loaded in own and self._worked_s.get(host, 0.0) < LOADS_WORTH * load_s:
                continue
            for model in own.keys() - {loaded}:
                share_s = max(prospects[model].left / slots, 1.0) * float(prospects[model].mean_s[i])
                own[model] *= 1 + SWITCH_MARGIN + 2 * load_s / share_s
            best = min(own, key=own.__getitem__)
            if np.isfinite(own[best]):
                self._wanted[host] = best

    def preferred(self, host: int, scores: Floats, models: Places, order: Sequence[int]) -> Floats:
        """Return the scores of rows with those of all models but the host's own put behind.

        `models` are the rows', `order` is that in which the job has them.
        """
        possible = set(models[np.isfinite(scores)].tolist())
        wanted = self._wanted.get(host, self.loaded(host))
        if possible and wanted not in possible:
            promises = {model: self._promises.get((host, model), 1.0) for model in possible}
            good = min(promises.values()) * (1 + SWITCH_MARGIN)
            wanted = next(model for model in order if promises.get(model, np.inf) <= good)
        return np.where(models == wanted, scores, (scores + 1) * BEHIND)
