from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.core.limit import BUSY_FREEZE_S, MAX_LIMIT, Limit, work

Curve = Callable[[int], float]


def limit_of(fixed: int | None = None) -> Limit:
    return Limit(fixed, 0.0)


def drive(limit: Limit, rate: Curve, begin_s: float, end_s: float) -> list[int]:
    """Complete rows with all slots taken at the rate (rows a second) that the present limit gives."""
    now, seen = begin_s, []
    while (now := now + 1 / rate(limit.value)) < end_s:
        limit.completed(1.0, now, saturated=True)
        seen.append(limit.value)
    return seen


def linear(slots: int) -> float:
    return float(slots)


def up_to(most: int) -> Curve:
    return lambda slots: float(min(slots, most))


def test_it_begins_with_one() -> None:
    assert limit_of().value == 1


def test_it_climbs_while_more_slots_bring_more_and_stays_near_where_they_no_longer_do() -> None:
    limit = limit_of()
    seen = drive(limit, up_to(4), 0.0, 20_000.0)
    assert max(seen) <= 8
    assert all(3 <= value <= 5 or value == 8 for value in seen[len(seen) // 2 :])


def test_a_host_that_serves_one_at_a_time_keeps_one_or_two_slots() -> None:
    seen = drive(limit_of(), up_to(1), 0.0, 20_000.0)
    assert max(seen) <= 2


def test_it_never_passes_the_largest_limit() -> None:
    limit = limit_of()
    seen = drive(limit, linear, 0.0, 3000.0)
    assert max(seen) == MAX_LIMIT


def test_time_in_which_slots_were_free_tells_nothing() -> None:
    limit = limit_of()
    for now in range(2000):
        limit.completed(1.0, float(now), saturated=False)
    assert limit.value == 1


def test_a_slow_host_is_climbed_too() -> None:
    limit = limit_of()
    drive(limit, lambda slots: slots / 100.0, 0.0, 20_000.0)
    assert limit.value > 1


def test_a_slow_down_of_the_host_does_not_collapse_it() -> None:
    limit = limit_of()
    drive(limit, up_to(16), 0.0, 10_000.0)
    before = limit.value
    seen = drive(limit, lambda slots: min(slots, 16) / 10, 10_000.0, 11_800.0)
    assert min(seen) >= before / 2


def test_a_refusal_lowers_it_and_stops_the_climb_for_a_while() -> None:
    limit = limit_of()
    drive(limit, up_to(16), 0.0, 1000.0)
    before = limit.value
    limit.busy(1000.0)
    after = limit.value
    assert 1 <= after < before
    assert set(drive(limit, up_to(16), 1000.0, 1000.0 + BUSY_FREEZE_S)) == {after}
    assert max(drive(limit, up_to(16), 1000.0 + BUSY_FREEZE_S, 10_000.0)) >= before - 1


def test_refusals_that_come_together_count_once_and_a_fixed_limit_is_whole_again_after_them() -> None:
    limit = limit_of(8)
    for moment in range(10):
        limit.busy(float(moment))
    assert limit.value == 5
    limit.completed(1.0, BUSY_FREEZE_S - 1, saturated=True)
    assert limit.value == 5
    limit.completed(1.0, BUSY_FREEZE_S + 1, saturated=True)
    assert limit.value == 8


def test_a_host_that_stays_busy_ends_with_one_slot() -> None:
    limit = limit_of(8)
    for refusal in range(10):
        limit.busy(refusal * (BUSY_FREEZE_S + 1))
    assert limit.value == 1


def test_a_host_that_was_away_begins_with_one_again_and_a_fixed_limit_stays() -> None:
    limit, fixed = limit_of(), limit_of(8)
    drive(limit, linear, 0.0, 500.0)
    assert limit.value > 1
    for each in (limit, fixed):
        each.restart(500.0)
    assert (limit.value, fixed.value) == (1, 8)
    drive(limit, linear, 500.0, 1000.0)
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


def live(limit: Limit, happened: list[tuple[str, float | None, bool | None]]) -> list[int]:
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
    assert all(1 <= value <= MAX_LIMIT for value in live(limit_of(), happened))


@given(st.integers(1, 256), steps)
def test_a_fixed_limit_is_never_changed_by_measuring(fixed: int, happened: list[tuple[str, float, bool]]) -> None:
    assert set(live(limit_of(fixed), [step for step in happened if step[0] != "busy"])) == {fixed}


@pytest.mark.parametrize(("read", "written", "at_least"), [(None, None, 1.0), (0, 0, 1.0), (100, 10, 180.0)])
def test_a_completion_is_worth_its_tokens_and_at_least_one(
    read: int | None, written: int | None, at_least: float
) -> None:
    assert work(read, written) == at_least
