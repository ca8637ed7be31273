"""What a job of a million rows costs: `python benchmarks/scale.py [ROWS]` prints a table (default 1,000,000 rows).

Opening, resuming with holes, `scorer status`, `scorer --help`, and memory while scoring, each in a process of its own,
with Parquet of usual row groups, Parquet with a single one, and JSON Lines. CPU and memory are the asking process's.
Memory is that of a whole run of a small job, and of the first SCORED rows of a large one: nothing that a run holds
grows with the rows behind it, which the table shows by sampling at a tenth of that, at half and at the end.
"""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import anyio
import psutil
from machine import header, peak_mb
from rows import write_jsonl, write_parquet
from server import MODEL, serving

from scorer.core.result import Done
from scorer.core.task import TaskKey
from scorer.dispatch.events import Event, Progress

SMALL = 10_000
SCORED = 100_000
CHARS = 700
SLOTS = 85
SERVERS = 3
MB = 1 << 20
SAMPLE_EVERY_S = 0.1
TEMPLATE = """
name = "short"
system = "Say how good the text is."
user = "{{ text }}"
[output.score]
type = "integer"
minimum = 1
maximum = 10
[output.reason]
type = "string"
max_length = 200
"""


@dataclass(frozen=True)
class File:
    """A dataset of the benchmark."""

    label: str
    name: str
    rows: int
    write: Callable[[Path], None]


@dataclass
class Measured:
    """What a run said of itself: from its start to its first request; memory at a tenth, half, all of its rows."""

    opening_cpu_s: float = 0.0
    opening_s: float = 0.0
    sampled_mb: tuple[float, ...] = ()
    peak_mb: float = 0.0


def main(rows: int) -> None:
    """Measure everything in a temporary folder."""
    print(header(), f"{rows:,} rows of {CHARS} characters\n", sep="\n")
    folder = Path(tempfile.mkdtemp(prefix="scale-"))
    try:
        with serving(SERVERS, 0.0) as urls:
            _write_inputs(folder, urls)
            _measure(folder, rows)
    finally:
        shutil.rmtree(folder)


def _write_inputs(folder: Path, urls: list[str]) -> None:
    (folder / "short.toml").write_text(TEMPLATE)
    tables = [f'[[hosts]]\nname = "host-{i}"\nurl = "{url}"\nslots = {SLOTS}\n' for i, url in enumerate(urls)]
    (folder / "hosts.toml").write_text(f'[defaults]\nmodel = "{MODEL}"\n' + "\n".join(tables))


def _measure(folder: Path, rows: int) -> None:
    small = File("Parquet", "small.parquet", SMALL, lambda path: write_parquet(path, SMALL, CHARS, 10_000))
    large = [
        File("Parquet, row groups of 10,000", "groups.parquet", rows, lambda p: write_parquet(p, rows, CHARS, 10_000)),
        File("Parquet, one row group", "one.parquet", rows, lambda p: write_parquet(p, rows, CHARS, rows)),
        File("JSON Lines", "lines.jsonl", rows, lambda path: write_jsonl(path, rows, CHARS)),
    ]
    print("| `scorer --help` | CPU s | wall s |\n|---|---|---|")
    print(f"| | {_row(_command(folder, '--help'))} |\n")
    print(
        "| memory while scoring | rows | scored | MB after a tenth | half | all | peak MB |"
        "\n|---|---|---|---|---|---|---|"
    )
    found = {}
    for file in (small, *large):
        file.write(folder / file.name)
        found[file] = _scored(folder, file, min(SCORED, file.rows))
        peak = found[file].peak_mb
        print(f"| {file.label} | {file.rows:,} | {min(SCORED, file.rows):,} | ", end="")
        print(" | ".join(f"{mb:.0f}" for mb in found[file].sampled_mb), f"| {peak:.0f} |", flush=True)
    print("\n| a job of all rows | opening, CPU s | wall s | resuming, CPU s | wall s | status, CPU s | wall s |")
    print("|---|---|---|---|---|---|---|")
    for file in large:
        opening = found[file].opening_cpu_s, found[file].opening_s
        _score_every_other(folder, file)
        resumed = _scored(folder, file, 100, resuming=True)
        resuming = resumed.opening_cpu_s, resumed.opening_s
        status = _command(folder, "status", _job(file), "--runs-dir", str(folder / "runs"))
        print(f"| {file.label} | {_row(opening)} | {_row(resuming)} | {_row(status)} |", flush=True)


