"""The rows that wait in memory, in the order they came.

The dispatcher keeps a window of the next waiting rows so that a host may choose among them; everything beyond it stays
in the dataset and the queue. Beside the tasks stand arrays, one place a task, over which prices are compared: lengths,
models, ages. A free place has infinite weight, so that no comparison ever chooses it.

Invariant: a task is in the window or in flight or neither, never in both.
"""

import math
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from scorer.core.task import Task, TaskKey

CAPACITY = 1024
AGEING = 0.1
RECENT = 256
OLD = 50.0
_NOBODY = math.inf


class Window:
    """An ordered set of waiting tasks.

    `chars` is the number of characters it holds, kept columns included. `last` is true once nothing is behind it: these
    are the last rows. `behind` says by model how many rows are behind it, while whoever fills it keeps that up.
    By place: `lengths` (characters), `models` (index into `model_names`) and `births` (the how manieth task it is, so
    that who keeps something about a place notices that another task is there now). `picks` counts all that were taken.
    """

    def __init__(self) -> None:
        self._places: OrderedDict[TaskKey, int] = OrderedDict()
        self._tasks: list[Task | None] = [None] * CAPACITY
        self._free = list(range(CAPACITY - 1, -1, -1))
        self._age = 0.0
        self.chars = 0
        self.last = False
        self.behind: dict[str, int] = {}
        self._waiting: Counter[str] = Counter()
        self._recent: dict[str, deque[int]] = {}
        self.model_names: list[str] = []
        self.lengths = np.zeros(CAPACITY)
        self.models = np.zeros(CAPACITY, dtype=np.intp)
        self.births = np.zeros(CAPACITY, dtype=np.int64)
        self._born = 0
        self.picks = 0
        self._weights = np.full(CAPACITY, np.inf)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Task]:
        return (task for place in self._places.values() if (task := self._tasks[place]) is not None)

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def keys(self) -> set[TaskKey]:
        """Return the identities of all waiting tasks."""
        return set(self._places)

    def waiting(self, model: str) -> int:
        """Count the waiting rows of a model."""
        return self._waiting[model]

    def left(self, model: str) -> int:
        """Count the rows of a model that wait here or are behind."""
        return self._waiting[model] + self.behind.get(model, 0)

    def recent(self, model: str) -> list[int]:
        """Return the lengths of a model's last rows as they came, taken meanwhile or not: what waits is picked over."""
        return list(self._recent.get(model, ()))

    def shares(self, places: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        """Return how many rows each of these places stands for, itself and those of its model behind the window."""
        each = [1 + self.behind.get(name, 0) / max(self._waiting[name], 1) for name in self.model_names]
        return np.array(each)[self.models[places]]

    def at(self, place: int) -> Task:
        """Return the task at a place; KeyError if the place is free."""
        task = self._tasks[place]
        if task is None:
            raise KeyError(place)
        return task

    def born(self, place: int, birth: int) -> Task | None:
        """Return the task at a place if it is still the one of this birth."""
        return self._tasks[place] if self.births[place] == birth else None

    def taken(self) -> npt.NDArray[np.intp]:
        """Return the places that hold a task, in no particular order."""
        return np.flatnonzero(self._weights != np.inf)

    def weights(self) -> npt.NDArray[np.float64]:
        """Return exp(-0.1 x wait / (4 x window)) by place, the wait counted in picks; infinite where no task is.

        All ages grow alike, so only what a task weighs as it comes is worked out: the weights are right among each
        other, up to a factor common to all.
        """
        return self._weights

    def add(self, task: Task, *, first: bool = False) -> None:
        """Let a task wait, behind all others or, after a failed try, before them."""
        if task.key in self._places:
            raise KeyError(task.key)
        if not self._free:
            self._grow()
        place = self._free.pop()
        self._places[task.key] = place
        if first:
            self._places.move_to_end(task.key, last=False)
        self._tasks[place] = task
        self.lengths[place] = task.chars
        self.models[place] = self.model(task.key.model)
        self._born += 1
        self.births[place] = self._born
        self._weights[place] = math.exp(self._age)
        self.chars += task.chars + len(task.kept)
        self._waiting[task.key.model] += 1
        self._recent.setdefault(task.key.model, deque(maxlen=RECENT)).append(task.chars)

    def take(self, key: TaskKey) -> Task:
        """Remove and return a task; KeyError if it does not wait here."""
        place = self._places.pop(key)
        task = self.at(place)
        self._tasks[place] = None
        self._weights[place] = _NOBODY
        self._free.append(place)
        self.picks += 1
        self._age += AGEING / (4 * (len(self._places) or 1))
        if self._age > OLD:
            self._weights *= math.exp(-self._age)
            self._age = 0.0
        self.chars -= task.chars + len(task.kept)
        self._waiting[task.key.model] -= 1
        return task

    def model(self, name: str) -> int:
        """Return the index by which the arrays know a model."""
        if name not in self.model_names:
            self.model_names.append(name)
        return self.model_names.index(name)

    def _grow(self) -> None:
        size = len(self._tasks)
        self._tasks += [None] * size
        self._free = list(range(2 * size - 1, size - 1, -1))
        self.lengths = np.concatenate([self.lengths, np.zeros(size)])
        self.models = np.concatenate([self.models, np.zeros(size, dtype=np.intp)])
        self.births = np.concatenate([self.births, np.zeros(size, dtype=np.int64)])
        self._weights = np.concatenate([self._weights, np.full(size, np.inf)])
