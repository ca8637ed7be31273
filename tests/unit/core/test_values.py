"""Arrow's values as Python's, also where Python has none."""

import pyarrow as pa
import pytest

from scorer.core.values import Unreadable, python_value, python_values


def test_what_python_can_hold_is_what_arrow_says() -> None:
    for array in (
        pa.array([1, None]),
        pa.array(["a", None]),
        pa.array([[1.5], None]),
        pa.array([0], pa.timestamp("us")),
    ):
        assert python_values(array) == array.to_pylist()


@pytest.mark.parametrize(
    ("type_", "far"),
    [
        (pa.timestamp("s"), 10**12),
        (pa.timestamp("s", "UTC"), 10**12),
        (pa.date32(), 10**9),
        (pa.duration("s"), 10**18),
    ],
)
def test_a_value_that_python_cannot_hold_costs_none_of_the_others(type_: pa.DataType, far: int) -> None:
    bits = pa.int32() if pa.types.is_date32(type_) else pa.int64()
    first, second, last = python_values(pa.array([0, far, None], bits).view(type_))
    assert first == pa.array([0], bits).view(type_)[0].as_py()
    assert isinstance(second, Unreadable)
    assert second.reason.startswith(f"a {type_} that Python cannot hold: ")
    assert last is None


def test_a_zone_that_nobody_knows_is_said_of_each_value() -> None:
    value = python_value(pa.array([0], pa.timestamp("s", "Mars/Olympus"))[0])
    assert isinstance(value, Unreadable)
    assert str(value).startswith("<a timestamp[s, tz=Mars/Olympus] that Python cannot hold")


def test_a_value_inside_a_list_counts_for_the_list() -> None:
    first, second = python_values(pa.array([[0], [10**12]], pa.list_(pa.timestamp("s"))))
    assert isinstance(first, list)
    assert isinstance(second, Unreadable)
