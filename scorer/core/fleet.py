"""Which waiting row a free slot takes, and what becomes of a row and its host when the try has ended.

Two questions, asked by the dispatcher and by the simulator alike: `pick` and `release`; `due` says when the answer may
change without anybody doing anything. The fleet does no I/O and knows no clock: `now` is the caller's monotonic time
in seconds, and the order of calls and the random source decide everything, so the same calls give the same answers.

Rules (scheduling: pull, never push):

* A free slot takes the first waiting row that its host can take. A host that already failed a row takes it again only
  when nothing else waits (it is dear), and not at all while another usable host has not tried.
* A row too long for a host's context goes to the host with the largest context of all configured ones: the server's
  own count decides there, since an estimate from characters is only an estimate.
* A slot whose request failed is held for a while, so that failing fast never attracts work.

Invariants: a host never has more rows in flight than its limit; a task is in flight at most once; a host that left
takes nothing.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from scorer.core.estimate import Pace, TokenRatio
from scorer.core.health import Breaker, BreakerState, Validity
from scorer.core.limit import Limit, work
from scorer.core.task import Attempt, Blame, Dead, Failed, Outcome, Scored, Task, TaskKey, verdict
from scorer.core.window import Window
from scorer.errors import FaultKind

MIN_HOLD_S = 1.0
DEADLINE_FACTOR = 10.0
BUSY_PAUSE_S = 2.0
MAX_BUSY_PAUSE_S = 60.0
MAX_BUSY = 10
MAX_REFUSED = 3
LOCAL_WINDOW_S = 10.0
LOCAL_BACKOFF_S = 5.0
LOAD_BACKOFF_S = 30.0
# no tokeniser we know packs more characters of text than this into a token, on average over a whole prompt
MAX_CHARS_PER_TOKEN = 16


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


@dataclass(frozen=True, slots=True)
class Slot:
    """One row in flight on one host. `deadline_s` is how long the request may take from its start."""

    number: int
    host: str
    task: Task
    started: float
    deadline_s: float


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a row after a try: `done`, `dead`, or neither, and then `task` waits again.

    `unusable` says why the host is not fit for the run, if the try has shown that.
    """

    task: Task
    done: bool = False
    dead: Dead | None = None
    unusable: str | None = None


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
class _Host:
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
    refused: int = 0
    refused_at: float | None = None
    completed: int = 0
    last_fault: str | None = None

    @property
    def usable(self) -> bool:
        return self.up and self.accepting and self.breaker.state is BreakerState.CLOSED

    def free(self, now: float) -> int:
        """Slots that may take a row now."""
        if not (self.up and self.accepting) or now < self.paused_until or self.breaker.state is BreakerState.OPEN:
            return 0
        limit = 1 if self.breaker.state is BreakerState.HALF_OPEN else self.limit.value
        self.held_until = [t for t in self.held_until if t > now]
        return limit - len(self.running) - len(self.held_until)


