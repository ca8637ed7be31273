import json
import math
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.core.score import Field, figure_of, json_schema, scorer_for, words_of
from scorer.errors import FaultKind, RowFault

SCORE = Field("score", "integer", minimum=1, maximum=10)
REASON = Field("reason", "string", max_length=20)
FIELDS = (
    SCORE,
    REASON,
    Field("share", "number", minimum=0, maximum=1),
    Field("useful", "boolean"),
    Field("kind", "choice", values=("prose", "code")),
)
VALID: dict[str, object] = {"score": 7, "reason": "fine", "share": 0.5, "useful": True, "kind": "code"}

score_all = scorer_for(FIELDS)
score_two = scorer_for([SCORE, REASON])


def refusal(completion: str) -> str:
    """Score a completion that must be refused, and return why it was."""
    with pytest.raises(RowFault) as caught:
        score_all(completion)
    assert caught.value.kind is FaultKind.INVALID_OUTPUT
    assert caught.value.completion == completion
    assert not caught.value.permanent
    assert len(caught.value.message) < 250
    return caught.value.message


def changed(**values: object) -> str:
    return json.dumps({**VALID, **values})


def test_a_valid_completion_becomes_its_fields_in_the_templates_order() -> None:
    backwards = json.dumps(dict(reversed(VALID.items())))
    parsed = score_all(backwards)
    assert parsed == VALID
    assert list(parsed) == ["score", "reason", "share", "useful", "kind"]


def test_the_schema_names_all_fields_in_order_with_their_bounds() -> None:
    assert json_schema(FIELDS) == {
        "type": "object",
        "properties": {
            "score": {"type": "integer", "minimum": 1, "maximum": 10},
            "reason": {"type": "string", "maxLength": 20},
            "share": {"type": "number", "minimum": 0, "maximum": 1},
            "useful": {"type": "boolean"},
            "kind": {"type": "string", "enum": ["prose", "code"]},
        },
        "required": ["score", "reason", "share", "useful", "kind"],
        "additionalProperties": False,
    }


def test_a_number_without_bounds_has_none_in_the_schema() -> None:
    assert json_schema([Field("score", "number")])["properties"] == {"score": {"type": "number"}}


def test_white_space_around_the_object_is_accepted() -> None:
    assert score_all(f" \r\n\t{json.dumps(VALID)}\n\n ") == VALID


@pytest.mark.parametrize("written", ["7.0", "7e0", "70e-1"])
def test_an_integer_may_be_written_as_json_schema_allows(written: str) -> None:
    parsed = score_two(f'{{"score": {written}, "reason": ""}}')
    assert parsed["score"] == 7
    assert type(parsed["score"]) is int


def test_a_number_may_be_written_as_an_integer_and_becomes_a_float() -> None:
    assert type(score_all(changed(share=1))["share"]) is float


def test_an_escaped_nul_is_a_character_like_any_other() -> None:
    assert score_all(changed(reason="a\0b"))["reason"] == "a\0b"


def test_a_string_is_measured_in_characters_and_not_in_bytes() -> None:
    assert score_all(changed(reason="é" * 20))["reason"] == "é" * 20
    assert score_all(changed(reason="🙂" * 20))["reason"] == "🙂" * 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": 11}, '"score" should be less than or equal to 10, not 11'),
        ({"score": 0}, '"score" should be greater than or equal to 1, not 0'),
        ({"score": 7.5}, '"score" should be a valid integer, not 7.5'),
        ({"score": "7"}, '"score" should be a valid integer, not "7"'),
        ({"score": True}, '"score" should be a valid integer, not true'),
        ({"score": None}, '"score" should be a valid integer, not null'),
        ({"score": [7]}, '"score" should be a valid integer, not a list'),
        ({"score": {"value": 7}}, '"score" should be a valid integer, not an object'),
        ({"reason": "x" * 21}, '"reason" is longer than 20 characters'),
        ({"reason": 3}, '"reason" should be a valid string, not 3'),
        ({"share": 1.01}, '"share" should be less than or equal to 1, not 1.01'),
        ({"share": "half"}, '"share" should be a valid number, not "half"'),
        ({"share": True}, '"share" should be a valid number, not true'),
        ({"useful": 1}, '"useful" should be a valid boolean, not 1'),
        ({"useful": "true"}, '"useful" should be a valid boolean, not "true"'),
        ({"kind": "Code"}, "\"kind\" should be 'prose' or 'code', not \"Code\""),
        ({"kind": "x" * 500}, "\"kind\" should be 'prose' or 'code', not \"" + "x" * 39 + "…"),
        ({"note": "?"}, '"note" was not asked for'),
        ({"field_0": 7}, '"field_0" was not asked for'),
    ],
)
def test_a_wrong_value_is_refused_and_the_message_says_what_is_wrong(change: dict[str, object], message: str) -> None:
    assert refusal(changed(**change)) == message


