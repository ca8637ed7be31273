"""A fleet in virtual time: the real scheduler (`fleet.py`, not a copy) over simulated hosts, with no I/O at all.

Moments are a heap; hosts take rows for as long as their speeds say, with noise; faults come as the dispatcher would
report them: a reset connection, a refusal, a deadline that passed, an answer that is not one. A host that was away is
asked again with growing back-off, as the dispatcher does; one that joins is noticed at once. The result is the makespan
against a bound that no schedule can beat, and every attempt, for whoever wants to check.

The other policies have the same slots, breakers and second copies and differ in the choice of rows: `first_come` lets a
free slot take the oldest row; `round_robin` and `static` push, which is to deal out all rows beforehand in turn or in
equal blocks, and hand the rows of a host that fails to the others.

Invariants: the same arguments give the same result; a row is won once; a host serves no more rows at once than `slots`.
"""

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from scorer.core.bound import bound_of_job_s
from scorer.core.fleet import Fleet, Member, Slot
from scorer.core.health import FIRST_BACKOFF_S, MAX_ABSENT_S
from scorer.core.simulated import AWAY, CHARS_PER_TOKEN, Rows, SimEvent, SimHost, Work
from scorer.core.task import Attempt, Blame, Failed, Reply, Scored, Task
from scorer.core.window import Window
from scorer.errors import FaultKind

__all__ = ["POLICIES", "Policy", "Result", "SimEvent", "SimHost", "Try", "Usage", "Work", "simulate"]

WINDOW = 512
FAIL_FAST_S = 0.005
CONNECT_S = 5.0
PROBE_S = 0.1
MIN_DEADLINE_S = 120.0
UNLIMITED = 1 << 30

Policy = Literal["priced", "first_come", "round_robin", "static"]
POLICIES: tuple[Policy, ...] = ("priced", "first_come", "round_robin", "static")
PUSHING: tuple[Policy, ...] = ("round_robin", "static")


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
    """What one host did: rows won, and seconds of its slots spent on requests, whatever came of them."""

    rows: int = 0
    busy_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """How a simulated run went. `tail_s`: from when no row waited any more to the end; `unfinished` rows: no host left.

    `wasted` counts failed requests, `duplicated` second copies of rows.
    """

    makespan_s: float
    bound_s: float
    tail_s: float
    duplicated: int
    dead: int
    unfinished: int
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
    served: bool = False
    lost: bool = False
    ended: bool = False


