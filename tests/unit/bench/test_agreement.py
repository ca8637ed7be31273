import math

import krippendorff
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr, rankdata
from sklearn.metrics import cohen_kappa_score, confusion_matrix, precision_recall_curve

from scorer.bench.agreement import alpha, best_threshold, confusion, kappa, spearman, thresholds, upper_half

TIGHT = {"rel": 1e-9, "abs": 1e-9}
Pairs = list[tuple[int, int]]
pairs = st.lists(st.tuples(st.integers(1, 10), st.integers(1, 10)), min_size=2, max_size=80)


def _split(found: Pairs) -> tuple[list[int], list[int]]:
    return [label for label, _ in found], [score for _, score in found]


@given(pairs)
def test_kappa_is_scikit_learns(found: Pairs) -> None:
    labels, scores = _split(found)
    value = kappa(labels, scores).value
    if len(set(labels + scores)) < 2:
        assert math.isnan(value)
    else:
        expected = cohen_kappa_score(labels, scores, weights="quadratic", labels=list(range(1, 11)))
        assert value == pytest.approx(expected, **TIGHT)


def test_kappa_weighs_by_the_values_and_not_by_their_places() -> None:
    labels, scores = [1, 1, 2, 10, 10, 2], [1, 2, 2, 10, 2, 1]
    by_place = cohen_kappa_score(labels, scores, weights="quadratic")
    assert kappa(labels, scores).value != pytest.approx(by_place)


def test_kappas_interval_shrinks_with_n() -> None:
    few, many = kappa([1, 2, 3, 1] * 10, [1, 2, 2, 1] * 10), kappa([1, 2, 3, 1] * 100, [1, 2, 2, 1] * 100)
    assert few.value == pytest.approx(many.value)
    assert few.interval.low < many.interval.low < many.value < many.interval.high < few.interval.high
    assert (few.n, many.n) == (40, 400)


@given(pairs)
def test_spearman_is_pearson_of_ranks(found: Pairs) -> None:
    labels, scores = _split(found)
    value = spearman(labels, scores)
    if len(set(labels)) < 2 or len(set(scores)) < 2:
        assert math.isnan(value.value)
        return
    assert value.value == pytest.approx(float(pearsonr(rankdata(labels), rankdata(scores)).statistic), **TIGHT)
    if not math.isnan(value.interval.low):
        assert -1 <= value.interval.low <= value.value <= value.interval.high <= 1


@pytest.mark.parametrize("n", range(2, 40))
def test_a_perfect_order_has_no_interval_whatever_its_rounding(n: int) -> None:
    for scores, value in ((range(n), 1), (range(n, 0, -1), -1)):
        found = spearman(range(n), list(scores))
        assert found.value == value
        assert math.isnan(found.interval.low)


def test_spearmans_interval_covers_what_it_promises() -> None:
    rng = np.random.default_rng(1)
    normal = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], size=(600, 60))
    truth = 6 / math.pi * math.asin(0.3)
    found = [spearman(sample[:, 0], sample[:, 1]).interval for sample in normal]
    assert np.mean([one.low < truth < one.high for one in found]) == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize("level", ["interval", "ordinal"])
@given(found=pairs)
def test_alpha_is_krippendorffs(level: str, found: Pairs) -> None:
    labels, scores = _split(found)
    value = alpha(labels, scores, level).value
    if len(set(labels + scores)) < 2:
        assert math.isnan(value)
    else:
        expected = krippendorff.alpha(np.array([labels, scores], dtype=float), level_of_measurement=level)
        assert value == pytest.approx(expected, **TIGHT)


@given(pairs)
def test_the_confusion_table_is_scikit_learns(found: Pairs) -> None:
    labels, scores = _split(found)
    table = confusion(labels, scores)
    assert table is not None
    assert list(table.values) == sorted(set(labels + scores))
    if len(table.values) > 1:
        assert (table.counts == confusion_matrix(labels, scores, labels=list(table.values))).all()
    else:
        assert table.counts.tolist() == [[len(found)]]


@given(pairs, st.integers(1, 10))
def test_precision_and_recall_are_scikit_learns_at_every_threshold(found: Pairs, good_from: int) -> None:
    labels, scores = _split(found)
    good = np.array(labels) >= good_from
    candidates = thresholds(labels, scores, good_from)
    best = best_threshold(candidates)
    if not good.any():
        assert best is None
        return
    precision, recall, at = precision_recall_curve(good, scores)
    assert [one.at for one in candidates] == at.tolist()
    assert [one.precision for one in candidates] == pytest.approx(precision[:-1], **TIGHT)
    assert [one.recall for one in candidates] == pytest.approx(recall[:-1], **TIGHT)
    f1 = [2 * p * r / (p + r) if p + r else 0 for p, r in zip(precision[:-1], recall[:-1], strict=True)]
    assert best is not None
    assert best.f1 == pytest.approx(max(f1), **TIGHT)


def test_of_equally_good_thresholds_the_highest_is_taken() -> None:
    best = best_threshold(thresholds([0, 1, 1, 0, 1], [1, 3, 5, 4, 4], 1))
    assert best is not None
    assert (best.at, best.taken, best.good, best.hits) == (3, 4, 3, 3)
    tie = best_threshold(thresholds([1, 0, 1], [1, 2, 3], 1))
    assert tie is not None
    assert tie.at == 1
    equal = best_threshold(thresholds([1, 1, 0, 0], [2, 4, 3, 3], 1))
    assert equal is not None
    assert (equal.at, equal.f1) == (4, pytest.approx(2 / 3))


def test_nothing_and_no_difference_have_no_agreement() -> None:
    for labels, scores in (([], []), ([3], [3]), ([2, 2, 2], [2, 2, 2])):
        for found in (kappa(labels, scores), spearman(labels, scores), alpha(labels, scores, "ordinal")):
            assert math.isnan(found.value)
            assert found.n == len(labels)
    assert confusion([], []) is None
    assert thresholds([], [], 1) == []


def test_too_many_values_have_no_table_and_no_kappa() -> None:
    values = np.linspace(0, 1, 40)
    assert confusion(values, values) is None
    assert math.isnan(kappa(values, values).value)
    assert spearman(values, values).value == 1


@pytest.mark.parametrize(
    ("labels", "expected"), [([0, 1], 1), ([1, 2, 3, 4, 5], 4), ([1, 10, 5], 10), ([3, 3], 3), ([2.5, 4], 4)]
)
def test_the_upper_half_of_the_labels_is_good(labels: list[float], expected: float) -> None:
    assert upper_half(labels) == expected
