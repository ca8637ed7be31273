"""A person's labels of a job's rows: reading the file, choosing its columns, joining it to the job's results.

Every label is accounted for: matched, of a row that has no score, or of no row at all. A row with two labels, or a key
that names two rows, is refused, since which one is meant would be a guess. Scores are never taken for labels unasked:
in a file that was made from the job's own results, the job's own columns are none.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from scorer import inputs
from scorer.errors import StoreError, UsageError
from scorer.inputs import Dataset
from scorer.jobs.folder import RESULTS
from scorer.jobs.gather import published_spec

if TYPE_CHECKING:
    import pandas as pd

LABEL_COLUMNS = ("label", "human", "human_score", "rating", "score")
_OWN_COLUMNS = ("row", "model", "host")


@dataclass(frozen=True, slots=True)
class LabelOptions:
    """Which column of the file is the label, and which column joins it to the job; None: to be found."""

    label: str | None = None
    on: str | None = None


@dataclass(frozen=True, slots=True)
class Labelled:
    """Scores beside labels. `frame`: `row`, `model`, `host`, `score` (mean over samples) and `label`.

    `labels` were in the file, of which `matched` belong to a row with a score of some model, `unscored` to a row
    without one, and `unknown` to no row of the results.
    """

    frame: "pd.DataFrame"
    label: str
    on: str
    labels: int
    matched: int
    unscored: int
    unknown: int


def open_labels(path: Path) -> Dataset:
    """Open a file of labels, of any format that a dataset may have; UsageError says what is wrong with it."""
    if not path.exists():
        raise UsageError(f"no file of labels at {path}")
    try:
        return inputs.open_dataset(str(path))
    except UsageError as error:
        raise UsageError(f"{path} cannot be read as labels: {error}") from error


def join_labels(folder: Path, labels: Path, options: LabelOptions, field: str) -> Labelled:
    """Join a file of labels to a job's published results; `field` is the output field to compare."""
    given = open_labels(labels)
    results = _results(folder, field)
    on = _join_column(given.schema.names, results.column_names, options.on, labels)
    if options.label is not None:
        label = _told_label(given.schema.names, on, options.label, labels)
    else:
        label = _label_column(_not_own(given.schema.names, on, results.column_names, field), labels)
    if on not in results.column_names:
        raise UsageError(_no_such(f"job {folder.name}", on, results.column_names, "keep a column with `run --keep`"))
    wanted = list(dict.fromkeys([*_OWN_COLUMNS, field, on]))
    schema = pa.schema([given.schema.field(name) for name in (on, label)])
    table = pa.Table.from_batches([batch for _, batch in given.read(schema.names)], schema)
    return _joined(table, results.select(wanted), (on, label, field), labels)


def _results(folder: Path, field: str) -> pa.Table:
    published_spec(folder)
    files = sorted((folder / RESULTS).glob("*.parquet"))
    if not files:
        raise UsageError(f"job {folder.name} has no published results yet; `scorer status {folder.name}` shows it")
    try:
        found = pa.concat_tables([pq.read_table(path) for path in files], promote_options="permissive")
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise StoreError(f"the results of {folder.name} cannot be read ({error}); try `scorer verify`") from error
    if field not in found.column_names:
        raise UsageError(_no_such(f"job {folder.name}", field, found.column_names, "name the score with --field"))
    type_ = found.schema.field(field).type
    if not (_is_number(type_) or pa.types.is_boolean(type_)):
        raise UsageError(f"{field} is {type_}, not a number: name a field of numbers or true and false with --field")
    return found


def _is_number(type_: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_))


def _join_column(names: Sequence[str], known: Sequence[str], told: str | None, path: Path) -> str:
    if told is not None:
        if told not in names:
            raise UsageError(_no_such(str(path), told, names, "name the joining column with --on"))
        return told
    if "row" in names:
        return "row"
    shared = [name for name in names if name in known]
    hint = f"perhaps --on {shared[0]}" if shared else "keep a column of the dataset with `scorer run --keep`"
    raise UsageError(
        f"{path} has no column `row`: name the column that joins it to the job with --on, {hint}\n"
        f"Its columns: {', '.join(names)}"
    )


def _told_label(names: Sequence[str], on: str, told: str, path: Path) -> str:
    others = [name for name in names if name != on]
    if told not in others:
        raise UsageError(_no_such(str(path), told, others, "name the column of labels with --label"))
    return told


