import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.core.limit import BUSY_FREEZE_S, MAX_LIMIT, REST_S, SHORT_REST_S, Limit, work

Curve = Callable[[int], float]


def limit_of(fixed: int | None = None, seed: int = 0) -> Limit:
    return Limit(fixed, 0.0, random.Random(seed))


def drive(limit: Limit, rate: Curve, begin_s: float, end_s: float, noise: float = 0.0) -> list[int]:
    """Complete rows with all slots taken at the rate (rows a second) that the present limit gives."""
    rng = random.Random(f"{begin_s}")
    now, seen = begin_s, []
    while (now := now + math.exp(rng.gauss(0.0, noise)) / rate(limit.value)) < end_s:
        limit.completed(1.0, now, saturated=True)
        seen.append(limit.value)
    return seen


def linear(slots: int) -> float:
    return float(slots)


def up_to(most: int) -> Curve:
    return lambda slots: float(min(slots, most))


def test_it_begins_with_one() -> None:
    assert limit_of().value == 1


def thrashing(slots: int) -> float:
    return (1.0, 1.5, 1.7, 1.5, 1.2, 1.0, 0.9, 0.8)[min(slots, 8) - 1]


def test_it_climbs_while_more_slots_bring_more_and_stays_near_where_they_no_longer_do() -> None:
    seen = drive(limit_of(), up_to(4), 0.0, 20_000.0)
    assert max(seen) <= 16
    assert all(3 <= value <= 5 for value in seen[len(seen) // 2 :])


def test_doubling_takes_a_few_rows_each_while_it_brings_much() -> None:
    limit = limit_of()
    drive(limit, up_to(16), 0.0, 75.0)
    assert limit.value >= 16


def test_a_slow_host_doubles_after_few_rows_too() -> None:
    seen = drive(limit_of(), lambda slots: slots / 40.0, 0.0, 300.0)
    assert max(seen) >= 2


@pytest.mark.parametrize(("rate", "best"), [(up_to(1), 1), (up_to(4), 4), (up_to(16), 16), (thrashing, 3)])
def test_rows_that_take_unequally_long_do_not_lead_it_far_astray(rate: Curve, best: int) -> None:
    for seed in range(3):
        seen = drive(limit_of(seed=seed), rate, float(seed), 8000.0, noise=0.4)
        late = seen[len(seen) // 4 :]
        assert sum(map(rate, late)) / len(late) >= 0.92 * rate(best)
        assert sum(value > 2 * best + 1 for value in late) < 0.25 * len(late)


def test_one_doubling_without_gain_does_not_end_the_climb() -> None:
    seen = drive(limit_of(), lambda slots: 1.0 if slots < 4 else slots / 2, 0.0, 300.0)
    assert max(seen) >= 16


def test_a_host_that_serves_one_at_a_time_keeps_one_slot() -> None:
    seen = drive(limit_of(), up_to(1), 0.0, 20_000.0)
    assert max(seen) <= 4
    assert all(value <= 2 for value in seen[200:])


def test_a_fall_ends_the_climb_after_a_few_rows() -> None:
    seen = drive(limit_of(), lambda slots: 4.0 if slots == 1 else 0.4, 0.0, 2000.0)
    assert max(seen) == 2
    assert seen.count(2) < 50


def test_after_a_fruitless_look_up_and_down_it_rests() -> None:
    seen = drive(limit_of(), up_to(16), 0.0, 5000.0)
    settled = seen[len(seen) // 2 :]
    assert settled.count(16) > 0.6 * len(settled)
    assert {12, 20} <= set(settled)


def test_a_kept_step_is_followed_by_another_soon() -> None:
    limit = limit_of()
    drive(limit, up_to(4), 0.0, 2000.0)
    drive(limit, up_to(64), 2000.0, 2000.0 + 2 * REST_S + 6 * (SHORT_REST_S + 150.0))
    assert limit.value >= 10


def test_a_climb_that_went_too_far_is_halved_back_soon() -> None:
    limit = limit_of()
    drive(limit, up_to(32), 0.0, 50.0)
    assert limit.value >= 32
    drive(limit, up_to(1), 50.0, 2000.0)
    assert limit.value <= 4


def test_a_night_without_rows_is_no_time_that_rows_took() -> None:
    for seen_before_s in (1000.0, 1100.0, 1200.0, 1300.0, 1400.0):
        limit = limit_of()
        drive(limit, up_to(16), 0.0, seen_before_s)
        seen = drive(limit, up_to(16), 40_000.0, 41_000.0)
        assert 12 <= min(seen) <= max(seen) <= 20


def test_two_limits_do_not_probe_in_step() -> None:
    assert drive(limit_of(seed=1), up_to(4), 0.0, 5000.0) != drive(limit_of(seed=2), up_to(4), 0.0, 5000.0)


def test_it_never_passes_the_largest_limit() -> None:
    limit = limit_of()
    seen = drive(limit, linear, 0.0, 20_000.0 / MAX_LIMIT)
    assert max(seen) == MAX_LIMIT
    seen = drive(limit, linear, 20_000.0 / MAX_LIMIT, 800.0)
    assert min(seen) >= 128
    assert max(seen) == MAX_LIMIT


def test_time_in_which_slots_were_free_tells_nothing() -> None:
    limit, now = limit_of(), 0.0
    for _ in range(2000):
        now += 1 / limit.value
        limit.completed(1.0, now, saturated=False)
    assert limit.value == 1


def test_the_first_rows_after_a_change_tell_nothing() -> None:
    limit, now, since_change = limit_of(), 0.0, 0
    for _ in range(400):
        before = limit.value
        now += 1.0
        limit.completed(100.0 if since_change < before else 1.0, now, saturated=True)
        since_change = since_change + 1 if limit.value == before else 0
        assert limit.value <= 4


def test_of_levels_that_are_nearly_as_good_the_climb_takes_the_lowest() -> None:
    seen = drive(limit_of(), lambda slots: (1.0, 2.0, 2.1, 2.15)[min(slots, 8).bit_length() - 1], 0.0, 120.0)
    assert max(seen) == 8
    assert seen[-1] == 2


def test_a_host_that_gets_faster_all_the_time_is_not_given_more_slots_for_that() -> None:
    limit, now = limit_of(), 0.0
    while now < 6000.0:
        now += 5.0 * math.exp(-max(0.0, now - 1000.0) / 2000.0)
        limit.completed(1.0, now, saturated=True)
        assert now < 1000.0 or limit.value <= 2


def test_a_slow_host_is_climbed_too() -> None:
    limit = limit_of()
    drive(limit, lambda slots: slots / 100.0, 0.0, 20_000.0)
    assert limit.value > 1


@pytest.mark.parametrize("noise", [0.0, 0.4])
def test_a_slow_down_of_the_host_does_not_collapse_it(noise: float) -> None:
    limit = limit_of()
    drive(limit, up_to(16), 0.0, 10_000.0, noise)
    before = limit.value
    seen = drive(limit, lambda slots: min(slots, 16) / 10, 10_000.0, 11_800.0, noise)
    assert min(seen) >= before / 2
    assert limit.value <= 2 * before


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


def test_a_refusal_at_one_slot_does_not_end_the_climb() -> None:
    limit = limit_of()
    limit.busy(0.0)
    assert set(drive(limit, up_to(16), 0.0, BUSY_FREEZE_S)) == {1}
    drive(limit, up_to(16), BUSY_FREEZE_S, BUSY_FREEZE_S + 75.0)
    assert limit.value >= 16


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


@given(steps, st.integers())
def test_a_climbed_limit_is_always_between_one_and_the_largest(
    happened: list[tuple[str, float, bool]], seed: int
) -> None:
    assert all(1 <= value <= MAX_LIMIT for value in live(limit_of(seed=seed), happened))


@given(st.integers(1, 256), steps)
def test_a_fixed_limit_is_never_changed_by_measuring(fixed: int, happened: list[tuple[str, float, bool]]) -> None:
    assert set(live(limit_of(fixed), [step for step in happened if step[0] != "busy"])) == {fixed}


@pytest.mark.parametrize(("read", "written", "at_least"), [(None, None, 1.0), (0, 0, 1.0), (100, 10, 180.0)])
def test_a_completion_is_worth_its_tokens_and_at_least_one(
    read: int | None, written: int | None, at_least: float
) -> None:
    assert work(read, written) == at_least
