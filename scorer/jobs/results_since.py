"""A job's results as they are committed: each once, in the order of the commits, those of earlier runs first."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, cast

from scorer.core.kept import kept_arrays
from scorer.core.result import ResultRow
from scorer.core.values import python_values
from scorer.jobs.folder import DATABASE
from scorer.jobs.spec import read_spec, thawed_types
from scorer.queue import Reader

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one row with one model, as a line of the results has it.

    `row` counts from 0 in the dataset. `fields` is the template's output by name, empty for a dead row, whose `error`
    is `kind: message`. `kept`: the kept columns by name, a `scorer.core.values.Unreadable` where Python has no such
    value. `attempts`: all tries that were sent.
    """

    row: int
    model: str
    sample: int
    fields: dict[str, object]
    kept: dict[str, object]
    status: Literal["done", "dead"]
    error: str | None
    completion: str | None
    model_digest: str | None
    host: str | None
    attempts: int
    prompt_tokens: int | None
    output_tokens: int | None
    duration_s: float | None
    finished_at: datetime

    @property
    def score(self) -> Any:  # noqa: ANN401 - what type it is, the template says
        """The field `score`; None for a dead row."""
        return self.fields.get("score")

    @property
    def done(self) -> bool:
        """Whether it has a score; if not it is dead."""
        return self.status == "done"


class ResultsSince:
    """Where somebody is who reads a job's results while it runs. `close` it; one caller at a time."""

    def __init__(self, folder: Path) -> None:
        self._reader = Reader.open(folder / DATABASE)
        self._types = {field.name: field.type for field in thawed_types(read_spec(folder).kept_schema)}
        self._seen = 0
        self._dead: Iterator[list[ResultRow]] | None = None

    def close(self) -> None:
        """Let go of the database."""
        self._reader.close()

    def scored(self) -> list[Result]:
        """Return results that were not returned before, at most a page; empty if there are none now."""
        found = next(self._reader.results(self._seen + 1, self._reader.extent()[1]), [])
        self._seen += len(found)
        return self._results(found)

    def dead(self) -> list[Result]:
        """Return dead rows that were not returned before, at most a page; empty if there are no more.

        To be asked when the run is over: they come by model, row and sample, and what dies behind that is not seen.
        """
        if self._dead is None:
            self._dead = self._reader.dead_rows()
        return self._results(next(self._dead, []))

    def _results(self, rows: Sequence[ResultRow]) -> list[Result]:
        kept = kept_arrays([row.kept for row in rows], self._types)
        columns = {name: python_values(array) for name, array in kept.items()}
        return [
            Result(
                row=row.row,
                model=row.model,
                sample=row.sample,
                fields=json.loads(row.fields) if row.fields else {},
                kept={name: values[i] for name, values in columns.items()},
                status=cast("Literal['done', 'dead']", row.status),
                error=row.error,
                completion=row.completion,
                model_digest=row.model_digest,
                host=row.host,
                attempts=row.attempts,
                prompt_tokens=row.prompt_tokens,
                output_tokens=row.output_tokens,
                duration_s=row.duration_s,
                finished_at=EPOCH + timedelta(microseconds=row.finished_us),
            )
            for i, row in enumerate(rows)
        ]
