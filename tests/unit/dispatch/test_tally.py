from datetime import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.core.hours import Hours
from scorer.dispatch.tally import BUCKET_S, FAR_S, GONE_AFTER_S, RATE_WINDOW_S, Rate, Tallies, Tally


def fed(tallies: Tallies, begin: int, end: int, rows_per_s: dict[str, int], up: set[str] | None = None) -> None:
    """Let hosts score so many rows of 50 + 5 tokens a second, looked at each second."""
    for now in range(begin, end):
        for host, rows in rows_per_s.items():
            for _ in range(rows):
                tallies.host(host).scored(50, 5)
        tallies.look(now + 1.0, rows_per_s if up is None else up)


def test_a_rate_is_over_the_time_since_the_host_came_at_first() -> None:
    tallies = Tallies(0.0)
    tallies.look(0.0, {"a"})
    fed(tallies, 0, 10, {"a": 2})
    assert tallies.host("a").rate() == tallies.rate() == Rate(2.0, 100.0, 10.0)


def test_the_first_moments_make_no_giant_of_a_host() -> None:
    tally = Tally()
    tally.scored(None, None)
    assert tally.rate() == Rate(1 / BUCKET_S, 0.0, 0.0)
    assert tally.rows == 1


def test_what_is_older_than_the_window_is_forgotten_but_still_counted() -> None:
    tallies = Tallies(0.0)
    tallies.look(0.0, {"a"})
    fed(tallies, 0, 600, {"a": 3})
    fed(tallies, 600, 910, {"a": 1})
    assert tallies.rate().rows_per_s == pytest.approx(1.0, rel=0.02)
    assert tallies.host("a").rows == 2110


def test_a_host_that_leaves_is_out_of_the_rate_and_the_eta_within_half_a_minute() -> None:
    tallies = Tallies(0.0)
    tallies.look(0.0, {"a", "b"})
    fed(tallies, 0, 400, {"a": 3, "b": 1})
    before = tallies.eta(4000)
    fed(tallies, 400, 400 + int(GONE_AFTER_S) + 2, {"b": 1}, up={"b"})
    after = tallies.eta(4000)
    assert before is not None
    assert after is not None
    assert before.guess_s == pytest.approx(1000, rel=0.02)
    assert tallies.rate().rows_per_s == pytest.approx(1.0, rel=0.01)
    assert after.guess_s == pytest.approx(4000, rel=0.01)


def test_time_in_which_no_rows_could_be_taken_changes_neither_rate_nor_end_nor_range() -> None:
    paused, straight = Tallies(0.0), Tallies(0.0)
    for tallies, at in ((paused, 600), (straight, 300)):
        tallies.look(0.0, {"a"})
        fed(tallies, 0, 300, {"a": 2})
        for now in range(300, at):
            tallies.pass_over(now + 1.0)
            tallies.look(now + 1.0, {"a"})
        fed(tallies, at, at + 100, {"a": 2})
    assert paused.rate() == straight.rate() == Rate(2.0, 100.0, 10.0)
    assert paused.eta(400) == straight.eta(400)


def test_a_hiccup_does_not_take_a_host_out_of_the_rate() -> None:
    tallies = Tallies(0.0)
    tallies.look(0.0, {"a"})
    fed(tallies, 0, 300, {"a": 2})
    fed(tallies, 300, 310, {}, up=set())
    assert tallies.rate().rows_per_s == pytest.approx(2.0, rel=0.05)


def test_a_host_that_comes_back_counts_with_what_it_did_while_it_was_there() -> None:
    tallies = Tallies(0.0)
    tallies.look(0.0, {"a"})
    fed(tallies, 0, 300, {"a": 2})
    fed(tallies, 300, 2000, {}, up=set())
    assert tallies.rate() == Rate()
    assert tallies.eta(10) is None
    fed(tallies, 2000, 2010, {"a": 2})
    assert tallies.rate().rows_per_s == pytest.approx(2.0, rel=0.15)


def test_a_host_of_a_few_rows_an_hour_keeps_its_rate() -> None:
    tallies = Tallies(0.0)
    tallies.look(0.0, {"slow"})
    for row in range(12):
        fed(tallies, row * 600, row * 600 + 1, {"slow": 1})
        fed(tallies, row * 600 + 1, row * 600 + 600, {}, up={"slow"})
        if row > 6:
            assert tallies.rate().rows_per_s == pytest.approx(1 / 600, rel=0.2)


