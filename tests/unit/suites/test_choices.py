"""Which option a completion means, and where it says too much or too little to tell."""

import pytest

from scorer.suites.choices import choice

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
        ("True or False?", None),
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


def test_a_label_is_read_from_a_line_of_any_length_but_only_what_ends_is_an_option_s_text() -> None:
    rambling = "it is so " * 1000
    assert choice(f"B. {rambling}", COLOURS) == "B"
    assert choice(f"The answer is C) {rambling}", COLOURS) == "C"
    assert choice(f"Yes, {rambling}", {"yes": "yes", "no": "no"}) == "yes"
    assert choice(f"blue{' ' * 5000}whale", COLOURS) == "C"
    assert choice(f"B{' ' * 5000}or C", COLOURS) is None


CITIES = {"A": "Sydney", "B": "Canberra", "C": "Perth"}
ANSWERS = {"yes": "yes", "no": "no"}


@pytest.mark.parametrize(
    "text",
    [
        "A. Sydney\nB. Canberra\nC. Perth",
        "A) Sydney B) Canberra C) Perth",
        "(A) Sydney\n\n(B) Canberra",
        "**A.** Sydney\n**B.** Canberra",
        "A\nB\nC",
        "Answer:\nA. Sydney\nB. Canberra\nC. Perth",
        "\\boxed{A. Sydney B. Canberra}",
        "Sydney\nCanberra\nPerth",
        "A: no\nB: yes",
        "C. It is wrong.\nA. So is this.",
        "A. Sydney is wrong. B. Canberra is right.",
    ],
)
def test_who_goes_through_the_options_has_chosen_none(text: str) -> None:
    assert choice(text, CITIES) is None


@pytest.mark.parametrize(
    "text",
    [
        "A, B",
        "(A), (B)",
        "A/B",
        "A and B, since Sydney is large",
        "Options A and B",
        "The answer is A, B.",
        "The answer is B. No, the answer is B or C.",
        "A, C are wrong; B",
        "A, or maybe B",
        "A. Or is it C?",
    ],
)
def test_two_labels_side_by_side_are_no_answer(text: str) -> None:
    assert choice(text, CITIES) is None


@pytest.mark.parametrize("text", ["It is not Sydney.", "It isn't (A)", "The answer is not (A) Sydney", "not Perth"])
def test_to_say_which_option_it_is_not_is_no_answer(text: str) -> None:
    assert choice(text, CITIES) is None


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("A. Sydney", "A"),
        ("A. Sydney is the capital because it is large. B is wrong", "A"),
        ("The answer is A. B is wrong", "A"),
        ("C. Perth\n\nExplanation:\nA. Sydney is wrong\nB. Canberra is wrong", "C"),
        ("C. Perth\nA. Sydney is wrong", "C"),
        ("B\n\nCanberra is the capital.", "B"),
        ("B. Canberra, as opposed to Washington D.C. and others", "B"),
        ("The answer is B. Canberra is the capital. A. Sydney is not.", "B"),
        ("B, not A", "B"),
        ("B, a city", "B"),
        ("B. A city in the hills", "B"),
        ("B, because A is larger", "B"),
    ],
)
def test_a_clear_answer_stays_one_whatever_is_said_of_the_others(text: str, label: str) -> None:
    assert choice(text, CITIES) == label


@pytest.mark.parametrize(
    "text",
    ["Yes and no.", "Yes/no", "Yes, no.", "Yes\nNo", "The answer is yes or no", "not yes", "It isn't yes", "never no"],
)
def test_yes_and_no_together_or_denied_are_no_answer(text: str) -> None:
    assert choice(text, ANSWERS) is None


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Yes, no doubt about it", "yes"),
        ("No, yes would be too much", "no"),
        ("Yes. And it is so everywhere", "yes"),
        ("I thought not at first.\nBut yes", "yes"),
    ],
)
def test_a_word_as_label_may_have_words_behind_it(text: str, label: str) -> None:
    assert choice(text, ANSWERS) == label
