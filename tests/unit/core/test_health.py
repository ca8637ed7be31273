import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.core.health import (
    FIRST_BACKOFF_S,
    GARBAGE_MIN,
    MAX_BACKOFF_S,
    MAX_CONSECUTIVE,
    RATE_WINDOW_S,
    Breaker,
    BreakerState,
    Validity,
)


def breaker() -> Breaker:
    return Breaker(random.Random(1))


def validity(valid: int, invalid: int) -> Validity:
    made = Validity()
    for _ in range(valid):
        made.note(valid=True)
    for _ in range(invalid):
        made.note(valid=False)
    return made


def test_five_faults_in_a_row_open_it() -> None:
    tested = breaker()
    for now in range(MAX_CONSECUTIVE):
        assert tested.state is BreakerState.CLOSED
        tested.fault(100.0 * now)
    assert tested.state is BreakerState.OPEN


def test_a_success_in_between_begins_the_count_anew() -> None:
    tested = breaker()
    for now in range(20):
        tested.fault(100.0 * now)
        tested.success(100.0 * now + 50)
    assert tested.state is BreakerState.CLOSED


def test_a_fault_that_proves_the_host_down_is_enough() -> None:
    tested = breaker()
    tested.fault(0.0, certain=True)
    assert tested.state is BreakerState.OPEN


def test_less_than_four_of_five_successes_within_half_a_minute_open_it() -> None:
    tested = breaker()
    for now in range(3):
        tested.success(float(now))
    tested.fault(3.0)
    tested.success(3.5)
    assert tested.state is BreakerState.CLOSED, "four of five"
    tested.fault(4.0)
    assert tested.state is BreakerState.OPEN, "four of six"


def test_what_happened_more_than_half_a_minute_ago_is_forgotten() -> None:
    tested = breaker()
    for now in range(4):
        tested.fault(float(now))
    tested.success(5.0)
    for now in range(4):
        tested.success(40.0 + now)
    tested.fault(40.0 + RATE_WINDOW_S - 1)
    assert tested.state is BreakerState.CLOSED


def test_one_answer_of_a_host_on_trial_closes_it() -> None:
    tested = breaker()
    tested.fault(0.0, certain=True)
    tested.half_open()
    tested.success(6.0)
    assert tested.state is BreakerState.CLOSED


def test_a_late_answer_does_not_close_an_open_one() -> None:
    tested = breaker()
    tested.fault(0.0, certain=True)
    tested.success(1.0)
    assert tested.state is BreakerState.OPEN


def test_a_fault_while_open_does_not_prolong_the_wait() -> None:
    tested = breaker()
    tested.fault(0.0, certain=True)
    retry_at = tested.retry_at
    tested.fault(4.0, certain=True)
    assert tested.retry_at == retry_at


def test_each_failed_trial_doubles_the_wait_up_to_five_minutes() -> None:
    tested = breaker()
    tested.fault(0.0, certain=True)
    waits = [tested.retry_at]
    for _ in range(9):
        tested.half_open()
        tested.fault(0.0)
        assert tested.state is BreakerState.OPEN
        waits.append(tested.retry_at)
    for number, wait in enumerate(waits):
        assert wait == pytest.approx(min(FIRST_BACKOFF_S * 2**number, MAX_BACKOFF_S), rel=0.21)
    tested.half_open()
    tested.success(0.0)
    tested.fault(0.0, certain=True)
    assert tested.retry_at <= 1.2 * FIRST_BACKOFF_S


def test_a_given_back_off_is_used_once_and_does_not_grow() -> None:
    tested = breaker()
    tested.open(0.0, backoff_s=30.0)
    assert 24.0 <= tested.retry_at <= 36.0
    tested.open(0.0)
    assert tested.retry_at <= 1.2 * FIRST_BACKOFF_S


@given(st.lists(st.tuples(st.sampled_from(["success", "fault", "down", "trial"]), st.floats(0, 60))), st.integers())
def test_only_an_answer_closes_it_and_the_wait_is_never_past_six_minutes(
    steps: list[tuple[str, float]], seed: int
) -> None:
    tested, now = Breaker(random.Random(seed)), 0.0
    for what, later in steps:
        now += later
        before = tested.state
        if what == "success":
            tested.success(now)
        elif what == "trial":
            if before is BreakerState.OPEN:
                tested.half_open()
        else:
            tested.fault(now, certain=what == "down")
        if before is not BreakerState.CLOSED and tested.state is BreakerState.CLOSED:
            assert (what, before) == ("success", BreakerState.HALF_OPEN)
        if before is BreakerState.CLOSED and tested.state is BreakerState.OPEN:
            assert what in ("fault", "down")
        assert tested.retry_at <= now + 1.2 * MAX_BACKOFF_S


def test_too_few_completions_say_nothing() -> None:
    assert validity(0, GARBAGE_MIN - 1).invalid_share is None
    assert validity(0, GARBAGE_MIN).invalid_share == 1.0


def test_a_host_whose_completions_are_mostly_invalid_is_garbage_while_another_is_sane() -> None:
    assert validity(2, 10).garbage([validity(12, 0)])
    assert validity(2, 10).garbage([validity(0, 12), validity(12, 0)]), "one sane host is enough"


def test_when_all_completions_are_invalid_it_is_the_rows() -> None:
    assert not validity(0, 12).garbage([validity(0, 12)])


def test_nobody_is_garbage_without_another_to_compare_with() -> None:
    assert not validity(0, 20).garbage([])
    assert not validity(0, 20).garbage([validity(3, 0)])


def test_half_of_them_invalid_is_not_garbage() -> None:
    assert not validity(6, 6).garbage([validity(12, 0)])


def test_only_the_last_completions_count_and_a_new_beginning_forgets_them() -> None:
    tested = validity(0, 50)
    for _ in range(20):
        tested.note(valid=True)
    assert tested.invalid_share == 0.0
    tested.clear()
    assert tested.invalid_share is None


def test_a_host_of_thousands_of_answers_takes_no_more_memory_and_is_judged_by_all_of_them() -> None:
    tested = breaker()
    tracemalloc.start()
    for i in range(20_000):
        tested.success(i / 1000)
    grown_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown_bytes < 10_000
    for i in range(4):
        tested.fault(20.0 + i / 1000)
    tested.success(20.1)
    tested.fault(20.2)
    assert tested.state is BreakerState.CLOSED, "5 of 20,006"