def test_a_missing_field_is_named() -> None:
    assert refusal('{"score": 7, "reason": "", "share": 0, "useful": true}') == '"kind" is missing'


@pytest.mark.parametrize("text", ["", " ", "\n\t \r\n", "\u00a0"])
def test_an_empty_completion_is_called_so(text: str) -> None:
    assert refusal(text) == "empty completion"


@pytest.mark.parametrize("text", ["7", '"score"', "null", "true", "[]", json.dumps([VALID])])
def test_json_that_is_no_object_is_refused(text: str) -> None:
    assert refusal(text) == "not a JSON object"


@pytest.mark.parametrize(
    "text",
    [
        "I would give it a 7.",
        f"```json\n{json.dumps(VALID)}\n```",
        f"Here you are: {json.dumps(VALID)}",
        f"{json.dumps(VALID)} {json.dumps(VALID)}",
        json.dumps(VALID)[:-1],
        json.dumps(VALID).replace('"', "'"),
        f"{json.dumps(VALID)}\0",
        f"\ufeff{json.dumps(VALID)}",
        '{"score": 7, "reason": "a\0b"}',
        '{"score": 7, "reason": "a\nb"}',
        '{"score": 7, "reason": "\\ud800"}',
        '{"score": 07, "reason": ""}',
        '{"score": 7, "reason": "",}',
        "\ud800",
        "[" * 10_000,
        '{"score":' + "[" * 10_000 + "]" * 10_000 + "}",
        '{"a":' * 10_000 + "1" + "}" * 10_000,
        '{"score": ' + "9" * 6_000 + "}",
    ],
)
def test_what_is_not_exactly_one_json_object_is_refused_and_never_repaired(text: str) -> None:
    assert refusal(text).startswith("not JSON: ")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 4_000])
@pytest.mark.parametrize("field", ["score", "share"])
def test_what_is_not_a_finite_number_is_refused(field: str, value: str) -> None:
    assert refusal(changed(**{field: 12345}).replace("12345", value)).startswith(f'"{field}" should be ')


def test_an_unbounded_number_is_still_finite() -> None:
    score = scorer_for([Field("score", "number")])
    assert score('{"score": -1.5e300}') == {"score": -1.5e300}
    for value in ("NaN", "Infinity", "1e999", "9" * 4_000):
        with pytest.raises(RowFault):
            score(f'{{"score": {value}}}')


@pytest.mark.parametrize("first", ["3", "NaN", "9" * 5_000, "[[[{}]]]", '{"score": 1}', '"seven"'])
def test_a_repeated_key_is_refused_whatever_came_first(first: str) -> None:
    with pytest.raises(RowFault):
        score_two(f'{{"score": {first}, "reason": "", "score": 7}}')
    assert refusal(f'{{"score": 3, {json.dumps(VALID)[1:]}') == "a key is repeated"
    assert refusal(f'{{"sc\\u006fre": 3, {json.dumps(VALID)[1:]}') == "a key is repeated", "spelled otherwise"


def test_a_text_may_be_the_name_of_a_field() -> None:
    assert score_two('{"score": 7, "reason": "score"}') == {"score": 7, "reason": "score"}


@pytest.mark.parametrize("name", ["copy", "json", "model_dump", "model_fields", "schema", "self", "class", "_hidden"])
def test_a_field_may_have_any_name(name: str) -> None:
    assert scorer_for([SCORE, Field(name, "boolean")])(f'{{"score": 1, "{name}": false}}') == {"score": 1, name: False}


# --- properties

names = st.text(string.ascii_letters + "_", min_size=1, max_size=12)
bounds = st.tuples(st.integers(-(2**53), 2**53), st.integers(-(2**53), 2**53)).map(sorted)
reals = st.floats(allow_nan=False, allow_infinity=False)
choices = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), min_size=1, max_size=4, unique=True)


