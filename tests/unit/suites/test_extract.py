"""What is read out of a completion, and what is left alone."""

import re
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.suites.extract import answer_part, choice, pattern, phrase, same_text
from scorer.suites.numbers import number

COLOURS = {"A": "a red cat", "B": "blue", "C": "blue whale"}
TRUTH = {"True": "True", "False": "False"}


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("B", "B"),
        ("b", "B"),
        ("B.", "B"),
        (" B) blue", "B"),
        ("(b)", "B"),
        ("**B**", "B"),
        ("[C]", "C"),
        ("\\boxed{C}", "C"),
        ("The answer is (B)", "B"),
        ("The answer is B. blue", "B"),
        ("**Answer:** B", "B"),
        ("The answer is\n\nB", "B"),
        ("The correct option is B", "B"),
        ("Option (C).", "C"),
        ("The answer is (A)? No, the answer is (C).", "C"),
        ("A red cat.", "A"),
        ("blue whale", "C"),
        ("The answer is a red cat", "A"),
        ("I think the blue whale is meant", "C"),
        ("I choose (C) since whales swim", "C"),
    ],
)
def test_a_choice_is_read_in_every_usual_form(text: str, label: str) -> None:
    assert choice(text, COLOURS) == label


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A cat is an animal",
        "(A) or (B)",
        "A, or B",
        "Both (A) and (C)",
        "D",
        "(D)",
        "I do not know",
        "Answer: none of them",
        "blue whale or a red cat",
    ],
)
def test_what_names_no_option_or_two_is_not_guessed(text: str) -> None:
    assert choice(text, COLOURS) is None


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("True", "True"),
        ("false.", "False"),
        ("False, because True and False is False", "False"),
        ("not ( True ) is False, and so is the rest.\nSo it is True.", "True"),
        ("The answer is False.", "False"),
        ("True or False?", "True"),
        ("It is True or False", None),
        ("untrue", None),
    ],
)
def test_labels_that_are_words_are_read_as_words(text: str, label: str | None) -> None:
    assert choice(text, TRUTH) == label


def test_an_option_inside_a_longer_word_is_not_meant() -> None:
    assert choice("That is invalid", {"valid": "valid", "invalid": "invalid"}) == "invalid"


def test_options_without_text_are_known_by_their_letters_alone() -> None:
    assert choice("Output (b) is better", {"A": "", "B": ""}) == "B"
    assert choice("the first one", {"A": "", "B": ""}) is None


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


@pytest.mark.parametrize(
    "piece",
    [
        *("the answer is maybe ", "answer: \\$", "answer: $", "\\$", "\\boxed{", "\\boxed{{a}", "(a"),
        *("11,", "11{,}", "1,", "1'", "1\\,", "1 ", "1/", "1 1/1", "1e", "10^", "1 \\times 10", "#### 1 000 "),
        *("1\\frac{", "\\frac{{a}", "\\sqrt{"),
    ],
)
def test_what_a_model_repeats_without_end_is_read_in_no_time(piece: str) -> None:
    endless = piece * (150_000 // len(piece))
    began = time.process_time()
    for text in (endless, f"The answer: {endless}"):
        number(text), phrase(text), choice(text, COLOURS), choice(text, TRUTH)
    # a twentieth of it, unless something is looked at again from each place: minutes then
    assert time.process_time() - began < 5


def test_a_label_is_read_from_a_line_of_any_length_but_only_what_ends_is_an_option_s_text() -> None:
    rambling = "it is so " * 1000
    assert choice(f"B. {rambling}", COLOURS) == "B"
    assert choice(f"The answer is C) {rambling}", COLOURS) == "C"
    assert choice(f"Yes, {rambling}", {"yes": "yes", "no": "no"}) == "yes"
    assert choice(f"blue{' ' * 5000}whale", COLOURS) == "C"
    assert choice(f"B{' ' * 5000}or C", COLOURS) is None


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
