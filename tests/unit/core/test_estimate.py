import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.core.estimate import CALIBRATED_AFTER, LogMean, Pace, TokenRatio
from scorer.core.speed import Speed
from scorer.core.task import Reply

positive = st.floats(1e-6, 1e6)


@given(st.lists(positive, min_size=1, max_size=33))
def test_the_first_values_count_equally(values: list[float]) -> None:
    mean = LogMean()
    for value in values:
        mean.add(value)
    assert mean.value == pytest.approx(math.exp(sum(map(math.log, values)) / len(values)), rel=1e-6)


@given(st.lists(positive, min_size=1, max_size=200))
def test_a_mean_lies_between_the_smallest_and_the_largest(values: list[float]) -> None:
    mean = LogMean()
    for value in values:
        mean.add(value)
    assert mean.value is not None
    assert min(values) * (1 - 1e-9) <= mean.value <= max(values) * (1 + 1e-9)


def test_old_values_fade() -> None:
    mean = LogMean()
    for _ in range(1000):
        mean.add(1.0)
    for _ in range(200):
        mean.add(100.0)
    assert mean.value == pytest.approx(100.0, rel=0.05)


def test_ten_times_too_slow_moves_it_as_far_as_ten_times_too_fast() -> None:
    slow, fast = LogMean(), LogMean()
    for mean, value in ((slow, 10.0), (fast, 0.1)):
        for _ in range(50):
            mean.add(1.0)
        mean.add(value)
    assert slow.value is not None
    assert fast.value is not None
    assert slow.value * fast.value == pytest.approx(1.0)


@given(st.floats(max_value=0.0, allow_nan=False))
def test_what_cannot_be_a_duration_says_nothing(value: float) -> None:
    mean = LogMean()
    mean.add(value)
    assert (mean.value, mean.count) == (None, 0)


def test_before_anything_is_known_a_token_has_four_characters() -> None:
    ratio = TokenRatio()
    assert ratio.tokens(400) == 100
    assert ratio.tokens(401) == 101
    assert not ratio.calibrated


def test_a_ratio_is_learned_from_what_the_servers_count() -> None:
    ratio = TokenRatio()
    for _ in range(CALIBRATED_AFTER):
        assert not ratio.calibrated
        ratio.learn(300, 100)
    assert ratio.calibrated
    assert ratio.tokens(600) == pytest.approx(200, abs=1)


@pytest.mark.parametrize(("chars", "tokens"), [(100, None), (100, 0), (0, 10)])
def test_a_reply_without_a_count_teaches_nothing(chars: int, tokens: int | None) -> None:
    ratio = TokenRatio()
    for _ in range(20):
        ratio.learn(chars, tokens)
    assert not ratio.calibrated


@given(st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)), max_size=30), st.integers(0, 10**7))
def test_estimates_are_whole_and_longer_texts_never_have_fewer_tokens(seen: list[tuple[int, int]], chars: int) -> None:
    ratio = TokenRatio()
    for text, tokens in seen:
        ratio.learn(text, tokens)
    assert isinstance(ratio.tokens(chars), int)
    assert 0 <= ratio.tokens(chars) <= ratio.tokens(chars + 1)


def test_a_host_without_replies_predicts_nothing() -> None:
    assert Pace().predicted_s(100) is None
    assert Pace().typical_s is None


def test_longer_rows_take_longer_in_proportion_and_shorter_ones_are_not_trusted_to_be_faster() -> None:
    pace = Pace()
    pace.learn(1000, 2.0)
    assert pace.typical_s == pytest.approx(2.0)
    assert pace.predicted_s(5000) == pytest.approx(10.0)
    assert pace.predicted_s(10) == pytest.approx(2.0)


def test_replies_to_empty_texts_alone_predict_nothing() -> None:
    pace = Pace()
    pace.learn(0, 2.0)
    assert pace.predicted_s(10) is None


def test_lengths_that_a_server_does_not_count_are_estimated_and_those_it_counts_are_not() -> None:
    ratio = TokenRatio()
    uncounted = Reply(text="x" * 40, finish="stop")
    assert ratio.counted(uncounted, 400) == uncounted._replace(prompt_tokens=100, output_tokens=10)
    half = uncounted._replace(prompt_tokens=7)
    assert ratio.counted(half, 400) == half._replace(output_tokens=10)
    whole = half._replace(output_tokens=3)
    assert ratio.counted(whole, 400) is whole


def test_a_host_that_counts_no_tokens_is_learned_by_wall_time() -> None:
    fast, slow, ratio = Speed(), Speed(), TokenRatio()
    for speed, duration_s in ((fast, 1.0), (slow, 10.0)):
        speed.learn(ratio.counted(Reply(text="x" * 40, finish="stop"), 400), duration_s)
        assert speed.known
    assert slow.prefill_s.value == pytest.approx(10 * (fast.prefill_s.value or 0.0))
