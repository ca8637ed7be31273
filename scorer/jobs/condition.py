"""`--where`: one SQL condition over the columns of a job's results, and nothing but a condition.

DuckDB evaluates it and says which tasks it holds for; the results themselves never pass through it, so that no value or
type changes on the way. The text comes from whoever calls, maybe from a web form: it is one expression inside one
SELECT that is compared with the same SELECT without it, and DuckDB may open no file but the job's own, load nothing,
and change none of its settings.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from scorer.errors import UsageError
from scorer.jobs.sealed import TABLE, readable, sealed
from scorer.results import reading

if TYPE_CHECKING:
    import duckdb


class Condition:
    """A condition that holds for some tasks. `close` it."""

    def __init__(self, text: str, files: Sequence[Path], schema: pa.Schema, scratch_dir: Path) -> None:
        """Check the text; UsageError if it is no condition, or not over these columns."""
        self._text = text
        self._files = files
        self._schema = readable(schema)
        self._known = self._schema.names
        self._database = sealed(files, schema, scratch_dir)
        try:
            self._mentioned = self._check_syntax()
        except UsageError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of everything."""
        self._database.close()

    def concerns(self, inputs: pa.Schema, *, joined: bool) -> bool:
        """Whether it needs columns of the input.

        Raises UsageError if it is over neither set of columns, or over the input's and that is not `joined`.
        """
        meant = self.among(inputs.names)
        self._known = [*self._schema.names, *(inputs.names if joined else ())]
        try:
            self._bind(self._schema)
        except _error() as error:
            if lacking := _others(meant, self._known):
                raise UsageError(
                    f"--where {self._text}: {lacking[0]} is a column of the input; add --join to use it"
                ) from None
            if not joined or not meant:
                raise UsageError(self._told(error)) from None
        else:
            return False
        try:
            self._bind(pa.schema([*self._schema, *readable(inputs)]))
        except _error() as error:
            raise UsageError(self._told(error)) from None
        return True

    def among(self, columns: Iterable[str]) -> list[str]:
        """Return those of some columns that it may be about.

        Case does not matter, as SQL has it. A dotted reference is a column of a table or a field of a struct, so each
        of its parts may be the column.
        """
        parts = {part.casefold() for reference in self._mentioned for part in reference}
        return [column for column in columns if column.casefold() in parts]

    def chosen(self, joined: pa.RecordBatchReader | None = None) -> "Chosen":
        """Return the tasks for which it holds, in the results or in results that were joined with the input.

        UsageError if it cannot be evaluated for one of them; Torn or StoreError if a file of them cannot be read,
        OSError for what else the disk does.
        """
        table = TABLE
        if joined is not None:
            table = "joined_results"
            self._database.register(table, joined)
        try:
            found = self._database.sql(self._select(table))
            return Chosen(found.to_arrow_reader(100_000))
        except (_error(), OSError, pa.ArrowException) as error:
            # from a late row it comes through Arrow, which knows none of DuckDB's classes; only at the beginning, since
            # further on a message quotes what the row or the condition itself says
            if str(error).startswith(_NOT_ITS_FAULT):
                _read_through(self._files)
                raise OSError(str(error)) from error
            raise UsageError(self._told(error)) from None

    def _check_syntax(self) -> list[list[str]]:
        """Return the columns that it mentions, each as its dotted parts."""
        if not self._text.strip():
            raise UsageError(f"--where is empty: {_EXAMPLE}")
        mine, bare = (self._parsed(text) for text in (self._select(TABLE), self._select(TABLE, "true")))
        if mine.get("error_type") == "parser":
            raise UsageError(f"--where {self._text}: {mine['error_message']}\n{_EXAMPLE}")
        if "statements" not in mine or len(mine["statements"]) != 1:
            raise UsageError(f"--where {self._text}: give one condition and nothing else\n{_EXAMPLE}")
        nodes = [parsed["statements"][0]["node"] for parsed in (mine, bare)]
        where, _ = (node.pop("where_clause", None) for node in nodes)
        if nodes[0] != nodes[1]:
            raise UsageError(f"--where {self._text}: give one condition and nothing else\n{_EXAMPLE}")
        return list(_references(where))

    def _parsed(self, sql: str) -> dict[str, Any]:
        ((answer,),) = self._database.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchall()
        parsed: dict[str, Any] = json.loads(answer)
        return parsed

    def _bind(self, schema: pa.Schema) -> None:
        self._database.register("columns", schema.empty_table())
        self._database.sql(self._select("columns"))

    def _select(self, table: str, condition: str | None = None) -> str:
        # on lines of its own, so that a comment at its end comments nothing else out
        return f"SELECT row, model, sample FROM {table} AS {TABLE} WHERE (\n{condition or self._text}\n)"

    def _told(self, error: Exception) -> str:
        first = str(error).splitlines()[0].split(": ", 1)[-1]
        known = {name.casefold(): name for name in self._known}
        mentioned = ([part.casefold() for part in reference if part != TABLE] for reference in self._mentioned)
        unknown = [parts[0] for parts in mentioned if parts and known.keys().isdisjoint(parts)]
        near = get_close_matches(unknown[0], known, 1) if unknown else []
        hint = f"; did you mean {known[near[0]]}?" if near else ""
        return f"--where {self._text}: {first}{hint}\ncolumns: {', '.join(dict.fromkeys(self._known))}"


