"""How a job stands: read from outside, while it runs and after.

Facts come from the database; what a run that goes on believes of its speed and its hosts comes from its board, if that
is there, and from the results of its last minutes if not.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from scorer.core.result import Counts, DeadKind, HostTotals
from scorer.errors import NEVER_SENT, Damaged, StoreError, UsageError
from scorer.jobs.asking import score_words
from scorer.jobs.board import Posting, live_posting
from scorer.jobs.folder import (
    DATABASE,
    RESULTS,
    check_database,
    find_job,
    is_locked,
    jobs_in,
    last_change,
    passed_over,
)
from scorer.jobs.spec import JobSpec, read_spec
from scorer.queue import Reader
from scorer.results import DEAD_FILE, listed_rows

RECENT_S = 300.0
EXTRAPOLATED_FROM = 2000


@dataclass(frozen=True, slots=True)
class Status:
    """Everything that `scorer status` tells. `state` is running, paused, finished, interrupted, new or damaged.

    `posting` is what a run that goes on now believes. Of a pilot, `whole_tasks` are the tasks of the whole dataset and
    `whole_s` the seconds that they would take on the same hosts, None when that is not known or it is no pilot.
    `score_words` name the scores that are no numbers: `scores` then counts their places in it.
    """

    folder: Path
    spec: JobSpec
    state: str
    counts: Counts
    rows_per_s: float
    eta_s: float | None
    elapsed_s: float
    last_activity: float
    hosts: list[HostTotals]
    recent: dict[str, int]
    scores: dict[str, Counter[float]]
    dead: list[DeadKind]
    eta_low_s: float | None = None
    eta_high_s: float | None = None
    whole_tasks: int = 0
    whole_s: float | None = None
    posting: Posting | None = None
    score_words: tuple[str, ...] = ()

    @property
    def selection(self) -> str:
        """Which rows the job is about, in words; job.toml knows the last pilot only, and nothing is ever taken out."""
        asked = self.spec.selection
        if asked.kind == "all" or self.counts.total <= self.spec.tasks:
            return str(asked)
        rows = self.counts.total // (len(self.spec.models) * self.spec.samples)
        return f"{rows} rows of several pilots, the last one for {asked}"

    @property
    def worth_a_retry(self) -> bool:
        """Whether any row died of something that another try can help."""
        return any(kind.kind not in NEVER_SENT for kind in self.dead)

    @property
    def paused(self) -> str | None:
        """Why a run that goes on takes no rows, None while it does."""
        return None if self.posting is None else self.posting.progress.paused

    @property
    def gives_up_in_s(self) -> float | None:
        """How long a run without a host for its rows will still wait for one, None while there is one."""
        return None if self.posting is None else self.posting.progress.gives_up_in_s

    def as_json(self) -> dict[str, object]:
        """Return it as plain JSON values."""
        overall: Counter[float] = sum(self.scores.values(), Counter())
        return {
            "job": self.folder.name,
            "folder": str(self.folder),
            "state": self.state,
            "paused": self.paused,
            "gives_up_in_s": self.gives_up_in_s,
            "models": list(self.spec.models),
            "dataset": self.spec.dataset.source,
            "template": self.spec.template.name,
            "selection": self.selection,
            "total": self.counts.pending + self.counts.done + self.counts.dead,
            **asdict(self.counts),
            "rows_per_s": self.rows_per_s,
            "eta_s": self.eta_s,
            "eta_low_s": self.eta_low_s,
            "eta_high_s": self.eta_high_s,
            "whole_tasks": self.whole_tasks,
            "whole_s": self.whole_s,
            "elapsed_s": self.elapsed_s,
            "last_activity": datetime.fromtimestamp(self.last_activity, UTC).isoformat(),
            "scores": _histogram(overall, self.score_words),
            "hosts": {
                host.host: {
                    **{key: value for key, value in asdict(host).items() if key != "host"},
                    "share": host.rows / max(self.counts.done, 1),
                    "mean_s": host.busy_s / max(host.rows, 1),
                    "recent_rows": self.recent.get(host.host, 0),
                    "scores": _histogram(self.scores.get(host.host, Counter()), self.score_words),
                }
                for host in self.hosts
            },
            "dead_by_kind": {
                kind.kind: {"rows": kind.count, "example_row": kind.example.row, "example": kind.error}
                for kind in self.dead
            },
            "run": None if self.posting is None else asdict(self.posting),
            "results": str(self.folder / RESULTS),
        }


def _histogram(counts: Counter[float], words: Sequence[str]) -> dict[str, int]:
    if words:
        return {words[int(place)]: count for place, count in sorted(counts.items())}
    # every digit, so that no two scores become one; whole ones without a point
    return {repr(score).removesuffix(".0"): count for score, count in sorted(counts.items())}


def status(folder: Path, now: float | None = None) -> Status:
    """Read a job's status; short reads only, so that a running job is not held up.

    Raises UsageError if the job has not begun, StoreError if its database cannot be read, Damaged if it is lost.
    """
    now = time.time() if now is None else now
    spec = read_spec(folder)
    check_database(folder)
    if not (folder / DATABASE).exists():
        raise UsageError(f"job {folder.name} was submitted but has not begun; `scorer resume {folder.name}` begins it")
    reader = Reader.open(folder / DATABASE)
    try:
        counts = reader.counts()
        recent = reader.recent(now, RECENT_S)
        running = is_locked(folder)
        posting = live_posting(folder, now) if running else None
        speed = _speed_of(posting) if posting else _speed_from(reader, recent, counts, now) if running else NO_SPEED
        whole = spec.dataset.rows * len(spec.models) * spec.samples
        return Status(
            folder=folder,
            spec=spec,
            state=_state(counts, posting, running=running, complete=_complete(folder, spec, reader, counts)),
            counts=counts,
            rows_per_s=speed.rows_per_s,
            eta_s=speed.eta_s,
            elapsed_s=reader.elapsed_s(),
            last_activity=reader.last_activity(),
            hosts=reader.per_host(),
            recent=recent,
            scores=reader.score_counts(),
            dead=reader.dead_by_kind(),
            eta_low_s=speed.low_s,
            eta_high_s=speed.high_s,
            whole_tasks=whole,
            whole_s=_whole_s(reader, counts, whole) if spec.selection.kind != "all" else None,
            posting=posting,
            score_words=score_words(spec.template, folder),
        )
    finally:
        reader.close()


@dataclass(frozen=True, slots=True)
class _Speed:
    """How fast a run is, and when it will have ended."""

    rows_per_s: float
    eta_s: float | None
    low_s: float | None = None
    high_s: float | None = None


NO_SPEED = _Speed(0.0, None)


def _speed_of(posting: Posting) -> _Speed:
    progress = posting.progress
    if progress.paused or progress.gives_up_in_s is not None:
        # what came in before says nothing of now
        return NO_SPEED
    return _Speed(progress.rows_per_s, progress.eta_s, progress.eta_low_s, progress.eta_high_s)


def _speed_from(reader: Reader, recent: Mapping[str, int], counts: Counts, now: float) -> _Speed:
    """Reckon with the results of the last minutes, or since the run's start if that is shorter."""
    began = reader.last_start()
    rows = sum(recent.values())
    span_s = RECENT_S
    if now - began < RECENT_S:
        # what an earlier run did a moment ago is not this one's
        span_s = max(now - began, 1.0)
        rows = sum(reader.recent(now, span_s).values())
    rows_per_s = rows / span_s
    return _Speed(rows_per_s, counts.pending / rows_per_s if rows_per_s else None)


