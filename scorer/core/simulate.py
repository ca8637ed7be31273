"""A fleet in virtual time: the real scheduler (`fleet.py`, not a copy) over simulated hosts, with no I/O at all.

Events are a heap of moments; hosts take rows for as long as their speeds say, with noise; nothing else is pretended.
The result is the makespan against a bound that no schedule can beat, and every attempt for whoever wants to check.

Rows: prompt lengths are lognormal, and the scheduler sees characters that tell them only within 15 %; outputs are as
long as `output_tokens` says. Service noise has a coefficient of variation of 0.3. Speeds are unknown at the start.
"""

import heapq
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from scorer.core.fleet import Fleet, Member, Slot
from scorer.core.price import bound_s
from scorer.core.task import Attempt, Blame, Failed, Reply, Scored, Task, TaskKey
from scorer.core.window import Window
from scorer.errors import FaultKind

CHARS_PER_TOKEN = 4.0
KNOWN_WITHIN = 0.15
WINDOW = 512
REFILL_AT = 384
FAIL_FAST_S = 0.005
NEVER_S = 1e9
PROBE_S = 0.1

EventKind = Literal["dies", "joins", "slows", "sleeps", "fails_fast", "garbage"]
Policy = Literal["priced", "first_come", "round_robin", "static"]


@dataclass(frozen=True, slots=True)
class SimEvent:
    """Something that happens to a host. `factor`: how much slower; `until_s`: when it is over, never if None."""

    at_s: float
    kind: EventKind
    factor: float = 1.0
    until_s: float | None = None

    def holds(self, now: float) -> bool:
        """Whether it is in force now."""
        return self.at_s <= now < (NEVER_S if self.until_s is None else self.until_s)


@dataclass(frozen=True, slots=True)
class SimHost:
    """A host of a fleet file. Speeds are per slot, in tokens a second; `climb`: the scheduler is not told `slots`."""

    name: str
    prefill_tps: float
    decode_tps: float
    overhead_s: float = 0.05
    slots: int = 1
    max_context: int | None = None
    models: tuple[str, ...] = ()
    load_s: float = 0.0
    climb: bool = False
    events: tuple[SimEvent, ...] = ()

    def service_s(self, prompt_tokens: float, output_tokens: float) -> float:
        """Return the seconds a row takes in one slot, noise and events aside."""
        return self.overhead_s + prompt_tokens / self.prefill_tps + output_tokens / self.decode_tps

    def doing(self, kind: EventKind, now: float) -> SimEvent | None:
        """Return the event of a kind that is in force now."""
        return next((event for event in self.events if event.kind == kind and event.holds(now)), None)

    def away(self, now: float) -> bool:
        """Whether requests are refused: it has died, sleeps, or has not joined yet."""
        absent = any(event.kind == "joins" and now < event.at_s for event in self.events)
        return absent or bool(self.doing("dies", now) or self.doing("sleeps", now))


