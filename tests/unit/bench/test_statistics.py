import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, sem
from statsmodels.formula.api import ols

from scorer.bench.statistics import (
    NOTHING,
    clustered_error,
    ks,
    macro,
    pass_at_k,
    plain,
    share,
    wilson,
)

CLOSE = pytest.approx
TIGHT = {"rel": 1e-9, "abs": 1e-9}


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys(case: tuple[int, int]) -> None:
    right, n = case
    expected = binomtest(right, n).proportion_ci(0.95, method="wilson")
    found = wilson(right, n)
    assert (found.low, found.high) == CLOSE((expected.low, expected.high), **TIGHT)


@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(3, 200))
def test_the_clustered_error_is_that_of_a_regression_with_clustered_errors(seed: int, clusters: int, n: int) -> None:
    import pandas as pd

    rng = np.random.default_rng(seed)
    codes = np.concatenate([[0, 1], rng.integers(0, clusters, n)])
    values = rng.integers(0, 2, n + 2).astype(float)
    fitted = ols("y ~ 1", pd.DataFrame({"y": values})).fit(cov_type="cluster", cov_kwds={"groups": codes})
    assert clustered_error(values, codes) == CLOSE(float(fitted.bse["Intercept"]), **TIGHT)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=60))
def test_with_a_cluster_for_each_observation_it_is_the_usual_standard_error(values: list[float]) -> None:
    assert clustered_error(values, range(len(values))) == CLOSE(float(sem(values)), **TIGHT)


def test_names_of_clusters_do_not_matter() -> None:
    values = [1, 0, 1, 1, 0, 0]
    assert clustered_error(values, ["b", "b", "a", "a", "c", "c"]) == clustered_error(values, [1, 1, 7, 7, 3, 3])


def test_independent_answers_have_wilsons_interval() -> None:
    found = share([1, 1, 1, 0])
    assert (found.n, found.clusters, found.value, found.clustered) == (4, 4, 0.75, False)
    assert found.interval == found.wilson == wilson(3, 4)


