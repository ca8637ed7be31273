"""The rows in flight, with their one or two copies.

Invariant: no row has more than `MAX_COPIES` in flight, and none is here without one.
"""

from dataclasses import dataclass, field

from scorer.core.host import Slot
from scorer.core.task import Task, TaskKey

MAX_COPIES = 2


@dataclass(slots=True)
class Flight:
    """A row in flight: as it is now, and its copies."""

    task: Task
    copies: list[Slot] = field(default_factory=list)


class Flights:
    """Every row in flight. `extra` counts the second copies."""

    def __init__(self) -> None:
        self._by_key: dict[TaskKey, Flight] = {}
        self.extra = 0

    def __len__(self) -> int:
        """Count the rows, not the copies."""
        return len(self._by_key)

    def keys(self) -> set[TaskKey]:
        """Return the tasks in flight."""
        return set(self._by_key)

    def alone(self) -> dict[TaskKey, Slot]:
        """Return the rows that may have a second copy, with the copy that runs."""
        return {key: flight.copies[0] for key, flight in self._by_key.items() if len(flight.copies) < MAX_COPIES}

    def copyable(self, key: TaskKey, name: str) -> Task | None:
        """Return the row if a host of this name may run its second copy."""
        flight = self._by_key.get(key)
        if flight is None or len(flight.copies) >= MAX_COPIES or flight.copies[0].host == name:
            return None
        return flight.task

    def start(self, slot: Slot) -> None:
        """Note a copy that is on its way."""
        self._by_key.setdefault(slot.task.key, Flight(slot.task)).copies.append(slot)
        self.extra += slot.extra

    def land(self, slot: Slot) -> Flight | None:
        """Take a copy out of flight; return the row with what is left of it, None if another copy has already won."""
        self.extra -= slot.extra
        flight = self._by_key.get(slot.task.key)
        if flight is None or slot not in flight.copies:
            return None
        flight.copies.remove(slot)
        if not flight.copies:
            del self._by_key[slot.task.key]
        return flight

    def end(self, flight: Flight) -> tuple[Slot, ...]:
        """Take the other copies of a row whose fate is known out of flight, and return them; they were tries, too."""
        if flight.copies:
            del self._by_key[flight.task.key]
            flight.task = flight.task._replace(tries=flight.task.tries + len(flight.copies))
        return tuple(flight.copies)
