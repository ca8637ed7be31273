"""Results beside the input rows that they are about, in one pass over both: a merge of two streams in row order."""

from collections.abc import Collection, Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scorer.inputs import Dataset

SUFFIX = "_input"


class Join:
    """A dataset whose columns are put beside results of a schema. A name that is taken gets `_input` behind it.

    It is taken in any case of letters: a condition in SQL does not tell `Score` from `score`.
    """

    def __init__(self, dataset: Dataset, results: pa.Schema) -> None:
        self._dataset = dataset
        self._results = results
        self._names = _names_beside(results.names, dataset.schema.names)

    @property
    def inputs(self) -> pa.Schema:
        """The input's columns, by the names that they have beside the results."""
        return self._schema(None)

    def batches(self, results: Iterable[pa.RecordBatch], only: Collection[str] | None) -> Iterator[pa.RecordBatch]:
        """Yield the results, which are in row order, with the input's columns, or `only` some of these.

        Memory: a batch of either. Raises UsageError if the dataset has become shorter meanwhile.
        """
        added, schema = self._schema(only), self.schema(only)
        original = {name: column for column, name in self._names.items()}
        stream: Iterator[tuple[int, pa.RecordBatch]] | None = None
        first, piece = 0, pa.record_batch([], [])
        for batch in results:
            rows = batch.column("row").to_numpy()
            if stream is None:
                stream = self._dataset.read([original[name] for name in added.names], int(rows[0]))
                first, piece = next(stream)
            found = []
            done = 0
            while done < len(rows):
                end = int(np.searchsorted(rows, first + piece.num_rows))
                if end > done:
                    found.append(_taken(piece, rows[done:end] - first))
                    done = end
                else:
                    first, piece = next(stream)
            columns = [pa.concat_arrays([part[i] for part in found]) for i in range(len(added))]
            yield pa.RecordBatch.from_arrays([*batch.columns, *columns], schema=schema)

    def schema(self, only: Collection[str] | None) -> pa.Schema:
        """Return the results' columns and, behind them, the input's, or `only` some of these."""
        return pa.schema([*self._results, *self._schema(only)])

    def _schema(self, only: Collection[str] | None) -> pa.Schema:
        return pa.schema(
            [
                self._dataset.schema.field(column).with_name(name)
                for column, name in self._names.items()
                if only is None or name in only
            ]
        )


def _taken(piece: pa.RecordBatch, places: npt.NDArray[np.int64]) -> list[pa.Array]:
    """Return the columns of a batch with the rows at these places."""
    return [_taken_of(column, places) for column in piece.columns]


def _taken_of(column: pa.Array, places: npt.NDArray[np.int64]) -> pa.Array:
    try:
        return column.take(pa.array(places))
    except pa.ArrowNotImplementedError:
        # of run-end-encoded columns and views Arrow takes none, but it puts slices of any type together
        return pa.concat_arrays([column.slice(int(place), 1) for place in places])


def _names_beside(taken: Iterable[str], columns: Iterable[str]) -> dict[str, str]:
    used, names = {name.lower() for name in taken}, {}
    for column in columns:
        name = column
        while name.lower() in used:
            name += SUFFIX
        names[column] = name
        used.add(name.lower())
    return names
