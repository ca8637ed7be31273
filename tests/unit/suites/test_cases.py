"""From rows to cases: worked examples, right answers, and what rows that do not fit are told."""

import json
from collections.abc import Mapping, Sequence

import pytest

from scorer.errors import UsageError
from scorer.suites import form
from scorer.suites.cases import Case, Wanted, make_cases
from scorer.suites.catalogue import Part, find

SMALL = """
name = "capitals"
source = "made up"
data = "capitals.jsonl"
user = "Q: {{ question }}\\nA:"
worked = " {{ answer }}"
gold = "{{ answer }}"
metric = "exact"
answer = "text"
"""
ROWS = [{"question": f"capital {i}?", "answer": f"city {i}", "land": "ab"[i % 2]} for i in range(20)]


def part(more: str = "", text: str = SMALL) -> Part:
    return Part(form.loads(text + more, "mine.toml"))


def cases(
    one: Part, rows: Sequence[Mapping[str, object]], shots: int = 0, limit: int | None = None
) -> tuple[list[Case], list[str]]:
    return make_cases(one, rows, None, Wanted(shots, limit))


def refusal(one: Part, rows: Sequence[Mapping[str, object]], shots: int = 0) -> str:
    with pytest.raises(UsageError) as caught:
        cases(one, rows, shots)
    return str(caught.value)


def test_a_row_becomes_a_question_as_it_is_sent() -> None:
    (case,), notes = cases(part(), ROWS[:1])

    assert case == Case("capitals", "0", None, "Q: capital 0?\nA:", "city 0", "exact", "Q: capital 0?\nA:", None)
    assert notes == []


def test_worked_examples_stand_first_with_their_answers_and_are_not_asked() -> None:
    made, notes = cases(part(), ROWS, shots=2)

    examples = made[0].prompt.split("\n\n")[:-1]
    assert [example.startswith("Q: capital ") and "\nA: city " in example for example in examples] == [True, True]
    assert len(made) == 18
    assert not {example.split("?")[0] for example in examples} & {case.question.split("?")[0] for case in made}
    assert notes == ["capitals: 2 of its rows are the worked examples and are not asked themselves"]


def test_examples_of_another_split_leave_all_rows_to_be_asked() -> None:
    made, notes = make_cases(part(), ROWS[:3], ROWS[3:], Wanted(shots=2))

    assert [case.case for case in made] == ["0", "1", "2"]
    assert notes == []


def test_the_same_examples_are_chosen_each_time_and_the_first_ones_stay_with_more() -> None:
    def chosen(shots: int) -> set[str]:
        return set(cases(part(), ROWS, shots)[0][0].prompt.split("\n\n")[:-1])

    assert chosen(3) == chosen(3)
    assert chosen(2) < chosen(3) < chosen(5)
    other = cases(part("seed = 1\n"), ROWS, 3)[0][0].prompt.split("\n\n")[:-1]
    assert set(other) != chosen(3)


def test_examples_of_the_group_are_of_the_question_s_own_group() -> None:
    grouped = part('group = "{{ land }}"\nexamples_of_group = true\nintro = "Of {{ group }}.\\n"\n')

    made, _ = make_cases(grouped, ROWS[:4], ROWS[4:], Wanted(shots=2))

    for case in made:
        assert case.prompt.startswith(f"Of {case.group}.\n")
        numbers = [int(line.split()[2].rstrip("?")) for line in case.prompt.splitlines() if line.startswith("Q: ")]
        assert {"ab"[number % 2] for number in numbers} == {case.group}


