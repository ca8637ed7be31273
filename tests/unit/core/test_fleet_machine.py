"""Random lives of a fleet: whatever joins, leaves, fails and comes back, no row is lost or in two places."""

import random
from collections import Counter
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from scorer.core.fleet import Fleet, Member, Slot
from scorer.core.task import Attempt, Blame, Failed, Outcome, Reply, Scored, TaskKey
from scorer.core.task import Task as Row
from scorer.core.window import Window
from scorer.errors import FaultKind

ROWS = 30
MEMBERS = {
    "alone": Member("alone", frozenset({"m"}), 4096, 1),
    "pair": Member("pair", frozenset({"m"}), 4096, 2),
    "climbing": Member("climbing", frozenset({"m"}), 2048, None),
    "small": Member("small", frozenset({"m"}), 512, 3),
}
NAMES = st.sampled_from(sorted(MEMBERS))
BLAME = {
    FaultKind.UNREACHABLE: Blame.HOST,
    FaultKind.BUSY: Blame.HOST,
    FaultKind.LOAD_FAILED: Blame.HOST,
    FaultKind.INVALID_OUTPUT: Blame.ROW,
    FaultKind.CONTEXT_OVERFLOW: Blame.ROW,
    FaultKind.BAD_REQUEST: Blame.ROW,
    FaultKind.DROPPED: Blame.UNCLEAR,
}
SCORED = Scored(Reply("{}", "stop", prompt_tokens=30, output_tokens=3), {"score": 1}, 1.0)


class FleetLife(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.fleet = Fleet(random.Random(0))
        self.fleet.configure(MEMBERS.values())
        self.window = Window()
        for row in range(ROWS):
            self.window.add(Row(TaskKey("m", row, 0), "u", 100 if row % 3 else 4000))
        self.flying: list[Slot] = []
        self.up: set[str] = set()
        self.ended: dict[TaskKey, str] = {}
        self.histories: dict[TaskKey, tuple[Attempt, ...]] = {}

    @rule(name=NAMES)
    def join(self, name: str) -> None:
        self.fleet.join(MEMBERS[name], self.now)
        self.up.add(name)

    @rule(name=NAMES)
    def leave(self, name: str) -> None:
        self.fleet.leave(name)
        self.up.discard(name)

    @rule(name=NAMES, accepting=st.booleans())
    def keep_hours(self, name: str, accepting: bool) -> None:
        self.fleet.accept(name, accepting=accepting)

    @rule(later=st.sampled_from([0.1, 1.0, 5.0, 60.0]))
    def wait(self, later: float) -> None:
        self.now += later

    @rule(last=st.booleans())
    def read_the_last_rows(self, last: bool) -> None:
        self.window.last = last

    @rule()
    def be_away(self) -> None:
        self.fleet.away(self.now)

    @rule(name=NAMES, times=st.integers(1, 5))
    def pick(self, name: str, times: int) -> None:
        on_trial = (view := self.fleet.view(name, self.now)) is not None and view.state == "on trial"
        for _ in range(times):
            before = self.window.keys()
            running = sum(slot.host == name for slot in self.flying)
            flying = {slot.task.key for slot in self.flying}
            slot = self.fleet.pick(name, self.window, self.now)
            if slot is None:
                assert self.window.keys() == before
                return
            assert name in self.up, "it has left"
            assert not on_trial or running == 0, "more than one row on trial"
            if slot.task.key not in before:
                assert self.window.last, "a second copy before the last rows"
                assert not before, "a second copy while a row waits"
                assert slot.task.key in flying
            self.flying.append(slot)

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), how=st.sampled_from(["scored", "abandoned", *BLAME]), flags=st.tuples(*[st.booleans()] * 2))
    def end(self, data: st.DataObject, how: str | FaultKind, flags: tuple[bool, bool]) -> None:
        slot = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        key = slot.task.key
        copies = [other for other in self.flying if other.task.key == key]
        if how == "abandoned":
            task = self.fleet.abandon(slot)
            assert (task is None) == bool(copies)
            if task is not None:
                self._wait_again(task)
            return
        settled = self.fleet.release(slot, self._outcome(slot, how, *flags), self.now)
        assert settled.task.history[: len(slot.task.history)] == slot.task.history, "history was rewritten"
        for loser in settled.losers:
            assert settled.done or settled.dead
            self.flying.remove(loser)
            assert self.fleet.abandon(loser) is None
        if settled.aside:
            assert copies
            assert not settled.done
            assert settled.dead is None
        elif settled.done:
            assert how == "scored"
            self.ended[key] = "done"
        elif settled.dead:
            assert {a.blame for a in settled.task.history} - {Blame.HOST, Blame.NOBODY} or (
                settled.dead.kind is FaultKind.POISON
            )
            self.ended[key] = "dead"
        else:
            self._wait_again(settled.task)

    def _outcome(self, slot: Slot, how: str | FaultKind, downed: bool, permanent: bool) -> Outcome:
        if not isinstance(how, FaultKind):
            return SCORED
        attempt = Attempt(slot.host, BLAME[how], how, "it happened", sent=how is not FaultKind.UNREACHABLE)
        if how is FaultKind.DROPPED and downed:
            attempt = replace(attempt, blame=Blame.HOST, downed=True)
        if attempt.blame is Blame.ROW and permanent:
            attempt = replace(attempt, permanent=how is not FaultKind.INVALID_OUTPUT)
        return Failed(attempt, 0.1, 10.0 if how is FaultKind.BUSY and downed else None)

    def _wait_again(self, task: Row) -> None:
        assert task.history[: len(self.histories.get(task.key, ()))] == self.histories.get(task.key, ())
        self.histories[task.key] = task.history
        self.window.add(task, first=True)

    @invariant()
    def every_row_is_in_exactly_one_place(self) -> None:
        flying = [slot.task.key for slot in self.flying]
        assert len(flying) == self.fleet.in_flight()
        assert max(Counter(flying).values(), default=0) <= 2
        assert len({(slot.task.key, slot.host) for slot in self.flying}) == len(flying), "two copies on one host"
        assert set(flying) == self.fleet.keys()
        places = sorted([*set(flying), *self.window.keys(), *self.ended])
        assert places == [TaskKey("m", row, 0) for row in range(ROWS)]

    @invariant()
    def a_fixed_number_of_slots_is_never_exceeded(self) -> None:
        for name, member in MEMBERS.items():
            if member.slots is not None:
                assert sum(slot.host == name for slot in self.flying) <= member.slots

    @invariant()
    def who_has_left_is_not_free(self) -> None:
        assert set(self.fleet.free_hosts(self.now)) <= self.up

    @invariant()
    def what_comes_due_lies_ahead(self) -> None:
        due = self.fleet.due(self.now)
        assert due is None or due > self.now


FleetLife.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestFleetLife = FleetLife.TestCase
