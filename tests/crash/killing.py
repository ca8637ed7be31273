"""`kill -9` of a real `scorer run`, again and again, and what must be true of what each kill leaves.

The run is a process of its own; its hosts are doubles of Ollama on real sockets in this one, so their record survives
every kill. A kill counts only if the life that it ended had committed rows and had rows in flight.

What is left is looked at through a copy of the folder: the next life must find it exactly as the kill left it. Half of
the kills are followed by `scorer verify` in the folder itself, so that both a repaired and an unrepaired one are gone
on with.

A kill leaves the page cache alone: a forgotten fsync is not found here, but by the tests of a power cut.
"""

import hashlib
import random
import shutil
import signal
import sqlite3
import statistics
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
from doubles.ollama import OllamaDouble, Record, Spec
from running import JUDGE, TEMPLATE, Desk, finished, texts, wait_while
from typer.testing import CliRunner

from scorer.cli import app

SLOTS = 4
SPECS = {
    "fast": Spec(overhead_s=0.05, slots=SLOTS, prefix_cache=False, cancel_poll_s=0),
    "middle": Spec(overhead_s=0.15, slots=SLOTS, prefix_cache=False, cancel_poll_s=0),
    "slow": Spec(overhead_s=0.4, slots=SLOTS, prefix_cache=False, cancel_poll_s=0),
}
"""About 115 rows a second in all: 250 ms of results are far fewer than a batch of 100."""

IN_FLIGHT = SLOTS * len(SPECS)
BATCH_ROWS = 100
BATCH_S = 0.25
BUSY_MACHINE_S = 1.5
EMPTY_EVERY = 40
INSTANT_S = 0.6
STOP_ROWS = 160
STOP_S = (0.1, 2.5)


class SmallPartsDesk(Desk):
    """A desk whose runs publish tiny parts all the time."""

    def command(self, *arguments: str) -> list[str]:
        """The command line of `scorer` with small parts."""
        return [sys.executable, str(Path(__file__).with_name("small_parts.py")), *arguments]


@dataclass(frozen=True, slots=True)
class Death:
    """One kill that counted.

    `uncommitted` rows were answered, the oldest of these answers `age_s` before the kill. The first commit was seen
    `first_commit_s` after the first answer of the life.
    """

    committed: int
    in_flight: int
    uncommitted: int
    age_s: float
    first_commit_s: float

    @property
    def lost(self) -> int:
        """How many rows must be asked again."""
        return self.in_flight + self.uncommitted


@dataclass(frozen=True, slots=True)
class Report:
    """What a campaign found: its deaths, requests that repeated an earlier life's, and second copies within a life."""

    deaths: tuple[Death, ...]
    rows: int
    repeats: int
    hedges: int
    parts: int

    @classmethod
    def of(cls, reports: "Sequence[Report]") -> "Report":
        """All of these together."""
        return cls(
            tuple(death for report in reports for death in report.deaths),
            sum(report.rows for report in reports),
            sum(report.repeats for report in reports),
            sum(report.hedges for report in reports),
            sum(report.parts for report in reports),
        )

    def lines(self) -> list[str]:
        """The figures, for people."""
        lost = [death.lost for death in self.deaths]
        ages_ms = [1000 * death.age_s for death in self.deaths]
        return [
            f"{len(self.deaths)} kills counted, {self.rows} rows, each once; {self.parts} parts",
            f"lost a kill: max {max(lost)}, mean {statistics.mean(lost):.1f} "
            f"(in flight {statistics.mean(death.in_flight for death in self.deaths):.1f}, "
            f"answered {statistics.mean(death.uncommitted for death in self.deaths):.1f})",
            f"oldest uncommitted answer: max {max(ages_ms):.0f} ms, median {statistics.median(ages_ms):.0f} ms; "
            f"first commit after the first answer: max {1000 * max(d.first_commit_s for d in self.deaths):.0f} ms",
            f"{self.repeats} requests repeated, {self.repeats / len(self.deaths):.1f} a kill; {self.hedges} hedges",
        ]


def some_rows(count: int) -> list[str | None]:
    """Short texts; some are empty, and these rows die without a host being asked."""
    return [None if i % EMPTY_EVERY == 7 else text for i, text in enumerate(texts(count))]


def count_committed(job: Path) -> int:
    """How many results a job's database holds, read as `scorer status` does; 0 if there is none yet."""
    if not (job / "queue.sqlite").exists():
        return 0
    try:
        with closing(_read_only(job)) as db:
            return int(db.execute("SELECT count(*) FROM result").fetchone()[0])
    except sqlite3.OperationalError:  # made, but without its tables as yet
        return 0


def verify(job: Path) -> None:
    """`scorer verify`: it may repair, and must not find damage."""
    said = CliRunner().invoke(app, ["verify", job.name, "--runs-dir", str(job.parent)])
    assert said.exit_code == 0, f"{said.output}\n{said.exception!r}"


