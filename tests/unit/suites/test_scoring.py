"""From a reply to score, answer, parsed and log-probabilities."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.core.task import Reply
from scorer.suites import form
from scorer.suites.scoring import label_logprobs, scored

CHOICE = form.loads(
    """
name = "colours"
source = "made up"
data = "colours.jsonl"
user = "{{ question }}"
choices = "options"
gold = "{{ answer }}"
metric = "choice"
""",
    "colours.toml",
)
CHOICES = json.dumps({"A": "red", "B": "blue"})


def exact(**keys: str) -> form.Suite:
    """A suite whose answers are compared."""
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
    return form.loads(
        f'name = "x"\nsource = "x"\ndata = "x"\nuser = "{{{{ q }}}}"\ngold = "{{{{ a }}}}"\nmetric = "exact"\n{lines}',
        "x.toml",
    )


def test_a_right_answer_scores_one_and_a_wrong_one_none() -> None:
    assert scored(CHOICE, "B", CHOICES, Reply("B.", "stop")) == {
        "score": 1.0,
        "answer": "B",
        "parsed": True,
        "logprobs": None,
    }
    assert scored(CHOICE, "A", CHOICES, Reply("B.", "stop"))["score"] == 0.0


def test_what_cannot_be_read_scores_none_and_says_so() -> None:
    assert scored(CHOICE, "B", CHOICES, Reply("Well …", "length")) == {
        "score": 0.0,
        "answer": None,
        "parsed": False,
        "logprobs": None,
    }


def test_the_likeliest_label_of_the_first_token_is_the_choice() -> None:
    reply = Reply("The", "stop", first_token=((" B", math.log(0.5)), ("A", math.log(0.2)), ("The", math.log(0.1))))

    found = scored(CHOICE, "B", CHOICES, reply)

    assert (found["answer"], found["score"], found["parsed"]) == ("B", 1.0, True)
    assert json.loads(str(found["logprobs"])) == {"B": round(math.log(0.5), 4), "A": round(math.log(0.2), 4)}


def test_a_text_that_says_which_it_means_counts_where_the_first_token_is_no_label() -> None:
    candidates = (("The", math.log(0.9)), ("A", math.log(0.05)))

    clear = scored(CHOICE, "B", CHOICES, Reply("The answer is B", "stop", first_token=candidates))
    unclear = scored(CHOICE, "B", CHOICES, Reply("The cat", "length", first_token=candidates))

    assert (clear["answer"], clear["logprobs"]) == ("B", None)
    assert unclear["answer"] == "A"
    assert unclear["logprobs"] is not None


def test_ways_to_write_a_label_add_up_and_words_are_no_labels() -> None:
    candidates = [("A", math.log(0.3)), (" A", math.log(0.1)), ("(B", math.log(0.35)), (" a", math.log(0.2))]

    found = label_logprobs(candidates, ["A", "B", "C"])

    assert list(found) == ["A", "B"]
    assert found["A"] == pytest.approx(math.log(0.4))


def test_words_as_labels_are_known_in_any_case() -> None:
    assert list(label_logprobs([(" Yes", -0.1), ("no", -3.0)], ["yes", "no"])) == ["yes", "no"]


def test_numbers_are_compared_as_numbers_and_words_as_words() -> None:
    assert scored(exact(answer="number"), "18", None, Reply("#### 18.00", "stop"))["score"] == 1.0
    assert scored(exact(answer="text"), "New York", None, Reply("new york.", "stop"))["score"] == 1.0
    assert scored(exact(answer="pattern", pattern="= (.+)"), "x", None, Reply("y = X", "stop"))["score"] == 1.0


@given(st.text(max_size=80), st.lists(st.tuples(st.text(max_size=3), st.floats(-50, 0)), max_size=5))
def test_every_reply_has_all_fields_within_their_bounds(text: str, candidates: list[tuple[str, float]]) -> None:
    found = scored(CHOICE, "A", CHOICES, Reply(text, "stop", first_token=tuple(candidates)))

    assert list(found) == ["score", "answer", "parsed", "logprobs"]
    assert found["score"] in (0.0, 1.0)
    assert found["parsed"] is (found["answer"] is not None)
