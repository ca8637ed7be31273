"""Offsets: a host that judges apart is found, and one that merely gets other rows is not."""

import math
import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scorer.report.offsets import MIN_ROWS, Group, Offset, compare


def group(host: str, scores: list[float], stratum: int = 0, model: str = "m") -> Group:
    variance = float(np.var(scores, ddof=1)) if len(scores) > 1 else 0.0
    return Group((model, stratum), host, len(scores), float(np.mean(scores)), variance)


def of(found: tuple[Offset, ...], host: str) -> Offset:
    return next(one for one in found if one.host == host)


def test_a_host_that_scores_higher_is_found_with_its_offset() -> None:
    rng = random.Random(1)
    groups = [
        group(host, [rng.gauss(5 + (0.8 if host == "generous" else 0), 2) for _ in range(300)], stratum)
        for host in ("a", "b", "generous")
        for stratum in range(10)
    ]
    found = compare(groups)
    generous = of(found, "generous")
    assert generous.differs
    assert generous.low is not None
    assert generous.high is not None
    assert generous.low < 0.8 < generous.high
    assert not of(found, "a").differs or of(found, "a").value < 0


def test_a_host_that_gets_the_long_rows_does_not_seem_to_differ() -> None:
    """Long rows score lower here, and the big host gets them: its mean is far below, its offset is not."""
    rng = random.Random(2)
    share = {"big": [10, 30, 100, 400], "small": [400, 100, 30, 10]}
    groups = [
        group(host, [rng.gauss(8 - 2 * stratum, 1) for _ in range(count)], stratum)
        for host, counts in share.items()
        for stratum, count in enumerate(counts)
    ]
    big, small = of(compare(groups), "big"), of(compare(groups), "small")
    assert big.mean < small.mean - 3
    assert not big.differs
    assert abs(big.value or 9) < 0.3


def test_the_interval_is_the_usual_one_for_two_groups() -> None:
    rng = np.random.default_rng(3)
    ours, others = rng.normal(5, 2, 80), rng.normal(4, 1, 500)
    found = of(compare([group("a", list(ours)), group("b", list(others))]), "a")
    error = math.sqrt(ours.var(ddof=1) / 80 + others.var(ddof=1) / 500)
    assert math.isclose(found.value or 0, ours.mean() - others.mean())
    assert math.isclose(found.high or 0, ours.mean() - others.mean() + 1.96 * error)


def test_several_others_are_as_good_as_one_with_all_their_rows() -> None:
    rng = np.random.default_rng(4)
    ours, b, c = (list(rng.normal(5, 2, n)) for n in (60, 90, 200))
    apart = of(compare([group("a", ours), group("b", b), group("c", c)]), "a")
    together = of(compare([group("a", ours), group("bc", b + c)]), "a")
    assert math.isclose(apart.value or 0, together.value or 1)
    assert math.isclose(apart.low or 0, together.low or 1)


def test_few_rows_have_no_offset() -> None:
    few = compare([group("a", [5.0] * (MIN_ROWS - 1)), group("b", [4.0] * 500)])
    assert of(few, "a").value is None
    assert of(few, "a").n == MIN_ROWS - 1
    assert compare([group("only", [5.0] * 500)])[0].value is None
    assert compare([]) == ()


def test_models_are_not_mixed() -> None:
    """Two hosts that serve different models have nothing to compare, however different their scores."""
    found = compare([group("a", [5.0] * 100, model="x"), group("b", [1.0] * 100, model="y")])
    assert all(one.value is None for one in found)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.integers(1, 200), st.floats(0, 10)), max_size=12)
)
def test_any_groups_give_an_answer(given_: list[tuple[str, int, int, float]]) -> None:
    unique = {(host, stratum): Group(("m", stratum), host, n, mean, 1.0) for host, stratum, n, mean in given_}
    found = compare(list(unique.values()))
    assert {one.host for one in found} == {host for host, _ in unique}
    for one in found:
        assert one.value is None or (one.low or 0) <= one.value <= (one.high or 0)
