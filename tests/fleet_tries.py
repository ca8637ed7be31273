"""Fleets, rows and outcomes in a few words, for tests of who gets a row and what becomes of it."""

import random
from collections.abc import Collection

from scorer.core.fleet import Fleet, Member, Settled, Slot
from scorer.core.task import Attempt, Blame, Failed, Outcome, Reply, Scored, Task, TaskKey
from scorer.core.window import Window
from scorer.errors import FaultKind

MODEL = "m"


def member(
    name: str, *, num_ctx: int = 4096, slots: int | None = 4, models: str = MODEL, deadline: float = 120.0
) -> Member:
    return Member(name, frozenset(models.split()), num_ctx, slots, deadline)


def task(row: int, *, chars: int = 100, history: tuple[Attempt, ...] = (), model: str = MODEL) -> Task:
    return Task(TaskKey(model, row, 0), "u", chars, history=history)


def fleet_of(*members: Member, proven: Collection[str] = ()) -> Fleet:
    fleet = Fleet(random.Random(0), proven=proven)
    fleet.configure(members)
    for one in members:
        fleet.join(one, 0.0)
    return fleet


def window_of(*tasks: Task) -> Window:
    window = Window()
    for one in tasks:
        window.add(one)
    return window


def rows(count: int, start: int = 0) -> Window:
    return window_of(*(task(start + row) for row in range(count)))


def scored(duration_s: float = 1.0, *, prompt_tokens: int = 25) -> Scored:
    return Scored(Reply("{}", "stop", prompt_tokens=prompt_tokens, output_tokens=5), {"score": 1}, duration_s)


def failed(host: str, kind: FaultKind, blame: Blame, *, retry_after_s: float | None = None, **changes: bool) -> Failed:
    return Failed(Attempt(host, blame, kind, f"{kind} happened", **changes), 0.1, retry_after_s)


def bad(host: str, **changes: bool) -> Failed:
    return failed(host, FaultKind.INVALID_OUTPUT, Blame.ROW, **changes)


def called_bad(host: str) -> Failed:
    return failed(host, FaultKind.BAD_REQUEST, Blame.ROW)


def overflow(host: str) -> Failed:
    return failed(host, FaultKind.CONTEXT_OVERFLOW, Blame.ROW, permanent=True)


def unclear(host: str) -> Failed:
    return failed(host, FaultKind.SERVER_ERROR, Blame.UNCLEAR)


def late_answer(host: str) -> Failed:
    return failed(host, FaultKind.DEADLINE, Blame.UNCLEAR)


def refused(host: str) -> Failed:
    return failed(host, FaultKind.UNREACHABLE, Blame.HOST, sent=False)


def downed(host: str) -> Failed:
    return failed(host, FaultKind.DROPPED, Blame.HOST, downed=True)


def busy(host: str, retry_after_s: float | None = None) -> Failed:
    return failed(host, FaultKind.BUSY, Blame.HOST, retry_after_s=retry_after_s)


def picked(fleet: Fleet, host: str, window: Window, now: float = 0.0) -> Slot:
    slot = fleet.pick(host, window, now)
    assert slot is not None
    return slot


def one_try(fleet: Fleet, host: str, outcome: Outcome, now: float, row: int = 0) -> Settled:
    return fleet.release(picked(fleet, host, rows(1, row), now), outcome, now)


def warm_up(fleet: Fleet, host: str, completions: int = 10, now: float = 0.0) -> None:
    for row in range(completions):
        one_try(fleet, host, scored(), now, 1000 + row)


def failed_elsewhere(row: int) -> Window:
    return window_of(task(row, history=(bad("b").attempt,)))
