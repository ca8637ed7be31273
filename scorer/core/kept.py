"""Kept columns between the input's Arrow arrays and the queue database's JSON text, exactly.

A kept value crosses the queue database inside one JSON object a row and must come out with its column's own type and
its exact value. JSON cannot carry every Arrow type, so those it cannot carry travel in a carrier:

    integers of any width, bool, string          themselves
    float32, float64                             the shortest decimal that reads back as the same number; "NaN",
                                                 "Infinity" and "-Infinity" as strings, which strict JSON lacks
    float16, date, time, timestamp, duration     the integer that Arrow stores, so that no unit or zone is converted
    decimal                                      a decimal string
    binary                                       base64
    list, struct of bool, number, string, null   JSON arrays and objects

Dictionary-encoded columns and string views come back plain: the value is the same, only the encoding is not. So it is
with types that Parquet lacks: a date64 comes back as the timestamp of the same milliseconds, since Parquet's dates have
no time of day, and bytes of length 0 as bytes.

This module never guesses: a type without an exact carrier has no kept type, and the caller refuses the column.
Invariant: `kept_arrays(kept_json(batch, names), types)` equals the batch's columns for every kept type, and so does
what Parquet then makes of them, read again.
"""

import base64
import json
import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
from pyarrow import types
from pydantic_core import from_json

from scorer.errors import UsageError

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
FURTHEST_S = (2**63 - 1) // 1000
LATEST_S = (2**31 - 1) // 1000
"""Parquet counts no seconds: a time in seconds, or a time of day, becomes one in milliseconds there."""

_Change = Callable[["Json", pa.DataType], "Json"]


def kept_type(type_: pa.DataType) -> pa.DataType | None:
    """Return the type that a column of this type has once kept, or None if it cannot be kept exactly."""
    if types.is_dictionary(type_):
        return kept_type(type_.value_type)
    if types.is_string_view(type_):
        return pa.string()
    if types.is_binary_view(type_):
        return pa.binary()
    if types.is_date64(type_):
        return pa.timestamp("ms")
    if types.is_fixed_size_binary(type_) and not type_.byte_width:
        return pa.binary()
    if types.is_decimal(type_):
        # the others, such as thousands as a scale of -3, Parquet cannot hold
        return type_ if 0 <= type_.scale <= type_.precision else None
    if _storage_bits(type_) or _is_binary(type_) or _is_plain(type_):
        return type_
    return None


def kept_json(batch: pa.RecordBatch, columns: Sequence[str]) -> list[str]:
    """Write the named columns of every row as one compact JSON object a row, in the order of `columns`.

    Every column's type must have a `kept_type`. UsageError for a time so far away that Parquet cannot hold it.
    """
    plain = [_plain_encoding(batch.column(name)) for name in columns]
    for array, name in zip(plain, columns, strict=True):
        _refuse_too_far(array, name)
    carried = [_to_json(array) for array in plain]
    if not carried:
        return ["{}"] * batch.num_rows
    return [
        json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        for row in zip(*carried, strict=True)
    ]


def kept_arrays(rows: Sequence[str], types: Mapping[str, pa.DataType]) -> dict[str, pa.Array]:
    """Turn objects that `kept_json` wrote back into arrays of `types` (kept types), one value a row."""
    objects = [from_json(row, cache_strings="keys") for row in rows] if types else []
    return {name: _from_json([item[name] for item in objects], type_) for name, type_ in types.items()}


def _refuse_too_far(array: pa.Array, name: str) -> None:
    """Raise UsageError now, rather than when the results are written, by then in vain."""
    if not (types.is_timestamp(array.type) or types.is_time32(array.type)) or array.type.unit != "s":
        return
    furthest_s, start = (LATEST_S, "midnight") if types.is_time32(array.type) else (FURTHEST_S, "1970")
    for seconds in array.view(_storage_bits(array.type)).to_pylist():
        if seconds is not None and abs(seconds) > furthest_s:
            raise UsageError(
                f"--keep {name}: it holds a time {seconds} s from {start}, which Parquet cannot hold; "
                "begin anew without it, `row` joins it to the results"
            )


