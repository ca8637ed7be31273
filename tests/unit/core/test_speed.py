"""What replies teach about speed, output lengths and how long running rows will still take."""

import numpy as np
import pytest

from scorer.core.speed import MIN_OVERHEAD_S, Outputs, Overruns, Speed
from scorer.core.task import Reply


def reply(prompt: int | None = 100, output: int | None = 10, **times: float) -> Reply:
    return Reply("", "stop", prompt, output, **times)


def test_a_reply_that_reports_durations_teaches_reading_writing_and_the_rest() -> None:
    speed = Speed()
    assert not speed.known
    speed.learn(reply(prefill_s=0.5, decode_s=0.2), duration_s=0.8)
    assert speed.known
    fixed_s, per_token_s = speed.times(output_tokens=20)
    assert per_token_s == pytest.approx(0.005)
    assert fixed_s == pytest.approx(0.1 + 20 * 0.02)


def test_a_reply_without_durations_shares_out_the_wall_time() -> None:
    speed = Speed()
    speed.learn(reply(), duration_s=1.8)
    fixed_s, per_token_s = speed.times(output_tokens=10)
    assert fixed_s + 100 * per_token_s == pytest.approx(1.8, abs=2 * MIN_OVERHEAD_S)
    assert 100 * per_token_s == pytest.approx(1.0)


def test_loading_a_model_is_not_held_against_a_hosts_speed() -> None:
    speed = Speed()
    speed.learn(reply(prefill_s=0.5, decode_s=0.2, load_s=30.0), duration_s=30.8)
    assert speed.times(10)[0] == pytest.approx(0.3)


@pytest.mark.parametrize("counts", [(None, 10), (100, None), (0, 10)])
def test_a_reply_without_counts_teaches_nothing(counts: tuple[int | None, int | None]) -> None:
    speed = Speed()
    speed.learn(reply(*counts), duration_s=1.0)
    assert not speed.known
    assert speed.times(10) == (0.0, 0.0)


def test_one_reply_ten_times_too_slow_hardly_counts_and_a_lasting_change_is_learned() -> None:
    speed = Speed()
    for _ in range(100):
        speed.learn(reply(prefill_s=1.0, decode_s=1.0), duration_s=2.05)
    speed.learn(reply(prefill_s=10.0, decode_s=10.0), duration_s=20.05)
    assert speed.times(0)[1] == pytest.approx(0.01, rel=0.08)
    for _ in range(80):
        speed.learn(reply(prefill_s=10.0, decode_s=10.0), duration_s=20.05)
    assert speed.times(0)[1] == pytest.approx(0.1, rel=0.25)


def test_output_lengths_are_the_mean_of_the_last_five_hundred() -> None:
    outputs = Outputs()
    assert outputs.mean == 1.0
    outputs.learn(None)
    assert outputs.mean == 1.0
    for tokens in [1000] * 300 + [60] * 500:
        outputs.learn(tokens)
    assert outputs.mean == 60.0


def residual(overruns: Overruns, expected_s: float, elapsed_s: float) -> float:
    return float(overruns.residuals_s(np.array([expected_s]), np.array([elapsed_s]))[0])


def test_what_is_left_of_a_row_is_the_mean_of_those_that_took_longer() -> None:
    overruns = Overruns()
    for actual_s in [1.0] * 8 + [3.0] * 8:
        overruns.learn(1.0, actual_s)
    assert residual(overruns, 10.0, 0.0) == pytest.approx(20.0)
    assert residual(overruns, 10.0, 15.0) == pytest.approx(15.0)
    assert overruns.residuals_s(np.array([10.0, 10.0]), np.array([0.0, 15.0])).tolist() == pytest.approx([20.0, 15.0])


def test_a_row_that_takes_longer_than_any_before_is_expected_to_take_as_long_again() -> None:
    overruns = Overruns()
    for _ in range(16):
        overruns.learn(1.0, 2.0)
    assert residual(overruns, 10.0, 25.0) == pytest.approx(25.0)


def test_before_anything_is_known_a_row_takes_what_was_expected_or_as_long_again() -> None:
    overruns = Overruns()
    overruns.learn(0.0, 5.0)
    assert residual(overruns, 10.0, 4.0) == pytest.approx(6.0)
    assert residual(overruns, 0.0, 4.0) == pytest.approx(4.0)


def test_new_rows_change_what_is_expected_after_a_few() -> None:
    overruns = Overruns()
    for _ in range(20):
        overruns.learn(1.0, 1.0)
    assert residual(overruns, 1.0, 0.0) == pytest.approx(1.0)
    for _ in range(20):
        overruns.learn(1.0, 3.0)
    assert residual(overruns, 1.0, 0.0) == pytest.approx(2.0, rel=0.1)
