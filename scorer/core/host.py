"""One host as the fleet knows it: what it may take, what it has in flight, how it is doing.

Rules here concern one host alone; what compares hosts is the fleet's. Times are the caller's monotonic seconds.

Invariant: `free` is never more than the limit less what is in flight and held.
"""

import math
import random
from dataclasses import dataclass, field
from typing import NamedTuple

from scorer.core.estimate import Pace
from scorer.core.health import Breaker, BreakerState, Validity
from scorer.core.limit import Limit
from scorer.core.task import Blame, Failed, Task, TaskKey
from scorer.errors import FaultKind

MIN_HOLD_S = 1.0
BUSY_PAUSE_S = 2.0
MAX_BUSY_PAUSE_S = 60.0
MAX_BUSY = 10
LOAD_BACKOFF_S = 30.0
ALL_OF_THE_FIRST = 32
LEARN_EVERY_S = 0.02
MOST_DEADLINES = 16


@dataclass(frozen=True, slots=True)
class Member:
    """What the fleet knows of a host before it has done anything.

    `num_ctx` is its context in tokens, `slots` None for climbing. `models` are the run's names for what it serves.
    """

    name: str
    models: frozenset[str]
    num_ctx: int
    slots: int | None = None
    min_deadline_s: float = 120.0


class Slot(NamedTuple):
    """One row in flight on one host. `deadline_s` is how long the request may take from its start.

    `expected_s` is what it was predicted to take, 0 while nothing is known. `extra`: a second copy of the row.
    `loads`: the host has another model in memory and is to load this row's first.
    """

    number: int
    host: str
    task: Task
    started: float
    deadline_s: float
    expected_s: float = 0.0
    extra: bool = False
    loads: bool = False


@dataclass(frozen=True, slots=True)
class HostView:
    """A host as the display shows it."""

    name: str
    state: str
    running: int
    limit: int
    completed: int
    typical_s: float | None
    last_fault: str | None


