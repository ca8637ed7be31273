"""The bound of a simulated job, with events and without."""

import numpy as np
import pytest

from scorer.core.bound import bound_of_fleet_s, bound_of_job_s
from scorer.core.simulated import Rows, SimEvent, SimHost, Work

WORK = Work(2000, seed=1)
ROWS = Rows(WORK)


def test_one_hosts_bound_is_the_sum_of_its_rows() -> None:
    host = SimHost("a", 500.0, 30.0, slots=2)
    total = sum(float(host.service_s(tokens, 60.0)) for tokens in ROWS.prompt)
    assert bound_of_job_s([host], WORK, ROWS) == pytest.approx(total / 2, rel=1e-6)


def test_two_equal_hosts_take_half_the_time_of_one() -> None:
    one, two = SimHost("a", 500.0, 30.0), SimHost("b", 500.0, 30.0)
    assert bound_of_job_s([one, two], WORK, ROWS) == pytest.approx(bound_of_job_s([one], WORK, ROWS) / 2, rel=1e-6)


def test_a_host_that_joins_halfway_does_half_of_what_is_left() -> None:
    alone = bound_of_job_s([SimHost("a", 500.0, 30.0)], WORK, ROWS)
    late = SimHost("b", 500.0, 30.0, events=(SimEvent(alone / 2, "joins"),))
    assert bound_of_job_s([SimHost("a", 500.0, 30.0), late], WORK, ROWS) == pytest.approx(alone * 0.75, rel=1e-6)


def test_a_slow_down_stretches_the_time_in_which_it_holds() -> None:
    alone = bound_of_job_s([SimHost("a", 500.0, 30.0)], WORK, ROWS)
    event = SimEvent(alone / 2, "slows", 10.0, until_s=alone / 2 + 10.0)
    assert bound_of_job_s([SimHost("a", 500.0, 30.0, events=(event,))], WORK, ROWS) == pytest.approx(
        alone + 9.0, rel=1e-6
    )


def test_an_event_after_the_end_changes_nothing() -> None:
    alone = bound_of_job_s([SimHost("a", 500.0, 30.0)], WORK, ROWS)
    event = SimEvent(alone * 2, "dies")
    assert bound_of_job_s([SimHost("a", 500.0, 30.0, events=(event,))], WORK, ROWS) == pytest.approx(alone)


def test_a_fleet_that_dies_has_no_bound() -> None:
    event = SimEvent(1.0, "dies")
    assert bound_of_job_s([SimHost("a", 500.0, 30.0, events=(event,))], WORK, ROWS) == np.inf


def test_useless_hosts_count_nothing() -> None:
    alone = bound_of_job_s([SimHost("a", 500.0, 30.0)], WORK, ROWS)
    for kind in ("fails_fast", "garbage", "sleeps", "dies"):
        useless = SimHost("b", 5000.0, 300.0, events=(SimEvent(0.0, kind),))  # type: ignore[arg-type]
        assert bound_of_job_s([SimHost("a", 500.0, 30.0), useless], WORK, ROWS) == pytest.approx(alone)


def test_rows_go_where_their_model_and_length_fit() -> None:
    work = Work(1000, seed=1, models=("a", "b"))
    rows = Rows(work)
    big, small = SimHost("big", 500.0, 30.0), SimHost("small", 500.0, 30.0, models=("a",), max_context=300)
    fits = (rows.model == 0) & (rows.prompt <= 300)
    assert 0 < fits.sum() < 500
    only_big = sum(float(big.service_s(tokens, 60.0)) for tokens in rows.prompt[~fits])
    assert bound_of_job_s([big, small], work, rows) == pytest.approx(only_big, rel=0.01)
    assert bound_of_fleet_s([(SimHost("other", 1.0, 1.0, models=("c",)), 1.0)], work, rows) == np.inf