def test_a_limit_spreads_over_the_rows() -> None:
    made, _ = cases(part(), ROWS, limit=4)

    assert [int(case.case) // 5 for case in made] == [0, 1, 2, 3]


def test_a_pair_is_asked_in_both_orders_with_the_letter_turned() -> None:
    text = """
name = "judge"
source = "made up"
data = "pairs.json"
user = "{{ input }}|{{ a }}|{{ b }}"
metric = "choice"
[pair]
a = "output_1"
b = "output_2"
better = "'a' if label == 1 else 'b'"
"""
    made, _ = cases(part(text=text), [{"input": "x", "output_1": "one", "output_2": "two", "label": 2}])

    assert [(case.case, case.group, case.gold, case.prompt) for case in made] == [
        ("0/ab", "0", "B", "x|one|two"),
        ("0/ba", "0", "A", "x|two|one"),
    ]


def test_chat_control_tokens_inside_rows_are_made_harmless() -> None:
    (case,), _ = cases(part(), [{"question": "a<|im_end|>b", "answer": "c"}])

    assert "<|im_end|>" not in case.prompt


def test_no_row_makes_a_control_token_where_two_texts_of_a_suite_meet() -> None:
    text = SMALL.replace("Q: {{ question }}", "{{ question }}") + 'intro = "<s>{{ answer }}"\nseparator = "s><s>"\n'
    rows = [{"question": "_end|>?", "answer": "<|im"}]

    (case,), _ = cases(part(text=text), rows)
    assert case.prompt == "<s>< |im_end|>?\nA:"
    (case,), _ = make_cases(part(text=text), rows, [{"question": "1+1", "answer": "2 <"}], Wanted(shots=1))
    assert case.prompt == "<s><|im1+1\nA: 2 < s><s>_end|>?\nA:"


@pytest.mark.parametrize(
    ("more", "row", "said"),
    [
        ("", {"answer": "x"}, "mine.toml: user: row 0 of its data: 'question' is undefined\nits columns: answer"),
        ("", {"question": "x", "answer": " "}, "gold: row 0 of its data: gives nothing"),
        ('id = "{{ 1 // 0 }}"\n', {"question": "x", "answer": "y"}, "mine.toml: id: row 0"),
        ('choices = "question"\n', {"question": "x", "answer": "y"}, "choices: row 0 of its data: is no list"),
    ],
)
def test_a_row_that_does_not_fit_is_told_with_its_columns(more: str, row: dict[str, object], said: str) -> None:
    assert said in refusal(part(more), [row])


def test_ids_that_are_there_twice_are_refused() -> None:
    assert 'gives "x" for two rows' in refusal(part('id = "x{{ question[:0] }}"\n'), ROWS)


def test_more_examples_than_rows_are_refused() -> None:
    assert "30 worked examples are wanted and there are 20" in refusal(part(), ROWS, 30)
    assert "all 20 rows would be worked examples" in refusal(part(), ROWS, 20)


def test_a_gold_that_is_no_option_is_refused() -> None:
    text = SMALL.replace('metric = "exact"\nanswer = "text"', 'metric = "choice"\nchoices = "[question, land]"')

    assert 'gives "city 0", which is none of A, B' in refusal(part(text=text), ROWS)


ARC = {"text": ["sun", "moon"], "label": ["1", "2"]}
PUBLISHED: list[tuple[str, dict[str, object], str, list[str]]] = [
    ("gsm8k", {"question": "2 + 3?", "answer": "It is <<2+3=5>>5\n#### 1,005"}, "1005", []),
    ("mmlu", {"question": "q", "choices": list("wxyz"), "subject": "law", "answer": 2}, "C", list("wxyz")),
    (
        "mmlu",
        {"question": "q", **dict(zip("ABCD", "wxyz", strict=True)), "answer": "D", "file": "law_test"},
        "D",
        list("wxyz"),
    ),
    ("arc-easy", {"id": "1", "question": "q", "choices": ARC, "answerKey": "2"}, "B", ["sun", "moon"]),
    (
        "arc-challenge",
        {
            "id": "1",
            "question": {"stem": "q", "choices": [{"text": "sun", "label": "A"}, {"text": "moon", "label": "B"}]},
            "answerKey": "B",
        },
        "B",
        ["sun", "moon"],
    ),
    (
        "hellaswag",
        {"activity_label": "Tea", "ctx": "He", "endings": list("wxyz"), "label": "3", "source_id": "v"},
        "D",
        list("wxyz"),
    ),
    (
        "hellaswag",
        {"activity_label": "Tea", "ctx": "He", "endings": list("wxyz"), "label": 0, "source_id": "v"},
        "A",
        list("wxyz"),
    ),
    (
        "truthfulqa-mc1",
        {"question": "q", "mc1_targets": {"choices": ["yes", "no"], "labels": [1, 0]}},
        "B",
        ["no", "yes"],
    ),
    ("truthfulqa-mc1", {"question": "q", "mc1_targets": {"yes": 1, "no": 0}}, "B", ["no", "yes"]),
    ("winogrande", {"sentence": "_ ran", "option1": "Ann", "option2": "Bob", "answer": "2"}, "B", ["Ann", "Bob"]),
    ("piqa", {"goal": "g", "sol1": "s", "sol2": "t", "label": 0}, "A", ["s", "t"]),
    ("boolq", {"passage": "p", "question": "q", "answer": True}, "yes", ["no", "yes"]),
    ("bbh/snarks", {"input": "Which?\nOptions:\n(A) this\n(B) that", "target": "(B)"}, "B", ["this", "that"]),
    ("bbh/boolean_expressions", {"input": "not True is", "target": "False"}, "False", ["True", "False"]),
    ("bbh/navigate", {"input": "Back?\nOptions:\n- Yes\n- No", "target": "Yes"}, "Yes", ["Yes", "No"]),
]


@pytest.mark.parametrize(("name", "row", "gold", "options"), PUBLISHED)
def test_the_shipped_suites_read_rows_in_the_published_formats(
    name: str, row: dict[str, object], gold: str, options: list[str]
) -> None:
    (one,) = find(name)

    (case,), _ = cases(one, [row])

    assert case.gold == gold
    assert list(json.loads(case.choices or "{}").values()) == options
    assert all(option in case.prompt or one.suite.name in ("bbh", "boolq") for option in options)


def test_llmbar_s_pairs_name_the_better_answer_in_both_orders() -> None:
    (one,) = find("llmbar")

    made, _ = cases(one, [{"input": "i", "output_1": "first", "output_2": "second", "label": 1}])

    assert [case.gold for case in made] == ["A", "B"]
    assert "Answer A:\nsecond" in made[1].prompt


def test_mmlu_names_the_subject_and_ends_as_published() -> None:
    (one,) = find("mmlu")
    row = {"question": "q", "choices": list("wxyz"), "subject": "high_school_biology", "answer": 0}

    (case,), _ = cases(one, [row])

    assert case.prompt == (
        "The following are multiple choice questions (with answers) about high school biology.\n\n"
        "q\nA. w\nB. x\nC. y\nD. z\nAnswer:"
    )
    assert case.group == "high_school_biology"
