"""What is read out of a completion, and what is left alone."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.suites.choices import choice
from scorer.suites.extract import answer_part, pattern, phrase, same_text
from scorer.suites.numbers import number

COLOURS = {"A": "a red cat", "B": "blue", "C": "blue whale"}
TRUTH = {"True": "True", "False": "False"}


def test_an_answer_ends_at_the_first_stop_text_and_begins_behind_the_thoughts() -> None:
    assert answer_part("<think>17?</think> 18 Question: 3 Q: 4", ("Q:", "Question:")) == " 18 "
    assert answer_part("18") == "18"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is: **Paris**.", "Paris"),
        ("Paris", "Paris"),
        ("\n\n  Paris.\nIt is in France.", "Paris"),
        ("...", None),
        ("", None),
    ],
)
def test_an_answer_in_words_is_the_first_line_that_says_something(text: str, answer: str | None) -> None:
    assert phrase(text) == answer


def test_words_are_compared_without_case_punctuation_and_gaps() -> None:
    assert same_text("New  York.", "new york")
    assert not same_text("York", "New York")


def test_a_pattern_takes_its_last_match_and_the_group_that_matched() -> None:
    assert pattern("a=1 b=2", re.compile(r"=(\d)")) == "2"
    assert pattern("a=1 b=2", re.compile(r"[ab]=\d")) == "b=2"
    assert pattern("x9 y", re.compile(r"x(\d)|y(\d)?")) == "y"
    assert pattern("nothing", re.compile(r"\d")) is None


# looked at again from each place, such a text takes many minutes; else seconds on the slowest machine
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "piece",
    [
        *("the answer is maybe ", "answer: \\$", "answer: $", "\\$", "\\boxed{", "\\boxed{{a}", "(a"),
        *("11,", "11{,}", "1,", "1'", "1\\,", "1 ", "1/", "1 1/1", "1e", "10^", "1 \\times 10", "#### 1 000 "),
        *("1\\frac{", "\\frac{{a}", "\\sqrt{", "A, ", "A) ", "A.\n", "\n", "yes and ", "not ", "A. a red cat "),
    ],
)
def test_what_a_model_repeats_without_end_is_read_in_no_time(piece: str) -> None:
    endless = piece * (150_000 // len(piece))
    for text in (endless, f"The answer: {endless}"):
        assert choice(text, COLOURS) in {None, *COLOURS}
        assert choice(text, TRUTH) in {None, *TRUTH}
        for found in (number(text), phrase(text)):
            assert found is None or found


@given(st.text(max_size=200))
def test_reading_never_fails_and_gives_only_what_there_is(text: str) -> None:
    assert choice(text, COLOURS) in {None, *COLOURS}
    found = number(text)
    assert found is None or set(found) <= set(string.digits + ".-/")
    said = phrase(text)
    assert said is None or said in text


@given(st.text(alphabet="AB()., \nisanswer:or#\\boxed{}0123456789$-", max_size=60))
def test_reading_is_total_where_the_markers_are(text: str) -> None:
    assert choice(text, COLOURS) in {None, *COLOURS}
    assert number(text) is None or number(text) == number(str(number(text)))
