"""The picture of a simulation: what it draws is what the attempts say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.core.simulate import SimEvent, SimHost, Try, Work, simulate
from scorer.jobs.simulation import Simulated
from scorer.pictures import svg_text
from scorer.report.timeline import shares, timeline


def attempt(start: float, end: float) -> Try:
    return Try(0, "h", start, end, 10, 10, won=True)


def test_a_slot_that_works_half_of_a_span_is_half_taken() -> None:
    assert shares([attempt(0, 5), attempt(15, 20)], 1, 20, 2) == pytest.approx([0.5, 0.5])
    assert shares([attempt(0, 20)], 2, 20, 4) == pytest.approx([0.5] * 4)
    assert shares([], 1, 20, 3) == pytest.approx([0, 0, 0])


@given(st.lists(st.tuples(st.floats(0, 90), st.floats(0, 10)), max_size=30), st.integers(1, 200))
def test_all_the_work_is_in_the_spans(given_: list[tuple[float, float]], moments: int) -> None:
    tries = [attempt(start, start + length) for start, length in given_]
    found = shares(tries, 3, 100.0, moments)
    assert found.sum() * 3 * 100.0 / moments == pytest.approx(sum(length for _, length in given_), abs=1e-6)
    assert np.all(found >= -1e-9)


EVENTS = (
    SimEvent(5, "dies", until_s=15),
    SimEvent(5, "sleeps"),
    SimEvent(60, "joins"),
    SimEvent(2, "slows", factor=5),
    SimEvent(1, "fails_fast"),
    SimEvent(8, "garbage", until_s=9000),
)


@pytest.mark.parametrize("count", [6, 40], ids=["bands", "lines"])
def test_any_fleet_is_drawn_with_its_names_its_events_and_its_end(count: int) -> None:
    hosts = tuple(
        SimHost(f"h{i}$<", 400, 20 + i, slots=1 + i % 3, events=EVENTS[i : i + 1] if i < len(EVENTS) else ())
        for i in range(count)
    )
    work = Work(400, output_tokens=(30,))
    svg = svg_text(timeline(Simulated(hosts, work, {"priced": simulate(hosts, work)})))
    assert "makespan" in svg
    assert "bound" in svg
    assert "not there yet" in svg
    assert svg.count("h1$&lt;") == 1


def test_a_fleet_that_never_finishes_is_drawn_too() -> None:
    hosts = (SimHost("gone", 100, 10, events=(SimEvent(1, "dies"),)),)
    work = Work(20)
    assert "rows never" in svg_text(timeline(Simulated(hosts, work, {"priced": simulate(hosts, work)})))
