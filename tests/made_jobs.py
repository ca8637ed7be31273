"""Scoring jobs without hosts: a real dataset, queue, publisher and job folder, with results that a test decides."""

import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from scorer import inputs, templates
from scorer.core.kept import kept_json
from scorer.core.result import Died, Done
from scorer.core.score import figure_of, words_of
from scorer.core.task import TaskKey
from scorer.jobs.spec import (
    HostRecord,
    JobSpec,
    Selection,
    TemplateSpec,
    frozen_types,
    schema_of,
    write_spec,
)
from scorer.jobs.submit import frozen_dataset
from scorer.publish import Publisher
from scorer.queue import Queue

BEGAN_AT = 1_700_000_000.0
COMMIT_ROWS = 1000
HOSTS = ("p40", "macbook", "mini")

TEMPLATE = """
name = "judge"
system = "Judge the text."
user = "{{ text }}"
[output.score]
type = "integer"
minimum = 1
maximum = 10
[output.reason]
type = "string"
max_length = 200
"""

Says = Callable[[TaskKey, random.Random], dict[str, object] | str | None]


def usual(key: TaskKey, rng: random.Random) -> dict[str, object] | str | None:
    """A score from 1 to 10; every 50th row is dead."""
    if key.row % 50 == 49:
        return "cut_output: the answer was cut at 96 tokens"
    return {"score": rng.randint(1, 10), "reason": f"because of {key.row}"}


@dataclass(frozen=True, kw_only=True)
class MadeJob:
    """A job to be made.

    `says` gives for each task its fields, an error (`kind: message`: it is dead), or None: it is still pending.
    `published` is the share of the results that is in parts, of `part_rows` each; a job that is not `finished` has
    only committed the others. Results come in an order that strays from the rows' by about `spread` rows.
    """

    table: pa.Table
    says: Says = usual
    template: str = TEMPLATE
    models: tuple[str, ...] = ("m",)
    samples: int = 1
    keep: tuple[str, ...] = ()
    columns: dict[str, str] = field(default_factory=lambda: {"text": "text"})
    hosts: Sequence[str] = HOSTS
    published: float = 1.0
    finished: bool = True
    part_rows: int = 10_000
    spread: int = 40
    seed: int = 0
    row_s: float = 0.2

    def write(self, folder: Path, name: str = "judged") -> Path:
        """Write `rows.parquet` and `runs/<name>` into a folder and return the job's."""
        source = folder / "rows.parquet"
        pq.write_table(self.table, source)
        dataset = inputs.open_dataset(str(source))
        template = templates.loads(self.template, "judge.toml")
        kept = inputs.keep_types(dataset, self.keep, templates.RESERVED | {f.name for f in template.fields})
        job = folder / "runs" / name
        job.mkdir(parents=True)
        spec = JobSpec(
            name=name,
            scorer_version="0.1.0",
            created_at="2023-11-14T22:13:20+00:00",
            models=self.models,
            dataset=frozen_dataset(dataset),
            template=TemplateSpec(template.name, "judge.toml", template.fingerprint, template.text),
            columns=self.columns,
            keep=self.keep,
            kept_schema=frozen_types(kept),
            samples=self.samples,
            selection=Selection(),
            digests=dict.fromkeys(self.models, "d" * 64),
            hosts={h: HostRecord(f"http://{h}:11434", "0.13.0", dict.fromkeys(self.models, "d" * 64)) for h in HOSTS},
        )
        write_spec(job, spec)
        queue = Queue.open(job / "queue.sqlite", BEGAN_AT)
        queue.enqueue(self.models, dataset.rows, self.samples)
        publisher = Publisher(queue, job, schema_of(spec, template))
        entries = list(self._entries())
        due = int(self.published * len(entries))
        for start, end in ((0, due), (due, len(entries))):
            for at in range(start, end, COMMIT_ROWS):
                batch = entries[at : min(at + COMMIT_ROWS, end)]
                queue.commit(batch, batch[-1].finished_at)
            if start == 0:
                while (part := queue.fix_part(self.part_rows)) is not None:
                    publisher._write(part)
        if self.finished:
            publisher.finish()
        queue.close()
        return job

    def _entries(self) -> Iterable[Done | Died]:
        rng = random.Random(self.seed)
        kept = [line for batch in self.table.to_batches() for line in kept_json(batch, self.keep)]
        order = sorted(
            (row + rng.uniform(0, self.spread), row, model, sample)
            for row in range(self.table.num_rows)
            for model in range(len(self.models))
            for sample in range(self.samples)
        )
        for i, (_, row, model, sample) in enumerate(order):
            key = TaskKey(self.models[model], row, sample)
            entry = self._entry(key, kept[row], BEGAN_AT + i * self.row_s, rng)
            if entry is not None:
                yield entry

    def _entry(self, key: TaskKey, kept: str, at: float, rng: random.Random) -> Done | Died | None:
        said = self.says(key, rng)
        place = min(int(rng.expovariate(1.2)), len(self.hosts) - 1)
        if said is None:
            return None
        if isinstance(said, str):
            return Died(
                key=key, kind=said.split(":")[0], error=said, kept=kept, attempts=3, finished_at=at,
                host=self.hosts[place], completion="{ never ending",
            )  # fmt: skip
        first = next(iter(said.values()))
        return Done(
            key=key,
            fields=said,
            score=figure_of(first, words_of(templates.loads(self.template, "judge.toml").fields[0])),
            kept=kept,
            completion=json.dumps(said, ensure_ascii=False),
            digest="d" * 64,
            host=self.hosts[place],
            attempts=1,
            prompt_tokens=rng.randint(100, 900),
            output_tokens=rng.randint(10, 60),
            duration_s=(place + 1) * rng.uniform(0.5, 1.5),
            finished_at=at,
        )


def texts(rows: int, **columns: pa.Array) -> pa.Table:
    """A table of so many texts, and other columns."""
    return pa.table({"text": [f"text number {i}" for i in range(rows)], **columns})
