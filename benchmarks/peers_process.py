"""Runs one tool in a session of its own and reads from outside what its processes take: Linux's /proc, no help needed.

The clock runs from the first row that the hosts are asked about to the tool's word that its output is complete;
imports, reading the rows and whatever it asks on its own account beforehand count as its start. Memory is the sum of
the processes' proportional shares, at its highest in a sample.
"""

import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from peers_scripts.job import COMPLETE, FOUND
from peers_server import Tally, score_of

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
SAMPLE_S = 0.02
MEMORY_EVERY = 20
TIMEOUT_S = 180.0


class ToolFailed(Exception):
    """A tool ended, or went on for ever, without saying that its output is complete: how, and its last words."""

    def __init__(self, how: str, folder: Path) -> None:
        super().__init__(f"{how}: {_log(folder).read_text(errors='replace')[-1500:]}")
        self.how = how


@dataclass(frozen=True)
class Start:
    """What to run, where it may write, and what the hosts count."""

    command: list[str]
    folder: Path
    tally: Tally


@dataclass(frozen=True)
class Took:
    """What a run took, and how many rows its output has once and with the right score, not at all, twice, wrong."""

    start_s: float
    wall_s: float
    cpu_s: float
    peak_mb: float
    right: int
    lost: int
    twice: int
    wrong: int


def measured(start: Start) -> Took:
    """Run a tool to its end; ToolFailed if it does not get there."""
    before = sum(start.tally.asked)
    process = _started(start)
    born_s = time.perf_counter()
    usage = _Usage(process.pid)
    try:
        _wait(start, process, lambda: sum(start.tally.asked) > before or _said(start.folder, COMPLETE) is not None)
        began = time.perf_counter(), usage.cpu_s()
        _wait(start, process, lambda: usage.sample() and _said(start.folder, COMPLETE) is not None)
        ended = time.perf_counter(), usage.cpu_s()
        usage.peak_mb = max(usage.peak_mb, _memory_mb(process.pid))
        _wait(start, process, lambda: _said(start.folder, FOUND) is not None)
    finally:
        _kill(process)
    right, lost, twice, wrong = _judged(json.loads(_said(start.folder, FOUND) or ""), len(start.tally.asked))
    wall_s, cpu_s = ended[0] - began[0], ended[1] - began[1]
    return Took(began[0] - born_s, wall_s, cpu_s, usage.peak_mb, right, lost, twice, wrong)


def killed(start: Start, answers: int) -> None:
    """Run a tool and kill all of its processes, with no warning, as soon as it was given so many answers."""
    before = sum(start.tally.answered)
    process = _started(start)
    try:
        _wait(start, process, lambda: sum(start.tally.answered) - before >= answers)
    finally:
        _kill(process)


def _wait(start: Start, process: subprocess.Popen[bytes], until: Callable[[], object]) -> None:
    deadline_s = time.perf_counter() + TIMEOUT_S
    while not until():
        if process.poll() is not None and _said(start.folder, FOUND) is None:
            raise ToolFailed("ended without its output", start.folder)
        if time.perf_counter() > deadline_s:
            raise ToolFailed(f"did not end in {TIMEOUT_S:.0f} s", start.folder)
        time.sleep(SAMPLE_S)


def _judged(found: list[tuple[int, int]], rows: int) -> tuple[int, int, int, int]:
    times = Counter(row for row, _ in found)
    wrong = {row for row, score in found if not 0 <= row < rows or score != score_of(row)}
    twice = {row for row, count in times.items() if count > 1}
    right = times.keys() - twice - wrong
    return len(right), len(range(rows)) - len(times), len(twice), len(wrong)


class _Usage:
    """What the processes of a session use."""

    def __init__(self, leader: int) -> None:
        self.peak_mb = 0.0
        self._leader = leader
        self._samples = 0

    def cpu_s(self) -> float:
        """Return user and system time of all of them, and of the children that they have waited for."""
        return TICK_S * sum(int(ticks) for _, fields in _stats(self._leader) for ticks in fields[11:15])

    def sample(self) -> bool:
        """Look at their memory now and then."""
        if self._samples % MEMORY_EVERY == 0:
            self.peak_mb = max(self.peak_mb, _memory_mb(self._leader))
        self._samples += 1
        return True


def _started(start: Start) -> subprocess.Popen[bytes]:
    quiet = {
        "HOME": str(start.folder),
        "XDG_STATE_HOME": str(start.folder / "state"),
        "XDG_CACHE_HOME": str(start.folder / "cache"),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "TELEMETRY_ENABLED": "false",
        "CURATOR_DISABLE_RICH_DISPLAY": "1",
        "OPENAI_API_KEY": "none",
        "BENCH_API_KEY": "none",
        "NO_PROXY": "*",
        "PYTHONUNBUFFERED": "1",
    }
    with _log(start.folder).open("wb") as log:
        return subprocess.Popen(
            start.command,
            cwd=start.folder,
            env={**os.environ, **quiet},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _kill(process: subprocess.Popen[bytes]) -> None:
    for pid in _session(process.pid):
        os.kill(pid, signal.SIGKILL)
    process.wait()


def _log(folder: Path) -> Path:
    return folder / "log.txt"


def _said(folder: Path, word: str) -> str | None:
    found = re.search(rf"^{word}(.*)\n", _log(folder).read_text(errors="replace"), re.MULTILINE)
    return found.group(1) if found else None


def _stats(leader: int) -> Iterator[tuple[int, list[str]]]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        if int(fields[3]) == leader:
            yield int(entry.name), fields


def _session(leader: int) -> list[int]:
    return [pid for pid, fields in _stats(leader) if fields[0] != "Z"]


def _memory_mb(leader: int) -> float:
    kb = 0
    for pid in _session(leader):
        try:
            found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
        except (FileNotFoundError, ProcessLookupError):
            continue
        kb += int(found.group(1)) if found else 0
    return kb / 1024
