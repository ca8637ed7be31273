"""Simulated hosts and rows: what happens to them, and when."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.core.simulated import Rows, SimEvent, SimHost, Work


def host(*events: SimEvent, **keys: float) -> SimHost:
    return SimHost("h", 100.0, 10.0, events=events, **keys)  # type: ignore[arg-type]


def test_a_row_takes_overhead_reading_and_writing() -> None:
    assert host().service_s(200, 30) == pytest.approx(0.05 + 2 + 3)


def test_what_begins_ends_when_it_says() -> None:
    event = SimEvent(10.0, "dies", until_s=20.0)
    assert [event.holds(t) for t in (9.9, 10.0, 19.9, 20.0)] == [False, True, True, False]
    assert SimEvent(10.0, "dies").holds(1e12)


@pytest.mark.parametrize("kind", ["dies", "sleeps"])
def test_a_host_is_away_while_it_is_dead_or_asleep(kind: str) -> None:
    away = host(SimEvent(10.0, kind, until_s=20.0))  # type: ignore[arg-type]
    assert [away.away(t) for t in (0.0, 15.0, 25.0)] == [False, True, False]
    assert [away.useful(t) for t in (0.0, 15.0, 25.0)] == [True, False, True]


def test_a_host_is_away_until_it_joins() -> None:
    joins = host(SimEvent(10.0, "joins"))
    assert [joins.away(t) for t in (0.0, 10.0)] == [True, False]


@pytest.mark.parametrize("kind", ["fails_fast", "garbage"])
def test_a_host_that_only_looks_useful_is_there_but_not_useful(kind: str) -> None:
    broken = host(SimEvent(10.0, kind))  # type: ignore[arg-type]
    assert not broken.away(15.0)
    assert [broken.useful(t) for t in (5.0, 15.0)] == [True, False]


def test_slow_downs_multiply() -> None:
    slow = host(SimEvent(0.0, "slows", 2.0), SimEvent(5.0, "slows", 3.0, until_s=9.0), SimEvent(6.0, "garbage"))
    assert [slow.slower(t) for t in (1.0, 6.0, 10.0)] == [2.0, 6.0, 2.0]
    assert slow.edges() == [0.0, 5.0, 6.0, 9.0]


def test_a_row_in_flight_slows_down_with_its_host() -> None:
    slow = host(SimEvent(10.0, "slows", 10.0, until_s=30.0))
    assert slow.end_s(0.0, 8.0) == pytest.approx(8.0)
    assert slow.end_s(5.0, 6.0) == pytest.approx(20.0)
    assert slow.end_s(5.0, 9.0) == pytest.approx(32.0)
    assert slow.end_s(12.0, 1.0) == pytest.approx(22.0)


@given(st.floats(0, 50), st.floats(0.01, 50), st.floats(0.01, 50))
def test_more_work_never_ends_sooner(start: float, less: float, more: float) -> None:
    slow = host(SimEvent(10.0, "slows", 10.0, until_s=30.0))
    assert start + less <= slow.end_s(start, less) <= slow.end_s(start, less + more)


def test_a_host_without_models_serves_all() -> None:
    assert host().serves("any")
    assert not SimHost("h", 1, 1, models=("a",)).serves("b")


def test_rows_are_as_described_and_the_same_for_the_same_seed() -> None:
    work = Work(4000, seed=5, median_tokens=300, sigma=0.5, output_tokens=(8, 250), models=("a", "b"))
    rows, again = Rows(work), Rows(work)
    assert (rows.prompt == again.prompt).all()
    assert np.median(rows.prompt) == pytest.approx(300, rel=0.05)
    assert np.log(rows.prompt).std() == pytest.approx(0.5, rel=0.05)
    assert set(rows.output) == {8.0, 250.0}
    assert (rows.task(0).key.model, rows.task(3999).key.model) == ("a", "b")
    guessed = np.array([rows.task(i).chars for i in range(100)]) / 4 / rows.prompt[:100]
    assert ((guessed > 0.8) & (guessed < 1.2)).all()
    assert guessed.std() > 0.05
