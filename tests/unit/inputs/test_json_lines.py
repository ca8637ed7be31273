import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scorer.errors import UsageError
from scorer.inputs import Dataset, open_dataset
from scorer.inputs.jsonl import MAX_DEPTH
from scorer.inputs.lines import BLOCK_BYTES

Open = Callable[[str | bytes], Dataset]
FILLER = '{"pad":"' + "x" * 1000 + '"}\n'
SEVERAL_BLOCKS = FILLER * (3 * BLOCK_BYTES // len(FILLER))


@pytest.fixture
def lines(tmp_path: Path) -> Open:
    def write(content: str | bytes) -> Dataset:
        path = tmp_path / "d.jsonl"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return open_dataset(str(path))

    return write


def column(dataset: Dataset, name: str) -> list[object]:
    return [value for _, batch in dataset.read([name]) for value in batch.column(0).to_pylist()]


def type_of(dataset: Dataset, name: str) -> pa.DataType:
    return dataset.schema.field(name).type


def test_absent_keys_and_nulls_are_null(lines: Open) -> None:
    dataset = lines('{"a":1}\n{"b":"x"}\n{"a":null,"b":null}\n')
    assert column(dataset, "a") == [1, None, None]
    assert column(dataset, "b") == [None, "x", None]


def test_a_column_that_is_always_null_reads_as_null(lines: Open) -> None:
    dataset = lines('{"a":null,"b":1}\n{"b":2}\n')
    assert type_of(dataset, "a") == pa.null()
    assert column(dataset, "a") == [None, None]


@pytest.mark.parametrize("between", ["", SEVERAL_BLOCKS], ids=["one block", "several blocks"])
def test_whole_and_broken_numbers_make_a_float_column(lines: Open, between: str) -> None:
    dataset = lines('{"a":1}\n' + between + '{"a":2.5}\n')
    assert type_of(dataset, "a") == pa.float64()
    assert [v for v in column(dataset, "a") if v is not None] == [1.0, 2.5]


@pytest.mark.parametrize("between", ["", SEVERAL_BLOCKS], ids=["one block", "several blocks"])
@pytest.mark.parametrize("small_first", [True, False])
def test_ids_that_only_uint64_holds_are_exact(lines: Open, between: str, small_first: bool) -> None:
    ids = [7, 2**64 - 1, 2**64 - 2, None, 2**63]
    first, *rest = ids if small_first else ids[::-1]
    text = json.dumps({"id": first}) + "\n" + between + "".join(json.dumps({"id": one}) + "\n" for one in rest)
    dataset = lines(text)
    assert type_of(dataset, "id") == pa.uint64()
    assert [one for one in column(dataset, "id") if one is not None] == [
        one for one in [first, *rest] if one is not None
    ]


@pytest.mark.parametrize("between", ["", SEVERAL_BLOCKS], ids=["one block", "several blocks"])
@pytest.mark.parametrize("other", ["-1", "0.5", str(2**64), "1e3"])
def test_large_numbers_beside_what_uint64_cannot_hold_are_floats(lines: Open, between: str, other: str) -> None:
    large = json.dumps({"a": 2**63})
    for first, last in ((large, f'{{"a":{other}}}'), (f'{{"a":{other}}}', large)):
        dataset = lines(first + "\n" + between + last + "\n")
        assert type_of(dataset, "a") == pa.float64()
        assert sorted(x for x in column(dataset, "a") if x is not None) == sorted([2.0**63, float(other)])  # type: ignore[type-var]


@pytest.mark.parametrize("between", ["", SEVERAL_BLOCKS], ids=["one block", "several blocks"])
def test_a_key_that_appears_late_is_a_column(lines: Open, between: str) -> None:
    dataset = lines('{"a":{"x":1}}\n' + between + '{"a":{"y":"late"},"b":[true]}\n')
    assert column(dataset, "a")[-1] == {"x": None, "y": "late"}
    assert column(dataset, "b")[-1] == [True]
    assert column(dataset, "a")[0] == {"x": 1, "y": None}


@pytest.mark.parametrize("between", ["", SEVERAL_BLOCKS], ids=["one block", "several blocks"])
@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        ('{"a":1}', '{"a":"one"}', "column `a` holds a string, but a number before"),
        ('{"a":"one"}', '{"a":[1]}', "column `a` holds a list, but a string before"),
        ('{"a":true}', '{"a":1}', "column `a` holds a number, but a truth value before"),
        ('{"a":{"b":[1]}}', '{"a":{"b":[null,"x"]}}', r"column `a\.b\[\]` holds a string, but a number before"),
        ('{"a":[null],"b":null}', '{"b":2,"a":[{}],"a":1}', "column `a` holds a number, but a list before"),
        ('{"a":"2020-01-01"}', '{"a":1}', "column `a` holds a number, but a string before"),
    ],
)
def test_a_column_with_two_kinds_of_values_names_line_and_column(
    lines: Open, between: str, first: str, last: str, message: str
) -> None:
    line = 3 + between.count("\n")
    with pytest.raises(UsageError, match=rf"d\.jsonl:{line}: {message}"):
        lines(first + "\n\n" + between + last + "\n")


