"""Schedules of faults in whole runs: a part of those that the nightly campaign plays, and that they show what they say.

A block is one test, so that they spread over the processors. How many there are is what fits beside everything else
into the quarter of an hour that a push has: `tests/campaign.py` plays as many as one likes.
"""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from simulation.many import Played, play
from simulation.play import Play
from simulation.schedule import EVENTS, ILLS, draw

BLOCKS = 8
BLOCK = 15


@pytest.mark.parametrize("block", range(BLOCKS))
def test_nothing_is_lost_nothing_is_twice_and_every_job_ends(block: int) -> None:
    played = play(range(block * BLOCK, (block + 1) * BLOCK))
    print("\n".join(played.lines()))  # noqa: T201  (the figures, for `pytest -s` and for failures)
    assert not played.failures, "\n".join(played.lines())


def test_a_host_that_needs_longer_than_its_shortest_deadline_from_its_first_row_on_does_the_job() -> None:
    """Seed 310800: three seconds at least, and four for each row."""
    assert not play([310_800]).failures


def test_a_row_that_is_too_long_for_one_host_does_not_hang_on_the_other_that_has_a_copy() -> None:
    """Seed 509635: two hours for 10,000 characters, if rows before were of a hundred."""
    assert not play([509_635]).failures


def test_every_ill_and_every_event_is_drawn_in_the_schedules_of_a_push() -> None:
    drawn = [draw(seed) for seed in range(BLOCKS * BLOCK)]
    events = Counter(happening.kind for schedule in drawn for happening in schedule.happenings)
    assert min(events[kind] for kind in EVENTS) >= BLOCKS
    restless = [happening for schedule in drawn for happening in schedule.happenings if happening.breaks]
    assert len(restless) >= BLOCKS
    assert sum(bool(happening.again_s) for happening in restless) >= BLOCKS // 2
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


def test_a_campaign_goes_on_where_its_record_ends(tmp_path: Path) -> None:
    record, campaign = tmp_path / "done.jsonl", Path(__file__).parents[1] / "campaign.py"
    command = [sys.executable, campaign, "schedules", "--count", "2", "--record", record, "--processes", "1"]

    def figures() -> list[str]:
        done = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(tmp_path)}
        )
        return done.stdout.splitlines()[:-1]

    first, lines = figures(), record.read_text()
    assert first[0] == "2 schedules, 0 broken promises"
    assert figures() == first
    assert record.read_text() == lines
    record.write_text(lines.replace('"schedules":2', '"schedules":7'))
    assert figures()[0] == "7 schedules, 0 broken promises"