def _not_own(names: Sequence[str], on: str, known: Sequence[str], field: str) -> list[str]:
    """Return the columns that may be labels: not those of the job, if the file was made from its results.

    One column that is called like one of the results may be the person's own, unless there is another for that.
    """
    others = [name for name in names if name != on]
    if sum(name in known for name in others) > 1:
        return [name for name in others if name not in known]
    return [name for name in others if name != field] or others


def _label_column(candidates: Sequence[str], path: Path) -> str:
    found = [name for name in LABEL_COLUMNS if name in candidates] or candidates
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"which column of {path} is the label? Say it with --label; there are: {', '.join(found)}")
    raise UsageError(f"{path} has no column of labels beside the job's own: add one, or name one with --label")


def _no_such(place: str, name: str, known: Sequence[str], advice: str) -> str:
    near = get_close_matches(name, known, 1)
    hint = f"; did you mean `{near[0]}`?" if near else f"; {advice}"
    return f"{place} has no column `{name}`{hint}\nIts columns: {', '.join(known)}"


def _joined(table: pa.Table, results: pa.Table, names: tuple[str, str, str], path: Path) -> Labelled:
    import pandas as pd

    on, label, field = names
    rows = results.to_pandas()
    numbers = _is_number(results.schema.field(on).type)
    given = pd.DataFrame(
        {
            "key": _keys(table.column(on), f"{path}: {on}", numbers=numbers),
            "label": _numbers(table.column(label), label, path),
        }
    )
    blank = int(given["label"].isna().sum())
    given = given.dropna()
    twice = given["key"][given["key"].duplicated()]
    if len(twice):
        raise UsageError(f"{path} has more than one label where {on} is {twice.iloc[0]}: leave one of them")
    scores = pd.DataFrame(
        {
            **{name: rows[name] for name in ("row", "model", "host")},
            "key": _keys(results.column(on), f"{on} of the job", numbers=numbers),
            "score": rows[field].astype("float64"),
        }
    )
    known = set(given["key"])
    asked = scores[scores["key"].isin(known)]
    rows_of_key = asked.groupby("key")["row"].nunique()
    if (rows_of_key > 1).any():
        raise UsageError(
            f"{on} names more than one row, such as {rows_of_key.idxmax()}: join the labels on a column whose values "
            "differ, or on row"
        )
    scored = asked.dropna(subset=["score"])
    matched = int(scored["key"].nunique())
    frame = scored.merge(given, on="key").drop(columns="key")
    unknown = len(known - set(asked["key"]))
    return Labelled(frame, label, on, len(given) + blank, matched, len(known) - matched - unknown, unknown + blank)


def _keys(column: pa.ChunkedArray, where: str, *, numbers: bool) -> "pd.Series[str]":
    """Return a column as text by which to join; of `numbers`, 3 and 3.0 are the same."""
    found = _texts(column, where)
    return found.str.strip().str.replace(r"\.0+$", "", regex=True) if numbers else found


def _texts(column: pa.ChunkedArray, where: str) -> "pd.Series[str]":
    try:
        found: pd.Series[str] = column.cast(pa.string()).to_pandas()
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        raise UsageError(f"{where} is {column.type}, neither numbers nor text") from None
    return found


_WORDS = {"true": 1.0, "yes": 1.0, "good": 1.0, "false": 0.0, "no": 0.0, "bad": 0.0}


def _numbers(column: pa.ChunkedArray, name: str, path: Path) -> "pd.Series[float]":
    """Return labels as numbers, NaN where there is none; true and yes are 1, false and no 0."""
    import pandas as pd

    if _is_number(column.type) or pa.types.is_boolean(column.type):
        found: pd.Series[float] = column.cast(pa.float64()).to_pandas()
        wrong = found[found.abs() == math.inf]
    else:
        words = _texts(column, f"{path}: {name}")
        lowered = words.str.strip().str.lower().replace(_WORDS)
        found = pd.to_numeric(lowered, errors="coerce").astype("float64")
        unread = found.isna() & words.notna() & (words.str.strip() != "")
        wrong = words[unread | (found.abs() == math.inf)]
    if len(wrong):
        raise UsageError(
            f"{path}: {name} is {wrong.tolist()[0]!r} in line {int(wrong.index[0]) + 1} of the rows: labels are finite "
            "numbers, or true and false, or yes and no"
        )
    return found
