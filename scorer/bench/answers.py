"""Everything a benchmark job has answered so far, as one frame: published results joined to the cases they answer.

Reads whole published files only, so it works during a run and after. What is in no published file yet is counted as
missing and nothing else: neither right nor wrong.

Invariants: one line a task; `suite`, `case`, `question`, `gold`, `metric` are text and never null; `cluster` names what
a question shares with others (its group, else itself) and is unique over suites.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from scorer.errors import StoreError, UsageError
from scorer.jobs.asking import thawed
from scorer.jobs.folder import RESULTS
from scorer.jobs.gather import published_spec
from scorer.jobs.spec import JobSpec
from scorer.suites.battery import Battery

if TYPE_CHECKING:
    import pandas as pd

CASES_FILE = "cases.parquet"

CASE_COLUMNS = ("row", "suite", "case", "group", "question", "gold", "metric")
RESULT_COLUMNS = (
    *("row", "model", "sample", "score", "answer", "parsed", "status", "error", "completion", "host"),
    *("prompt_tokens", "output_tokens", "duration_s", "finished_at"),
)


@dataclass(frozen=True, slots=True)
class Answers:
    """A benchmark job's answers.

    `cases`: one line a case. `frame`: one line a task that has ended, with the columns of its case, `cluster` and
    `question_id`. `missing`: how many tasks have no published result yet. `caps`: suite → how many tokens an answer may
    have, of the suites whose answers are read from their text.
    """

    folder: Path
    spec: JobSpec
    cases: "pd.DataFrame"
    frame: "pd.DataFrame"
    missing: int
    caps: Mapping[str, int]

    @property
    def suites(self) -> list[str]:
        """The suites in the order of the cases."""
        return list(dict.fromkeys(self.cases["suite"]))

    @property
    def models(self) -> list[str]:
        """The models in the order in which they were given."""
        return list(self.spec.models)

    def of(self, model: str, suite: str | None = None) -> "pd.DataFrame":
        """Return the lines of one model that were answered (dead ones are not), of one suite or of all."""
        wanted = (self.frame["model"] == model) & (self.frame["status"] == "done")
        return self.frame[wanted if suite is None else wanted & (self.frame["suite"] == suite)]

    def dead(self, model: str, suite: str | None = None) -> int:
        """Count the tasks of one model that ended without an answer."""
        wanted = (self.frame["model"] == model) & (self.frame["status"] == "dead")
        return int((wanted if suite is None else wanted & (self.frame["suite"] == suite)).sum())

    def cut(self, model: str, suite: str | None = None) -> int:
        """Count the answers of one model that ended at their suite's cap, and were read as they stand."""
        lines = self.of(model, suite)
        return int((lines["output_tokens"] >= lines["suite"].map(dict(self.caps)).astype("float64")).sum())

    def asked(self, suite: str | None = None) -> int:
        """Count the tasks that each model has in one suite or in all."""
        cases = len(self.cases) if suite is None else int((self.cases["suite"] == suite).sum())
        return cases * self.spec.samples


def read_answers(folder: Path) -> Answers:
    """Read a benchmark job; UsageError if it is none or a newer scorer's, StoreError if a file of it is damaged."""
    spec = published_spec(folder)
    path = folder / CASES_FILE
    if not path.is_file():
        raise _no_benchmark(folder, f"it has no {CASES_FILE}")
    asking = thawed(spec.template, folder)
    if not isinstance(asking, Battery):
        raise _no_benchmark(folder, "it has a template and no suites")
    cases = _read(path, CASE_COLUMNS).to_pandas()
    results = _results(folder / RESULTS).to_pandas()
    frame = results.merge(cases, on="row", how="inner", validate="m:1")
    if len(frame) != len(results):
        raise StoreError(f"{path} does not know all rows of the results: it belongs to another job")
    frame["question_id"] = frame["suite"] + "\n" + frame["case"]
    own = "case\n" + frame["case"]
    frame["cluster"] = frame["suite"] + "\n" + ("group\n" + frame["group"]).where(frame["group"].notna(), own)
    expected = len(cases) * len(spec.models) * spec.samples
    caps = {name: way.num_predict for name, way in asking.ways().items() if not way.top_logprobs}
    return Answers(folder, spec, cases, frame, expected - len(frame), caps)


def _no_benchmark(folder: Path, why: str) -> UsageError:
    return UsageError(
        f"{folder.name} is no benchmark job: {why}\n"
        f"`scorer bench run` makes benchmark jobs; `scorer status {folder.name}` shows this one"
    )


def _results(results_dir: Path) -> pa.Table:
    files = sorted(results_dir.glob("*.parquet")) if results_dir.is_dir() else []
    return pa.concat_tables([_read(path, RESULT_COLUMNS) for path in files]) if files else _EMPTY


def _read(path: Path, columns: tuple[str, ...]) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:
            absent = [name for name in columns if name not in file.schema_arrow.names]
            if absent:
                raise UsageError(f"{path} has no column {absent[0]}: this is no benchmark job of this version")
            return file.read(list(columns)).replace_schema_metadata(None).cast(_schema(columns))
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise StoreError(f"{path} cannot be read ({reason}); `scorer verify` may repair it") from error


_TYPES = {
    "row": pa.int64(),
    "sample": pa.int32(),
    "score": pa.float64(),
    "parsed": pa.bool_(),
    "prompt_tokens": pa.int32(),
    "output_tokens": pa.int32(),
    "duration_s": pa.float64(),
    "finished_at": pa.timestamp("us", tz="UTC"),
}


def _schema(columns: tuple[str, ...]) -> pa.Schema:
    return pa.schema([(name, _TYPES.get(name, pa.string())) for name in columns])


_EMPTY = _schema(RESULT_COLUMNS).empty_table()