def _read_only(job: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{job / 'queue.sqlite'}?mode=ro", uri=True, timeout=30)


class Victim:
    """One job whose runs are killed; checks everything after each death."""

    def __init__(
        self, desk: Desk, rows: Sequence[str | None], doubles: Mapping[str, OllamaDouble], rng: random.Random
    ) -> None:
        self._desk = desk
        self._rows = rows
        self._row_of = {text: row for row, text in enumerate(rows)}
        self._doubles = doubles
        self._rng = rng
        self._committed: dict[int, str | None] = {}
        self._ever_asked: set[int] = set()
        self._recorded: dict[str, str] = {}
        self.deaths: list[Death] = []
        self._lives = 0
        self._lost = 0
        self.repeats = 0
        self.hedges = 0
        desk.write("judge.toml", TEMPLATE)
        desk.dataset(rows)
        desk.hosts({name: double.url for name, double in doubles.items()}, slots=SLOTS)

    @property
    def committed(self) -> int:
        """Rows that were committed when it died last."""
        return len(self._committed)

    def live_and_die(self) -> None:
        """Run until a random instant at which rows are committed and in flight, kill, and look at what is left."""
        self._begin_life()
        before = count_committed(self._desk.job)
        with self._desk.started(*JUDGE) as process:
            wait_while(lambda: process.poll() is None and count_committed(self._desk.job) == before)
            first_commit_s = time.monotonic()
            # the instant is what is drawn here: nothing is being waited for
            threading.Event().wait(self._rng.uniform(0, INSTANT_S))
            assert process.poll() is None, process.communicate()
            killed_s = time.monotonic()
            process.kill()
            process.communicate()
        self._settle()
        self._look(killed_s, first_commit_s)

    def finish(self) -> int:
        """Let the same command go on to the end, check all invariants, and return how many parts there are."""
        for double in self._doubles.values():
            double.set_speed(4)
        self._begin_life()
        with self._desk.started(*JUDGE) as process:
            finished(process, 3 if None in self._rows else 0)
        self._note_asked()
        results = self._desk.check(self._rows, self._doubles)
        stored = {row["row"]: row["completion"] for row in results}
        assert {row: stored[row] for row in self._committed} == self._committed, "a committed row has changed"
        assert self.repeats <= self._lost
        assert self.repeats <= self._lives * (IN_FLIGHT + BATCH_ROWS)
        return len(list((self._desk.job / "results").glob("part-*.parquet")))

    # -- one life ---------------------------------------------------------------------------------------------------

    def _begin_life(self) -> None:
        self._first = {name: len(double.log) for name, double in self._doubles.items()}

    def _settle(self) -> None:
        """Wait until the doubles have noticed that the process is gone."""
        for double in self._doubles.values():
            for _ in range(2):  # a turn of its loop reads what had arrived, the next one sees the ends
                double.set_speed(1)
        wait_while(lambda: any(record.outcome == "open" for record in self._records()))

    def _records(self) -> list[Record]:
        return [
            record
            for name, double in self._doubles.items()
            for record in double.log[self._first[name] :]
            if record.generation is not None
        ]

    def _note_asked(self) -> dict[int, list[Record]]:
        """Take in what this life has asked: nothing that was committed, and twice only what was still running."""
        asked: dict[int, list[Record]] = {}
        for record in sorted(self._records(), key=lambda record: record.in_s):
            asked.setdefault(self._row_of[record.user_text], []).append(record)
        again = asked.keys() & self._committed.keys()
        assert not again, f"rows {sorted(again)} were committed and asked again"
        for row, records in asked.items():
            for first, second in pairwise(records):
                assert first.out_s is not None
                # the reply may still have been on its way when the second copy set out
                late_s = second.in_s - first.out_s
                assert late_s < BUSY_MACHINE_S, f"row {row} was asked again {late_s:.1f} s after its answer"
        self.hedges += sum(len(records) - 1 for records in asked.values())
        self.repeats += len(asked.keys() & self._ever_asked)
        self._ever_asked |= asked.keys()
        return asked

    def _look(self, killed_s: float, first_commit_s: float) -> None:
        copies = self._desk.folder / "copies"
        copy = copies / self._desk.job.name
        shutil.copytree(self._desk.job, copy)
        now = self._stored(copy)
        assert self._committed.items() <= now.items(), "a committed row is gone or has changed"
        self._check_parts(copy, now)
        verify(self._rng.choice([copy, self._desk.job]))
        shutil.rmtree(copies)
        asked = self._note_asked()
        new, self._committed = len(now) - len(self._committed), now
        lost = asked.keys() - now.keys()
        answers_s = {row: min(r.out_s or killed_s for r in records) for row, records in asked.items()}
        uncommitted = [answers_s[row] for row in lost if answers_s[row] < killed_s]
        age_s = killed_s - min(uncommitted, default=killed_s)
        wait_s = first_commit_s - min(answers_s.values())
        death = Death(new, len(lost) - len(uncommitted), len(uncommitted), age_s, wait_s)
        assert death.in_flight <= IN_FLIGHT, death
        assert death.uncommitted <= BATCH_ROWS, death
        assert max(death.age_s, death.first_commit_s) <= BATCH_S + BUSY_MACHINE_S, death
        # what a kill that does not count has lost is asked again too
        self._lives += 1
        self._lost += death.lost
        if death.in_flight and death.committed:
            self.deaths.append(death)

    def _stored(self, job: Path) -> dict[int, str | None]:
        with closing(_read_only(job)) as db:
            return dict(db.execute("SELECT row, completion FROM result UNION ALL SELECT row, completion FROM dead"))

    def _check_parts(self, job: Path, stored: Mapping[int, str | None]) -> None:
        """What is published is in the database, and a recorded part is there whole and never changes."""
        with closing(_read_only(job)) as db:
            recorded = dict(db.execute("SELECT number, sha256 FROM part WHERE sha256 IS NOT NULL"))
        sums = {f"part-{number:05d}.parquet": sha256 for number, sha256 in recorded.items()}
        assert self._recorded.items() <= sums.items(), "a recorded part was recorded anew"
        self._recorded = sums
        for name, sha256 in sums.items():
            file = job / "results" / name
            assert hashlib.sha256(file.read_bytes()).hexdigest() == sha256, f"{name} has changed"
        for file in (job / "results").glob("*.parquet"):
            rows = pq.read_table(file, columns=["row", "completion"]).to_pylist()
            ahead = [row for row in rows if stored.get(row["row"], "") != row["completion"]]
            assert not ahead, f"{file.name} is ahead of the database: {ahead[:3]}"


def campaign(folder: Path, kills: int, seed: int, *, small_parts: bool = False) -> Report:
    """Kill the runs of one job until so many kills have counted, then let it finish; everything is asserted."""
    rng = random.Random(seed)
    rows = some_rows(110 * kills + 60)
    desk = (SmallPartsDesk if small_parts else Desk)(folder)
    with ExitStack() as stack:
        doubles = {name: stack.enter_context(OllamaDouble(spec)) for name, spec in SPECS.items()}
        victim = Victim(desk, rows, doubles, rng)
        while len(victim.deaths) < kills and victim.committed < len(rows) - 60:
            victim.live_and_die()
        parts = victim.finish()
    return Report(tuple(victim.deaths), len(rows), victim.repeats, victim.hedges, parts)


@dataclass(frozen=True, slots=True)
class Stops:
    """What it did to a run to be stopped for a while: for how long each time, and what was asked again."""

    stopped_s: tuple[float, ...]
    rows: int
    repeats: int

    def lines(self) -> list[str]:
        """The figures, for people."""
        return [
            f"{len(self.stopped_s)} stops counted, of {min(self.stopped_s):.1f} to {max(self.stopped_s):.1f} s; "
            f"{self.rows} rows, each once; {self.repeats} requests repeated"
        ]


def stops(folder: Path, count: int, seed: int) -> Stops:
    """SIGSTOP and SIGCONT a real run so often, each time with rows committed and in flight; everything is asserted."""
    rng = random.Random(seed)
    rows = texts(STOP_ROWS * count + 60)
    desk = Desk(folder)
    desk.write("judge.toml", TEMPLATE)
    desk.dataset(rows)
    stopped_s: list[float] = []
    with ExitStack() as stack:
        doubles = {name: stack.enter_context(OllamaDouble(spec)) for name, spec in SPECS.items()}
        desk.hosts({name: double.url for name, double in doubles.items()}, slots=SLOTS, min_deadline_s=1)
        with desk.started(*JUDGE) as process:
            while len(stopped_s) < count:
                seen = count_committed(desk.job)
                wait_while(lambda seen=seen: process.poll() is None and count_committed(desk.job) == seen)
                threading.Event().wait(rng.uniform(0, INSTANT_S))  # the instant is what is drawn
                assert process.poll() is None, process.communicate()
                process.send_signal(signal.SIGSTOP)
                asked = [len(double.generations) for double in doubles.values()]
                open_ = sum(r.outcome == "open" for double in doubles.values() for r in double.generations)
                for_s = rng.uniform(*STOP_S)
                threading.Event().wait(for_s)  # how long it stands still is what is drawn
                late = sum(map(len, (d.generations for d in doubles.values()))) - sum(asked)
                assert late <= IN_FLIGHT, "it was not stopped"
                process.send_signal(signal.SIGCONT)
                if open_:
                    stopped_s.append(for_s)
            for double in doubles.values():
                double.set_speed(4)
            finished(process, 0)
        desk.check(rows, doubles)
        repeats = sum(len(double.generations) for double in doubles.values()) - len(rows)
    assert repeats <= (len(stopped_s) + 1) * 2 * IN_FLIGHT, f"{repeats} requests repeated in {len(stopped_s)} stops"
    return Stops(tuple(stopped_s), len(rows), repeats)