class Chosen:
    """A set of tasks: one byte for each row of each model and sample."""

    def __init__(self, tasks: pa.RecordBatchReader) -> None:
        self._rows: dict[tuple[str, int], npt.NDArray[np.bool_]] = {}
        for batch in tasks:
            rows = batch.column("row").to_numpy()
            for which, places in _by_kind(batch):
                self._add(which, rows[places])

    def mask(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        """Return for each row of a batch, which has row, model and sample, whether it is in the set."""
        mask = np.zeros(batch.num_rows, bool)
        rows = batch.column("row").to_numpy()
        for which, places in _by_kind(batch):
            known = self._rows.get(which, np.zeros(0, bool))
            inside = places[rows[places] < len(known)]
            mask[inside] = known[rows[inside]]
        return pa.array(mask)

    def _add(self, which: tuple[str, int], rows: npt.NDArray[np.int64]) -> None:
        known = self._rows.get(which, np.zeros(0, bool))
        if (size := int(rows.max()) + 1) > len(known):
            known = np.concatenate([known, np.zeros(max(size, 2 * len(known)) - len(known), bool)])
        known[rows] = True
        self._rows[which] = known


# how DuckDB begins when rows could not be read, or its scratch files not be written
_NOT_ITS_FAULT = ("Invalid Input Error: reading the stream", "IO Error: ")
_EXAMPLE = """write a condition over the columns, such as --where "score >= 8 AND status = 'done'\""""


def _error() -> "type[duckdb.Error]":
    import duckdb

    return duckdb.Error


def _read_through(files: Sequence[Path]) -> None:
    """Raise what is wrong with one of some files: DuckDB does not say which it was."""
    for path in files:
        with reading(path), pq.ParquetFile(path) as file:
            for _ in file.iter_batches():
                pass


def _others(columns: Iterable[str], known: Iterable[str]) -> list[str]:
    folded = {name.casefold() for name in known}
    return [column for column in columns if column.casefold() not in folded]


def _references(part: object) -> Iterable[list[str]]:
    """Yield every column that an expression mentions, subqueries included, in DuckDB's own description of it."""
    if isinstance(part, Mapping):
        if part.get("class") == "COLUMN_REF":
            yield part["column_names"]
        for inner in part.values():
            yield from _references(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from _references(inner)


def _by_kind(batch: pa.RecordBatch) -> Iterable[tuple[tuple[str, int], npt.NDArray[np.intp]]]:
    """Yield each (model, sample) of a batch with the places at which it is."""
    models = batch.column("model").dictionary_encode()
    of_model = models.indices.to_numpy(zero_copy_only=False)
    samples = batch.column("sample").to_numpy(zero_copy_only=False)
    for code, name in enumerate(models.dictionary.to_pylist()):
        for sample in np.unique(samples[of_model == code]):
            yield (name, int(sample)), np.flatnonzero((of_model == code) & (samples == sample))
