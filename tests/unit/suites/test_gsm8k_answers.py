"""Numbers out of fifty completions written by hand, beside what lm-evaluation-harness's two filters for GSM8K take.

The filters' regular expressions are facts of its task file `lm_eval/tasks/gsm8k/gsm8k.yaml` (version 3.0 of the task):
the first match of the strict one, the last of the flexible one, then a comparison as text without commas and dollars.
docs/bench.md explains every kind of difference.
"""

import re

import pytest

from scorer.suites.extract import answer_part
from scorer.suites.numbers import number

STOPS = ("Question:", "</s>", "<|im_end|>")
STRICT = re.compile(r"#### (\-?[0-9\.\,]+)")
FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")

# completion, the answer a person reads in it, whether the strict and the flexible filter agree with that person
FIFTY = [
    ("She makes 9 * 2 = $<<9*2=18>>18 every day.\n#### 18", "18", True, True),
    ("#### 1,234", "1234", True, True),
    ("So the total is $70,000.\n#### 70,000", "70000", True, True),
    ("#### $42", "42", False, True),
    ("#### -5", "-5", True, True),
    ("#### -$5", "-5", False, True),
    ("####18", "18", False, True),
    ("#### 18.", "18", True, True),
    ("#### 18.00", "18", False, False),
    ("#### 2.5", "2.5", True, True),
    ("#### **18**", "18", False, True),
    ("#### 5 * 3 = 15", "15", False, True),
    ("#### 18 eggs", "18", True, True),
    ("#### 18 dollars a day, of which 2 are saved", "18", True, False),
    ("#### \u00a31,000", "1000", False, True),
    ("#### 50%", "50", True, True),
    ("#### 7\n\nQuestion: Tom has 3 apples. How many?\nAnswer: 3\n#### 3", "7", True, True),
    ("The answer is \\boxed{18}.", "18", False, True),
    ("\\boxed{1,234}", "1234", False, True),
    ("$$\\boxed{\\$45}$$", "45", False, False),
    ("\\boxed{-12}", "-12", False, True),
    ("First \\boxed{3}, so in the end \\boxed{12}.", "12", False, True),
    ("\\boxed{1{,}500}", "1500", False, False),
    ("The result is \\boxed{\\text{25 apples}}. This took 3 steps.", "25", False, False),
    ("The answer is 18.", "18", False, True),
    ("The answer is $18.50.", "18.5", False, False),
    ("The answer is 1,000,000.", "1000000", False, True),
    ("The answer is -7.", "-7", False, True),
    ("The answer is -$1,200.", "-1200", False, True),
    ("The answer is 18. I checked it in 2 ways.", "18", False, False),
    ("The answer is therefore 20 dollars for the 3 of them.", "20", False, False),
    ("The answer is 12 + 6 = 18.", "18", False, True),
    ("**Answer:** 18", "18", False, True),
    ("Final Answer: $1,050", "1050", False, True),
    ("Answer: Janet sells 16 - 3 - 4 = 9 eggs, and makes 9 * 2 = 18 dollars", "18", False, True),
    ("9 * 2 = 18", "18", False, True),
    ("He has 5 left", "5", False, True),
    ("He has 5.", "5", False, True),
    ("That leaves 10-3", "3", False, False),
    ("a range of 10-15 hours", "15", False, False),
    ("He owes -$20 now", "-20", False, True),
    ("The temperature is \u22125", "-5", False, False),
    ("It costs $5.", "5", False, True),
    ("It costs \u20ac1,250", "1250", False, True),
    ("There are 3,4 and 5 of them, so 3,4", "4", False, False),
    ("Steps:\n- 7 apples\n- 8 pears", "8", False, True),
    ("It is .5 of it", "0.5", False, False),
    ("He gets 1,00,000 rupees", "100000", False, True),
    ("In total 18 (eighteen) dollars.", "18", False, True),
    ("I do not know.", None, True, True),
    ("eighteen", None, True, True),
    ("<think>maybe 17, or 19</think>The answer is 18.", "18", False, True),
]


def strict(text: str) -> str | None:
    """What the strict filter takes: its first match."""
    found = STRICT.findall(text)
    return found[0] if found else None


def flexible(text: str) -> str | None:
    """What the flexible filter takes: its last match, whichever group that is."""
    found = FLEXIBLE.findall(text)
    return next(group for group in found[-1] if group) if found else None


def as_compared(text: str | None) -> str | None:
    """A text as the harness compares it: without commas, dollars and a full stop at its end."""
    return None if text is None else re.sub(r"\.$", "", re.sub(r"[,$]", "", text))


@pytest.mark.parametrize(("completion", "answer", "_strict", "_flexible"), FIFTY)
def test_the_number_is_the_one_that_a_person_reads(
    completion: str, answer: str | None, _strict: bool, _flexible: bool
) -> None:
    assert number(answer_part(completion, STOPS)) == answer


@pytest.mark.parametrize(("completion", "answer", "strict_agrees", "flexible_agrees"), FIFTY)
def test_the_harness_s_filters_agree_where_the_documentation_says_so(
    completion: str, answer: str | None, strict_agrees: bool, flexible_agrees: bool
) -> None:
    text = answer_part(completion, STOPS) if "<think>" not in completion else completion

    assert (as_compared(strict(text)) == answer) is strict_agrees
    assert (as_compared(flexible(text)) == answer) is flexible_agrees


def test_there_are_fifty_of_them_and_more() -> None:
    assert len({completion for completion, *_ in FIFTY}) >= 50
