"""Which column feeds which template variable, and which columns may be kept.

Choices are made once, from the schema and a small sample, and every choice comes back as a line to print: nothing is
decided silently. Every mistake raises UsageError with the nearest valid name.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches

import pyarrow as pa

from scorer.core.kept import kept_type
from scorer.errors import UsageError
from scorer.inputs.dataset import Dataset
from scorer.inputs.pieces import is_binary, is_text

TEXT_COLUMNS = ("text", "content", "code", "prompt")
_SAMPLE_ROWS = 200
_SHOWN_COLUMNS = 12


def choose_text_column(dataset: Dataset) -> tuple[str, str]:
    """Return the column for a variable named `text`, and why.

    The first of `text`, `content`, `code`, `prompt` that holds text, else the only text column, else the one with the
    longest values on average over a sample. Raises UsageError, listing the columns, if none holds text.
    """
    texts = [field.name for field in dataset.schema if is_text(field.type)]
    for name in TEXT_COLUMNS:
        if name in texts:
            return name, "by its name"
    if not texts:
        raise UsageError(
            f"{dataset.source} has no text column for the variable `text`\n"
            f"columns: {_listed(dataset.schema)}; convert one to text, or map it with --column text=NAME"
        )
    if len(texts) == 1:
        return texts[0], "the only text column"
    means = _mean_chars(dataset, texts)
    longest = max(texts, key=means.__getitem__)
    return longest, f"the longest text column, {means[longest]:.0f} characters on average in a sample"


def map_columns(
    dataset: Dataset, variables: Iterable[str], explicit: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Return variable → column for all of a template's variables, and the choices made, one line each to print.

    `explicit` (variable → column, from --column) wins; then `text` is chosen by `choose_text_column`, and every other
    variable is the column of its own name. Raises UsageError for a variable or column that does not exist, for a
    variable without a column, and for a column of bytes.
    """
    wanted = list(dict.fromkeys(variables))
    for variable in explicit:
        if variable not in wanted:
            known = f"it has {', '.join(wanted)}" if wanted else "it has none"
            hint = _hint(variable, wanted)
            raise UsageError(f"--column {variable}=…: the template has no variable `{variable}`{hint}\n{known}")
    mapping: dict[str, str] = {}
    notes: list[str] = []
    for variable in wanted:
        if variable in explicit:
            mapping[variable] = _existing(dataset, explicit[variable], f"--column {variable}={explicit[variable]}")
        elif variable == "text":
            mapping[variable], why = choose_text_column(dataset)
            notes.append(f"`text` is filled from the column `{mapping[variable]}` ({why})")
        elif variable in dataset.schema.names:
            mapping[variable] = variable
    _require_all(dataset, wanted, mapping)
    for variable, column in mapping.items():
        if is_binary(dataset.schema.field(column).type):
            raise UsageError(
                f"the column `{column}` for `{variable}` holds bytes, not text: convert it to a string column"
            )
    return mapping, notes


def keep_types(dataset: Dataset, columns: Sequence[str], reserved: Collection[str]) -> dict[str, pa.DataType]:
    """Return column → type in the results for --keep, in the given order.

    Raises UsageError if a column is absent, clashes with a `reserved` name (results columns and output fields) or
    another kept one in any case of letters, since SQL does not tell `Score` from `score`, or has a type whose values
    cannot be carried exactly.
    """
    kept: dict[str, pa.DataType] = {}
    taken = {name.lower(): name for name in reserved}
    for name in dict.fromkeys(columns):
        _existing(dataset, name, f"--keep {name}")
        if other := taken.get(name.lower()):
            clash = (
                f"it differs from `{other}` only in upper and lower case"
                if other in kept
                else f"the results have a column `{other}` of their own"
            )
            raise UsageError(f"--keep {name}: {clash}; rename the dataset's column")
        taken[name.lower()] = name
        type_ = dataset.schema.field(name).type
        carried = kept_type(type_)
        if carried is None:
            raise UsageError(
                f"--keep {name}: a column of type {type_} cannot be kept; leave it out, `row` joins it to the results"
            )
        kept[name] = carried
    return kept


def _require_all(dataset: Dataset, wanted: Sequence[str], mapping: Mapping[str, str]) -> None:
    missing = [variable for variable in wanted if variable not in mapping]
    if missing:
        hint = _hint(missing[0], dataset.schema.names)
        raise UsageError(
            f"{dataset.source} has no column for the template's `{'`, `'.join(missing)}`{hint}\n"
            f"columns: {_listed(dataset.schema)}; map one with --column {missing[0]}=NAME"
        )


def _existing(dataset: Dataset, column: str, where: str) -> str:
    if column not in dataset.schema.names:
        hint = _hint(column, dataset.schema.names)
        raise UsageError(
            f"{where}: {dataset.source} has no column `{column}`{hint}\ncolumns: {_listed(dataset.schema)}"
        )
    return column


def _hint(name: str, names: Sequence[str]) -> str:
    folded = {known.casefold(): known for known in names}
    near = get_close_matches(name.casefold(), folded, 1)
    return f"; did you mean `{folded[near[0]]}`?" if near else ""


def _listed(schema: pa.Schema) -> str:
    shown = [f"{field.name} ({field.type})" for field in schema][:_SHOWN_COLUMNS]
    more = len(schema) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _mean_chars(dataset: Dataset, columns: Sequence[str]) -> dict[str, float]:
    import pyarrow.compute as pc  # on use: it registers hundreds of functions

    totals = dict.fromkeys(columns, 0)
    rows = 0
    for batch in dataset.sample(columns, _SAMPLE_ROWS):
        rows += batch.num_rows
        for name in columns:
            totals[name] += pc.sum(pc.utf8_length(batch.column(name))).as_py() or 0
    return {name: total / max(rows, 1) for name, total in totals.items()}
