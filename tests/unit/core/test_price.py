"""Prices: bounds that no schedule beats, and shares that keep every host busy."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.core.price import Floats, best_prices, dual_s, from_scratch, settled

seconds = st.floats(0.01, 100.0)


@st.composite
def instances(draw: st.DrawFn) -> tuple[Floats, Floats]:
    """Times of up to 5 rows on up to 3 hosts, some impossible, and the hosts' slots."""
    hosts, rows = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    times = np.array([[draw(st.one_of(seconds, st.just(np.inf))) for _ in range(rows)] for _ in range(hosts)])
    times[0, ~np.isfinite(times).any(axis=0)] = 1.0
    return times, np.array([float(draw(st.integers(1, 3))) for _ in range(hosts)])


@given(instances())
def test_no_schedule_of_whole_rows_beats_the_dual_at_any_prices_found(instance: tuple[Floats, Floats]) -> None:
    times, slots = instance
    makespans = []
    for placing in itertools.product(range(len(slots)), repeat=times.shape[1]):
        loads = np.zeros(len(slots))
        for row, host in enumerate(placing):
            loads[host] += times[host, row]
        makespans.append((loads / slots).max())
    for prices in (from_scratch(times, slots), best_prices(times, slots)):
        assert dual_s(times, prices) <= min(makespans) * (1 + 1e-9)


@given(instances())
def test_prices_are_positive_and_add_up_over_the_slots(instance: tuple[Floats, Floats]) -> None:
    times, slots = instance
    for prices in (from_scratch(times, slots), best_prices(times, slots)):
        assert (prices > 0).all()
        assert (prices * slots).sum() == pytest.approx(1.0)


def test_the_bound_of_two_hosts_that_suit_one_row_each_is_met_exactly() -> None:
    times = np.array([[1.0, 10.0], [10.0, 1.0]])
    slots = np.ones(2)
    assert dual_s(times, best_prices(times, slots)) == pytest.approx(1.0, rel=1e-3)


def test_the_bound_of_equal_rows_is_that_of_all_speeds_together() -> None:
    times = np.repeat(np.array([[1.0], [2.0], [4.0]]), 300, axis=1)
    slots = np.array([1.0, 1.0, 2.0])
    rate = 1 / 1 + 1 / 2 + 2 / 4
    assert dual_s(times, best_prices(times, slots)) == pytest.approx(300 / rate, rel=2e-3)


def test_the_best_prices_give_no_worse_a_bound_than_the_first_ones() -> None:
    rng = np.random.default_rng(3)
    times = np.exp(rng.normal(0, 1, (6, 400)))
    slots = np.ones(6)
    first, best = from_scratch(times, slots), best_prices(times, slots)
    assert dual_s(times, best) > dual_s(times, first)


def test_a_host_with_too_much_to_do_gets_dearer() -> None:
    times = np.repeat(np.array([[1.0], [1.0]]), 50, axis=1)
    before = np.array([0.4, 0.6])
    after = settled(times, np.ones(2), before, (32.0,), 2)
    assert after[0] > before[0]
    assert after[1] < before[1]


def test_rows_that_nobody_can_take_move_no_price() -> None:
    times = np.array([[1.0, np.inf], [2.0, np.inf]])
    possible = times[:, :1]
    assert from_scratch(times, np.ones(2)) == pytest.approx(from_scratch(possible, np.ones(2)))
    nothing = np.full((2, 3), np.inf)
    prices = np.array([0.3, 0.7])
    assert settled(nothing, np.ones(2), prices, (32.0,), 2) is prices
    assert dual_s(nothing, prices) == 0.0
