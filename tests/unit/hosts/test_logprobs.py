import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.hosts.logprobs import first_token


def test_the_candidates_of_the_first_token_come_likeliest_first() -> None:
    entries = [
        {
            "token": "A",
            "logprob": -0.7,
            "top_logprobs": [{"token": "B", "logprob": -1.2}, {"token": "A", "logprob": -0.7}],
        },
        {"token": ".", "logprob": -0.1, "top_logprobs": [{"token": "!", "logprob": -3.0}]},
    ]
    assert first_token(entries) == (("A", -0.7), ("B", -1.2))


def test_the_token_itself_counts_where_no_others_are_listed() -> None:
    assert first_token([{"token": "A", "logprob": -0.7}]) == (("A", -0.7),)


@pytest.mark.parametrize("logprob", [math.nan, -math.inf, 0.5, True, "-1", None])
def test_what_is_no_logarithm_of_a_probability_is_left_out(logprob: object) -> None:
    assert first_token([{"token": "A", "logprob": logprob, "top_logprobs": [{"token": "B", "logprob": -1}]}]) == (
        ("B", -1.0),
    )


@pytest.mark.parametrize("entries", [None, [], {}, [None], ["A"], [{}], [{"top_logprobs": 7}]])
def test_a_reply_without_them_has_none(entries: object) -> None:
    assert first_token(entries) == ()


def lists_and_objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner) | st.dictionaries(st.sampled_from(["token", "logprob", "top_logprobs"]), inner)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=4),
    lists_and_objects,
    max_leaves=12,
)


@given(ANYTHING)
def test_nothing_a_server_can_send_breaks_it(entries: object) -> None:
    for token, logprob in first_token(entries):
        token.encode()
        assert logprob <= 0
