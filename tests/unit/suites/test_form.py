"""Suite files: what they may say, and how their mistakes are told."""

import pytest

from scorer.errors import UsageError
from scorer.suites import catalogue, form

SMALL = """
name = "capitals"
source = "made up"
data = "capitals.jsonl"
user = "{{ question }}"
gold = "{{ answer }}"
metric = "exact"
answer = "text"
"""


def refusal(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        form.loads(text, "mine.toml")
    return str(caught.value)


def test_a_small_file_is_a_whole_suite() -> None:
    suite = form.loads(SMALL, "mine.toml")

    assert (suite.name, suite.title, suite.shots, suite.metric, suite.answer) == ("capitals",) * 2 + (
        0,
        "exact",
        "text",
    )
    assert suite.options.temperature == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('metrik = "exact"', 'mine.toml: unknown key "metrik"; did you mean "metric"?'),
        ("shots = -1", "mine.toml: shots must be greater than or equal to 0"),
        ("[options]\nstops = []", 'mine.toml: [options]: unknown key "stops"; did you mean "stop"?'),
        ("[options]\nnum_predict = 5000", "num_predict (5000) leaves no room in num_ctx (4096)"),
        ('choices = "["', "mine.toml: choices: "),
        ('id = "{{ id"', "mine.toml: id, line 1: "),
        ('system = "{{ question }}"', "mine.toml: system must be the same for every row"),
        ('pattern = "x"', 'answer = "pattern" and pattern belong together'),
        ("examples_of_group = true", "examples_of_group needs group"),
        ("[subsets]\nsmall = []", "[subsets] and {subset} in data belong together"),
        ("[pair]\na = 'x'", "mine.toml: [pair]: b is missing"),
        ("[pair]\na = 'x'\nb = 'y'\nbetter = 'z'", '[pair] says what is right: metric = "choice"'),
    ],
)
def test_mistakes_name_the_file_the_key_and_what_would_do(line: str, said: str) -> None:
    assert said in refusal(SMALL + line)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('answer = "text"\n', "", 'metric = "exact" needs answer'),
        ('metric = "exact"', 'metric = "choice"', 'answer belongs to metric = "exact"'),
        ('metric = "exact"\nanswer = "text"', 'metric = "choice"', "choices is missing"),
        ('answer = "text"', 'answer = "pattern"\npattern = "("', "pattern is no regular expression"),
        ('gold = "{{ answer }}"\n', "", "gold is missing"),
        ("{{ question }}", "question", "user takes nothing from the row"),
        ('name = "capitals"', 'name = "Cap itals"', "name may hold small letters"),
        ('source = "made up"', 'source = " "', "source is empty"),
        ('data = "capitals.jsonl"', "", "data is missing"),
    ],
)
def test_what_is_missing_or_does_not_go_together_is_told(old: str, new: str, said: str) -> None:
    assert said in refusal(SMALL.replace(old, new))


def test_the_fingerprint_changes_with_what_is_asked_and_not_with_words_about_it() -> None:
    one = form.loads(SMALL, "a").fingerprint

    assert form.loads(f"# a note\n{SMALL}".replace("made up", "my own"), "b").fingerprint == one
    assert form.loads(SMALL.replace("{{ question }}", "Q: {{ question }}"), "a").fingerprint != one
    assert form.loads(f"{SMALL}[options]\nseed = 1", "a").fingerprint != one


def test_every_shipped_suite_can_be_read_and_cites_its_source() -> None:
    names = {suite.name for suite in catalogue.shipped()}

    assert names == {
        *("gsm8k", "mmlu", "arc-easy", "arc-challenge", "hellaswag", "truthfulqa-mc1", "winogrande", "piqa", "boolq"),
        *("bbh", "llmbar"),
    }
    assert all("arXiv:" in suite.source for suite in catalogue.shipped())


def test_a_suite_with_subsets_means_all_of_them_or_the_one_that_is_named() -> None:
    assert len(catalogue.find("bbh")) == 23
    (part,) = catalogue.find("bbh/snarks")
    assert (part.name, part.data) == ("bbh/snarks", "hf://SaylorTwift/bbh:snarks/test")


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("gsm8", 'no suite "gsm8"; did you mean "gsm8k"?'),
        ("bbh/snark", 'suite bbh has no subset "snark"; did you mean "snarks"?'),
        ("gsm8k/hard", "gsm8k has none"),
        ("absent.toml", "cannot read the suite absent.toml"),
    ],
)
def test_a_wrong_name_is_told_with_the_nearest(wanted: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        catalogue.find(wanted)
    assert said in str(caught.value)