@st.composite
def some_field(draw: st.DrawFn, name: str) -> Field:
    match draw(st.sampled_from(["integer", "number", "bounded", "string", "boolean", "choice"])):
        case "integer":
            low, high = draw(bounds)
            return Field(name, "integer", minimum=low, maximum=high)
        case "number":
            return Field(name, "number")
        case "bounded":
            low, high = sorted([draw(reals), draw(reals)])
            return Field(name, "number", minimum=low, maximum=high)
        case "string":
            return Field(name, "string", max_length=draw(st.integers(1, 40)))
        case "boolean":
            return Field(name, "boolean")
        case _:
            return Field(name, "choice", values=tuple(draw(choices)))


@st.composite
def some_fields(draw: st.DrawFn) -> list[Field]:
    return [draw(some_field(name)) for name in draw(st.lists(names, min_size=1, max_size=5, unique=True))]


def valid_value(field: Field) -> st.SearchStrategy[Any]:
    match field.type:
        case "integer":
            return st.integers(int(field.minimum or 0), int(field.maximum or 0))
        case "number":
            low, high = field.minimum, field.maximum
            return st.floats(low, high, allow_nan=False, allow_infinity=False)
        case "string":
            return st.text(st.characters(codec="utf-8"), max_size=field.max_length)
        case "boolean":
            return st.booleans()
        case "choice":
            return st.sampled_from(field.values)


def conforms(value: object, field: Field) -> bool:
    """What JSON Schema says of one property, written down a second time."""
    if field.type == "boolean":
        return isinstance(value, bool)
    if field.type == "choice":
        return value in field.values
    if field.type == "string":
        return isinstance(value, str) and len(value) <= (field.max_length or 0)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return False
    if field.type == "integer" and value != int(value):
        return False
    return (field.minimum is None or value >= field.minimum) and (field.maximum is None or value <= field.maximum)


@given(st.data())
def test_every_value_that_the_schema_allows_comes_back_as_it_was(data: st.DataObject) -> None:
    fields = data.draw(some_fields())
    values = {field.name: data.draw(valid_value(field)) for field in fields}
    completion = json.dumps(values, ensure_ascii=data.draw(st.booleans()), indent=data.draw(st.none() | st.just(1)))
    assert scorer_for(fields)(completion) == values


def lists_and_objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-20, 20) | st.integers() | st.floats() | st.text(max_size=12),
    lists_and_objects,
    max_leaves=5,
)


@given(st.data())
def test_a_record_is_accepted_exactly_when_the_schema_allows_it(data: st.DataObject) -> None:
    fields = data.draw(some_fields())
    values = {field.name: data.draw(valid_value(field) | json_values) for field in fields}
    extra = data.draw(st.sampled_from([False, False, True]))
    dropped = data.draw(st.sampled_from([False, False, True]))
    allowed = all(conforms(values[field.name], field) for field in fields) and not extra and not dropped
    if dropped:
        del values[fields[0].name]
    if extra:
        values["1 too many"] = data.draw(json_values)
    score = scorer_for(fields)
    completion = json.dumps(values)
    if allowed:
        assert score(completion) == values
    else:
        with pytest.raises(RowFault):
            score(completion)


@given(
    st.text()
    | st.text('{}[]":,.0123456789eE+-truefalsnscore reason\\u\n\t')
    | st.binary().map(lambda b: b.decode("latin-1"))
)
def test_no_text_raises_anything_but_a_row_fault(text: str) -> None:
    try:
        parsed = score_two(text)
    except RowFault:
        return
    assert all(conforms(parsed[field.name], field) for field in (SCORE, REASON))


@given(st.integers(0, 200), st.text(max_size=3))
def test_no_damage_to_a_valid_completion_raises_anything_but_a_row_fault(at: int, inserted: str) -> None:
    text = json.dumps(VALID)
    damaged = text[:at] + inserted + text[at + 1 :]
    try:
        parsed = score_all(damaged)
    except RowFault:
        return
    assert all(conforms(parsed[field.name], field) for field in FIELDS)


def test_words_are_counted_by_their_place_and_numbers_by_themselves() -> None:
    useful, kind = FIELDS[3], FIELDS[4]
    assert (words_of(SCORE), words_of(REASON)) == ((), ())
    assert (words_of(useful), words_of(kind)) == (("false", "true"), ("prose", "code"))
    assert [figure_of(word, words_of(kind)) for word in ("prose", "code")] == [0.0, 1.0]
    assert [figure_of(value, words_of(useful)) for value in (False, True)] == [0.0, 1.0]
    assert figure_of(7, ()) == 7.0
    assert figure_of("free text", ()) is None
    assert figure_of(None, ()) is None
