"""The rows that wait in memory, in the order they came.

The dispatcher keeps a window of the next waiting rows so that a host may choose among them; everything beyond it stays
in the dataset and the queue. Invariant: a task is in the window or in flight or neither, never in both.
"""

from collections import OrderedDict
from collections.abc import Iterator

from scorer.core.task import Task, TaskKey


class Window:
    """An ordered set of waiting tasks that knows how many characters it holds."""

    def __init__(self) -> None:
        self._tasks: OrderedDict[TaskKey, Task] = OrderedDict()
        self.chars = 0

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks.values())

    def __contains__(self, key: object) -> bool:
        return key in self._tasks

    def keys(self) -> set[TaskKey]:
        """Return the identities of all waiting tasks."""
        return set(self._tasks)

    def add(self, task: Task, *, first: bool = False) -> None:
        """Let a task wait, behind all others or, after a failed try, before them."""
        if task.key in self._tasks:
            raise KeyError(task.key)
        self._tasks[task.key] = task
        if first:
            self._tasks.move_to_end(task.key, last=False)
        self.chars += task.chars

    def take(self, key: TaskKey) -> Task:
        """Remove and return a task; KeyError if it does not wait here."""
        task = self._tasks.pop(key)
        self.chars -= task.chars
        return task
