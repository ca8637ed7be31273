"""Which waiting row a free slot takes, and what becomes of a row and its host when the try has ended.

Two questions, asked by the dispatcher and by the simulator alike: `pick` and `release`; `due` says when the answer may
change without anybody doing anything. The fleet does no I/O and knows no clock: `now` is the caller's monotonic time
in seconds, and the order of calls and the random source decide everything, so the same calls give the same answers.

Rules (pull, never push):

* A free slot takes the waiting row that its host is best at, compared with all others (`price.py`); a host that has not
  replied yet takes the first one. A host that already failed a row takes it at four times its cost, and not at all
  while another host in service, one on trial included, has not tried.
* A row too long for a host's context goes to the host with the largest context of all (`contexts.py`).
* A slot whose request failed is held for a while, so that failing fast never attracts work.
* When these are the last rows, `endgame.py` says who takes one, and which get a second copy.

Invariants: a host never has more rows in flight than its limit; a row never has more than two copies in flight; a host
that left takes nothing.
"""

import random
from collections.abc import Collection, Iterable
from functools import partial
from typing import NamedTuple

import numpy as np

from scorer.core import endgame
from scorer.core.contexts import Contexts
from scorer.core.estimate import TokenRatio
from scorer.core.flights import Flights
from scorer.core.health import Breaker, BreakerState
from scorer.core.host import HostState, HostView, Member, Slot
from scorer.core.last_rows import LastRows
from scorer.core.limit import Limit, work
from scorer.core.market import Market
from scorer.core.short_list import ShortLists
from scorer.core.suspicion import Suspicion
from scorer.core.task import MAX_CHARGES, Attempt, Blame, Dead, Failed, Outcome, Scored, Task, TaskKey, verdict
from scorer.core.window import Window
from scorer.errors import FaultKind

DEADLINE_FACTOR = 10.0
DEAR = 4.0
# what a model may need to come from a slow disk: a client that gives up before aborts the load
LOAD_ALLOWANCE_S = 900.0
ABOUT_AS_MUCH = 0.9
LONG_REST_S = 60.0

__all__ = ["Fleet", "HostView", "Member", "Settled", "Slot"]


class Settled(NamedTuple):
    """What became of a row after a try: `done`, `dead`, or neither, and then `task` waits again.

    `aside`: nothing is to be done about the row, since another copy of it still runs or has already won. `losers` are
    the other copies, whose requests are to be cancelled. `attempt` is a failed try with whoever is really to blame for
    it. `unusable` says why the host is not fit for the run, if the try has shown that; `put_aside` are other hosts that
    must prove themselves again, since it has shown that what they say is garbage.
    """

    task: Task
    done: bool = False
    dead: Dead | None = None
    aside: bool = False
    losers: tuple[Slot, ...] = ()
    attempt: Attempt | None = None
    unusable: str | None = None
    put_aside: tuple[str, ...] = ()