class _Simulation:
    def __init__(self, hosts: Sequence[SimHost], work: Work, policy: Policy) -> None:
        self.hosts = {host.name: host for host in hosts}
        self.work = work
        self.policy = policy
        self.pushes = policy in PUSHING
        self.rng = random.Random(work.seed)
        self.rows = Rows(work)
        self.fleet = Fleet(random.Random(work.seed), priced=policy == "priced")
        self.window = Window()
        self.windows = dict.fromkeys(self.hosts, self.window)
        self.turns = itertools.count()
        edges = np.searchsorted(self.rows.model, np.arange(len(work.models) + 1)).tolist()
        self.behind = [range(begin, end) for begin, end in itertools.pairwise(edges)]
        self.heap: list[tuple[float, int, Callable[[], None]]] = []
        self.number = 0
        self.now = 0.0
        self.left = work.rows
        self.running: dict[int, _Running] = {}
        self.by_host: dict[str, dict[int, _Running]] = {name: {} for name in self.hosts}
        self.queued: dict[str, deque[_Running]] = {name: deque() for name in self.hosts}
        self.serving = dict.fromkeys(self.hosts, 0)
        self.usage = {name: Usage() for name in self.hosts}
        self.tries: list[Try] = []
        self.loaded: dict[str, str] = {}
        self.probing: set[str] = set()
        self.last_taken: float | None = None
        self.duplicated = self.dead = self.wasted = 0
        self.look_at = -1.0
        self.sigma = math.sqrt(math.log(1 + work.noise_cv**2))

    # -- time -------------------------------------------------------------------------------------------------------

    def at(self, moment: float, call: Callable[[], None]) -> None:
        self.number += 1
        heapq.heappush(self.heap, (moment, self.number, call))

    def run(self) -> None:
        self.fleet.configure(self.member(host) for host in self.hosts.values())
        self.fleet.attend(self.window)
        self.window.behind = {model: len(rows) for model, rows in zip(self.work.models, self.behind, strict=True)}
        for name, host in self.hosts.items():
            for event in host.events:
                self.at(event.at_s, lambda name=name, event=event: self.begins(name, event))  # type: ignore[misc]
                if event.kind == "sleeps" and event.until_s is not None:
                    self.at(event.until_s, lambda name=name: self.wakes(name))  # type: ignore[misc]
            if not host.away(0.0):
                self.fleet.join(self.member(host), 0.0)
        if self.pushes:
            self.deal()
        self.fill_all()
        while self.left and self.heap:
            self.now, _, call = heapq.heappop(self.heap)
            call()

    def member(self, host: SimHost) -> Member:
        models = frozenset(host.models or self.work.models)
        slots = None if host.climb else host.slots
        return Member(host.name, models, host.max_context or UNLIMITED, slots, MIN_DEADLINE_S)

    # -- rows -------------------------------------------------------------------------------------------------------

    def deal(self) -> None:
        """Give out all rows beforehand to the hosts that are there: what a dispatcher that pushes does."""
        names = [name for name, host in self.hosts.items() if not host.away(0.0)] or list(self.hosts)
        self.windows = {name: Window() for name in self.hosts}
        for row in range(self.work.rows):
            turn = row * len(names) // self.work.rows if self.policy == "static" else row
            self.push(self.rows.task(row), names[turn % len(names) :] + names[: turn % len(names)])
        self.behind = []
        for window in self.windows.values():
            window.last = True

    def push(self, task: Task, names: Sequence[str]) -> None:
        """Let a row wait at the first of these hosts that could take it, or at the first of all that could."""
        fit = next((name for name in [*names, *self.hosts] if self.suits(name, task)), names[0])
        self.windows[fit].add(task)

    def suits(self, name: str, task: Task) -> bool:
        host = self.hosts[name]
        fits = host.max_context is None or task.chars <= host.max_context * CHARS_PER_TOKEN
        return host.serves(task.key.model) and fits and not task.failed_on(name)

    def hand_over(self, name: str, tasks: Sequence[Task]) -> None:
        """Push a failing host's rows to the others, in turn; they stay where they are if there is no other."""
        others = [n for n, h in self.hosts.items() if n != name and not self.fleet.is_open(n) and not h.away(self.now)]
        for task in tasks:
            turn = next(self.turns) % max(len(others), 1)
            self.push(task, others[turn:] + others[:turn] or [name])

    def refill(self) -> None:
        """Bring the window up to size; each model has its share of it, as with the feeds of the dispatcher."""
        if self.window.last or self.pushes:
            return
        size = max(WINDOW, self.fleet.slots() * 2) // max(1, sum(map(bool, self.behind)))
        for i, model in enumerate(self.work.models):
            rows = self.behind[i]
            if rows and self.window.waiting(model) < size * 3 // 4:
                for row in rows[: size // 4]:
                    self.window.add(self.rows.task(row))
                self.behind[i] = rows[size // 4 :]
                self.window.behind[model] = len(self.behind[i])
        self.window.last = not any(self.behind)

    def fill_all(self) -> None:
        for name in self.fleet.free_hosts(self.now):
            self.fill(name)
        due = self.fleet.due(self.now)
        if due is not None and (due < self.look_at or self.look_at <= self.now):
            self.look_at = due
            self.at(due, self.fill_all)

    def fill(self, name: str) -> None:
        self.refill()
        window = self.windows[name]
        while (slot := self.fleet.pick(name, window, self.now)) is not None:
            self.start(slot)
            self.refill()

    # -- requests -----------------------------------------------------------------------------------------------------

    def start(self, slot: Slot) -> None:
        host = self.hosts[slot.host]
        self.duplicated += slot.extra
        if not slot.extra:
            self.last_taken = self.now
        running = self.running[slot.number] = self.by_host[slot.host][slot.number] = _Running(slot, self.now)
        if host.doing("sleeps", self.now):
            self.at(self.now + CONNECT_S, lambda: self.fail(running, Blame.HOST, FaultKind.UNREACHABLE))
        elif host.away(self.now):
            self.at(self.now + FAIL_FAST_S, lambda: self.fail(running, Blame.HOST, FaultKind.UNREACHABLE))
        elif host.doing("fails_fast", self.now):
            self.at(self.now + FAIL_FAST_S, lambda: self.fail(running, Blame.UNCLEAR, FaultKind.SERVER_ERROR))
        elif host.max_context is not None and self.rows.prompt[slot.task.key.row] > host.max_context:
            self.at(self.now + host.overhead_s, lambda: self.fail(running, Blame.ROW, FaultKind.CONTEXT_OVERFLOW))
        else:
            self.at(self.now + slot.deadline_s, lambda: self.overdue(running))
            self.queued[slot.host].append(running)
            self.serve(host)

    def serve(self, host: SimHost) -> None:
        """Let the server begin with what queues inside it: more requests than it serves at once wait unseen."""
        queue = self.queued[host.name]
        while queue and self.serving[host.name] < host.slots:
            running = queue.popleft()
            running.served = True
            self.serving[host.name] += 1
            self.generate(host, running)

    def generate(self, host: SimHost, running: _Running) -> None:
        key = running.slot.task.key
        noise = math.exp(self.rng.gauss(-(self.sigma**2) / 2, self.sigma))
        prompt, output = float(self.rows.prompt[key.row]), float(self.rows.output[key.row])
        prefill_s, decode_s = prompt / host.prefill_tps * noise, output / host.decode_tps * noise
        load_s = 0.0 if self.loaded.get(host.name) == key.model else host.load_s
        self.loaded[host.name] = key.model
        took_s = load_s + host.overhead_s + prefill_s + decode_s
        end = host.end_s(self.now, took_s)
        slower = (end - self.now) / took_s
        reply = Reply("", "stop", round(prompt), round(output), prefill_s * slower, decode_s * slower, load_s * slower)
        self.at(end, lambda: self.finish(running, reply))

    def finish(self, running: _Running, reply: Reply) -> None:
        if running.ended or running.lost:
            return
        name = running.slot.host
        if self.hosts[name].doing("garbage", self.now):
            self.fail(running, Blame.ROW, FaultKind.INVALID_OUTPUT)
            return
        settled = self.fleet.release(running.slot, Scored(reply, {}, self.now - running.started), self.now)
        self.end(running, won=True)
        self.left -= 1
        self.usage[name].rows += 1
        freed = {name}
        for loser in settled.losers:
            freed.add(loser.host)
            self.end(self.running[loser.number], won=False)
            self.fleet.abandon(loser)
        for other in settled.put_aside:
            self.prove(other)
        self.after(freed)

    def overdue(self, running: _Running) -> None:
        if not running.ended:
            self.fail(running, Blame.UNCLEAR, FaultKind.DEADLINE)

    def fail(self, running: _Running, blame: Blame, kind: FaultKind) -> None:
        if running.ended:
            return
        self.wasted += 1
        name = running.slot.host
        attempt = Attempt(name, blame, kind, "simulated", downed=running.lost, sent=kind is not FaultKind.UNREACHABLE)
        settled = self.fleet.release(running.slot, Failed(attempt, self.now - running.started), self.now)
        self.end(running, won=False)
        if settled.dead:
            self.dead += 1
            self.left -= 1
        elif not settled.aside:
            self.again(name, settled.task)
        if self.fleet.is_open(name):
            self.prove(name)
            if self.pushes:
                self.hand_over(name, [self.windows[name].take(task.key) for task in list(self.windows[name])])
                self.at(self.now, self.fill_all)
        self.after({name})

    def again(self, name: str, task: Task) -> None:
        if self.pushes:
            self.hand_over(name, [task])
            self.at(self.now, self.fill_all)
        else:
            self.window.add(task, first=True)

    def end(self, running: _Running, *, won: bool) -> None:
        """Take a request out of the world, in whatever state it is."""
        running.ended = True
        name, row = running.slot.host, running.slot.task.key.row
        del self.running[running.slot.number], self.by_host[name][running.slot.number]
        self.usage[name].busy_s += self.now - running.started
        prompt, output = round(self.rows.prompt[row]), round(self.rows.output[row])
        self.tries.append(Try(row, name, running.started, self.now, prompt, output, won))
        if running.served:
            self.serving[name] -= 1
            self.serve(self.hosts[name])
        elif running in self.queued[name]:
            self.queued[name].remove(running)

    def after(self, names: set[str]) -> None:
        """Fill what came free; with the last rows a slot elsewhere may have something to do now."""
        if self.window.last or self.fleet.due(self.now) is not None:
            self.fill_all()
        else:
            for name in names:
                self.fill(name)

    # -- events -------------------------------------------------------------------------------------------------------

    def begins(self, name: str, event: SimEvent) -> None:
        if event.kind == "joins":
            self.join(name)
        if event.kind in AWAY:
            self.loaded.pop(name, None)
            self.queued[name].clear()
            for running in list(self.by_host[name].values()):
                running.lost = True
                if event.kind == "dies":
                    self.fail(running, Blame.HOST, FaultKind.DROPPED)

    def wakes(self, name: str) -> None:
        """Reset the connections that were open when the host fell asleep."""
        for running in [running for running in self.by_host[name].values() if running.lost]:
            running.lost = False
            self.fail(running, Blame.UNCLEAR, FaultKind.DROPPED)

    def prove(self, name: str) -> None:
        """Ask a host that failed whether it is there again, when its breaker allows and then less and less often."""
        if name not in self.probing:
            self.probing.add(name)
            self.at(max(self.fleet.retry_at(name), self.now) + PROBE_S, lambda: self.probe(name, FIRST_BACKOFF_S))

    def probe(self, name: str, backoff_s: float) -> None:
        if not self.hosts[name].away(self.now):
            self.probing.remove(name)
            self.join(name)
        elif any(event.until_s is not None and event.until_s > self.now for event in self.hosts[name].events):
            later = min(2 * backoff_s, MAX_ABSENT_S)
            self.at(self.now + backoff_s * self.rng.uniform(0.8, 1.2), lambda: self.probe(name, later))

    def join(self, name: str) -> None:
        self.fleet.join(self.member(self.hosts[name]), self.now)
        self.fill_all()


def simulate(hosts: Sequence[SimHost], work: Work, policy: Policy = "priced") -> Result:
    """Run the rows through the fleet; the same arguments give the same result."""
    simulation = _Simulation(hosts, work, policy)
    simulation.run()
    return Result(
        makespan_s=simulation.now,
        bound_s=bound_of_job_s(hosts, work, simulation.rows),
        tail_s=simulation.now - (simulation.last_taken or 0.0),
        duplicated=simulation.duplicated,
        dead=simulation.dead,
        unfinished=simulation.left,
        wasted=simulation.wasted,
        hosts=simulation.usage,
        tries=simulation.tries,
    )