def test_a_laptop_that_sleeps_half_of_its_time_counts_half_for_an_end_far_off_asleep_or_awake() -> None:
    tallies, hour = Tallies(0.0), 3600
    tallies.look(0.0, {"laptop"})
    for start in range(0, 40 * hour, 2 * hour):
        fed(tallies, start, start + hour, {"laptop": 2})
        awake = tallies.eta(1_000_000)
        fed(tallies, start + hour, start + 2 * hour, {}, up=set())
        asleep = tallies.eta(1_000_000)
    assert awake is not None
    assert asleep is not None
    assert awake.guess_s == pytest.approx(1_000_000, rel=0.1)
    assert asleep.guess_s == pytest.approx(2_000_000, rel=0.1), "half an absence more and it is given up"
    fed(tallies, 40 * hour, 42 * hour, {}, up=set())
    assert tallies.eta(1_000_000) is None


def test_a_host_that_rests_by_day_does_nothing_by_day_and_is_not_away() -> None:
    tallies, hour, nights = Tallies(0.0), 3600, {"night": Hours.parse("20:00-08:00")}
    tallies.look(0.0, {"night"}, nights, time(20))
    fed(tallies, 0, hour, {"night": 1})
    tallies.look(hour, {"night"}, nights, time(21))
    evening = tallies.eta(20 * hour)
    assert evening is not None
    assert evening.guess_s == pytest.approx(32 * hour, rel=0.001), "11 hours until it rests, 12 of rest, 9 more"
    soon = tallies.eta(600)
    assert soon is not None
    assert soon.guess_s == pytest.approx(600, rel=0.001)
    for now in range(hour, 5 * hour):
        tallies.look(now + 1.0, set(), nights, time(8 + (now - hour) // hour))
    tallies.look(5 * hour + 1.0, set(), nights, time(12))
    noon = tallies.eta(hour)
    assert noon is not None
    assert noon.guess_s == pytest.approx(9 * hour, rel=0.001), "8 hours of rest, and one of work"


def test_hosts_with_and_without_hours_add_up() -> None:
    tallies, hour, nights = Tallies(0.0), 3600, {"night": Hours.parse("20:00-08:00")}
    tallies.look(0.0, {"night", "always"}, nights, time(20))
    fed(tallies, 0, hour, {"night": 3, "always": 1})
    tallies.look(hour, {"night", "always"}, nights, time(20))
    eta = tallies.eta(4 * 12 * hour + 6 * hour)
    assert eta is not None
    assert eta.guess_s == pytest.approx(18 * hour, rel=0.001), "12 hours of both, 6 of one"


def test_a_host_that_came_late_was_not_away_before() -> None:
    tallies = Tallies(0.0)
    assert tallies.host("late").rows == 0
    fed(tallies, 0, 7200, {}, up=set())
    fed(tallies, 7200, 9000, {"late": 1})
    eta = tallies.eta(1_000_000)
    assert eta is not None
    assert eta.guess_s == pytest.approx(1_000_000, rel=0.01)


def test_an_end_far_off_is_reckoned_with_the_steadier_rate() -> None:
    tallies = Tallies(0.0)
    tallies.look(0.0, {"a"})
    fed(tallies, 0, 3000, {"a": 1})
    fed(tallies, 3000, 3000 + int(RATE_WINDOW_S), {"a": 3})
    near, far = tallies.eta(300), tallies.eta(1_000_000)
    assert near is not None
    assert far is not None
    assert near.guess_s < FAR_S < far.guess_s
    assert near.guess_s == pytest.approx(100, rel=0.05)
    assert far.guess_s == pytest.approx(1_000_000 / 1.18, rel=0.03)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=300))
def test_no_row_is_lost_and_rates_are_never_negative(seconds: list[tuple[int, bool]]) -> None:
    tallies, rows = Tallies(0.0), 0
    for now, (scored, up) in enumerate(seconds):
        fed(tallies, now * 7, now * 7 + 1, {"a": scored}, up={"a"} if up else set())
        rows += scored
    assert tallies.host("a").rows == rows
    assert tallies.rate().rows_per_s >= 0
    assert tallies.host("a").rate().prompt_tps == pytest.approx(50 * tallies.host("a").rate().rows_per_s)
