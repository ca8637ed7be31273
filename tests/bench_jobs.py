"""Benchmark jobs without hosts: the real queue, publisher and job folder, with answers that a test decides.

What `scorer bench run` leaves behind is a normal job folder and `cases.parquet`; this makes both. Commands run in this
process, since importing the statistics anew for each would take seconds.
"""

import io
import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import running

from scorer.cli import main
from scorer.core.output import fields_from
from scorer.core.result import Died, Done, Entry
from scorer.core.task import TaskKey
from scorer.jobs.spec import DatasetSpec, JobSpec, TemplateSpec, write_spec
from scorer.publish import Publisher
from scorer.queue import Queue
from scorer.results import results_schema
from scorer.suites.battery import KIND, AskedSuite, Battery, Terms, battery
from scorer.suites.catalogue import Part
from scorer.suites.form import Suite, loads

FIELDS = {
    "score": {"type": "number"},
    "answer": {"type": "string", "max_length": 1999},
    "parsed": {"type": "boolean"},
}
CASES_SCHEMA = pa.schema(
    [("row", pa.int64())] + [(name, pa.string()) for name in ("suite", "case", "group", "question", "gold", "metric")]
)


@dataclass(frozen=True)
class Case:
    """One question of a suite."""

    suite: str
    case: str
    group: str | None = None
    question: str = "What is it?"
    gold: str = "A"


@dataclass(frozen=True)
class Said:
    """One answer: what was extracted (None: nothing could be), on which host, and how long it took."""

    answer: str | None
    completion: str = "The answer is what it is."
    host: str = "p40"
    duration_s: float = 1.5
    score: float | None = None
    output_tokens: int = 10


NUM_PREDICT = 64
DEAD = "dead"
MISSING = None
Answer = Said | str | None


@dataclass(frozen=True)
class BenchJob:
    """A job to be made: its cases, and what each model says to each case and sample."""

    cases: Sequence[Case]
    says: Callable[[str, Case, int], Answer]
    models: tuple[str, ...] = ("base", "tuned")
    samples: int = 1
    by_logprob: frozenset[str] = frozenset()
    fields: dict[str, dict[str, object]] = field(default_factory=lambda: dict(FIELDS))

    def write(self, runs: Path, name: str = "bench") -> Path:
        """Make the folder and return it."""
        folder = runs / name
        folder.mkdir(parents=True)
        write_spec(folder, self._spec(name))
        lines = [{"row": row, **vars(case), "metric": "choice"} for row, case in enumerate(self.cases)]
        pq.write_table(pa.Table.from_pylist(lines, CASES_SCHEMA), folder / "cases.parquet")
        queue = Queue.open(folder / "queue.sqlite", time.time())
        queue.enqueue(self.models, len(self.cases), self.samples)
        entries = list(self._entries())
        for start in range(0, len(entries), 500):
            queue.commit(entries[start : start + 500], time.time())
        Publisher(queue, folder, results_schema(fields_from(self.fields, "bench"), {})).finish()
        queue.close()
        return folder

    def _entries(self) -> list[Entry]:
        found: list[Entry] = []
        for row, case in enumerate(self.cases):
            for model in self.models:
                for sample in range(self.samples):
                    said = self.says(model, case, sample)
                    key = TaskKey(model, row, sample)
                    if said == DEAD:
                        found.append(_died(key))
                    elif isinstance(said, Said):
                        found.append(_done(key, said, case))
        return found

    def _battery(self) -> Battery:
        suites = dict.fromkeys(case.suite for case in self.cases)
        return battery(
            [AskedSuite(Part(self._suite(name), ""), 0, "questions.jsonl", "") for name in suites],
            Terms(sampling=self.samples > 1),
        )

    def _suite(self, name: str) -> Suite:
        logprobs = str(name in self.by_logprob).lower()
        return loads(
            f'name = "{name}"\nsource = "a test"\ndata = "questions.jsonl"\nuser = "{{{{ question }}}}"\n'
            f'gold = "{{{{ gold }}}}"\nmetric = "choice"\nchoices = "[gold]"\nlogprobs = {logprobs}\n'
            f"[options]\nnum_predict = {NUM_PREDICT}\n",
            name,
        )

    def _spec(self, name: str) -> JobSpec:
        asked = self._battery()
        return JobSpec(
            name=name,
            scorer_version="0",
            created_at="2026-11-21T00:00:00+00:00",
            models=self.models,
            dataset=DatasetSpec("cases.parquet", "parquet", len(self.cases), "f" * 64, ""),
            template=TemplateSpec(asked.name, asked.source, asked.fingerprint, asked.text, KIND),
            columns={},
            samples=self.samples,
        )


@dataclass(frozen=True)
class Desk:
    """A user's folder, in which commands are run as `scorer` itself would, but in this process."""

    folder: Path

    def scorer(self, *arguments: str, code: int = 0) -> running.Said:
        """Run a command, which must end with this exit code."""
        out, err = io.StringIO(), io.StringIO()
        hook, ended = sys.excepthook, 0
        with chdir(self.folder), redirect_stdout(out), redirect_stderr(err), patch("sys.argv", ["scorer", *arguments]):
            try:
                main()
            except SystemExit as end:
                ended = int(end.code or 0)
            finally:
                sys.excepthook = hook
        assert ended == code, f"exit code {ended}\n{out.getvalue()}\n{err.getvalue()}"
        return running.Said(ended, out.getvalue(), err.getvalue())


def _done(key: TaskKey, said: Said, case: Case) -> Done:
    score = float(said.answer == case.gold) if said.score is None else said.score
    return Done(
        key=key,
        fields={"score": score, "answer": said.answer, "parsed": said.answer is not None},
        score=score,
        kept="{}",
        completion=said.completion,
        digest="d" * 64,
        host=said.host,
        attempts=1,
        prompt_tokens=100,
        output_tokens=said.output_tokens,
        duration_s=said.duration_s,
        finished_at=1_700_000_000.25,
    )


def _died(key: TaskKey) -> Died:
    return Died(
        key=key, kind="deadline", error="deadline: too late", kept=json.dumps({}), attempts=3, finished_at=1.7e9
    )
