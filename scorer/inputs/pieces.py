"""Batches as the rest of the program wants them: plain columns, valid text, few rows, few bytes.

Files encode text in several ways (dictionary, views, extension types); a template does not care. `plain_type` says
which type a column has after `plain_batch`, and a dataset's schema is given in these types throughout.
"""

from collections.abc import Iterator

import pyarrow as pa
from pyarrow import types

from scorer.errors import UsageError

MAX_ROWS = 256
MAX_BYTES = 8 << 20


def plain_type(type_: pa.DataType) -> pa.DataType:
    """Return the type of a column once it is read: dictionaries and views resolved, JSON text as a string."""
    if types.is_dictionary(type_):
        return plain_type(type_.value_type)
    if isinstance(type_, pa.BaseExtensionType) and type_.extension_name == "arrow.json":
        return plain_type(type_.storage_type)
    if types.is_string_view(type_):
        return pa.string()
    if types.is_binary_view(type_):
        return pa.binary()
    return type_


def is_text(type_: pa.DataType) -> bool:
    """Whether a plain type holds text. Binary does not: its encoding is anybody's guess."""
    return bool(types.is_string(type_) or types.is_large_string(type_))


def is_binary(type_: pa.DataType) -> bool:
    """Whether a plain type holds bytes that are not known to be text."""
    return bool(types.is_binary(type_) or types.is_large_binary(type_) or types.is_fixed_size_binary(type_))


def plain_batch(batch: pa.RecordBatch, wanted: pa.Schema, where: str) -> pa.RecordBatch:
    """Select the columns of a schema of plain types, and give each its type and valid UTF-8.

    Bytes that are not UTF-8 in a text column (Parquet does not check) become U+FFFD each, so that one bad row among
    millions is scored as it is and stops nothing. Inside a list or struct they raise UsageError naming `where`.
    """
    if not wanted.names:
        return batch.select([])
    arrays = [
        _valid(_of_type(_plain_array(batch.column(field.name)), field.type), field.name, where) for field in wanted
    ]
    return pa.RecordBatch.from_arrays(arrays, names=wanted.names)


def pieces(row: int, batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Cut a batch that begins at dataset row `row` into pieces of at most MAX_ROWS rows and MAX_BYTES bytes.

    A single row may be larger than MAX_BYTES: rows are never cut.
    """
    for offset in range(0, batch.num_rows, MAX_ROWS):
        yield from _halves(row + offset, batch.slice(offset, MAX_ROWS))


def _halves(row: int, batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
    if batch.num_rows == 1 or batch.nbytes <= MAX_BYTES:
        yield row, batch
        return
    middle = batch.num_rows // 2
    yield from _halves(row, batch.slice(0, middle))
    yield from _halves(row + middle, batch.slice(middle))


def _plain_array(array: pa.Array) -> pa.Array:
    if types.is_dictionary(array.type):
        return _plain_array(array.dictionary_decode())
    if isinstance(array, pa.ExtensionArray) and plain_type(array.type) != array.type:
        return _plain_array(array.storage)
    plain = plain_type(array.type)
    return array if plain == array.type else array.cast(plain)


def _of_type(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    """Widen a column that is null, or shorter text, in this file alone; nested fields may differ in nullability."""
    return array if array.type == wanted else array.cast(wanted)


def _valid(array: pa.Array, name: str, where: str) -> pa.Array:
    if not (is_text(array.type) or types.is_nested(array.type)):
        return array
    try:
        array.validate(full=True)
    except pa.ArrowInvalid as error:
        if not is_text(array.type):
            raise UsageError(f"{where}: column `{name}` holds text that is not UTF-8 ({error})") from error
        raw = array.cast(pa.large_binary()).to_pylist()
        return pa.array([None if value is None else value.decode("utf-8", "replace") for value in raw], array.type)
    return array
