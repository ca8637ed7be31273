import io
import json
import math
from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scorer.core.kept import FURTHEST_S, LATEST_S, kept_arrays, kept_json, kept_type
from scorer.errors import UsageError

INT64 = st.integers(-(2**63), 2**63 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)
TEXT = st.text(max_size=8)
FLOAT64 = st.floats(allow_nan=True, allow_infinity=True)
FLOAT32 = st.floats(width=32)
STORED_AS_INT64 = [
    *(pa.timestamp(unit, tz) for unit in ("ms", "us", "ns") for tz in (None, "UTC", "Europe/Paris")),
    *(pa.duration(unit) for unit in ("s", "ms", "us", "ns")),
    pa.time64("us"),
    pa.time64("ns"),
]
STORED_AS_INT32 = [pa.date32(), pa.time32("ms")]
INTEGERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]


def integers_of(type_: pa.DataType) -> st.SearchStrategy[int]:
    bits = type_.bit_width
    return (
        st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if "u" not in str(type_) else st.integers(0, 2**bits - 1)
    )


def arrays(type_: pa.DataType, values: st.SearchStrategy, storage: pa.DataType | None = None) -> st.SearchStrategy:
    """Arrays of a type, nulls included, built from its storage type where Python's values would not cover it."""
    items = st.lists(st.none() | values, min_size=1, max_size=6)
    return items.map(lambda v: pa.array(v, storage).view(type_) if storage else pa.array(v, type_))


ANY_ARRAY = st.one_of(
    *(arrays(t, INT64, pa.int64()) for t in STORED_AS_INT64),
    *(arrays(pa.timestamp("s", tz), st.integers(-FURTHEST_S, FURTHEST_S), pa.int64()) for tz in (None, "UTC")),
    *(arrays(t, INT32, pa.int32()) for t in STORED_AS_INT32),
    arrays(pa.time32("s"), st.integers(-LATEST_S, LATEST_S), pa.int32()),
    *(arrays(t, integers_of(t)) for t in INTEGERS),
    arrays(pa.float16(), st.integers(-(2**15), 2**15 - 1), pa.int16()),
    arrays(pa.float32(), FLOAT32),
    arrays(pa.float64(), FLOAT64),
    arrays(pa.bool_(), st.booleans()),
    arrays(pa.string(), TEXT),
    arrays(pa.large_string(), TEXT),
    arrays(pa.null(), st.none()),
    arrays(pa.binary(), st.binary(max_size=8)),
    arrays(pa.large_binary(), st.binary(max_size=8)),
    arrays(pa.binary(4), st.binary(min_size=4, max_size=4)),
    arrays(pa.decimal128(38, 5), st.decimals(-(10**30), 10**30, places=5)),
    arrays(pa.decimal256(76, 2), st.decimals(-(10**60), 10**60, places=2)),
    arrays(pa.list_(pa.string()), st.lists(st.none() | TEXT, max_size=3)),
    arrays(pa.large_list(pa.float32()), st.lists(st.none() | FLOAT32, max_size=3)),
    arrays(pa.list_(pa.uint64(), 2), st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=2)),
    arrays(pa.list_(pa.list_(pa.float64())), st.lists(st.lists(FLOAT64, max_size=2), max_size=2)),
    arrays(
        pa.struct([("a", pa.float64()), ("b", pa.list_(pa.struct([("c", pa.string())])))]),
        st.fixed_dictionaries(
            {"a": st.none() | FLOAT64, "b": st.lists(st.fixed_dictionaries({"c": st.none() | TEXT}), max_size=2)}
        ),
    ),
)


def exactly(array: pa.Array) -> object:
    """Something that is equal for equal arrays alone; NaN equals NaN, and 0.0 is not -0.0."""
    storage = pa.int16() if array.type == pa.float16() else None
    if pa.types.is_temporal(array.type) or storage:
        array_bits = array.view(storage or {32: pa.int32(), 64: pa.int64()}[array.type.bit_width])
        return array.type, array_bits.to_pylist()
    return array.type, repr(array.to_pylist())


@settings(max_examples=600, deadline=None)
@given(ANY_ARRAY, st.integers(0, 2))
def test_every_kept_value_comes_back_exactly_with_its_type(array: pa.Array, offset: int) -> None:
    array = array.slice(offset)
    batch = pa.RecordBatch.from_arrays([array], names=['odd "name"\n'])

    rows = kept_json(batch, ['odd "name"\n'])
    back = kept_arrays(rows, {'odd "name"\n': kept_type(array.type)})['odd "name"\n']

    back.validate()
    assert exactly(back) == exactly(array)
    written = io.BytesIO()
    pq.write_table(pa.table({"kept": back}), written)
    read = pq.read_table(written)["kept"].combine_chunks()
    assert exactly(read.cast(back.type)) == exactly(array)


@given(FLOAT64, FLOAT32)
@example(math.nan, math.inf)
@example(-0.0, -math.inf)
def test_kept_text_is_strict_json(a: float, b: float) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    batch = pa.RecordBatch.from_pydict({"a": [a], "l": pa.array([[b]], pa.list_(pa.float32()))})
    (row,) = kept_json(batch, ["a", "l"])
    assert list(json.loads(row, parse_constant=refuse)) == ["a", "l"]


