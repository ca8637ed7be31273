"""Whether several files have the same columns, for formats that store their types.

The same names in any order and the same types once read, except that a column which is all null in one file may have a
type in another, and that text may be counted with 32 or 64 bits: neither changes a value.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import pyarrow as pa
from pyarrow import types

from scorer.errors import UsageError
from scorer.inputs.pieces import is_text, plain_type
from scorer.inputs.trouble import reading

_SHOWN = 5


def agreed(found: Iterable[tuple[str, pa.Schema]]) -> pa.Schema:
    """Return the schema that all (path, schema) share, with the first file's order and plain types.

    Raises UsageError that says which file differs and how.
    """
    first = ""
    common: dict[str, pa.DataType] = {}
    since: dict[str, str] = {}
    for path, schema in found:
        with reading(path):
            # names that are not UTF-8, also those inside of types, come to light when they are used
            str(schema)
            refuse_twice(path, schema.names)
        plain = {field.name: plain_type(field.type) for field in schema}
        if not first:
            first, common, since = path, plain, dict.fromkeys(plain, path)
            continue
        refuse_other_columns(path, list(plain), first, list(common))
        for name, type_ in plain.items():
            wider = _wider(common[name], type_)
            if wider is None:
                raise UsageError(
                    f"{path}: column `{name}` is {type_}, but {common[name]} in {since[name]}; "
                    "files read together need the same types"
                )
            if wider != common[name]:
                common[name], since[name] = wider, path
    return pa.schema(list(common.items()))


def refuse_twice(path: str, names: Sequence[str]) -> None:
    """Raise UsageError if a name comes more than once."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UsageError(f"dataset {path} has more than one column named `{'`, `'.join(twice[:_SHOWN])}`: rename them")


def refuse_other_columns(path: str, names: Sequence[str], first: str, expected: Sequence[str]) -> None:
    """Raise UsageError if the names of a file, in any order, are not those of the first one."""
    here, there = set(names), set(expected)
    parts = []
    if lacking := [name for name in expected if name not in here]:
        parts.append(f"it lacks `{'`, `'.join(lacking[:_SHOWN])}`")
    if besides := [name for name in names if name not in there]:
        parts.append(f"it has `{'`, `'.join(besides[:_SHOWN])}` besides")
    if parts:
        raise UsageError(
            f"{path}: its columns are not those of {first}: {' and '.join(parts)}; files read together need the same"
        )


def _wider(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if one == other or types.is_null(other):
        return one
    if types.is_null(one):
        return other
    return pa.large_string() if is_text(one) and is_text(other) else None
