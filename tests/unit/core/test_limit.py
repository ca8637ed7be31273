import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.core.limit import BUSY_FREEZE_S, MAX_LIMIT, WINDOW_MAX_S, Limit, work


def climb(limit: Limit, rate_of: dict[int, float] | None = None, *, until_s: float = 4000.0, begin_s: float = 0.0) -> float:
    """Complete rows at the rate (rows a second) that the present limit gives, without end in a long run."""
    now = begin_s
    while now < until_s:
        rate = (rate_of or {}).get(limit.value, 1.0 * limit.value)
        now += 1 / rate
        limit.completed(1.0, now, saturated=True)
    return now


def test_it_begins_with_one() -> None:
    assert Limit(None, 0.0).value == 1


def test_it_doubles_while_doubling_brings_more_and_goes_back_when_it_does_not() -> None:
    limit = Limit(None, 0.0)
    climb(limit, {1: 1.0, 2: 2.0, 4: 4.0, 8: 4.2})
    assert limit.value == 4


def test_it_stops_at_the_largest_limit() -> None:
    limit = Limit(None, 0.0)
    climb(limit)
    assert limit.value == MAX_LIMIT
    climb(limit, begin_s=4000.0, until_s=4100.0)
    assert limit.value == MAX_LIMIT


def test_time_in_which_slots_were_free_tells_nothing() -> None:
    limit = Limit(None, 0.0)
    for now in range(2000):
        limit.completed(1.0, float(now), saturated=False)
    assert limit.value == 1


def test_a_few_slow_rows_are_enough_after_five_minutes() -> None:
    limit = Limit(None, 0.0)
    limit.completed(1.0, 100.0, saturated=True)
    limit.completed(1.0, 200.0, saturated=True)
    assert limit.value == 1
    limit.completed(1.0, 100.0 + WINDOW_MAX_S, saturated=True)
    assert limit.value == 2


def test_a_refusal_lowers_it_and_stops_the_climb_for_a_while() -> None:
    limit = Limit(None, 0.0)
    climb(limit, {8: 4.2}, until_s=400.0)
    before = limit.value
    limit.busy(400.0)
    after = limit.value
    assert after < before
    climb(limit, begin_s=400.0, until_s=400.0 + BUSY_FREEZE_S - 1)
    assert limit.value == after


def test_refusals_that_come_together_count_once() -> None:
    limit = Limit(8, 0.0)
    for moment in range(10):
        limit.busy(float(moment))
    assert limit.value == 5
    limit.busy(BUSY_FREEZE_S + 1)
    assert limit.value == 3


def test_a_host_that_was_away_begins_with_one_again() -> None:
    limit = Limit(None, 0.0)
    climb(limit, until_s=500.0)
    assert limit.value > 1
    limit.restart(500.0)
    assert limit.value == 1
    climb(limit, begin_s=500.0, until_s=1000.0)
    assert limit.value > 1


steps = st.lists(
    st.one_of(
        st.tuples(st.just("completed"), st.floats(1, 1e6), st.booleans()),
        st.tuples(st.just("busy"), st.none(), st.none()),
        st.tuples(st.just("restart"), st.none(), st.none()),
        st.tuples(st.just("wait"), st.floats(0.001, 400), st.none()),
    ),
    max_size=300,
)


def drive(limit: Limit, happened: list[tuple[str, float | None, bool | None]]) -> list[int]:
    now, seen = 0.0, [limit.value]
    for kind, amount, saturated in happened:
        if kind == "completed":
            now += 0.01
            limit.completed(amount or 1.0, now, saturated=bool(saturated))
        elif kind == "busy":
            limit.busy(now)
            assert limit.value <= seen[-1], "a refusal raised it"
        elif kind == "restart":
            limit.restart(now)
        else:
            now += amount or 0.0
        seen.append(limit.value)
    return seen


@given(steps)
def test_a_climbed_limit_is_always_between_one_and_the_largest(happened: list[tuple[str, float, bool]]) -> None:
    assert all(1 <= value <= MAX_LIMIT for value in drive(Limit(None, 0.0), happened))


@given(st.integers(1, 256), steps)
def test_a_fixed_limit_is_never_changed_by_measuring(fixed: int, happened: list[tuple[str, float, bool]]) -> None:
    assert set(drive(Limit(fixed, 0.0), [step for step in happened if step[0] != "busy"])) == {fixed}


@pytest.mark.parametrize(("read", "written", "at_least"), [(None, None, 1.0), (0, 0, 1.0), (100, 10, 180.0)])
def test_a_completion_is_worth_its_tokens_and_at_least_one(
    read: int | None, written: int | None, at_least: float
) -> None:
    assert work(read, written) == at_least
