"""Schedules of faults in whole runs: a part of those that the nightly campaign plays, and that they show what they say.

A block is one test, so that they spread over the processors. How many there are is what fits beside everything else
into the quarter of an hour that a push has: `tests/campaign.py` plays as many as one likes.
"""

from collections import Counter

import pytest
from simulation.many import Played, play
from simulation.play import Play
from simulation.schedule import EVENTS, ILLS, draw

BLOCKS = 8
BLOCK = 25


@pytest.mark.parametrize("block", range(BLOCKS))
def test_nothing_is_lost_nothing_is_twice_and_every_job_ends(block: int) -> None:
    played = play(range(block * BLOCK, (block + 1) * BLOCK))
    print("\n".join(played.lines()))  # noqa: T201  (the figures, for `pytest -s` and for failures)
    assert not played.failures, "\n".join(played.lines())


def test_every_ill_and_every_event_is_drawn_in_the_schedules_of_a_push() -> None:
    drawn = [draw(seed) for seed in range(BLOCKS * BLOCK)]
    events = Counter(happening.kind for schedule in drawn for happening in schedule.happenings)
    assert min(events[kind] for kind in EVENTS) >= BLOCKS
    assert all(len(schedule.texts) >= 200 and len(schedule.hosts) >= 3 for schedule in drawn)
    for name in ("hang", "late", "drop", "garbage", "truncate", "slow", "down", "fails_fast"):
        assert sum(bool(getattr(host.faults, name)) for s in drawn for host in s.hosts) >= BLOCKS, name
    assert len(ILLS) == 18


def test_a_broken_promise_says_how_to_see_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def forget(_: Play) -> None:
        raise AssertionError("a row is missing")

    monkeypatch.setattr(Play, "_check_end", forget)
    played = play([7])
    assert isinstance(played, Played)
    assert (
        "python tests/campaign.py schedules --first 7 --count 1\n    AssertionError: a row is missing" in played.lines()
    )
