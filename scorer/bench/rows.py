"""A benchmark's rows, from the Hub or from a file in the format in which the benchmark was published.

Benchmarks are small, so all rows are read at once. Beside the usual formats of a dataset these are two that only
benchmarks have: one JSON document that holds a list of rows, and CSV files without a line of names.

Invariant: nothing but UsageError and StoreError is raised; each row knows the `file` it came from, unless it has a
column of that name.
"""

import csv
import json
from pathlib import Path

import pyarrow as pa

from scorer import inputs
from scorer.core.values import Unreadable, python_values
from scorer.errors import UsageError
from scorer.inputs.places import naturally

Row = dict[str, object]


def read_rows(source: str, header: tuple[str, ...] = ()) -> list[Row]:
    """Return all rows of `hf://…`, a file, or a folder of CSV files; `header` names the columns of nameless CSV."""
    path = Path(source)
    if "://" in source:
        return _of_dataset(source, "")
    if header and path.is_dir():
        files = sorted(path.glob("*.csv"), key=naturally)
        if not files:
            raise UsageError(f"{path} has no .csv file: the suite's files are CSV")
        return [row for file in files for row in _of_csv(file, header)]
    if header and path.suffix == ".csv":
        return _of_csv(path, header)
    if path.suffix == ".json" and path.is_file():
        document = _of_document(path)
        if document is not None:
            return document
    return _of_dataset(source, path.name.split(".")[0])


def _of_dataset(source: str, file: str) -> list[Row]:
    dataset = inputs.open_dataset(source)
    rows = (row for first, batch in dataset.read(dataset.schema.names) for row in _in_python(source, first, batch))
    return [{"file": file, **row} for row in rows]


def _in_python(source: str, first: int, batch: pa.RecordBatch) -> list[Row]:
    columns = {name: python_values(batch.column(name)) for name in batch.schema.names}
    for name, values in columns.items():
        for i, value in enumerate(values):
            if isinstance(value, Unreadable):
                raise UsageError(f"{source}: row {first + i}: column {name} holds {value.reason}")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _of_document(path: Path) -> list[Row] | None:
    """Return the rows of a list, or of an object with one list in it; None if this is no such document."""
    try:
        document = json.loads(path.read_bytes())
    except ValueError:
        return None  # JSON Lines with the wrong suffix, or broken: the reader of JSON Lines knows what to say
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    if isinstance(document, dict):
        lists = [value for value in document.values() if isinstance(value, list)]
        document = lists[0] if len(lists) == 1 else None
    if not isinstance(document, list):
        return None
    if not document or not all(isinstance(row, dict) for row in document):
        raise UsageError(f"{path}: no list of rows, each an object with names and values")
    return [{"file": path.stem, **row} for row in document]


def _of_csv(path: Path, header: tuple[str, ...]) -> list[Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [line for line in csv.reader(file) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read {path} as CSV: {error}") from None
    if lines and tuple(lines[0]) == header:
        del lines[0]
    for number, line in enumerate(lines, 1):
        if len(line) != len(header):
            raise UsageError(f"{path}: row {number} has {len(line)} values for the columns {', '.join(header)}")
    return [{"file": path.stem, **dict(zip(header, line, strict=True))} for line in lines]
