import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, ttest_1samp
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from scorer.bench.paired import (
    bootstrap_interval,
    clustered_p,
    compare_pairs,
    holm,
    is_shown,
    mcnemar_p,
    smallest_detectable,
    verdict,
)
from scorer.bench.statistics import NO_INTERVAL, Interval

TIGHT = {"rel": 1e-9, "abs": 1e-9}


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_the_exact_binomial_test_of_the_disagreements(only_a: int, only_b: int) -> None:
    expected = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert mcnemar_p(only_a, only_b) == pytest.approx(expected, **TIGHT)


def test_a_comparison_counts_each_way_to_agree_and_disagree() -> None:
    found = compare_pairs([1, 1, 1, 0, 0, 1], [1, 0, 0, 1, 0, 1])
    counts = (found.both_right, found.only_a, found.only_b, found.both_wrong)
    assert counts == (2, 2, 1, 1)
    assert (found.n, found.clusters, found.test) == (6, 6, "exact McNemar")
    assert found.difference == pytest.approx(found.accuracy_b - found.accuracy_a)
    assert found.p == mcnemar([[2, 2], [1, 1]], exact=True).pvalue


def test_of_no_questions_nothing_is_known() -> None:
    found = compare_pairs([], [])
    assert found.n == 0
    assert all(math.isnan(p) for p in (found.p, found.mcnemar_p, found.difference, found.detectable))
    assert is_shown(found.p, found.interval) is None


def test_clusters_and_samples_are_tested_otherwise_than_by_mcnemar() -> None:
    clustered = compare_pairs([1, 0, 1, 0], [0, 0, 1, 1], ["x", "x", "y", "y"])
    sampled = compare_pairs([0.5, 1.0, 0.0], [1.0, 1.0, 0.25])
    assert clustered.test == sampled.test == "t test, clustered"


@given(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0]), min_size=2, max_size=50))
def test_without_clusters_the_clustered_test_is_the_t_test(values: list[float]) -> None:
    differences = np.array(values)
    found = clustered_p(differences, np.arange(len(values)))
    if np.ptp(differences) == 0:
        assert found == (1.0 if differences[0] == 0 else 2 * 0.5 ** len(values))
    else:
        assert found == pytest.approx(float(ttest_1samp(differences, 0).pvalue), **TIGHT)


def test_the_bootstrap_agrees_with_theory_where_there_is_one() -> None:
    rng = np.random.default_rng(2)
    differences = rng.choice([-1.0, 0.0, 1.0], 2000, p=[0.1, 0.75, 0.15])
    found = bootstrap_interval(differences, np.arange(2000))
    half = 1.96 * differences.std() / math.sqrt(2000)
    assert found.low == pytest.approx(differences.mean() - half, abs=0.002)
    assert found.high == pytest.approx(differences.mean() + half, abs=0.002)


def test_the_bootstrap_draws_whole_clusters() -> None:
    differences = np.repeat([1.0, -1.0, 0.0, 1.0, 0.0, 1.0, -1.0, 0.0], 25)
    together = bootstrap_interval(differences, np.repeat(np.arange(8), 25))
    apart = bootstrap_interval(differences, np.arange(200))
    assert together.high - together.low > 3 * (apart.high - apart.low)
    each_once = bootstrap_interval(differences[::25], np.arange(8))
    assert (together.low, together.high) == pytest.approx((each_once.low, each_once.high))


def test_the_bootstrap_is_the_same_each_time_and_another_with_another_seed() -> None:
    differences = np.array([1.0, 0, 0, -1, 1, 1, 0, 0, 0, 1] * 7 + [0.3])
    one = bootstrap_interval(differences, np.arange(71))
    assert bootstrap_interval(differences, np.arange(71)) == one
    assert bootstrap_interval(differences, np.arange(71), seed=4) != one


def test_what_cannot_be_known_is_nan() -> None:
    nothing = compare_pairs([], [])
    assert nothing.n == 0
    assert all(map(math.isnan, (nothing.difference, nothing.interval.low, nothing.detectable)))
    one_cluster = compare_pairs([1, 0, 1], [0, 0, 1], ["x"] * 3)
    assert math.isnan(one_cluster.p)
    assert one_cluster.interval == NO_INTERVAL
    assert is_shown(one_cluster.p, one_cluster.interval) is None


