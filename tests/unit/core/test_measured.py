"""Speeds of hosts from what the rows of a real job took."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scorer.core.measured import measured_fleet
from scorer.core.result import Timing
from scorer.core.simulate import simulate
from scorer.core.simulated import Rows, SimHost, Work


def timings(
    host: SimHost, rows: int = 400, outputs: tuple[int, ...] = (8, 60, 250), noise: float = 0.1
) -> list[Timing]:
    """One slot's rows, one after the other."""
    rng = np.random.default_rng(1)
    found = Rows(Work(rows, seed=2, output_tokens=outputs))
    now, out = 0.0, []
    for prompt, output in zip(found.prompt, found.output, strict=True):
        took_s = float(host.service_s(prompt, output)) * rng.lognormal(0, noise)
        now += took_s
        out.append(Timing(host.name, int(prompt), int(output), took_s, now))
    return out


def test_speeds_and_overhead_are_found_again() -> None:
    (host,) = measured_fleet(timings(SimHost("a", 300, 25, overhead_s=0.5)))
    assert host.name == "a"
    assert host.prefill_tps == pytest.approx(300, rel=0.1)
    assert host.decode_tps == pytest.approx(25, rel=0.1)
    assert host.overhead_s == pytest.approx(0.5, rel=0.3)
    assert host.slots == 1


def test_a_few_rows_that_took_far_too_long_hardly_matter() -> None:
    rows = timings(SimHost("a", 300, 25))
    rows[::40] = [row._replace(duration_s=row.duration_s * 20) for row in rows[::40]]
    (host,) = measured_fleet(rows)
    assert host.prefill_tps == pytest.approx(300, rel=0.15)
    assert host.decode_tps == pytest.approx(25, rel=0.15)


def test_answers_of_one_length_leave_the_overhead_in_the_writing() -> None:
    (host,) = measured_fleet(timings(SimHost("a", 300, 25, overhead_s=0.6), outputs=(60,), noise=0.0))
    assert host.overhead_s == 0.0
    assert 60 / host.decode_tps == pytest.approx(60 / 25 + 0.6, rel=0.01)
    assert host.prefill_tps == pytest.approx(300, rel=0.01)


def test_rows_all_alike_tell_one_figure_only() -> None:
    (host,) = measured_fleet([Timing("a", 100, 10, 2.0, float(i * 2)) for i in range(20)])
    assert host.service_s(100, 10) == pytest.approx(2.0, rel=0.01)


def test_slots_are_the_rows_in_flight_at_a_time_whatever_the_pauses() -> None:
    three = [Timing("a", 100, 10, 3.0, float(i + 3) + (10_000 if i > 50 else 0)) for i in range(100)]
    (host,) = measured_fleet(three)
    assert host.slots == 3


def test_hosts_with_few_rows_are_left_out_and_the_rest_are_in_order() -> None:
    rows = [Timing(name, 100 + i, 10 + i, 2.0, float(i * 2)) for name in "ba" for i in range(8)]
    assert [host.name for host in measured_fleet([*rows, Timing("c", 1, 1, 1.0, 1.0)])] == ["a", "b"]


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 10**5), st.floats(0, 1e5)), min_size=8, max_size=30))
def test_whatever_the_rows_took_speeds_are_positive_and_finite(rows: list[tuple[int, int, float]]) -> None:
    (host,) = measured_fleet([Timing("a", *row, float(i)) for i, row in enumerate(rows)])
    for value in (host.prefill_tps, host.decode_tps):
        assert 0 < value < np.inf
    assert host.overhead_s >= 0
    assert host.slots >= 1


def test_a_fleet_measured_in_a_simulated_job_takes_as_long_as_the_real_one() -> None:
    hosts = (SimHost("a", 800, 40, slots=2), SimHost("b", 180, 22))
    work = Work(1500, seed=1, output_tokens=(8, 60, 250))
    real = simulate(hosts, work)
    found = [
        Timing(t.host, t.prompt_tokens, t.output_tokens, t.end_s - t.start_s, t.end_s) for t in real.tries if t.won
    ]
    measured = measured_fleet(found)
    assert [host.slots for host in measured] == [2, 1]
    assert simulate(measured, work).makespan_s == pytest.approx(real.makespan_s, rel=0.05)
