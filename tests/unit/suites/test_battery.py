"""The suites of a job: frozen as text and made again from it."""

import json
import math

import pytest

from scorer.core.task import Reply
from scorer.errors import UsageError
from scorer.suites import battery
from scorer.suites.battery import AskedSuite, Battery, Terms
from scorer.suites.catalogue import find


def asked(name: str, shots: int = 5) -> AskedSuite:
    (part,) = find(name)
    return AskedSuite(part, shots, part.data, part.examples)


def made(terms: Terms | None = None, *suites: AskedSuite) -> Battery:
    return battery.battery(suites or (asked("gsm8k"), asked("bbh/snarks", 3)), terms or Terms())


def test_a_battery_is_made_again_from_its_text() -> None:
    one = made(Terms(limit=50, sampling=True, temperature=0.6))

    again = battery.loads(one.text, "job.toml")

    assert again.text == one.text
    assert again.fingerprint == one.fingerprint
    assert again.differences(one) == []
    assert {name: way.num_predict for name, way in again.ways().items()} == {"gsm8k": 320, "bbh/snarks": 64}


def test_options_that_were_changed_hold_for_all_suites_and_change_no_fingerprint() -> None:
    one = made()
    text = one.text + "\n[options]\nnum_ctx = 8192\nnum_predict = 500\n"

    again = battery.loads(text, "job.toml")

    assert (again.options.num_ctx, again.options.num_predict) == (8192, 500)
    assert {way.num_predict for way in again.ways().values()} == {500}
    assert again.fingerprint == one.fingerprint


def test_a_prompt_says_which_suite_it_is_of() -> None:
    rendered = made().render({"suite": "bbh/snarks", "prompt": "Q: why?\nA:"})

    assert (rendered.user, rendered.recipe, rendered.chars) == ("Q: why?\nA:", "bbh/snarks", 10)


def test_a_way_scores_a_reply_against_the_row_s_own_gold() -> None:
    ways = made().ways()

    right = ways["gsm8k"].score(json.dumps({"gold": "5", "choices": None}), Reply("#### 5", "stop"))
    wrong = ways["bbh/snarks"].score(json.dumps({"gold": "A", "choices": '{"A": "x", "B": "y"}'}), Reply("(B)", "stop"))

    assert (right["score"], wrong["score"]) == (1.0, 0.0)


def test_samples_are_drawn_at_a_temperature_and_read_from_the_text() -> None:
    once, often = made(None, asked("mmlu")).ways()["mmlu"], made(Terms(sampling=True), asked("mmlu")).ways()["mmlu"]

    assert (once.temperature, often.temperature) == (0.0, 0.7)
    assert once.top_logprobs > 0
    assert often.top_logprobs == 0
    assert made(Terms(sampling=True, temperature=1.1)).ways()["gsm8k"].temperature == 1.1


def test_the_first_token_decides_where_the_suite_wants_it() -> None:
    way = made(None, asked("mmlu")).ways()["mmlu"]
    kept = json.dumps({"gold": "B", "choices": '{"A": "x", "B": "y"}'})

    assert way.score(kept, Reply("A", "stop", first_token=(("B", math.log(0.9)),)))["answer"] == "B"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: made(None, asked("gsm8k"), asked("gsm8k")), '"gsm8k" is named twice'),
        (lambda: made(Terms(sampling=True, temperature=0.0)), "give a --temperature"),
        (lambda: battery.loads("suites = []\n[terms]", "job.toml"), "job.toml: suites is empty"),
        (lambda: battery.loads("rubbish", "job.toml"), "job.toml: not valid TOML"),
    ],
)
def test_what_cannot_be_asked_is_told(make: object, said: str) -> None:
    assert callable(make)
    with pytest.raises(UsageError) as caught:
        make()
    assert said in str(caught.value)


def test_differences_name_what_the_same_command_would_do_otherwise() -> None:
    lines = made(Terms(limit=5)).differences(made(Terms(limit=6), asked("gsm8k", 2)))

    assert lines == [
        "suites: the job has gsm8k, bbh/snarks, this run gsm8k",
        "limit: the job has 5, this run 6",
        "gsm8k: shots: the job has 5, this run 2",
    ]


def test_the_name_tells_suites_shots_and_limit() -> None:
    assert made(Terms(limit=50)).name == "gsm8k-bbh-snarks-n50"
    assert made(None, asked("gsm8k", 0)).name == "gsm8k-k0"
    assert made(None, *(AskedSuite(part, 3, part.data, "") for part in find("bbh"))).name.endswith("-23-suites")
