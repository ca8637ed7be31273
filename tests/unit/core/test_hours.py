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


minutes = st.integers(0, 24 * 60 - 1)


@given(minutes, minutes, minutes)
def test_swapping_start_and_end_covers_the_other_half_of_the_day(a: int, b: int, now: int) -> None:
    start, end, local = (time(m // 60, m % 60) for m in (a, b, now))
    if start != end:
        assert Hours(start, end).covers(local) != Hours(end, start).covers(local)


@given(minutes, minutes)
def test_what_is_written_is_what_is_read(a: int, b: int) -> None:
    if a != b:
        text = f"{a // 60:02}:{a % 60:02}-{b // 60:02}:{b % 60:02}"
        assert Hours.parse(text) == Hours(time(a // 60, a % 60), time(b // 60, b % 60))


def test_hours_are_written_as_they_are_read() -> None:
    assert str(Hours.parse("22:00-08:30")) == "22:00-08:30"