@pytest.mark.parametrize(("one_way", "n"), [(20, 200), (60, 700), (100, 5000), (250, 1000)])
def test_a_difference_of_the_detectable_size_is_found_four_times_out_of_five(one_way: int, n: int) -> None:
    differences = np.array([1.0] * one_way + [-1.0] * one_way + [0.0] * (n - 2 * one_way))
    found = smallest_detectable(differences, np.arange(n))
    rate = 2 * one_way / n
    trials = np.random.default_rng(n).multinomial(n, [(rate - found) / 2, 1 - rate, (rate + found) / 2], size=4000)
    # the normal test, since the exact one is a little more careful
    z = (trials[:, 2] - trials[:, 0]) / np.sqrt(trials[:, 0] + trials[:, 2])
    assert np.mean(np.abs(z) > 1.96) == pytest.approx(0.8, abs=0.04)


def test_more_questions_show_smaller_differences_and_clusters_larger_ones() -> None:
    few = np.array([1.0, -1.0, 0, 0, 0, 0, 0, 0, 0, 0] * 10)
    many = np.tile(few, 10)
    assert smallest_detectable(many, np.arange(1000)) == pytest.approx(
        smallest_detectable(few, np.arange(100)) / math.sqrt(10), rel=1e-3
    )
    together = np.repeat(few, 10)
    assert smallest_detectable(together, np.repeat(np.arange(100), 10)) > 2.5 * smallest_detectable(
        many, np.arange(1000)
    )


def test_models_that_never_disagree_still_have_a_limit_to_what_was_shown() -> None:
    found = smallest_detectable(np.zeros(100), np.arange(100))
    assert 0.05 < found < 0.1
    assert smallest_detectable(np.zeros(3), np.arange(3)) == 1


@pytest.mark.parametrize(
    ("p", "interval", "expected"),
    [
        (0.01, Interval(0.01, 0.05), True),
        (0.01, Interval(-0.05, -0.01), True),
        (0.2, Interval(-0.01, 0.05), False),
        (0.04, Interval(-0.001, 0.05), None),
        (0.06, Interval(0.001, 0.05), None),
        (math.nan, Interval(0.1, 0.2), None),
        (1.0, NO_INTERVAL, False),
    ],
)
def test_a_difference_is_shown_when_test_and_interval_agree(
    p: float, interval: Interval, expected: bool | None
) -> None:
    assert is_shown(p, interval) is expected


def test_the_verdict_says_it_in_plain_words() -> None:
    a = [1.0] * 50 + [0.0] * 50
    better = verdict(compare_pairs(a, [1.0] * 80 + [0.0] * 20), "base", "tuned")
    assert better.startswith(
        "tuned is better than base. tuned 80.0% against base 50.0% on the same 100 questions: +30.0"
    )
    worse = verdict(compare_pairs(a, [1.0] * 20 + [0.0] * 80), "base", "tuned")
    assert worse.startswith("base is better than tuned.")
    assert "-30.0 points" in worse
    unclear = verdict(compare_pairs(a, [0.0] + [1.0] * 52 + [0.0] * 47), "base", "tuned")
    assert unclear.startswith("No difference shown.")
    assert "show a difference from about" in unclear
    same = verdict(compare_pairs(a, a), "base", "tuned")
    assert same.startswith("No difference: base and tuned are right and wrong on the same of 100 questions.")
    assert "no question was answered by both" in verdict(compare_pairs([], []), "base", "tuned")
    assert verdict(compare_pairs([1], [0]), "base", "tuned").startswith("No difference shown.")
    corrected = verdict(compare_pairs(a, [1.0] * 80 + [0.0] * 20), "base", "tuned", p=0.3)
    assert corrected.startswith("Borderline")


def test_clusters_that_all_say_the_same_are_counted_and_not_taken_for_certainty() -> None:
    alike = np.tile([1.0, 0.0], 10)
    assert clustered_p(alike, np.repeat(np.arange(10), 2)) == pytest.approx(2 * 0.5**10)
    assert clustered_p(np.tile([1.0, -1.0], 10), np.repeat(np.arange(10), 2)) == 1
    assert clustered_p(np.array([0.25, 0.25]), np.arange(2)) == 0.5


@settings(max_examples=25)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_statsmodels_and_passes_over_what_is_unknown(ps: list[float]) -> None:
    expected = multipletests(ps, method="holm")[1].tolist()
    assert holm(ps) == pytest.approx(expected, **TIGHT)
    found = holm([math.nan, *ps, math.nan])
    assert math.isnan(found[0])
    assert found[1:-1] == pytest.approx(expected, **TIGHT)
    assert holm([]) == []
