"""The last rows: who may take one, and which get a second copy."""

import numpy as np
import pytest

from scorer.core.endgame import Busy, Look, Soonest, level_s, longest_of_best, most_extra


def look(
    times: list[list[float]], free_in_s: list[float], level_s: float = 0.0, residuals: list[float] | None = None
) -> Look:
    at = np.array(times, float)
    ends = np.array(free_in_s)[:, None] + at
    names = {f"h{i}": i for i in range(len(times))}
    return Look(0.0, names, at, Soonest(ends), level_s, residuals_s=np.array(residuals or []))


def test_a_slow_host_may_not_take_a_row_that_a_busy_fast_one_finishes_sooner() -> None:
    found = look([[10.0], [1.0]], free_in_s=[0.0, 2.0])
    assert found.admitted(0).tolist() == [False]
    assert found.admitted(1).tolist() == [True]


def test_a_slow_host_may_take_what_it_finishes_before_the_rest_is_done() -> None:
    assert look([[10.0], [1.0]], [0.0, 2.0], level_s=7.0).admitted(0).tolist() == [True]
    assert look([[10.0], [1.0]], [0.0, 2.0], level_s=6.0).admitted(0).tolist() == [False]


def test_a_row_that_a_host_cannot_take_is_never_admitted() -> None:
    found = look([[np.inf], [5.0]], [0.0, 0.0], level_s=np.inf)
    assert found.admitted(0).tolist() == [False]
    assert found.fastest(0).tolist() == [False]
    assert found.fastest(1).tolist() == [True]


def test_a_lone_host_is_compared_with_nobody() -> None:
    assert look([[5.0]], [0.0]).admitted(0).tolist() == [True]


def test_a_copy_pays_where_it_is_sooner_than_the_first_and_than_anybody_else() -> None:
    # rows: long left, short left, somebody else would be much sooner
    found = look([[1.0, 1.0, 4.0], [5.0, 5.0, 1.0]], [0.0, 0.0], residuals=[9.0, 1.1, 20.0])
    assert found.worth_a_copy(0).tolist() == [0]
    assert found.worth_a_copy(1).tolist() == [2]


def test_copies_are_offered_the_longest_residual_first() -> None:
    found = look([[1.0, 1.0, 1.0]], [0.0], residuals=[3.0, 9.0, 6.0])
    assert found.worth_a_copy(0).tolist() == [1, 2, 0]


def test_a_host_that_cannot_take_a_row_gets_no_copy_of_it() -> None:
    found = look([[np.inf], [np.inf]], [0.0, 0.0], residuals=[np.inf])
    assert found.worth_a_copy(0).size == 0


def test_the_soonest_of_the_others_leaves_out_the_one_that_asks() -> None:
    soonest = Soonest(np.array([[1.0, 7.0], [2.0, 5.0], [3.0, 6.0]]))
    assert soonest.without(0).tolist() == [2.0, 5.0]
    assert soonest.without(1).tolist() == [1.0, 6.0]
    assert soonest.without(2).tolist() == [1.0, 5.0]


def test_the_level_counts_waiting_and_running_work_at_its_prices() -> None:
    times = np.array([[2.0, np.inf, np.inf], [4.0, 6.0, np.inf]])
    prices, slots = np.array([0.5, 0.25]), np.array([1.0, 2.0])
    busy = Busy(free_in_s=np.zeros(2), work_s=np.array([4.0, 0.0]))
    assert level_s(times, prices, slots, busy) == pytest.approx((1.0 + 1.5 + 2.0) / 1.0)


def test_of_rows_that_suit_nearly_as_well_the_longest_goes_first() -> None:
    assert longest_of_best(np.array([1.0, 1.05, 1.2]), np.array([10.0, 50.0, 90.0])) == 1


@pytest.mark.parametrize(("slots", "most"), [(1, 1), (19, 1), (20, 2), (1000, 100)])
def test_extra_copies_are_a_tenth_of_the_slots_and_at_least_one(slots: int, most: int) -> None:
    assert most_extra(slots) == most
