"""What the dispatcher costs: `python benchmarks/dispatcher_cost.py [ROWS]` prints a table (default 30,000 rows).

The whole program, queue and Parquet included, beside a bare loop that does the same work (`reference.py`), in turns on
one machine, each in a process of its own, against servers in another process that cost next to nothing. A server that
answers at once hides what many requests in flight cost, so the figures that count are against one that takes 100 ms.
CPU is that of the asking process from its first request to its last part; imports and submitting are not in it.
What the scheduler and the storage take of it is measured in runs of their own, since measuring costs time too.
"""

import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path

import anyio
import pyarrow as pa
from machine import header, peak_mb
from rows import write_parquet
from server import MODEL, serving

ROUNDS = 3
CHARS = 1400
CALIBRATION = 10_000


@dataclass(frozen=True)
class Case:
    """Who asks, how fast the servers answer, how many requests are in flight, how many of the rows are asked."""

    who: str
    delay_s: float
    servers: int
    slots: int
    share: float = 1.0

    @property
    def label(self) -> str:
        """Name the case in the table."""
        server = f"{1000 * self.delay_s:.0f} ms" if self.delay_s else "at once"
        return f"{self.who}, {self.servers * self.slots} in flight, answers {server}"


SLOW = [Case(who, 0.1, 3, 85) for who in ("reference", "scorer")]
NULL = [Case(who, 0.0, 3, 85) for who in ("reference", "scorer")]
METERED = Case("metered", 0.1, 3, 85)
FEW = Case("scorer", 0.0, 1, 8, 0.5)
MANY = Case("scorer", 0.0, 1, 256, 0.5)


@dataclass(frozen=True)
class Measured:
    """What one process said of itself; `scheduler_us`, `storage_us` (queue and Parquet) are CPU a row, if metered."""

    rows_per_s: float
    cpu_us: float
    peak_mb: float
    scheduler_us: float = 0.0
    storage_us: float = 0.0


def main(rows: int) -> None:
    """Measure every case, in turns, and print medians and ratios."""
    print(header(), f"{rows:,} rows of {CHARS} characters, medians of {ROUNDS} rounds\n", sep="\n")
    folder = Path(tempfile.mkdtemp(prefix="dispatcher-cost-"))
    try:
        write_parquet(folder / "rows.parquet", rows, CHARS, row_group=10_000)
        cases = [*SLOW, *NULL, FEW, MANY, METERED]
        found: dict[Case, list[Measured]] = {case: [] for case in cases}
        for _ in range(ROUNDS):
            for case in cases:
                found[case].append(_measure(case, folder, rows))
    finally:
        shutil.rmtree(folder)
    _print({case: _median(measured) for case, measured in found.items()})


def _measure(case: Case, folder: Path, rows: int) -> Measured:
    run = folder / "run"
    run.mkdir()
    with serving(case.servers, case.delay_s) as urls:
        count = int(rows * case.share)
        told = [case.who, str(folder / "rows.parquet"), str(run), str(count), str(case.slots), *urls]
        done = subprocess.run([sys.executable, __file__, *told], check=True, stdout=subprocess.PIPE, text=True)
    shutil.rmtree(run)
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def _median(measured: list[Measured]) -> Measured:
    return Measured(*(statistics.median(values) for values in zip(*map(astuple, measured), strict=True)))


def _print(found: dict[Case, Measured]) -> None:
    print(f"| {'':46} | rows/s | CPU-µs a row | peak MB |")
    print("|---|---|---|---|")
    for case, m in found.items():
        if case is not METERED:
            print(f"| {case.label:46} | {m.rows_per_s:,.0f} | {m.cpu_us:.0f} | {m.peak_mb:.0f} |")
    for name, (reference, scorer) in {"100 ms": SLOW, "at once": NULL}.items():
        one, other = found[reference], found[scorer]
        print(f"\nanswers {name}: {other.rows_per_s / one.rows_per_s:.2f} x the reference's rows/s, ", end="")
        print(f"{other.cpu_us / one.cpu_us:.2f} x its CPU a row", end="")
    print(f"\nCPU a row at 256 in flight: {found[MANY].cpu_us / found[FEW].cpu_us:.2f} x that at 8")
    metered, all_us = found[METERED], found[SLOW[1]].cpu_us
    for part, us in {"the scheduler": metered.scheduler_us, "queue + Parquet": metered.storage_us}.items():
        print(f"{part}: {us:.0f} CPU-µs a row, {us / all_us:.1%} of all")