def test_columns_come_in_the_order_asked_for_and_compact() -> None:
    batch = pa.RecordBatch.from_pydict({"a": [1, None], "b": ["é", "x"], "c": [0, 0]})
    assert kept_json(batch, ["b", "a"]) == ['{"b":"é","a":1}', '{"b":"x","a":null}']


def test_no_kept_columns_is_an_empty_object_a_row() -> None:
    batch = pa.RecordBatch.from_pydict({"a": [1, 2]})
    assert kept_json(batch, []) == ["{}", "{}"]
    assert kept_arrays(["{}", "{}"], {}) == {}


def test_no_rows_give_empty_arrays_of_the_right_type() -> None:
    types = {"t": pa.timestamp("ns"), "l": pa.list_(pa.int8()), "d": pa.decimal128(9, 2), "s": pa.string()}
    assert {name: array.type for name, array in kept_arrays([], types).items()} == types


def test_encodings_of_text_come_back_plain() -> None:
    batch = pa.RecordBatch.from_arrays(
        [
            pa.array(["x", None, "x"]).dictionary_encode(),
            pa.array(["x", None, "y"], pa.string_view()),
            pa.array([b"x", None, b"\xff"], pa.binary_view()),
        ],
        names=["d", "v", "b"],
    )
    types = {field.name: kept_type(field.type) for field in batch.schema}
    back = kept_arrays(kept_json(batch, ["d", "v", "b"]), types)
    assert back["b"].equals(pa.array([b"x", None, b"\xff"]))
    assert back["d"].equals(pa.array(["x", None, "x"]))
    assert back["v"].equals(pa.array(["x", None, "y"]))


@pytest.mark.parametrize(
    ("array", "plain"),
    [
        (
            pa.array([1, None, -5, 86_400_000]).view(pa.date64()),
            pa.array([1, None, -5, 86_400_000], pa.timestamp("ms")),
        ),
        (pa.array([b"", None, b""], pa.binary(0)), pa.array([b"", None, b""])),
    ],
    ids=["date64", "no bytes"],
)
def test_types_that_parquet_lacks_come_back_as_one_that_holds_the_same(array: pa.Array, plain: pa.Array) -> None:
    batch = pa.record_batch({"c": array})
    back = kept_arrays(kept_json(batch, ["c"]), {"c": kept_type(array.type)})["c"]
    assert back.equals(plain)
    written = io.BytesIO()
    pq.write_table(pa.table({"c": back}), written)
    assert pq.read_table(written)["c"].combine_chunks().equals(plain)


def test_values_that_python_cannot_hold_come_back() -> None:
    nanoseconds = pa.array([1_700_000_000_123_456_789, None]).view(pa.timestamp("ns", "UTC"))
    far_future = pa.array([2**62, -(2**62)]).view(pa.timestamp("ms"))
    batch = pa.RecordBatch.from_arrays([nanoseconds, far_future], names=["n", "f"])
    back = kept_arrays(kept_json(batch, ["n", "f"]), {"n": nanoseconds.type, "f": far_future.type})
    assert back["n"].equals(nanoseconds)
    assert back["f"].equals(far_future)


@pytest.mark.parametrize("seconds", [FURTHEST_S + 1, -FURTHEST_S - 1])
def test_a_time_too_far_away_for_parquet_is_refused_with_its_column(seconds: int) -> None:
    array = pa.array([0, None, seconds]).view(pa.timestamp("s"))
    with pytest.raises(UsageError, match=f"--keep when: it holds a time {seconds} s from 1970"):
        kept_json(pa.record_batch({"when": array}), ["when"])
    assert kept_json(pa.record_batch({"when": array[:2]}), ["when"]) == ['{"when":0}', '{"when":null}']


@pytest.mark.parametrize("seconds", [LATEST_S + 1, -LATEST_S - 1])
def test_a_time_of_day_after_weeks_is_refused_with_its_column(seconds: int) -> None:
    array = pa.array([0, seconds], pa.int32()).view(pa.time32("s"))
    with pytest.raises(UsageError, match=f"--keep when: it holds a time {seconds} s from midnight"):
        kept_json(pa.record_batch({"when": array}), ["when"])


def test_a_time_stays_the_same_instant() -> None:
    batch = pa.RecordBatch.from_pydict({"t": pa.array([datetime(2024, 2, 29, 12, tzinfo=UTC)]), "p": [Decimal("1.50")]})
    back = kept_arrays(kept_json(batch, ["t", "p"]), {f.name: f.type for f in batch.schema})
    assert back["t"].to_pylist() == [datetime(2024, 2, 29, 12, tzinfo=UTC)]
    assert str(back["p"][0]) == "1.50"


@pytest.mark.parametrize(
    "type_",
    [
        pa.map_(pa.string(), pa.int64()),
        pa.list_(pa.timestamp("us")),
        pa.list_(pa.binary()),
        pa.struct([]),
        pa.list_(pa.struct([])),
        pa.struct([("a", pa.int8()), ("a", pa.int8())]),
        pa.decimal128(5, -2),
        pa.decimal256(5, 7),
        pa.month_day_nano_interval(),
        pa.uuid(),
        pa.list_(pa.float16()),
        pa.list_(pa.int64(), 0),
        pa.struct([("a", pa.list_(pa.int64(), 0))]),
        pa.dictionary(pa.int8(), pa.list_(pa.binary())),
    ],
    ids=str,
)
def test_a_type_without_an_exact_carrier_has_no_kept_type(type_: pa.DataType) -> None:
    assert kept_type(type_) is None
