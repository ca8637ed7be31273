import math

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.errors import FaultKind
from scorer.hosts.classify import (
    Rule,
    by_text,
    complaint,
    count,
    overflow,
    plain_text,
    proper_name,
    retry_after_s,
    seconds,
    unusable,
)

DATE = "Wed, 21 Oct 2026 07:28:00 GMT"


@pytest.mark.parametrize(
    ("headers", "wish"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after": "1e9"}, 3600.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": DATE}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:27:00 GMT", "date": DATE}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "yesterday"}, None),
        ({"retry-after": "Wed, 21 Oct 99999999999 07:28:30 GMT", "date": DATE}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 +99999999999999999999", "date": DATE}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "Wed, 21 Oct 99999999999 07:28:00 GMT"}, None),
    ],
)
def test_retry_after_is_read_in_both_spellings(headers: dict[str, str], wish: float | None) -> None:
    assert retry_after_s(httpx.Headers(headers)) == wish


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"])))
def test_no_retry_after_whatever_is_trusted_too_far(text: str) -> None:
    wish = retry_after_s(httpx.Headers({"retry-after": text}))
    assert wish is None or 0 <= wish <= 3600


DATES = st.builds("Wed, {} Oct {} {}:28:00 {:+}".format, st.integers(), st.integers(), st.integers(), st.integers())


@given(DATES, st.just(DATE) | DATES)
def test_no_date_whatever_is_more_than_not_understood(wish: str, date: str) -> None:
    left_s = retry_after_s(httpx.Headers({"retry-after": wish, "date": date}))
    assert left_s is None or 0 <= left_s <= 3600


@pytest.mark.parametrize("value", [None, True, -1, 1.5, "7", [], 1 << 40])
def test_a_count_that_is_none_is_unknown(value: object) -> None:
    assert count(value) is None


def test_counts_are_counts() -> None:
    assert (count(0), count(5210)) == (0, 5210)


@pytest.mark.parametrize("value", [None, False, 0, -3, "7", math.nan, math.inf, 1e30])
def test_a_duration_that_is_none_is_unknown(value: object) -> None:
    assert seconds(value, 1e9) is None


def test_durations_become_seconds() -> None:
    assert seconds(1_500_000_000, 1e9) == 1.5
    assert seconds(250.0, 1e3) == 0.25


@pytest.mark.parametrize(
    ("text", "details", "message"),
    [
        ("request (5210 tokens) exceeds the available context size (4096 tokens), try increasing it", {}, "5210 4096"),
        ("…exceed_context_size_error", {"n_prompt_tokens": 5210, "n_ctx": 4096}, "5210 4096"),
        ("input length (9000 tokens) exceeds the model's maximum context length (8192 tokens)", {}, "9000 8192"),
    ],
)
def test_an_overflow_names_both_numbers_where_it_can(text: str, details: dict[str, object], message: str) -> None:
    prompt, limit = message.split()
    fault = overflow(text, details, 1)
    assert fault is not None
    assert (fault.kind, fault.permanent) == (FaultKind.CONTEXT_OVERFLOW, True)
    assert fault.message == f"prompt of {prompt} tokens, context {limit}"


def test_an_overflow_without_numbers_names_the_context_that_was_asked_for() -> None:
    fault = overflow("the input length exceeds the context length", {}, 4096)
    assert fault is not None
    assert "4096" in fault.message


def test_other_texts_are_no_overflow() -> None:
    assert overflow("model not found", {}, 4096) is None


# looked at again from each place, such a text takes many minutes
@pytest.mark.timeout(120)
@pytest.mark.parametrize("words", ["input length ", "input length (", "model ", "context length "])
def test_only_the_beginning_of_what_a_server_says_is_looked_at(words: str) -> None:
    said = words * (1_600_000 // len(words)) + "not found exceeds the context"
    assert overflow(said, {}, 4096) is None
    assert by_text([Rule("model.{0,200}not found", unusable(FaultKind.MODEL_MISSING))], said) is None


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"error": "plain"}, "plain"),
        ({"error": {"message": "nested", "type": "t"}}, "nested t"),
        ({"error": '{"error": {"message": "packed", "type": "t"}}'}, "packed t"),
        ({"error": '{"error": "packed text"}'}, "packed text"),
        ({"error": "{broken"}, "{broken"),
        ({"error": "{" + '"a":{' * 100_000}, "{" + '"a":{' * 100_000),
        ({"error": 7}, "7"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_an_error_is_understood_in_every_wrapping(document: dict[str, object] | None, text: str) -> None:
    said = complaint(document)
    assert said is not None
    assert said.text == text


def test_a_document_without_an_error_complains_of_nothing() -> None:
    assert complaint({"done": True}) is None
    assert complaint(None) is None


@given(st.text(st.characters(codec=None)))
def test_any_text_becomes_text_that_can_be_written(text: str) -> None:
    plain = plain_text(text)
    plain.encode()
    assert plain == text or any("\ud800" <= c <= "\udfff" for c in text)


def test_half_a_surrogate_pair_becomes_the_replacement_character() -> None:
    assert plain_text("a\ud83db") == "a�b"
    assert plain_text(7) == plain_text(None) == ""


def test_a_name_that_cannot_be_shown_is_none() -> None:
    assert proper_name("qwen2.5-coder:7b") == "qwen2.5-coder:7b"
    for name in ("", "a\nb", "\x1b[31m", "x" * 300, None, 7):
        assert proper_name(name) is None
