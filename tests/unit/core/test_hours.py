from datetime import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.core.hours import Hours


def test_hours_of_the_day_cover_their_start_but_not_their_end() -> None:
    hours = Hours.parse("09:00-17:30")
    assert [hours.covers(t) for t in (time(8, 59, 59), time(9), time(17, 29, 59), time(17, 30))] == [
        False,
        True,
        True,
        False,
    ]


def test_hours_may_go_over_midnight() -> None:
    hours = Hours.parse("22:00-08:00")
    assert [hours.covers(time(h)) for h in (21, 22, 23, 0, 7, 8, 12)] == [False, True, True, True, True, False, False]


def test_a_day_ends_at_24_00() -> None:
    hours = Hours.parse("18:00-24:00")
    assert hours.covers(time(23, 59, 59))
    assert not hours.covers(time(0))


def test_spaces_around_the_dash_are_fine() -> None:
    assert Hours.parse("22:00 - 08:00") == Hours(time(22), time(8))


@pytest.mark.parametrize(
    "text", ["", "22-8", "22:00", "25:00-08:00", "22:60-08:00", "24:00-08:00", "22:00-08:00 ", "2:00-8:00"]
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match='must look like "22:00-08:00"'):
        Hours.parse(text)


@pytest.mark.parametrize("text", ["08:00-08:00", "00:00-24:00"])
def test_a_whole_day_is_refused_since_it_might_mean_none_of_it(text: str) -> None:
    with pytest.raises(ValueError, match="leave it out"):
        Hours.parse(text)


MINUTES = st.integers(0, 24 * 60 - 1)


def clock(minute: int) -> time:
    return time(minute // 60, minute % 60)


@given(MINUTES, MINUTES, MINUTES)
def test_swapping_start_and_end_covers_the_other_half_of_the_day(a: int, b: int, now: int) -> None:
    start, end, local = map(clock, (a, b, now))
    if start != end:
        assert Hours(start, end).covers(local) != Hours(end, start).covers(local)


@given(MINUTES, MINUTES)
def test_what_is_written_is_what_is_read(a: int, b: int) -> None:
    if a != b:
        text = f"{a // 60:02}:{a % 60:02}-{b // 60:02}:{b % 60:02}"
        assert Hours.parse(text) == Hours(clock(a), clock(b))


def test_hours_are_written_as_they_are_read() -> None:
    assert str(Hours.parse("22:00-08:30")) == "22:00-08:30"


@given(MINUTES, MINUTES, MINUTES, st.integers(0, 3 * 86_400))
def test_seconds_covered_are_those_whose_time_of_day_is(a: int, b: int, now: int, ahead_s: int) -> None:
    if a == b:
        return
    hours = Hours(clock(a), clock(b))
    minutes = [(now + minute) % 1440 for minute in range(ahead_s // 60)]
    whole = 60 * sum(hours.covers(clock(minute)) for minute in minutes)
    last = ahead_s % 60 * hours.covers(clock((now + ahead_s // 60) % 1440))
    assert hours.covered_s(clock(now), ahead_s) == whole + last