def _whole_s(reader: Reader, counts: Counts, whole: int) -> float | None:
    """Return what all tasks of the dataset would take at the pace of the last ones, in seconds.

    Only time counts in which a request was in flight: models that had to load and nights between two pilots are no
    part of the pace.
    """
    ended = counts.done + counts.dead
    if not counts.done or whole <= counts.total:
        return None
    # of all hosts, also of those that report no tokens: rows that are not counted would make the others seem slower
    spans = reader.spans(EXTRAPOLATED_FROM)
    return _covered_s(spans) / len(spans) * counts.done / ended * whole


def _covered_s(spans: Iterable[tuple[float, float]]) -> float:
    """Return the length of time that is in at least one of the spans."""
    covered_s, end = 0.0, float("-inf")
    for begin, until in sorted(spans):
        covered_s += max(0.0, until - max(begin, end))
        end = max(end, until)
    return covered_s


def counts_of(folder: Path) -> Counts | None:
    """Return how many tasks of a job are in each state, None if its database cannot tell."""
    try:
        reader = Reader.open(folder / DATABASE)
    except (StoreError, UsageError):
        return None
    try:
        return reader.counts()
    finally:
        reader.close()


def all_ended(folder: Path, spec: JobSpec) -> bool:
    """Whether all rows of a job were submitted and have ended; not so if its database cannot tell."""
    counts = counts_of(folder)
    return counts is not None and not counts.pending and counts.total >= spec.tasks