def _row(figures: tuple[float, float]) -> str:
    return " | ".join(f"{figure:.2f}" for figure in figures)


def _job(file: File) -> str:
    return Path(file.name).stem


def _command(folder: Path, *arguments: str) -> tuple[float, float]:
    """Return CPU and wall seconds of a command, the better of three."""
    return min(_once(folder, arguments) for _ in range(3))


def _once(folder: Path, arguments: tuple[str, ...]) -> tuple[float, float]:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "scorer", *arguments]
    subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu_s, time.perf_counter() - began


def _scored(folder: Path, file: File, count: int, *, resuming: bool = False) -> Measured:
    """Begin or go on with the job of all rows, stop after `count`, return what that process measured of itself."""
    told = [str(folder), file.name, str(count), "resume" if resuming else "run"]
    done = subprocess.run([sys.executable, __file__, *told], check=True, stdout=subprocess.PIPE, text=True)
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def _score_every_other(folder: Path, file: File) -> None:
    """Finish half of the job's rows in its queue, with holes everywhere, as a run that was stopped leaves it."""
    from scorer.queue import Queue

    queue = Queue.open(folder / "runs" / _job(file) / "queue.sqlite", time.time())
    left = file.rows // 2 - queue.counts().done
    after, now = None, time.time()
    while left > 0 and (page := queue.pending(MODEL, after, 1000)):
        after = page[-1].key.row, page[-1].key.sample
        keys = [task.key for task in page if task.key.row % 2 == 0]
        queue.commit([_done(key, now) for key in keys[:left]], now)
        left -= len(keys)
    queue.close()


def _done(key: TaskKey, now: float) -> Done:
    return Done(
        key=key,
        fields={"score": 7, "reason": "r" * 80},
        score=7.0,
        kept="{}",
        completion='{"score": 7, "reason": "' + "r" * 80 + '"}',
        digest="ab" * 32,
        host="host-0",
        attempts=1,
        prompt_tokens=200,
        output_tokens=30,
        duration_s=1.0,
        finished_at=now,
    )


# -- in the process that is measured -----------------------------------------------------------------------------------


class _View:
    """Notes when the run begins to score, samples memory, and stops it after so many rows, as Ctrl-C would."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._process = psutil.Process()
        self.measured = Measured()

    def event(self, event: Event) -> None:
        if event.kind == "started":
            self.measured.opening_cpu_s = time.process_time()
            self.measured.opening_s = time.time() - self._process.create_time()

    async def watch(self, progress: Callable[[], Progress]) -> None:
        sampled: list[float] = []
        first = progress().done
        for share in (0.1, 0.5, 1.0):
            wanted = first + share * self._count - 2 * SERVERS * SLOTS
            while progress().done < wanted:  # noqa: ASYNC110  a run tells nobody that it has come so far
                await anyio.sleep(SAMPLE_EVERY_S)
            sampled.append(self._process.memory_info().rss / MB)
        self.measured.sampled_mb = tuple(sampled)
        os.kill(os.getpid(), signal.SIGINT)


def _child(folder: Path, name: str, count: int, how: str) -> None:
    from scorer.jobs.run import resume, run
    from scorer.jobs.submit import RunOptions

    view, job = _View(count), Path(name).stem
    runs, hosts = folder / "runs", folder / "hosts.toml"
    if how == "resume":
        resume(runs, job, hosts, None, view)
    else:
        prompt = str(folder / "short.toml")
        run(RunOptions(dataset=str(folder / name), hosts=hosts, prompt=prompt, job=job, runs_dir=runs), view)
    view.measured.peak_mb = peak_mb()
    print(json.dumps(asdict(view.measured)))


if __name__ == "__main__":
    if len(sys.argv) > 2:
        _child(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4])
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