def _to_json(array: pa.Array) -> list[Json]:
    bits = _storage_bits(array.type)
    values: list[Any] = (array if bits is None else array.view(bits)).to_pylist()
    if types.is_decimal(array.type):
        return [None if value is None else str(value) for value in values]
    if _is_binary(array.type):
        return [None if value is None else base64.b64encode(value).decode("ascii") for value in values]
    if types.is_floating(array.type) or types.is_nested(array.type):
        return [_pack(value, array.type) for value in values]
    return values


def _from_json(values: list[Json], type_: pa.DataType) -> pa.Array:
    bits = _storage_bits(type_)
    if bits is not None:
        return pa.array(values, bits).view(type_)
    if types.is_decimal(type_):
        return pa.array([None if value is None else Decimal(str(value)) for value in values], type_)
    if _is_binary(type_):
        return pa.array([None if value is None else base64.b64decode(str(value)) for value in values], type_)
    if types.is_floating(type_) or types.is_nested(type_):
        return pa.array([_unpack(value, type_) for value in values], type_)
    return pa.array(values, type_)


def _pack(value: Json, type_: pa.DataType) -> Json:
    """Replace what strict JSON lacks, the numbers that are not finite, at any depth."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return _rebuild(value, type_, _pack) if types.is_nested(type_) else value


def _unpack(value: Json, type_: pa.DataType) -> Json:
    if isinstance(value, str) and types.is_floating(type_):
        return float(value)
    return _rebuild(value, type_, _unpack) if types.is_nested(type_) else value


def _rebuild(value: Json, type_: pa.DataType, change: _Change) -> Json:
    if isinstance(value, list):
        return [change(item, type_.value_type) for item in value]
    if isinstance(value, dict):
        return {field.name: change(value[field.name], field.type) for field in type_}
    return value


def _plain_encoding(array: pa.Array) -> pa.Array:
    if types.is_dictionary(array.type):
        return array.dictionary_decode()
    if types.is_string_view(array.type):
        return array.cast(pa.string())
    if types.is_binary_view(array.type):
        return array.cast(pa.binary())
    return array


def _storage_bits(type_: pa.DataType) -> pa.DataType | None:
    """Return the integer type with which Arrow stores these values, where Python's own types would lose something."""
    if types.is_float16(type_):
        return pa.int16()
    if types.is_date32(type_) or types.is_time32(type_):
        return pa.int32()
    if types.is_date64(type_) or types.is_time64(type_) or types.is_timestamp(type_) or types.is_duration(type_):
        return pa.int64()
    return None


def _is_binary(type_: pa.DataType) -> bool:
    return bool(types.is_binary(type_) or types.is_large_binary(type_) or types.is_fixed_size_binary(type_))


def _is_plain(type_: pa.DataType) -> bool:
    """Whether JSON carries the type by itself, numbers that are not finite aside."""
    if types.is_struct(type_):
        names = [field.name for field in type_]
        # Parquet cannot hold a struct without fields, nor Python's dict one that has a name twice.
        return bool(names) and len(set(names)) == len(names) and all(_is_plain(field.type) for field in type_)
    if types.is_fixed_size_list(type_) and not type_.list_size:
        # Parquet's own reader fails over a null among lists of length 0
        return False
    if types.is_list(type_) or types.is_large_list(type_) or types.is_fixed_size_list(type_):
        return _is_plain(type_.value_type)
    return bool(
        types.is_null(type_)
        or types.is_boolean(type_)
        or types.is_integer(type_)
        or types.is_float32(type_)
        or types.is_float64(type_)
        or types.is_string(type_)
        or types.is_large_string(type_)
    )