@dataclass(slots=True)
class HostState:
    """A host that has joined at least once."""

    member: Member
    breaker: Breaker
    limit: Limit
    pace: Pace = field(default_factory=Pace)
    validity: Validity = field(default_factory=Validity)
    up: bool = False
    accepting: bool = True
    running: dict[int, Slot] = field(default_factory=dict)
    held_until: list[float] = field(default_factory=list)
    paused_until: float = 0.0
    busy_in_a_row: int = 0
    refused: set[TaskKey] = field(default_factory=set)
    refused_at: float = -math.inf
    completed: int = 0
    last_fault: str | None = None
    model: str | None = None
    least_deadline_s: float = 0.0
    _learned_at: float = -math.inf

    @property
    def usable(self) -> bool:
        """Whether rows may be expected to come back from it."""
        return self.up and self.accepting and self.breaker.state is BreakerState.CLOSED

    @property
    def in_service(self) -> bool:
        """Whether it takes rows at all, be it one on trial."""
        return self.up and self.accepting and not self.is_open

    @property
    def on_trial(self) -> bool:
        """Whether it gets one row at a time, by which it is judged."""
        return self.breaker.state is BreakerState.HALF_OPEN

    @property
    def is_open(self) -> bool:
        """Whether it must prove itself (be probed and warmed) before it gets rows again."""
        return self.breaker.state is BreakerState.OPEN

    def has_failed(self, task: Task) -> bool:
        """Whether it has failed or refused this row, for which another is then the better choice."""
        return task.failed_on(self.member.name) or task.key in self.refused

    def free(self, now: float) -> int:
        """Slots that may take a row now."""
        if not self.in_service or now < self.paused_until:
            return 0
        limit = 1 if self.on_trial else self.limit.value
        if self.held_until:
            self.held_until = [t for t in self.held_until if t > now]
        return limit - len(self.running) - len(self.held_until)

    def pauses(self) -> list[float]:
        """Return the times until which slots rest after failures."""
        return [*self.held_until, self.paused_until]

    def rests_s(self, now: float) -> float:
        """Return for how many seconds it takes nothing, even if all that it has in flight came back at once."""
        held = sorted(t for t in self.held_until if t > now)
        spare = self.limit.value - len(held)
        return max(self.paused_until - now, held[-spare] - now if spare <= 0 else 0.0, 0.0)

    def succeeded(self, task: Task, now: float) -> None:
        """Note a valid score."""
        self.breaker.success(now)
        self.busy_in_a_row = 0
        self.least_deadline_s = 0.0
        if _is_fresh(task):
            self.validity.note(valid=True)
        self.completed += 1

    def teaches(self, now: float) -> bool:
        """Whether to learn from a reply: of a host that answers hundreds of times a second a part says as much."""
        if self.completed > ALL_OF_THE_FIRST and now - self._learned_at < LEARN_EVERY_S:
            return False
        self._learned_at = now
        return True

    def hold(self, now: float) -> None:
        """Keep a slot empty after a failure: failing fast must never attract work."""
        self.held_until.append(now + max(MIN_HOLD_S, (self.pace.typical_s or 0.0) / 2))

    def missed(self, deadline_s: float) -> None:
        """Give a host that has never answered twice the time that it has just missed: nobody knows how slow it is.

        Without that, one that needs longer than its `min_deadline_s` for each row would never be known at all.
        """
        if not self.completed:
            self.least_deadline_s = min(2 * deadline_s, MOST_DEADLINES * self.member.min_deadline_s)

    def failed(self, task: Task, outcome: Failed, now: float, rng: random.Random) -> bool:
        """Charge the host for a failed try of a task; return whether that showed it to be down."""
        attempt = outcome.attempt
        if attempt.blame is Blame.ROW:
            self._doubt(task, outcome, now)
            return False
        self.hold(now)
        self.last_fault = f"{attempt.kind}: {attempt.message}"
        if attempt.kind is FaultKind.BUSY:
            self._pause(outcome.retry_after_s, now, rng)
        elif attempt.kind is FaultKind.LOAD_FAILED:
            self.breaker.open(now, backoff_s=LOAD_BACKOFF_S)
        else:
            down = attempt.downed or attempt.kind is FaultKind.UNREACHABLE
            self.breaker.fault(now, certain=down)
            return down
        return False

    def _doubt(self, task: Task, outcome: Failed, now: float) -> None:
        """An answer came, so the host is at work; whether it is sane is another question."""
        attempt = outcome.attempt
        if attempt.kind is FaultKind.CONTEXT_OVERFLOW:
            # the row's length by the tokeniser's count, and nothing else
            self.breaker.success(now)
            return
        if attempt.completion is None or self.pace.typical_s is None:
            self.hold(now)
        else:
            # only haste must not attract rows: a bad completion that took its time kept the slot from no good one
            self.held_until.append(now + self.pace.typical_s - outcome.duration_s)
        if not self.on_trial:
            self.breaker.success(now)
        elif _is_fresh(task):
            # what failed elsewhere too would say nothing: a host is given what others could not do
            self.last_fault = f"{attempt.kind}: {attempt.message}"
            self.breaker.fault(now)

    def _pause(self, retry_after_s: float | None, now: float, rng: random.Random) -> None:
        """Give a host that has too much to do a rest: as long as it asks for, or longer each time in a row."""
        self.busy_in_a_row += 1
        self.limit.busy(now)
        if self.busy_in_a_row > MAX_BUSY:
            self.breaker.open(now)
            return
        growing_s = min(BUSY_PAUSE_S * 2 ** (self.busy_in_a_row - 1), MAX_BUSY_PAUSE_S)
        self.paused_until = now + (retry_after_s or growing_s * rng.uniform(0.5, 1.5))

    def view(self, now: float) -> HostView:
        """Return the host as the display shows it."""
        if not self.up:
            state = "away"
        elif not self.accepting:
            state = "resting"
        elif self.breaker.state is not BreakerState.CLOSED:
            state = "failing" if self.is_open else "on trial"
        else:
            state = "busy" if now < self.paused_until else "up"
        return HostView(
            self.member.name,
            state,
            len(self.running),
            self.limit.value,
            self.completed,
            self.pace.typical_s,
            self.last_fault,
        )


def _is_fresh(task: Task) -> bool:
    """Whether no host gave a bad completion for the task yet, so that its next one tells of the host that gives it."""
    return not any(attempt.blame is Blame.ROW for attempt in task.history)
