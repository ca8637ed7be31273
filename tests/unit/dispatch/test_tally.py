import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.dispatch.tally import BUCKET_S, RATE_WINDOW_S, Tally


def test_a_rate_is_over_the_time_since_the_beginning_at_first() -> None:
    tally = Tally(100.0)
    for now in range(101, 111):
        tally.add(float(now), 50, 5)
    rate = tally.rate(110.0)
    assert (rate.rows_per_s, rate.prompt_tps, rate.output_tps) == (1.0, 50.0, 5.0)


def test_what_is_older_than_the_window_is_forgotten_but_still_counted() -> None:
    tally = Tally(0.0)
    tally.add(1.0, 10, 1)
    tally.add(400.0, None, None)
    assert tally.rate(401.0).rows_per_s == pytest.approx(1 / RATE_WINDOW_S)
    assert tally.rate(401.0).prompt_tps == 0.0
    assert tally.rows == 2


def test_the_first_moment_divides_by_no_zero() -> None:
    assert Tally(5.0).rate(5.0).rows_per_s == 0.0


@given(st.lists(st.floats(0, 100), max_size=200))
def test_the_rate_is_right_to_within_one_bucket(gaps: list[float]) -> None:
    now, times, tally = 0.0, [], Tally(0.0)
    for gap in gaps:
        now += gap
        times.append(now)
        tally.add(now, 1, 1)
    span = max(min(now, RATE_WINDOW_S), 1e-9)
    least = sum(t >= now - RATE_WINDOW_S + BUCKET_S for t in times)
    most = sum(t >= now - RATE_WINDOW_S - BUCKET_S for t in times)
    assert least <= tally.rate(now).rows_per_s * span + 1e-6
    assert tally.rate(now).rows_per_s * span <= most + 1e-6
    assert tally.rows == len(gaps)