@dataclass(frozen=True, slots=True)
class Work:
    """The rows of a simulation."""

    rows: int
    seed: int = 0
    median_tokens: float = 400.0
    sigma: float = 1.0
    output_tokens: tuple[int, ...] = (60,)
    noise_cv: float = 0.3
    models: tuple[str, ...] = ("model",)


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt, for the trace. Times in virtual seconds."""

    row: int
    host: str
    start_s: float
    end_s: float
    prompt_tokens: int
    output_tokens: int
    won: bool


@dataclass(slots=True)
class Usage:
    """What one host did."""

    rows: int = 0
    busy_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """How a simulated run went. `tail_s`: from the moment that the first host had nothing left to take to the end."""

    makespan_s: float
    bound_s: float
    tail_s: float
    duplicated: int
    dead: int
    wasted: int
    hosts: dict[str, Usage]
    tries: list[Try] = field(repr=False)

    @property
    def ratio(self) -> float:
        """Makespan over bound; 1 is perfect, and below 1 is the luck of the noise."""
        return self.makespan_s / self.bound_s


@dataclass(slots=True)
class _Running:
    slot: Slot
    started: float
    ended: bool = False


class _Rows:
    """The rows' true lengths, and what the scheduler is told of them."""

    def __init__(self, work: Work) -> None:
        rng = np.random.default_rng(work.seed)
        self.prompt = np.maximum(1, np.exp(rng.normal(math.log(work.median_tokens), work.sigma, work.rows)))
        self.output = rng.choice(np.array(work.output_tokens, float), work.rows)
        self.chars = self.prompt * CHARS_PER_TOKEN * rng.uniform(1 - KNOWN_WITHIN, 1 + KNOWN_WITHIN, work.rows)
        self.models = [work.models[i * len(work.models) // work.rows] for i in range(work.rows)]

    def task(self, row: int) -> Task:
        return Task(TaskKey(self.models[row], row, 0), "", round(self.chars[row]))


class _Simulation:
    def __init__(self, hosts: Sequence[SimHost], work: Work, policy: Policy) -> None:
        self.hosts = {host.name: host for host in hosts}
        self.work = work
        self.policy = policy
        self.rng = random.Random(work.seed)
        self.rows = _Rows(work)
        self.fleet = Fleet(random.Random(work.seed), priced=policy == "priced")
        self.window = Window()
        self.windows = dict.fromkeys(self.hosts, self.window)
        self.next_row = 0
        self.heap: list[tuple[float, int, Callable[[], None]]] = []
        self.number = 0
        self.now = 0.0
        self.left = work.rows
        self.running: dict[int, _Running] = {}
        self.usage = {name: Usage() for name in self.hosts}
        self.tries: list[Try] = []
        self.loaded: dict[str, str] = {}
        self.first_idle: float | None = None
        self.duplicated = self.dead = self.wasted = 0
        self.look_at: float | None = None
        self.sigma = math.sqrt(math.log(1 + work.noise_cv**2))

    # -- time -------------------------------------------------------------------------------------------------------

    def at(self, moment: float, call: Callable[[], None]) -> None:
        self.number += 1
        heapq.heappush(self.heap, (moment, self.number, call))

    def run(self) -> None:
        self.fleet.configure(self.member(host) for host in self.hosts.values())
        for host in self.hosts.values():
            for event in host.events:
                self.at(event.at_s, lambda name=host.name: self.happens(name))  # type: ignore[misc]
                if event.until_s is not None:
                    self.at(event.until_s, lambda name=host.name: self.join(name))  # type: ignore[misc]
            if not host.away(0.0):
                self.fleet.join(self.member(host), 0.0)
        if self.policy in ("round_robin", "static"):
            self.deal()
        self.fill_all()
        while self.left and self.heap:
            self.now, _, call = heapq.heappop(self.heap)
            call()

    def member(self, host: SimHost) -> Member:
        models = frozenset(host.models or self.work.models)
        return Member(host.name, models, host.max_context or 1 << 30, None if host.climb else host.slots, 60.0)

    # -- rows -------------------------------------------------------------------------------------------------------

    def deal(self) -> None:
        """Give out all rows beforehand, in turn or in equal blocks: what a dispatcher that pushes would do."""
        names = list(self.hosts)
        self.windows = {name: Window() for name in names}
        for row in range(self.work.rows):
            at = row % len(names) if self.policy == "round_robin" else row * len(names) // self.work.rows
            self.windows[names[at]].add(self.rows.task(row))
        self.next_row = self.work.rows
        for window in self.windows.values():
            window.last = True

    def refill(self) -> None:
        if len(self.window) >= max(REFILL_AT, self.fleet.slots() * 3 // 2):
            return
        until = min(self.work.rows, self.next_row + max(WINDOW - REFILL_AT, self.fleet.slots() // 2))
        for row in range(self.next_row, until):
            self.window.add(self.rows.task(row))
        self.next_row = until
        self.window.last = until == self.work.rows

    def fill_all(self) -> None:
        for name in self.fleet.free_hosts(self.now):
            self.fill(name)
        due = self.fleet.due(self.now)
        if due is not None and (self.look_at is None or due < self.look_at or self.look_at <= self.now):
            self.look_at = due
            self.at(due, self.fill_all)

    def fill(self, name: str) -> None:
        self.refill()
        window = self.windows[name]
        while (slot := self.fleet.pick(name, window, self.now)) is not None:
            self.duplicated += slot.extra
            self.start(slot)
            self.refill()
        if window.last and self.first_idle is None and not len(window):
            self.first_idle = self.now

    # -- requests -----------------------------------------------------------------------------------------------------

    def start(self, slot: Slot) -> None:
        host = self.hosts[slot.host]
        running = self.running[slot.number] = _Running(slot, self.now)
        if host.away(self.now):
            self.at(self.now + FAIL_FAST_S, lambda: self.fail(running, Blame.HOST, FaultKind.UNREACHABLE))
            return
        if host.doing("fails_fast", self.now):
            self.at(self.now + FAIL_FAST_S, lambda: self.fail(running, Blame.UNCLEAR, FaultKind.SERVER_ERROR))
            return
        row = slot.task.key.row
        slower = event.factor if (event := host.doing("slows", self.now)) else 1.0
        noise = slower * math.exp(self.rng.gauss(-(self.sigma**2) / 2, self.sigma))
        prefill_s = self.rows.prompt[row] / host.prefill_tps * noise
        decode_s = self.rows.output[row] / host.decode_tps * noise
        load_s = self.load_s(host, slot.task.key.model)
        reply = Reply(
            "", "stop", round(self.rows.prompt[row]), round(self.rows.output[row]), prefill_s, decode_s, load_s
        )
        took_s = load_s + host.overhead_s + prefill_s + decode_s
        if host.doing("garbage", self.now):
            self.at(self.now + took_s, lambda: self.fail(running, Blame.ROW, FaultKind.INVALID_OUTPUT))
        else:
            self.at(self.now + took_s, lambda: self.finish(running, reply))

    def load_s(self, host: SimHost, model: str) -> float:
        if self.loaded.get(host.name) == model:
            return 0.0
        self.loaded[host.name] = model
        return host.load_s

    def finish(self, running: _Running, reply: Reply) -> None:
        if running.ended:
            return
        if self.hosts[running.slot.host].away(self.now):
            self.fail(running, Blame.HOST, FaultKind.DROPPED)
            return
        self.end(running)
        duration_s = self.now - running.started
        settled = self.fleet.release(running.slot, Scored(reply, {}, duration_s), self.now)
        self.note(running, won=settled.done)
        if settled.done:
            self.left -= 1
            self.usage[running.slot.host].rows += 1
        for loser in settled.losers:
            self.cancel(self.running[loser.number])
        self.after(running.slot.host)

    def cancel(self, running: _Running) -> None:
        self.end(running)
        self.fleet.abandon(running.slot)
        self.note(running, won=False)

    def fail(self, running: _Running, blame: Blame, kind: FaultKind) -> None:
        if running.ended:
            return
        self.end(running)
        self.wasted += 1
        name = running.slot.host
        attempt = Attempt(name, blame, kind, "simulated", downed=kind is FaultKind.DROPPED)
        settled = self.fleet.release(running.slot, Failed(attempt, self.now - running.started), self.now)
        self.note(running, won=False)
        if settled.dead:
            self.dead += 1
            self.left -= 1
        elif not settled.aside:
            self.windows[name].add(settled.task, first=True)
        if self.fleet.is_open(name):
            self.at(max(self.fleet.retry_at(name), self.now) + PROBE_S, lambda: self.join(name))
        self.after(name)

    def end(self, running: _Running) -> None:
        running.ended = True
        del self.running[running.slot.number]
        self.usage[running.slot.host].busy_s += self.now - running.started

    def note(self, running: _Running, *, won: bool) -> None:
        row = running.slot.task.key.row
        prompt, output = round(self.rows.prompt[row]), round(self.rows.output[row])
        self.tries.append(Try(row, running.slot.host, running.started, self.now, prompt, output, won))

    def after(self, name: str) -> None:
        if self.window.last or self.policy in ("round_robin", "static"):
            self.fill_all()
        else:
            self.fill(name)
            if self.fleet.due(self.now) is not None:
                self.fill_all()

    # -- events -------------------------------------------------------------------------------------------------------

    def happens(self, name: str) -> None:
        host = self.hosts[name]
        if not host.away(self.now):
            self.join(name)
            return
        # what was in flight is lost at once: the connection is refused or reset
        for running in [r for r in self.running.values() if r.slot.host == name]:
            self.fail(running, Blame.HOST, FaultKind.DROPPED)

    def join(self, name: str) -> None:
        """Probe: a host that answers is in again, one that does not is asked later."""
        host = self.hosts[name]
        if host.away(self.now):
            back = [e.until_s for e in host.events if e.until_s and e.until_s > self.now]
            if back and self.fleet.is_open(name):
                self.at(self.now + 60.0, lambda: self.join(name))
            return
        self.loaded.pop(name, None)
        self.fleet.join(self.member(host), self.now)
        self.fill_all()


def simulate(hosts: Sequence[SimHost], work: Work, policy: Policy = "priced") -> Result:
    """Run the rows through the fleet; the same arguments give the same result."""
    simulation = _Simulation(hosts, work, policy)
    simulation.run()
    idle = simulation.now if simulation.first_idle is None else simulation.first_idle
    return Result(
        makespan_s=simulation.now,
        bound_s=best_possible_s(hosts, work),
        tail_s=simulation.now - idle,
        duplicated=simulation.duplicated,
        dead=simulation.dead,
        wasted=simulation.wasted,
        hosts=simulation.usage,
        tries=simulation.tries,
    )


def best_possible_s(hosts: Sequence[SimHost], work: Work) -> float:
    """Return a time that no schedule can beat without foresight of output lengths: these enter as their mean."""
    rows = _Rows(work)
    output = float(np.mean(work.output_tokens))
    times = np.array([host.overhead_s + rows.prompt / host.prefill_tps + output / host.decode_tps for host in hosts])
    for i, host in enumerate(hosts):
        if host.max_context:
            times[i, rows.prompt > host.max_context] = np.inf
    return bound_s(times, np.array([host.slots for host in hosts], float))