def test_strings_that_look_like_dates_stay_strings(lines: Open) -> None:
    dates = ["2020-01-01", "2020-01-01 00:00:00", "2020-01-01T00:00:00Z"]
    dataset = lines("".join(json.dumps({"d": d, "n": {"l": [d]}}) + "\n" for d in dates))
    assert column(dataset, "d") == dates
    assert column(dataset, "n") == [{"l": [d]} for d in dates]


@pytest.mark.parametrize("between", ["", SEVERAL_BLOCKS], ids=["first block", "later block"])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"a":1', "not JSON: Expecting ',' delimiter"),
        (b'{"a":1}{"a":2}', "not JSON: Extra data"),
        (b'{"a":1,}', "not JSON"),
        (b"{'a':1}", "not JSON"),
        (b"[1,2]", "holds a list, not an object"),
        (b'"x"', "holds a string, not an object"),
        (b"null", "holds null, not an object"),
        (b'{"a":"\xe9"}', "not UTF-8 \\(byte 0xe9\\)"),
        (b'{"\xe9":1}', "not UTF-8 \\(byte 0xe9\\)"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested deeper"),
        (b'{"a":' * 300 + b"1" + b"}" * 300, "nested deeper"),
        (b"1" * 5000, "not a JSON number"),
    ],
)
def test_a_broken_line_names_file_and_line(lines: Open, between: str, line: bytes, message: str) -> None:
    number = 3 + between.count("\n")
    with pytest.raises(UsageError, match=rf"d\.jsonl:{number}: {message}") as raised:
        lines(b'\n{"pad":"y"}\n' + between.encode() + line + b'\n{"a":3}\n')
    assert len(str(raised.value)) < 300


def test_pretty_printed_json_is_refused_at_its_first_line(lines: Open) -> None:
    with pytest.raises(UsageError, match=r"d\.jsonl:1: not JSON"):
        lines(json.dumps({"a": 1, "b": 2}, indent=2))


def test_many_brackets_that_are_not_deep_are_fine(lines: Open) -> None:
    values = [[1]] * 1000
    dataset = lines(json.dumps({"a": values, "t": "[{" * 5000 + '"'}) + "\n")
    assert column(dataset, "a") == [values]


def test_the_deepest_allowed_nesting_is_read(lines: Open) -> None:
    depth = MAX_DEPTH - 1
    dataset = lines('{"a":' + "[" * depth + "]" * depth + "}\n")
    assert len(column(dataset, "a")) == 1


def test_a_byte_order_mark_and_crlf_are_fine(lines: Open) -> None:
    dataset = lines(b'\xef\xbb\xbf{"a":"x"}\r\n\r\n{"a":"y\\r\\n"}\r\n')
    assert dataset.schema.names == ["a"]
    assert column(dataset, "a") == ["x", "y\r\n"]


def test_utf16_is_refused_with_advice(lines: Open) -> None:
    with pytest.raises(UsageError, match="UTF-16, JSON Lines must be UTF-8"):
        lines('{"a":1}\n'.encode("utf-16"))


def test_half_of_a_surrogate_pair_becomes_a_replacement_character(lines: Open) -> None:
    dataset = lines('{"a":"x\\ud800y","t":"ok"}\n{"a":"\\ud83d\\ude00"}\n{"a":"\\udc00"}\n')
    assert column(dataset, "a") == ["x\ufffdy", "😀", "\ufffd"]
    assert column(dataset, "t") == ["ok", None, None]


def test_keys_that_repair_makes_equal_are_the_users_error(lines: Open) -> None:
    with pytest.raises(UsageError, match=r"d\.jsonl:1: .*specified twice"):
        lines('{"\\ud800":1,"\\udc00":2}\n')


def test_nan_and_infinity_are_numbers(lines: Open) -> None:
    dataset = lines('{"a":NaN}\n{"a":Infinity}\n{"a":-Infinity}\n{"a":1e999}\n{"a":1}\n')
    nan, *rest = column(dataset, "a")
    assert math.isnan(nan)
    assert rest == [math.inf, -math.inf, math.inf, 1.0]


