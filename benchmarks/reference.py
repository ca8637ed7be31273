"""The least that does the same work as a run: what `scorer` costs beyond this is what its care costs.

A bare aiohttp loop on a fixed number of connections a host, an SQLModel table filled by Core statements, completions
durable in batches, Parquet parts that are synced and renamed. No failure of any kind is survived: nothing is tried
again, priced, checked twice, or resumed.
"""

import asyncio
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import aiohttp
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import bindparam, event, insert, update
from sqlalchemy.engine import Engine
from sqlmodel import Field, SQLModel, create_engine

from scorer.core.score import json_schema
from scorer.templates import Template

BATCH = 256
PART_ROWS = 10_000
COLUMNS = ("row", "score", "reason", "completion", "host", "prompt_tokens", "output_tokens")
Result = tuple[int, int, str, str, str, int, int]


class Job(SQLModel, table=True):
    """One row of the dataset and its result."""

    row: int = Field(primary_key=True)
    done: bool = False
    score: int | None = None
    reason: str | None = None
    completion: str | None = None
    host: str | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None


JOB = Job.metadata.tables["job"]
FINISH = (
    update(JOB).where(JOB.c.row == bindparam("key")).values({c: bindparam(f"new_{c}") for c in (*COLUMNS[1:], "done")})
)


def open_queue(folder: Path, rows: int) -> Engine:
    """Make the table and fill it."""
    engine = create_engine(f"sqlite:///{folder / 'queue.sqlite'}", connect_args={"check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _(connection: object, _record: object) -> None:
        connection.execute("PRAGMA journal_mode=WAL")  # type: ignore[attr-defined]
        connection.execute("PRAGMA synchronous=FULL")  # type: ignore[attr-defined]

    SQLModel.metadata.create_all(engine)
    with engine.begin() as db:
        for start in range(0, rows, PART_ROWS):
            db.execute(insert(JOB), [{"row": row, "done": False} for row in range(start, min(start + PART_ROWS, rows))])
    return engine


class Reference:
    """Scores a Parquet file's column `text` on hosts with `slots` connections each."""

    def __init__(self, dataset: Path, folder: Path, template: Template, model: str) -> None:
        self._texts = _texts(dataset)
        self._folder = folder
        self._frame = {
            "model": model,
            "stream": False,
            "think": False,
            "truncate": False,
            "shift": False,
            "keep_alive": "30m",
            "format": json_schema(template.fields),
        }
        self._options = {"num_ctx": 4096, "num_predict": 96, "temperature": 0.0, "seed": 0}
        self._system, self._user = template.system, template.user
        self._finished: list[Result] = []
        self._for_part: list[Result] = []
        self._parts = 0

    async def run(self, engine: Engine, urls: Sequence[str], slots: int) -> None:
        """Ask for every row, keep every answer."""
        self._engine = engine
        self._saving: asyncio.Task[None] | None = None
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as group:
            for url in urls:
                for _ in range(slots):
                    group.create_task(self._connection(session, url))
        if self._saving is not None:
            await self._saving
        if self._finished:
            await asyncio.to_thread(self._save, self._finished)
        self._write_part()

    async def _connection(self, session: aiohttp.ClientSession, url: str) -> None:
        for row, text in self._texts:
            messages = [
                {"role": "system", "content": self._system},
                {"role": "user", "content": self._user.replace("{{ text }}", text)},
            ]
            body = json.dumps({**self._frame, "messages": messages, "options": self._options})
            async with session.post(f"{url}/api/chat", data=body) as response:
                answer = json.loads(await response.read())
            completion = answer["message"]["content"]
            fields = json.loads(completion)
            assert 1 <= fields["score"] <= 10
            self._finished.append(
                (
                    row,
                    fields["score"],
                    fields["reason"],
                    completion,
                    url,
                    answer["prompt_eval_count"],
                    answer["eval_count"],
                )
            )
            if len(self._finished) >= BATCH and (self._saving is None or self._saving.done()):
                batch, self._finished = self._finished, []
                self._saving = asyncio.create_task(asyncio.to_thread(self._save, batch))

    def _save(self, batch: list[Result]) -> None:
        with self._engine.begin() as db:
            db.execute(
                FINISH,
                [
                    {"key": r[0], "new_done": True, **{f"new_{c}": r[i] for i, c in enumerate(COLUMNS) if i}}
                    for r in batch
                ],
            )
        self._for_part += batch
        if len(self._for_part) >= PART_ROWS:
            self._write_part()

    def _write_part(self) -> None:
        if not self._for_part:
            return
        table = pa.table(dict(zip(COLUMNS, map(list, zip(*self._for_part, strict=True)), strict=True)))
        self._for_part = []
        path = self._folder / f"part-{self._parts:05d}.parquet"
        self._parts += 1
        with path.with_suffix(".tmp").open("wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        path.with_suffix(".tmp").rename(path)


def _texts(dataset: Path) -> Iterator[tuple[int, str]]:
    row = 0
    for batch in pq.ParquetFile(dataset, pre_buffer=False, buffer_size=64 << 10).iter_batches(256, columns=["text"]):
        for text in batch.column(0).to_pylist():
            yield row, text
            row += 1
