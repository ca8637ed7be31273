"""What the queue and the parts cost: `python benchmarks/queue_cost.py [ROWS]` prints a table (default 1,000,000 rows).

CPU time is the figure to trust; wall time includes the disk's syncs. Half the rows are scored, in the shuffled order in
which several hosts finish, with texts of the usual length; then the other half, so that `status` sees a full job.
"""

import platform
import random
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow
import sqlalchemy

from scorer.core.result import Died, Done, Entry
from scorer.core.score import Field
from scorer.core.task import TaskKey
from scorer.publish import Publisher
from scorer.queue import Queue, Reader
from scorer.results import results_schema

BATCH = 100
IN_FLIGHT = 64
HOSTS = 5
DEAD_EVERY = 200
REASON = "The function validates its arguments and is short, but its name says little. "
SCHEMA = results_schema([Field("score", "integer", minimum=1, maximum=10), Field("reason", "string")], {})


def main(rows: int) -> None:
    """Measure everything on one job in a temporary folder."""
    print(f"{platform.platform()}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, ", end="")
    print(f"SQLAlchemy {sqlalchemy.__version__}, pyarrow {pyarrow.__version__}; {rows:,} rows\n")
    print(f"{'':44}{'CPU':>10}{'wall':>10}")
    folder = Path(tempfile.mkdtemp(prefix="queue-cost-"))
    try:
        _measure(folder, rows)
    finally:
        shutil.rmtree(folder)


def _measure(folder: Path, rows: int) -> None:
    path = folder / "queue.sqlite"
    queue = Queue.open(path, time.time())
    with _timed("enqueue", per=rows):
        queue.enqueue(["m"], rows, 1)

    order = _finishing_order(rows)
    publisher = Publisher(queue, folder, SCHEMA)
    _commit(queue, path, order[: rows // 2], "commit, 100 a batch, first half")
    queue.close()
    with _timed("open the half-done job"):
        queue = Queue.open(path, time.time())
    with _timed("walk all that is pending, pages of 1,000"):
        _walk(queue)

    publisher = Publisher(queue, folder, SCHEMA)
    with _timed("publish parts of 10,000", per=rows // 2):
        publisher.publish(everything=True)
    with _timed("is a part due?"):
        publisher.due(time.time(), 1000.0)
    _commit(queue, path, order[rows // 2 :], "commit, 100 a batch, second half")
    with _timed("publish, dead rows, manifest", per=rows - rows // 2):
        publisher.finish()

    reader = Reader.open(path)
    queries: dict[str, Callable[[], object]] = {
        "counts": reader.counts,
        "per_host": reader.per_host,
        "recent, 300 s": lambda: reader.recent(time.time()),
        "score_counts": reader.score_counts,
        "dead_by_kind": reader.dead_by_kind,
        "last_activity": reader.last_activity,
    }
    with _timed("status, all queries together"):
        for name, query in queries.items():
            with _timed(f"  {name}"):
                query()
    reader.close()
    with _timed("verify", per=rows):
        findings = publisher.verify(repair=False)
    assert findings == []
    queue.close()
    print(f"\nqueue.sqlite {path.stat().st_size / rows:.0f} bytes a row, ", end="")
    print(f"results {sum(p.stat().st_size for p in (folder / 'results').iterdir()) / rows:.0f} bytes a row")


def _commit(queue: Queue, path: Path, order: list[int], label: str) -> None:
    """The entries are made before the clock starts, a thousand batches at a time so that memory stays small."""
    now = time.time()
    clock = _Clock()
    log = path.with_name(path.name + "-wal")
    largest_bytes = 0
    for start in range(0, len(order), 1000 * BATCH):
        rows = order[start : start + 1000 * BATCH]
        batches = [[_entry(row, now) for row in rows[i : i + BATCH]] for i in range(0, len(rows), BATCH)]
        with clock:
            for batch in batches:
                queue.commit(batch, now)
        largest_bytes = max(largest_bytes, log.stat().st_size)
    clock.print(label, per=len(order))
    print(f"  the log's size then: {largest_bytes / 2**20:.0f} MiB")


def _entry(row: int, now: float) -> Entry:
    if row % DEAD_EVERY == 0:
        error = "deadline: no answer in 120 s"
        return Died(key=TaskKey("m", row, 0), kind="deadline", error=error, kept="{}", attempts=3, finished_at=now)
    score = row * 7919 % 10 + 1
    return Done(
        key=TaskKey("m", row, 0),
        fields={"score": score, "reason": REASON},
        score=float(score),
        kept="{}",
        completion=f'{{"score": {score}, "reason": "{REASON}"}}',
        digest=f"{row % 2:064d}",
        host=f"host-{row % HOSTS}",
        attempts=1,
        prompt_tokens=500 + row % 300,
        output_tokens=30,
        duration_s=1.5,
        finished_at=now,
    )


def _walk(queue: Queue) -> None:
    after = None
    while page := queue.pending("m", after, 1000):
        after = (page[-1].key.row, page[-1].key.sample)


def _finishing_order(rows: int) -> list[int]:
    """Rows as several hosts finish them, with holes everywhere: every other row first."""
    rng = random.Random(1)
    order = [*range(0, rows, 2), *range(1, rows, 2)]
    for start in range(0, rows, IN_FLIGHT):
        piece = order[start : start + IN_FLIGHT]
        rng.shuffle(piece)
        order[start : start + IN_FLIGHT] = piece
    return order


class _Clock:
    """Adds up CPU and wall time over several stretches."""

    def __init__(self) -> None:
        self._cpu_s = self._wall_s = 0.0

    def __enter__(self) -> None:
        self._cpu_s -= time.process_time()
        self._wall_s -= time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self._cpu_s += time.process_time()
        self._wall_s += time.perf_counter()

    def print(self, label: str, per: int | None) -> None:
        cpu, wall, unit = self._cpu_s, self._wall_s, "s"
        if per:
            cpu, wall, unit = cpu / per * 1e6, wall / per * 1e6, "µs a row"
        print(f"{label:44}{cpu:>10.3g}{wall:>10.3g} {unit}")


@contextmanager
def _timed(label: str, per: int | None = None) -> Iterator[None]:
    clock = _Clock()
    with clock:
        yield
    clock.print(label, per)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