# -- in the process that is measured -----------------------------------------------------------------------------------


class _Clock:
    """CPU and wall time of this process since `start`."""

    def start(self) -> None:
        self._cpu_s, self._wall_s = time.process_time(), time.perf_counter()

    def stop(self) -> None:
        self.cpu_s = time.process_time() - self._cpu_s
        self.wall_s = time.perf_counter() - self._wall_s

    def report(self, rows: int, **parts: float) -> None:
        """Print the figures for the parent."""
        figures = {"rows_per_s": rows / self.wall_s, "cpu_us": self.cpu_s / rows * 1e6, "peak_mb": peak_mb()}
        print(json.dumps(figures | parts))


def _import_all() -> None:
    """Import what is imported on first use: pyarrow's first array imports pandas."""
    pa.array([0])


def _reference(dataset: Path, folder: Path, rows: int, slots: int, urls: list[str]) -> None:
    from reference import Reference, open_queue

    from scorer import templates

    engine = open_queue(folder, rows)
    _import_all()
    work = Reference(dataset, folder, templates.load("quality"), MODEL)
    clock = _Clock()
    clock.start()
    asyncio.run(work.run(engine, urls, slots))
    clock.stop()
    clock.report(rows)


class _View:
    """Starts and stops the clock with the run."""

    def __init__(self) -> None:
        self.clock = _Clock()

    def event(self, event: object) -> None:
        kind = getattr(event, "kind", "")
        if kind == "started":
            self.clock.start()
        elif kind == "ended":
            self.clock.stop()

    async def watch(self, progress: Callable[[], object]) -> None:
        while True:
            await anyio.sleep(0.5)
            progress()


class _Meter:
    """Adds up the CPU time that some methods take, each on whatever thread it runs, less what measuring adds."""

    def __init__(self) -> None:
        self.cpu_s = 0.0
        self._own_s = 0.0
        empty = self._wrapped(lambda: None)
        for _ in range(CALIBRATION):
            empty()
        self._own_s, self.cpu_s = self.cpu_s / CALIBRATION, 0.0

    def measure(self, owner: type, *names: str) -> None:
        """Wrap these methods of a class for the rest of the process."""
        for name in names:
            setattr(owner, name, self._wrapped(getattr(owner, name)))

    def _wrapped(self, method: Callable[..., object]) -> Callable[..., object]:
        def metered(*args: object, **kwargs: object) -> object:
            before = time.thread_time()
            try:
                return method(*args, **kwargs)
            finally:
                self.cpu_s += time.thread_time() - before - self._own_s

        return metered


def _meters() -> tuple[_Meter, _Meter]:
    """Measure the scheduler and the storage from now on."""
    from scorer.core.fleet import Fleet
    from scorer.publish import Publisher
    from scorer.queue import Queue

    scheduler, storage = _Meter(), _Meter()
    scheduler.measure(Fleet, "pick", "release", "due", "free_hosts", "hopeless")
    storage.measure(Queue, "commit", "pending")
    storage.measure(Publisher, "due", "publish", "needed_bytes", "finish")
    return scheduler, storage


def _scorer(dataset: Path, folder: Path, rows: int, slots: int, urls: list[str], *, metered: bool) -> None:
    from scorer.jobs.run import run
    from scorer.jobs.submit import RunOptions

    _import_all()
    meters = _meters() if metered else ()
    hosts = folder / "hosts.toml"
    tables = [f'[[hosts]]\nname = "host-{i}"\nurl = "{url}"\nslots = {slots}\n' for i, url in enumerate(urls)]
    hosts.write_text(f'[defaults]\nmodel = "{MODEL}"\n' + "\n".join(tables))
    view = _View()
    ended = run(RunOptions(dataset=str(dataset), hosts=hosts, limit=rows, runs_dir=folder / "runs"), view)
    assert ended.counts.done == rows, ended
    view.clock.report(
        rows,
        **{name: meter.cpu_s / rows * 1e6 for name, meter in zip(("scheduler_us", "storage_us"), meters, strict=False)},
    )


if __name__ == "__main__":
    if len(sys.argv) > 2:
        who, dataset, folder, rows, slots, *urls = sys.argv[1:]
        where, many, each = (Path(dataset), Path(folder)), int(rows), int(slots)
        if who == "reference":
            _reference(*where, many, each, urls)
        else:
            _scorer(*where, many, each, urls, metered=who == "metered")
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 30_000)