def test_questions_that_go_together_widen_the_interval() -> None:
    values = [1] * 50 + [0] * 50
    together = share(values, [i // 10 for i in range(100)])
    apart = share(values, [i % 10 for i in range(100)])
    assert together.clustered
    assert together.wilson == apart.wilson == wilson(50, 100)
    assert together.interval.high - together.interval.low > 2 * (apart.wilson.high - apart.wilson.low)
    assert apart.interval == apart.wilson, "an interval is never narrower for having clusters"


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_alike_in_clusters_counts_each_cluster_once(value: float) -> None:
    found = share([value] * 60, [i // 6 for i in range(60)])
    assert (found.error, found.value) == (0, value)
    assert found.interval == wilson(10 * value, 10)


def test_one_cluster_has_an_interval_for_itself_and_no_standard_error() -> None:
    found = share([1, 0, 1, 1], ["x"] * 4)
    assert math.isnan(found.error)
    assert found.interval == wilson(3, 4)


def test_nothing_has_no_figures() -> None:
    assert share([]) is NOTHING
    assert math.isnan(NOTHING.value)
    assert math.isnan(wilson(0, 0).low)
    assert macro([]) is NOTHING
    assert macro([NOTHING]) is NOTHING


@given(st.lists(st.integers(0, 1), min_size=1, max_size=80), st.integers(1, 9))
def test_an_interval_holds_its_value_and_stays_between_0_and_1(values: list[int], clusters: int) -> None:
    found = share(values, [i % clusters for i in range(len(values))])
    assert -1e-12 <= found.interval.low <= found.value + 1e-12
    assert found.value - 1e-12 <= found.interval.high <= 1 + 1e-12


def test_macro_weighs_suites_alike_and_adds_their_variances() -> None:
    large, small = share([1, 0] * 500), share([1, 1, 1, 0])
    found = macro([large, small])
    assert found.value == CLOSE((0.5 + 0.75) / 2)
    assert found.error == CLOSE(math.sqrt(large.error**2 + small.error**2) / 2)
    assert found.n == 1004
    assert found.interval.high == CLOSE(found.value + 1.959963984540054 * found.error)


def test_there_is_no_macro_average_over_some_of_the_suites() -> None:
    assert macro([share([1, 0]), NOTHING]) is NOTHING


def test_macro_has_no_interval_when_an_error_is_unknown() -> None:
    assert math.isnan(macro([share([1, 0, 1]), share([1])]).interval.low)


@pytest.mark.parametrize("n", [4, 9, 50])
def test_two_suites_with_all_right_tell_more_than_one_of_them_but_are_no_certainty(n: int) -> None:
    right, wrong = macro([share([1] * n)] * 2), macro([share([0] * n)] * 2)
    assert (right.value, right.interval.high) == (1, 1)
    assert wilson(n, n).low < right.interval.low < wilson(2 * n, 2 * n).low
    assert right.interval.low == CLOSE(right.value - 1.959963984540054 * right.error)
    assert (wrong.value, wrong.interval.low) == (0, 0)
    assert wrong.interval.high == CLOSE(1 - right.interval.low)


def test_a_suite_that_is_all_right_widens_the_interval_of_macro_on_its_lower_side_only() -> None:
    mixed = share([1, 0] * 20)
    found = macro([mixed, share([1] * 4)])
    half = 1.959963984540054 * mixed.error / 2
    assert found.interval.high == CLOSE(found.value + half)
    assert found.interval.low < found.value - 2 * half


def test_clusters_that_all_have_the_same_mean_are_no_certainty_in_macro() -> None:
    alike = share([1, 0] * 10, [i // 2 for i in range(20)])
    found = macro([alike, alike])
    assert found.interval.high - found.interval.low > 0.5 * (alike.interval.high - alike.interval.low)


@given(
    st.lists(st.integers(1, 30).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1, max_size=9),
    st.integers(1, 30),
)
def test_pass_at_k_is_the_exact_mean_over_the_questions_with_enough_samples(
    questions: list[tuple[int, int]], k: int
) -> None:
    exact = [1 - Fraction(math.comb(n - c, k), math.comb(n, k)) for c, n in questions if n >= k]
    found = pass_at_k([c for c, _ in questions], [n for _, n in questions], k)
    assert found.n == len(exact)
    if exact:
        assert found.value == CLOSE(float(sum(exact) / len(exact)), **TIGHT)
    else:
        assert math.isnan(found.value)


def test_pass_at_1_says_the_same_as_the_mean_over_samples() -> None:
    rng = np.random.default_rng(5)
    answers = rng.random((60, 8)) < rng.random((60, 1))
    mean = share(answers.ravel().astype(float), np.repeat(np.arange(60), 8))
    found = pass_at_k(answers.sum(axis=1), np.full(60, 8), 1)
    assert found.value == CLOSE(mean.value, **TIGHT)
    assert found.interval.low == CLOSE(mean.interval.low, abs=2e-3)
    assert found.interval.high == CLOSE(mean.interval.high, abs=2e-3)


def test_pass_at_k_never_claims_more_than_the_answers_drawn() -> None:
    found = pass_at_k([2, 2, 2], [4, 4, 4], 1)
    assert found.value == 0.5
    assert found.interval == wilson(1.5, 3)


def test_the_k_that_are_told() -> None:
    assert [ks(samples) for samples in (1, 2, 5, 8)] == [[1], [1, 2], [1, 2, 4, 5], [1, 2, 4, 8]]


def test_json_has_null_for_what_is_unknown() -> None:
    found = plain({"a": math.nan, "b": [np.float64(1.5), np.int64(2), math.inf], "c": (True, None, "x")})
    assert found == {"a": None, "b": [1.5, 2, None], "c": [True, None, "x"]}