def _state(counts: Counts, posting: Posting | None, *, running: bool, complete: bool) -> str:
    if running:
        return "paused" if posting and posting.progress.paused else "running"
    if not complete:
        return "interrupted" if counts.total else "new"
    return "finished, some rows dead" if counts.dead else "finished"


def _complete(folder: Path, spec: JobSpec, reader: Reader, counts: Counts) -> bool:
    """Whether all rows were submitted and have ended, and all that is known of them is published."""
    if counts.pending or counts.total < spec.tasks or reader.unpublished():
        return False
    return not counts.dead or (folder / RESULTS / DEAD_FILE).exists()


def latest_unfinished(runs_dir: Path, tell: Callable[[str], None] = lambda _: None) -> Path:
    """Return the job that was active last of those in which a run would find something to do.

    `tell` hears of those that were active later and cannot be read, such as a newer scorer's or one without its
    database. UsageError if there is none; Damaged if there is none but such as have lost their database.
    """
    unreadable, damaged = [], []
    for folder in reversed(jobs_in(runs_dir)):
        try:
            if _unfinished(folder):
                return folder
        except (UsageError, Damaged) as error:
            unreadable.append(passed_over(folder, error))
            tell(unreadable[-1])
            if isinstance(error, Damaged):
                damaged.append(error)
    if damaged:
        # whether it had finished nobody knows: with nothing else to go on with, it may be what was meant
        raise damaged[0]
    raise UsageError("\n".join([f"no unfinished job in {runs_dir}; `scorer jobs` lists what there is", *unreadable]))


def _unfinished(folder: Path) -> bool:
    spec = read_spec(folder)
    check_database(folder)
    try:
        reader = Reader.open(folder / DATABASE)
    except Damaged:
        raise
    except StoreError:
        # not begun yet, or not to be read now: going on with it begins it, or says what is wrong
        return True
    try:
        return not _complete(folder, spec, reader, reader.counts())
    finally:
        reader.close()


def named_or_latest(runs_dir: Path, name: str | None) -> Path:
    """Return the job's folder: the named one, or the one that was active last."""
    if name is not None:
        return find_job(runs_dir, name)
    folders = jobs_in(runs_dir)
    if not folders:
        raise UsageError(f"no jobs in {runs_dir} (--runs-dir names another folder)")
    return folders[-1]


def all_jobs(runs_dir: Path) -> tuple[list[Status], list[str]]:
    """Return the status of every job in a runs folder, and a line for each that cannot be read.

    Damaged ones are among both.
    """
    found, unreadable = [], []
    for folder in jobs_in(runs_dir):
        try:
            found.append(status(folder))
        except (UsageError, StoreError) as error:
            unreadable.append(f"{folder.name}: {error}")
            if isinstance(error, Damaged):
                found.append(_damaged(folder))
    return sorted(found, key=lambda status: status.last_activity), unreadable


def _damaged(folder: Path) -> Status:
    """Return what can be said of a job without its database: how much of it is published."""
    spec = read_spec(folder)
    done, dead = listed_rows(folder)
    return Status(
        folder=folder,
        spec=spec,
        state="damaged",
        counts=Counts(max(spec.tasks - done - dead, 0), done, dead),
        rows_per_s=0.0,
        eta_s=None,
        elapsed_s=0.0,
        last_activity=last_change(folder),
        hosts=[],
        recent={},
        scores={},
        dead=[],
    )
