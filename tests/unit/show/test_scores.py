import itertools
import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.show.scores import MOST_HOSTS, MOST_VALUES, classes, counted, mean, scores_text


def drawn(scores: dict[float, int]) -> list[str]:
    return scores_text({"p40": Counter(scores)}, sum(scores.values())).splitlines()


def test_whole_numbers_have_a_bar_each_and_those_that_never_came_an_empty_one() -> None:
    lines = drawn({7: 200, 3: 100, 4: 1})
    assert lines[0] == "scores: mean 5.66, half of them from 3 to 7"
    assert [line.split()[0] for line in lines[1:]] == ["3", "4", "5", "6", "7"]
    assert [line.count("█") for line in lines[1:]] == [20, 1, 0, 0, 40]
    assert lines[3].split() == ["5", "0", "0.0%"]


def test_scores_of_a_wide_range_are_put_into_some_ten_round_classes() -> None:
    lines = drawn({i / 1000: 1 for i in range(1000)})
    assert [line.split()[0] for line in lines[1:]] == [
        "0",
        "0.1",
        "0.2",
        "0.3",
        "0.4",
        "0.5",
        "0.6",
        "0.7",
        "0.8",
        "0.9",
    ]
    assert lines[1].split()[:3] == ["0", "to", "0.1"]
    assert {line.split()[-2] for line in lines[1:]} == {"100"}


def test_a_single_score_is_one_bar() -> None:
    assert len(drawn({0.37: 5})) == 2
    assert "0.37" in drawn({0.37: 5})[1]
    assert len(drawn({-1e300: 5})) == 2


def test_scores_that_are_no_numbers_are_said_to_be_so_and_a_new_job_says_nothing() -> None:
    assert scores_text({}, 10) == "scores: not numbers, so nothing to draw"
    assert scores_text({}, 0) == ""
    assert scores_text({"a": Counter({math.inf: 1})}, 1).endswith("nothing to draw")


def test_a_host_that_judges_apart_shows() -> None:
    text = scores_text({"p40": Counter({3.0: 90, 4.0: 10}), "mac": Counter({9.0: 5})}, 105)
    lines = text.splitlines()[-3:]
    assert lines[0] == "  by host, from 3 to 9:"
    assert lines[1] == "    mac        █  mean 9.00 of 5"
    assert lines[2].startswith("    p40  █▁")
    assert lines[2].endswith("mean 3.10 of 100")


def test_of_many_hosts_those_that_judge_apart_are_shown() -> None:
    hosts = {f"h{i:02}": Counter({5.0: 10}) for i in range(60)} | {"odd": Counter({1.0: 10})}
    lines = scores_text(hosts, 610).splitlines()
    assert [line for line in lines if line.startswith("    odd ")]
    assert len([line for line in lines if " of 10" in line]) == MOST_HOSTS
    assert lines[-1] == "    and 41 more, nearer to the mean of all"


def test_words_have_a_bar_each_in_the_order_of_their_list() -> None:
    hosts = {"p40": Counter({0.0: 30, 2.0: 60}), "mac": Counter({0.0: 10})}
    lines = scores_text(hosts, 100, ("A", "neither", "B")).splitlines()
    assert lines[0] == "scores: most often B"
    assert [line.split()[0] for line in lines[1:4]] == ["A", "neither", "B"]
    assert [line.split()[-2:] for line in lines[1:4]] == [["40", "40.0%"], ["0", "0.0%"], ["60", "60.0%"]]
    assert lines[4:] == ["  by host, from A to B:", "    mac  █    B 0.0% of 10", "    p40  ▄ █  B 66.7% of 90"]


def test_of_many_words_those_that_came_most_often_are_drawn_and_long_ones_cut() -> None:
    words = (*(f"w{i}" for i in range(MOST_VALUES)), "rare", "a very long word\nin two lines")
    scores = {float(i): 5 for i in range(len(words))} | {float(MOST_VALUES): 1, float(MOST_VALUES + 1): 9}
    lines = scores_text({"p40": Counter(scores)}, sum(scores.values()), words).splitlines()
    assert lines[0] == "scores: most often a very long word in…"
    assert len(lines) == 1 + MOST_VALUES + 1
    assert lines[-2].startswith("  a very long word in…  ████")
    assert lines[-1] == "  and other values, each less often: 6"


def test_words_that_an_older_scorer_did_not_count_are_told_of() -> None:
    assert scores_text({}, 0, ("A", "B")) == ""
    assert scores_text({}, 10, ("A", "B")) == "scores: an older scorer did not count them; `scorer report` draws them"
    lines = scores_text({"p40": Counter({0.0: 7})}, 10, ("A", "B")).splitlines()
    assert lines[-1] == "  without 3 of the rows: an older scorer did not count them"


@pytest.mark.parametrize(
    ("scores", "names"),
    [
        ([0.3, 0.30000000000000004], ["0.3", "0.30000000000000004"]),
        ([1000001.0, 1000003.0], ["1000001", "1000002", "1000003"]),
        ([1e16, 1e16 + 2], ["1e+16", "1.0000000000000002e+16"]),
        ([0.0, 5e-324], ["0", "5e-324"]),
        ([-1.79e308, 0.5, 1.79e308], ["-1.79e+308", "0.5", "1.79e+308"]),
        ([5e-324 * i for i in range(30)], ["0 to 1.43e-322"]),
    ],
)
def test_scores_too_near_or_too_far_for_round_classes_have_bars_with_names_of_their_own(
    scores: list[float], names: list[str]
) -> None:
    lines = drawn(dict.fromkeys(scores, 1))
    assert [line.strip().split("  ")[0] for line in lines[1:]] == names


def test_scores_from_end_to_end_of_all_floats_are_drawn_in_lines_of_usual_width() -> None:
    hosts = {"p40": Counter({1e308: 9, -1e308: 5}), "mac": Counter({0.5: 3, 1e308: 1})}
    lines = scores_text(hosts, 18).splitlines()
    assert lines[0] == "scores: mean 2.77778e+307, half of them from -1e+308 to 1e+308"
    assert lines[1].startswith("  -1e+308 to -8e+307  ████")
    assert max(map(len, lines)) < 100


SCORES = st.floats(allow_nan=False, allow_infinity=False) | st.floats(-1e6, 1e6) | st.integers(-100, 100).map(float)


@given(st.dictionaries(SCORES, st.integers(1, 1000), min_size=1, max_size=60))
def test_every_score_is_in_exactly_one_class(scores: dict[float, int]) -> None:
    parts = classes(list(scores))
    counts = counted(parts, scores)
    assert sum(counts) == sum(scores.values())
    assert len(counts) == len(parts) <= MOST_VALUES
    assert all(before.low < after.low for before, after in itertools.pairwise(parts))
    assert len({part.label for part in parts}) == len(parts)
    assert scores_text({"a": Counter(scores), "b": Counter(scores)}, sum(scores.values()))


@given(st.lists(SCORES, min_size=1, max_size=60))
def test_the_classes_hold_the_lowest_and_the_highest_score(scores: list[float]) -> None:
    parts = classes(scores)
    slack = 1e-6 * max(map(abs, [*scores, 1.0]))
    assert parts[0].low <= min(scores) + slack
    assert parts[-1].high >= max(scores) - slack


def test_the_mean_counts_every_row() -> None:
    assert mean({1.0: 3, 5.0: 1}) == pytest.approx(2.0)