class Fleet:
    """All hosts of a run and the rows they have in flight."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._hosts: dict[str, _Host] = {}
        self._configured: dict[str, Member] = {}
        self._ratios: dict[str, TokenRatio] = {}
        self._numbers = 0
        self._away_at = float("-inf")

    # -- who takes part -----------------------------------------------------------------------------------------

    def configure(self, members: Iterable[Member]) -> None:
        """Say which hosts are configured, present or not: a row may have to wait for an absent one."""
        self._configured = {member.name: member for member in members}

    def join(self, member: Member, now: float) -> None:
        """Let a host take rows: it answers, has the model loaded and may take part."""
        host = self._hosts.get(member.name)
        if host is None or host.member != member:
            running = host.running if host else {}
            host = _Host(member, Breaker(self._rng), Limit(member.slots, now), running=running)
            self._hosts[member.name] = host
        elif host.breaker.state is not BreakerState.CLOSED:
            host.breaker.half_open()
            host.limit.restart(now)
        self._configured[member.name] = member
        host.validity.clear()
        host.up = True

    def leave(self, name: str) -> None:
        """Let a host take no more rows; what it has in flight may still come back."""
        if name in self._hosts:
            self._hosts[name].up = False

    def accept(self, name: str, *, accepting: bool) -> None:
        """Switch a host's acceptance of rows (its hours), without judging it."""
        if name in self._hosts:
            self._hosts[name].accepting = accepting

    def is_open(self, name: str) -> bool:
        """Whether the host must prove itself (be probed and warmed) before it gets rows again."""
        host = self._hosts.get(name)
        return host is not None and host.breaker.state is BreakerState.OPEN

    def retry_at(self, name: str) -> float:
        """Return the time at which a host with an open breaker may be probed."""
        return self._hosts[name].breaker.retry_at

    def ratio(self, model: str) -> TokenRatio:
        """Return what is known of characters per token for a model."""
        return self._ratios.setdefault(model, TokenRatio())

    # -- the two questions --------------------------------------------------------------------------------------

    def pick(self, name: str, window: Window, now: float) -> Slot | None:
        """Take the best waiting row for a free slot of the host out of the window; None if it gets none now."""
        host = self._hosts.get(name)
        if host is None or host.free(now) <= 0:
            return None
        dear: Task | None = None
        for task in window:
            if not self._can_take(host.member, task):
                continue
            if not task.failed_on(name):
                return self._start(host, window.take(task.key), now)
            if dear is None and not self._untried_elsewhere(host, task):
                dear = task
        return self._start(host, window.take(dear.key), now) if dear else None

    def release(self, slot: Slot, outcome: Outcome, now: float) -> Settled:
        """Free the slot and say what becomes of its row; the host's health, limit and pace learn from the outcome."""
        host = self._hosts[slot.host]
        saturated = host.free(now) <= 0
        del host.running[slot.number]
        task = slot.task
        if isinstance(outcome, Scored):
            host.breaker.success(now)
            host.busy_in_a_row = 0
            host.validity.note(valid=True)
            host.completed += 1
            host.pace.learn(task.chars, outcome.duration_s)
            self.ratio(task.key.model).learn(task.chars, outcome.reply.prompt_tokens)
            host.limit.completed(
                work(outcome.reply.prompt_tokens, outcome.reply.output_tokens), now, saturated=saturated
            )
            return Settled(task, done=True)
        attempt = self._absolve(slot, outcome.attempt)
        if attempt.blame is Blame.NOBODY:
            return Settled(replace(task, tries=task.tries + attempt.sent))
        if attempt.kind is FaultKind.BAD_REQUEST and not host.completed:
            return self._suspect_request(host, task, attempt, now)
        self._charge_host(host, outcome, now)
        history = (*task.history, attempt)
        task = replace(task, history=history, tries=task.tries + attempt.sent)
        return Settled(task, dead=self._verdict(task, host.member))

    def abandon(self, slot: Slot) -> Task:
        """Free the slot of a request that we cancelled ourselves; its row waits again, nobody is blamed."""
        del self._hosts[slot.host].running[slot.number]
        return replace(slot.task, tries=slot.task.tries + 1)

    def due(self, now: float) -> float | None:
        """Return when a held or paused slot comes free by itself, None if nothing is held."""
        times = [t for host in self._hosts.values() for t in (*host.held_until, host.paused_until) if t > now]
        return min(times, default=None)

    # -- what else the dispatcher asks ----------------------------------------------------------------------------

    def hopeless(self, chars: int, num_predict: int) -> Dead | None:
        """Say whether no configured host's context could hold a prompt of so many characters, however it is counted."""
        largest = max((m.num_ctx for m in self._configured.values()), default=None)
        if largest is None or chars / MAX_CHARS_PER_TOKEN + num_predict <= largest:
            return None
        return Dead(
            FaultKind.CONTEXT_OVERFLOW,
            f"a prompt of {chars} characters cannot fit the largest context of the hosts, {largest} tokens",
        )

    def takers(self, task: Task) -> int:
        """Count the usable hosts whose model and context fit the row."""
        return sum(host.usable and self._can_take(host.member, task) for host in self._hosts.values())

    def can_go_on(self, window: Window) -> bool:
        """Whether a usable host could take one of the waiting rows, now or when a slot comes free."""
        usable = [host.member for host in self._hosts.values() if host.usable]
        return any(self._can_take(member, task) for member in usable for task in window)

    def any_usable(self) -> bool:
        """Whether any host is usable."""
        return any(host.usable for host in self._hosts.values())

    def stuck(self, window: Window) -> list[TaskKey]:
        """Return the waiting rows that no host present and well can take: only absent ones could."""
        present = [h.member for h in self._hosts.values() if h.up and h.breaker.state is not BreakerState.OPEN]
        return [task.key for task in window if not any(self._can_take(member, task) for member in present)]

    def free_hosts(self, now: float) -> list[str]:
        """Return the hosts with a free slot."""
        return [name for name, host in self._hosts.items() if host.free(now) > 0]

    def in_flight(self) -> int:
        """Count the rows in flight."""
        return sum(len(host.running) for host in self._hosts.values())

    def keys(self) -> set[TaskKey]:
        """Return the tasks in flight."""
        return {slot.task.key for host in self._hosts.values() for slot in host.running.values()}

    def slots(self) -> int:
        """Count the slots of all hosts that are up."""
        return sum(host.limit.value for host in self._hosts.values() if host.up)

    def away(self, now: float) -> None:
        """Note that this machine or its network was away: requests sent before blame nobody when they end badly."""
        self._away_at = now

    def view(self, name: str, now: float) -> HostView | None:
        """Return a host as the display shows it, None before it joined."""
        host = self._hosts.get(name)
        if host is None:
            return None
        if not host.up:
            state = "away"
        elif not host.accepting:
            state = "resting"
        elif host.breaker.state is not BreakerState.CLOSED:
            state = "failing" if host.breaker.state is BreakerState.OPEN else "on trial"
        else:
            state = "busy" if now < host.paused_until else "up"
        return HostView(
            name, state, len(host.running), host.limit.value, host.completed, host.pace.typical_s, host.last_fault
        )

    # -- the rules --------------------------------------------------------------------------------------------------

    def _start(self, host: _Host, task: Task, now: float) -> Slot:
        self._numbers += 1
        predicted = host.pace.predicted_s(task.chars) or 0.0
        deadline_s = max(host.member.min_deadline_s, DEADLINE_FACTOR * predicted)
        slot = Slot(self._numbers, host.member.name, task, now, deadline_s)
        host.running[slot.number] = slot
        return slot

    def _can_take(self, member: Member, task: Task) -> bool:
        if task.key.model not in member.models:
            return False
        too_small = max((self._overflowed_at(attempt) for attempt in task.history), default=0)
        if member.num_ctx <= too_small:
            return False
        largest = self._largest_context(task.key.model)
        return member.num_ctx >= largest or self.ratio(task.key.model).tokens(task.chars) <= member.num_ctx

    def _overflowed_at(self, attempt: Attempt) -> int:
        if attempt.kind is not FaultKind.CONTEXT_OVERFLOW or attempt.host not in self._configured:
            return 0
        return self._configured[attempt.host].num_ctx

    def _largest_context(self, model: str) -> int:
        return max((m.num_ctx for m in self._configured.values() if model in m.models), default=0)

    def _untried_elsewhere(self, host: _Host, task: Task) -> bool:
        return any(
            other is not host
            and other.usable
            and not task.failed_on(other.member.name)
            and self._can_take(other.member, task)
            for other in self._hosts.values()
        )

    def _verdict(self, task: Task, member: Member) -> Dead | None:
        last = task.history[-1]
        larger = False
        if last.kind is FaultKind.CONTEXT_OVERFLOW:
            larger = self._largest_context(task.key.model) > member.num_ctx
        return verdict(task.history, self.takers(task), larger_context=larger)

    def _absolve(self, slot: Slot, attempt: Attempt) -> Attempt:
        """Blame nobody for what ended badly because this machine or its network was away."""
        if attempt.blame is not Blame.ROW and slot.started <= self._away_at:
            return replace(attempt, blame=Blame.NOBODY)
        return attempt

    def _charge_host(self, host: _Host, outcome: Failed, now: float) -> None:
        attempt = outcome.attempt
        host.held_until.append(now + max(MIN_HOLD_S, (host.pace.typical_s or 0.0) / 2))
        if attempt.blame is Blame.ROW:
            self._doubt(host, attempt, now)
            return
        host.last_fault = f"{attempt.kind}: {attempt.message}"
        if attempt.kind is FaultKind.BUSY:
            self._pause(host, outcome.retry_after_s, now)
        elif attempt.kind is FaultKind.LOAD_FAILED:
            host.breaker.open(now, backoff_s=LOAD_BACKOFF_S)
        else:
            down = attempt.downed or attempt.kind is FaultKind.UNREACHABLE
            host.breaker.fault(now, certain=down)
            if down:
                host.refused_at = now
                self._suspect_local_fault(now)

    def _suspect_request(self, host: _Host, task: Task, attempt: Attempt, now: float) -> Settled:
        """A host that refuses all of its first requests does not like their form: the rows are innocent."""
        host.refused += 1
        host.held_until.append(now + MIN_HOLD_S)
        attempt = replace(attempt, blame=Blame.HOST, permanent=False)
        host.last_fault = f"{attempt.kind}: {attempt.message}"
        unusable = f"refused its first {host.refused} requests: {attempt.message}"
        task = replace(task, history=(*task.history, attempt), tries=task.tries + 1)
        return Settled(task, unusable=unusable if host.refused >= MAX_REFUSED else None)

    def _doubt(self, host: _Host, attempt: Attempt, now: float) -> None:
        """An answer came, so the host is at work; whether it is sane is another question."""
        overflow = attempt.kind is FaultKind.CONTEXT_OVERFLOW
        if host.breaker.state is BreakerState.HALF_OPEN and not overflow:
            host.breaker.fault(now)
            return
        host.breaker.success(now)
        if not overflow:
            host.validity.note(valid=False)
            self._suspect_garbage(host, now)

    def _pause(self, host: _Host, retry_after_s: float | None, now: float) -> None:
        """Give a host that has too much to do a rest: as long as it asks for, or longer each time in a row."""
        host.busy_in_a_row += 1
        host.limit.busy(now)
        if host.busy_in_a_row > MAX_BUSY:
            host.breaker.open(now)
            return
        growing_s = min(BUSY_PAUSE_S * 2 ** (host.busy_in_a_row - 1), MAX_BUSY_PAUSE_S)
        host.paused_until = now + (retry_after_s or growing_s * self._rng.uniform(0.5, 1.5))

    def _suspect_garbage(self, host: _Host, now: float) -> None:
        others = [other.validity for other in self._hosts.values() if other is not host and other.usable]
        if host.validity.garbage(others):
            host.last_fault = "most of its completions are invalid"
            host.validity.clear()
            host.breaker.fault(now, certain=True)

    def _suspect_local_fault(self, now: float) -> None:
        """When half of the hosts cannot be reached at once, it is our own network: back soon, and blame nobody."""
        recent = [h for h in self._hosts.values() if h.refused_at is not None and now - h.refused_at <= LOCAL_WINDOW_S]
        if len(recent) >= 2 and 2 * len(recent) >= len(self._hosts):
            self.away(now)
            for host in recent:
                host.breaker.open(now, backoff_s=LOCAL_BACKOFF_S)
