"""Arrow's values as Python's, one by one where Python has no such value.

Arrow and Parquet hold times far beyond the year 9999, durations of any length, and zones that this machine does not
know; Python holds none of these, and one of them must not cost the rows beside it.
"""

from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands where Python has no such value; `reason` says why."""

    reason: str

    def __str__(self) -> str:
        return f"<{self.reason}>"


def python_values(array: pa.Array) -> list[object]:
    """Return a column as Python values, with an `Unreadable` where there is none."""
    try:
        values: list[object] = array.to_pylist()
    except _NO_VALUE:
        return [python_value(scalar) for scalar in array]
    return values


def python_value(scalar: pa.Scalar) -> object:
    """Return one value, or an `Unreadable`."""
    try:
        value: object = scalar.as_py()
    except _NO_VALUE as error:
        return Unreadable(f"a {scalar.type} that Python cannot hold: {error}")
    return value


_NO_VALUE = (OverflowError, ValueError, pa.ArrowException)
