import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.core.truncation import looks_truncated

CONTEXTS = st.integers(512, 1 << 18)


@pytest.mark.parametrize("tokens", [4095, 4096, 2050, 2051])
def test_every_known_cut_of_a_prompt_too_long_is_recognised(tokens: int) -> None:
    assert looks_truncated(tokens, 4096, 5210, calibrated=False)


@pytest.mark.parametrize("tokens", [2050, 2051])
def test_an_honest_prompt_of_half_the_context_passes(tokens: int) -> None:
    assert not looks_truncated(tokens, 4096, 2100, calibrated=True)
    assert not looks_truncated(tokens, 4096, 3900, calibrated=False)


def test_half_the_context_is_suspicious_where_a_calibrated_estimate_says_much_more() -> None:
    assert looks_truncated(2050, 4096, 3900, calibrated=True)


def test_a_full_context_is_believed_when_the_estimate_agrees() -> None:
    assert not looks_truncated(4095, 4096, 4000, calibrated=True)


@given(CONTEXTS, st.sampled_from([4, 5]), st.floats(0.86, 1.15), st.floats(1.01, 20))
def test_a_cut_to_half_is_always_found_with_a_calibrated_estimate(
    num_ctx: int, keep: int, error: float, times: float
) -> None:
    """Whatever the context: prompt longer than it, estimate within 15 %."""
    cut = num_ctx - (num_ctx - keep) // 2
    assert looks_truncated(cut, num_ctx, num_ctx * times * error, calibrated=True)


@given(CONTEXTS, st.floats(0.01, 0.85), st.floats(0.86, 1.15), st.booleans())
def test_an_honest_prompt_with_an_estimate_within_15_percent_is_never_accused(
    num_ctx: int, part: float, error: float, calibrated: bool
) -> None:
    tokens = int(num_ctx * part)
    assert not looks_truncated(tokens, num_ctx, tokens * error, calibrated=calibrated)


@given(CONTEXTS, st.integers(1, 1 << 18))
def test_a_count_where_no_cut_ends_is_never_accused(num_ctx: int, tokens: int) -> None:
    half = num_ctx // 2
    if tokens < num_ctx - 1 and abs(tokens - half) > 10:
        assert not looks_truncated(tokens, num_ctx, 10 * num_ctx, calibrated=True)


@pytest.mark.parametrize("tokens", [4094, 2056, 2045, 1024])
def test_a_count_beside_the_known_cuts_is_never_accused(tokens: int) -> None:
    assert not looks_truncated(tokens, 4096, 9000, calibrated=True)