def test_an_integer_beyond_64_bits_makes_a_float_column(lines: Open) -> None:
    assert column(lines('{"a":1}\n{"a":1180591620717411303424}\n'), "a") == [1.0, 2.0**70]


def test_of_a_repeated_key_the_last_counts(lines: Open) -> None:
    assert column(lines('{"a":1,"a":2}\n{"a":3}\n'), "a") == [2, 3]


def test_nul_characters_and_empty_names_are_read(lines: Open) -> None:
    dataset = lines('{"":"x\\u0000y"}\n')
    assert column(dataset, "") == ["x\x00y"]


def test_a_last_line_without_newline_counts(lines: Open) -> None:
    assert lines('{"a":1}\n{"a":2}').rows == 2


def test_a_line_longer_than_the_limit_is_refused(lines: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scorer.inputs.lines.MAX_LINE_BYTES", 2 << 20)
    with pytest.raises(UsageError, match=r"d\.jsonl:2: the line is longer than 2 MiB"):
        lines('{"a":1}\n[' + '{"a":1},' * (1 << 19) + "]")


def test_more_keys_than_a_table_has_columns_are_refused(lines: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scorer.inputs.width.MAX_KEYS", 50)
    with pytest.raises(UsageError, match="more than 50 different keys"):
        lines("".join(json.dumps({f"id{i}": i}) + "\n" for i in range(51)))


def test_a_line_broken_after_opening_is_the_users_error(lines: Open) -> None:
    dataset = lines('{"a":1}\n{"a":2}\n')
    Path(dataset.source).write_text('{"a":1}\n{"a":x}\n')
    with pytest.raises(UsageError, match=r"d\.jsonl:2: not JSON"):
        list(dataset.read(["a"]))
    Path(dataset.source).write_text('{"a":1}\n{"a":"x"}\n')
    with pytest.raises(UsageError, match=r"d\.jsonl:2: column `a` holds a string, but a number before"):
        list(dataset.read(["a"]))


def test_lists_that_begin_with_null_are_read_right(lines: Open) -> None:
    """Arrow's reader gets these wrong unless it is told the types (apache/arrow#51305)."""
    content = [[None, 1], [None], None, [], [None, None, 2]]
    dataset = lines("".join(json.dumps({"l": value, "n": [None, None]}) + "\n" for value in content))
    assert column(dataset, "l") == content
    assert column(dataset, "n") == [[None, None]] * 5


LEAVES = [
    st.text(max_size=8),
    st.sampled_from(["2020-01-01", "2020-01-01 10:00:00", "x"]),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.booleans(),
]


def lists_and_objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return inner.map(lambda item: st.none() | st.lists(item, max_size=3)) | st.tuples(inner, inner).map(
        lambda pair: st.none() | st.fixed_dictionaries({}, optional={"a": pair[0], "b": pair[1]})
    )


# Strategies for values of one random type, nested and nullable.
TYPED_VALUES = st.recursive(
    st.sampled_from(LEAVES).map(lambda leaf: st.none() | leaf),
    lists_and_objects,
    max_leaves=4,
)
ROWS = st.tuples(TYPED_VALUES, TYPED_VALUES).flatmap(
    lambda pair: st.lists(st.fixed_dictionaries({}, optional={"p": pair[0], "q": pair[1]}), min_size=1, max_size=12)
)


def filled(value: object, type_: pa.DataType) -> object:
    """The value with nulls for the keys it lacks."""
    if isinstance(value, dict):
        return {field.name: filled(value.get(field.name), field.type) for field in type_}
    if isinstance(value, list):
        return [filled(item, type_.value_type) for item in value]
    return value


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ROWS.filter(any), st.sampled_from(["\n", "\r\n", "\n\n \n"]), st.booleans(), st.data())
def test_rows_written_as_json_lines_are_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[dict[str, object]],
    newline: str,
    ascii_only: bool,
    data: st.DataObject,
) -> None:
    path = tmp_path_factory.getbasetemp() / "round.jsonl"
    path.write_bytes(newline.join(json.dumps(row, ensure_ascii=ascii_only) for row in rows).encode())
    dataset = open_dataset(str(path))
    assert dataset.rows == len(rows)
    start = data.draw(st.integers(0, len(rows)))
    found = []
    for _, batch in dataset.read(dataset.schema.names, start):
        batch.validate(full=True)
        found += batch.to_pylist()
    assert found == [filled(row, dataset.schema) for row in rows[start:]]