class Fleet:
    """All hosts of a run and the rows they have in flight. `priced` false: first come, first served.

    `proven` names the hosts that have done rows of this job in an earlier run.
    `changes` counts how often it changed how much a host takes at once, or whether it takes anything.
    """

    def __init__(self, rng: random.Random, *, priced: bool = True, proven: Collection[str] = ()) -> None:
        self._rng = rng
        self._priced = priced
        self._hosts: dict[str, HostState] = {}
        self._configured: dict[str, Member] = {}
        self._market = Market()
        self._short_lists = ShortLists(self._hosts)
        self._contexts = Contexts(self._configured, self._market.ratio)
        self._last_rows = LastRows(self._hosts, self._market)
        self._flights = Flights()
        self._suspicion = Suspicion(self._hosts, proven)
        self._numbers = 0
        self._replies = 0
        self._window = Window()
        self._told: dict[str, tuple[int, bool, bool]] = {}
        self._slots = 0
        self.changes = 0
        self._pausing: set[str] = set()
        self._models_waiting = 0

    # -- who takes part -----------------------------------------------------------------------------------------

    def configure(self, members: Iterable[Member]) -> None:
        """Say which hosts are configured, present or not: a row may have to wait for an absent one."""
        self._configured.clear()
        self._configured.update((member.name, member) for member in members)
        self._tell_contexts()

    def attend(self, window: Window) -> None:
        """Say where rows will wait, before there are any."""
        self._window = window

    def settle_on(self, member: Member) -> str:
        """Return the model that a host should begin with: the one of which most is left for the slots that can do it.

        A host counts for each of its models in equal parts. So a host that has only one of them is left to do that one,
        and those that have the same models begin with the same: within a model each then takes what suits it.
        """
        if len(member.models) == 1:
            return next(iter(member.models))
        before = self._market.loaded(member.name)
        if before in member.models and self._window.left(before):
            return before
        claims = dict.fromkeys(member.models, 0.0)
        for other in (*self._configured.values(), *(() if member.name in self._configured else (member,))):
            for model in other.models & claims.keys():
                claims[model] += (other.slots or 1) / len(other.models)
        left = {model: self._window.left(model) / claimed for model, claimed in claims.items()}
        order = [*self._window.behind, *sorted(member.models)]
        most = max(left.values())
        return min((model for model in left if left[model] >= ABOUT_AS_MUCH * most), key=order.index)

    def join(self, member: Member, now: float, *, loaded: str | None = None, load_s: float | None = None) -> None:
        """Let a host take rows: it answers and may take part. `loaded`: the model it has in memory, after `load_s`."""
        host = self._hosts.get(member.name)
        if host is None or host.member != member:
            running = host.running if host else {}
            if host is not None:
                self._suspicion.replaced(member.name)
            host = HostState(member, Breaker(self._rng), Limit(member.slots, now, self._rng), running=running)
            self._hosts[member.name] = host
        elif host.breaker.state is not BreakerState.CLOSED:
            host.breaker.half_open()
            host.limit.restart(now)
        host.validity.clear()
        host.up = True
        if self._configured.get(member.name) != member:
            self._configured[member.name] = member
            self._tell_contexts()
        self._tell_market(host)
        if loaded is not None:
            host.model = loaded
            self._market.set_loaded(member.name, loaded, load_s)

    def leave(self, name: str) -> None:
        """Let a host take no more rows; what it has in flight may still come back."""
        if name in self._hosts:
            self._hosts[name].up = False
            self._tell_market(self._hosts[name])

    def accept(self, name: str, *, accepting: bool) -> None:
        """Switch a host's acceptance of rows (its hours), without judging it."""
        if name in self._hosts:
            self._hosts[name].accepting = accepting
            self._tell_market(self._hosts[name])

    def is_open(self, name: str) -> bool:
        """Whether the host must prove itself (be probed and warmed) before it gets rows again."""
        host = self._hosts.get(name)
        return host is not None and host.is_open

    def last_fault(self, name: str) -> str | None:
        """Return what was last wrong with a host, not with its rows."""
        return self._hosts[name].last_fault

    def retry_at(self, name: str) -> float:
        """Return the time at which a host with an open breaker may be probed."""
        return self._hosts[name].breaker.retry_at

    def ratio(self, model: str) -> TokenRatio:
        """Return what is known of characters per token for a model."""
        return self._market.ratio(model)

    # -- the two questions --------------------------------------------------------------------------------------

    def pick(self, name: str, window: Window, now: float) -> Slot | None:
        """Take the best waiting row for a free slot of the host out of the window; None if it gets none now."""
        host = self._hosts.get(name)
        self._window = window
        if host is None or host.free(now) <= 0:
            return None
        if len(window.model_names) != self._models_waiting:
            # of a model that no host has, or none any more, nothing else would be said
            self._tell_contexts()
        if window.last and self._last_rows.rests(name, now, waiting=len(window) > 0):
            return None
        slot = None
        if len(window):
            task = self._choose(host, window, now)
            slot = self._start(host, window.take(task.key), now) if task else None
        elif window.last:
            slot = self._second_copy(host, now)
        if slot is None:
            self._last_rows.rest(name)
        return slot

    def release(self, slot: Slot, outcome: Outcome, now: float) -> Settled:
        """Free the slot and say what becomes of its row; the host's health, limit and pace learn from the outcome."""
        host = self._hosts[slot.host]
        # a host that rests or leaves has no free slot either
        saturated = host.limit.pinned is None and host.up and host.accepting and host.free(now) <= 0
        self._last_rows.changed(len(self._flights), much=isinstance(outcome, Failed))
        del host.running[slot.number]
        flight = self._flights.land(slot)
        if isinstance(outcome, Scored):
            self._learn(host, slot, outcome, now, saturated=saturated)
            if flight is None:
                return Settled(slot.task, aside=True)
            put_aside = self._suspicion.garbage(host, flight.task, now)
            for name in put_aside:
                self._tell_market(self._hosts[name])
            losers = self._flights.end(flight)
            return Settled(flight.task, done=True, losers=losers, put_aside=put_aside)
        settled = self._failed(host, flight.task if flight else slot.task, outcome, slot, now)
        self._pausing.add(slot.host)
        self._tell_market(host)
        if flight is None:
            return settled._replace(aside=True, dead=None)
        flight.task = settled.task
        if not flight.copies:
            return settled
        if settled.dead and settled.attempt and settled.attempt.permanent:
            # nor can the other copy help the row, which may hang for all of its deadline
            losers = self._flights.end(flight)
            return settled._replace(task=flight.task, losers=losers)
        return settled._replace(aside=True, dead=None)

    def abandon(self, slot: Slot) -> Task | None:
        """Free the slot of a request that we cancelled ourselves; nobody is blamed.

        Return the row if it must wait again; None if another copy of it runs or has won.
        """
        del self._hosts[slot.host].running[slot.number]
        flight = self._flights.land(slot)
        self._last_rows.changed(len(self._flights))
        if flight is None:
            return None
        flight.task = flight.task._replace(tries=flight.task.tries + 1)
        return None if flight.copies else flight.task

    def due(self, now: float) -> float | None:
        """Return when a slot may come free, or a copy pay, by itself; None if only outcomes can change anything."""
        pauses = [(name, t) for name in self._pausing for t in self._hosts[name].pauses() if t > now]
        self._pausing = {name for name, _ in pauses}
        times = [t for _, t in pauses]
        if self._window.last and self._flights:
            times.append(now + self._last_rows.next_look_s())
        return min(times, default=None)

    # -- what else the dispatcher asks ----------------------------------------------------------------------------

    def hopeless(self, chars: int, num_predict: int) -> Dead | None:
        """Say whether no configured host's context could hold a prompt of so many characters, however it is counted."""
        return self._contexts.hopeless(chars, num_predict)

    def takers(self, task: Task) -> int:
        """Count the hosts in service whose model and context fit the row."""
        return sum(host.in_service and self._contexts.can_take(host.member, task) for host in self._hosts.values())

    def can_go_on(self, window: Window) -> bool:
        """Whether a usable host could take one of the waiting rows, now or when a slot comes free."""
        usable = [host.member for host in self._hosts.values() if host.usable]
        return any(self._contexts.can_take(member, task) for member in usable for task in window)

    def any_usable(self) -> bool:
        """Whether any host is usable."""
        return any(host.usable for host in self._hosts.values())

    def stuck(self, window: Window) -> list[TaskKey]:
        """Return the waiting rows that no host present and well can take: only absent ones could."""
        present = [host.member for host in self._hosts.values() if host.in_service]
        return [task.key for task in window if not any(self._contexts.can_take(member, task) for member in present)]

    def free_hosts(self, now: float) -> list[str]:
        """Return the hosts with a free slot."""
        return [name for name, host in self._hosts.items() if host.free(now) > 0]

    def in_flight(self) -> int:
        """Count the requests in flight."""
        return sum(len(host.running) for host in self._hosts.values())

    def keys(self) -> set[TaskKey]:
        """Return the tasks in flight."""
        return self._flights.keys()

    def slots(self) -> int:
        """Count the slots of all hosts that are up."""
        return self._slots

    def away(self, now: float) -> None:
        """Note that this machine was away until now: requests sent before blame nobody when they end badly."""
        self._suspicion.woke(now)

    def view(self, name: str, now: float) -> HostView | None:
        """Return a host as the display shows it, None before it joined."""
        host = self._hosts.get(name)
        return host.view(now) if host else None

    def speed(self, name: str) -> tuple[float, float] | None:
        """Return the tokens per second that one request on a host reads and writes, None before its first reply."""
        return self._market.speed(name)

    # -- the choice -------------------------------------------------------------------------------------------------

    def _choose(self, host: HostState, window: Window, now: float) -> Task | None:
        name = host.member.name
        if kept := self._short_lists.next(name, window, now):
            return kept
        if not self._priced or not self._market.knows(name):
            return self._first(host, window, now)
        places = window.taken()
        scores = self._market.scores(name, window, places) * window.weights()[places]
        if window.last:
            cost = partial(self._cost, now=now)
            scores = self._last_rows.gated(name, window, scores, now, cost, idle=not self._flights)
            if not np.isfinite(scores).any():
                return None
        dear: set[int] = set()
        while True:
            best = endgame.longest_of_best(scores, window.lengths[places]) if window.last else int(np.argmin(scores))
            if not np.isfinite(scores[best]):
                return None
            task = window.at(int(places[best]))
            if not task.history or best in dear:
                scores[best] = np.inf
                self._short_lists.keep(name, window, places, scores, now)
                return task
            scores[best] *= self._cost(host, task, now)
            dear.add(best)

    def _first(self, host: HostState, window: Window, now: float) -> Task | None:
        """Return the first row that the host can take, one that it failed before only if there is no other."""
        name = host.member.name
        model = self._market.loaded(name) or self.settle_on(host.member)
        other = dear = None
        for task in window:
            if self._contexts.can_take(host.member, task):
                cost = self._cost(host, task, now)
                if cost == 1.0 and task.key.model == model:
                    return task
                if cost == 1.0 and other is None:
                    other = task
                if cost == DEAR and dear is None:
                    dear = task
        return other or dear

    def _cost(self, host: HostState, task: Task, now: float) -> float:
        """Return the factor by which a row's history makes it dear to a host; infinite while others are to try it."""
        if task.history and not self._contexts.can_take(host.member, task):
            return np.inf
        if not host.has_failed(task):
            # a row that failed elsewhere cannot tell whether this one is sane
            return DEAR if host.on_trial and task.history else 1.0
        return np.inf if self._untried_elsewhere(host, task, now) else DEAR

    def _second_copy(self, host: HostState, now: float) -> Slot | None:
        """Start a second copy of the running row that would otherwise end last, if that pays."""
        name = host.member.name
        if not self._market.knows(name) or self._flights.extra >= endgame.most_extra(self.slots()):
            return None
        for key in self._last_rows.worth_a_copy(name, self._flights.alone, now):
            task = self._flights.copyable(key, name)
            if task and self._contexts.can_take(host.member, task) and self._cost(host, task, now) == 1.0:
                return self._start(host, task, now, extra=True)
        return None

    # -- the rules --------------------------------------------------------------------------------------------------

    def _start(self, host: HostState, task: Task, now: float, *, extra: bool = False) -> Slot:
        self._numbers += 1
        name, model = host.member.name, task.key.model
        usual_s = host.pace.predicted_s(task.chars) or 0.0
        expected_s = self._time_s(name, task) or usual_s
        predicted_s = max(expected_s, usual_s)
        deadline_s = max(host.member.min_deadline_s, host.least_deadline_s, DEADLINE_FACTOR * predicted_s)
        loads = len(host.member.models) > 1 and self._market.loaded(name) != model
        if loads:
            expected_s += self._market.load_s(name, model)
            deadline_s += LOAD_ALLOWANCE_S
        if host.model != model or len(host.member.models) > 1:
            # once for a host that has only one
            host.model = model
            self._market.set_loaded(name, model)
        slot = Slot(self._numbers, name, task, now, deadline_s, expected_s, extra, loads)
        host.running[slot.number] = slot
        self._flights.start(slot)
        self._last_rows.changed(len(self._flights))
        return slot

    def _time_s(self, name: str, task: Task) -> float | None:
        return self._market.time_s(name, task.key.model, task.chars)

    def _learn(self, host: HostState, slot: Slot, outcome: Scored, now: float, *, saturated: bool) -> None:
        task, reply = slot.task, outcome.reply
        host.succeeded(task, now)
        host.limit.completed(work(reply.prompt_tokens, reply.output_tokens), now, saturated=saturated)
        self._tell_market(host)
        self._market.worked(slot.host, outcome.duration_s)
        if not (slot.loads or host.teaches(now)):
            return
        host.pace.learn(task.chars, outcome.duration_s)
        if slot.expected_s:
            self._last_rows.learn(slot.expected_s, outcome.duration_s)
        self._market.learn(slot, reply, outcome.duration_s, self._window)
        self._replies += 1
        if self._replies.bit_count() == 1:
            # what fits a context depends on characters a token, which settle with the first replies
            self._tell_contexts()

    def _failed(self, host: HostState, task: Task, outcome: Failed, slot: Slot, now: float) -> Settled:
        attempt = self._suspicion.absolve(host, slot, outcome.attempt, now)
        task = task._replace(tries=task.tries + attempt.sent)
        if attempt.blame is Blame.NOBODY:
            return Settled(task, attempt=attempt)
        if attempt.kind is FaultKind.DEADLINE:
            host.missed(slot.deadline_s)
        if attempt.kind is FaultKind.BAD_REQUEST and self._suspicion.in_doubt(host, task):
            attempt, unusable = self._suspicion.refused(host, task, attempt, now)
            return Settled(task.after(attempt), attempt=attempt, unusable=unusable)
        if host.failed(task, outcome, now, self._rng):
            self._suspicion.unreachable(host, now)
        task = task.after(attempt)
        return Settled(task, attempt=attempt, dead=self._verdict(task, host))

    def _tell_market(self, host: HostState) -> None:
        name, limit, usable = host.member.name, host.limit.value, host.usable
        state = (limit, host.up, usable)
        before = self._told.get(name)
        if state == before:
            # after nearly every reply
            return
        self._told[name] = state
        self.changes += 1
        self._slots += limit * host.up - (before[0] * before[1] if before else 0)
        self._market.set_slots(name, limit)
        if self._market.set_present(name, present=usable):
            self._short_lists.forget()

    def _tell_contexts(self) -> None:
        """Say which rows are too long for which host."""
        self._models_waiting = len(self._window.model_names)
        for name, model, chars in self._contexts.longest(self._window.model_names):
            self._market.set_largest(name, model, chars)

    def _untried_elsewhere(self, host: HostState, task: Task, now: float) -> bool:
        """Whether another host is to try the row first.

        One that rests for long is not waited for, but its word counts before the row is given up: a row with all its
        charges waits for it.
        """
        hurried = sum(a.blame is Blame.ROW for a in task.history) < MAX_CHARGES
        return any(
            other is not host
            and other.in_service
            and not (hurried and other.rests_s(now) > LONG_REST_S)
            and not other.has_failed(task)
            and self._contexts.can_take(other.member, task)
            for other in self._hosts.values()
        )

    def _verdict(self, task: Task, host: HostState) -> Dead | None:
        last = task.history[-1]
        larger = False
        if last.kind is FaultKind.CONTEXT_OVERFLOW:
            larger = self._contexts.largest(task.key.model) > host.member.num_ctx
        # a host that this very fault has put aside is not the only one: another that is left has not been asked
        takers = self.takers(task) + (not host.in_service)
        return verdict(task.history, takers, larger_context=larger)
