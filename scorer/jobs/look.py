"""How a job stands: read from outside, while it runs and after."""

import time
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from scorer.core.result import Counts, DeadKind, HostTotals
from scorer.errors import StoreError, UsageError
from scorer.jobs.folder import DATABASE, RESULTS, find_job, is_locked, jobs_in
from scorer.jobs.spec import JobSpec, read_spec
from scorer.queue import Reader
from scorer.results import DEAD_FILE

RECENT_S = 300.0


@dataclass(frozen=True, slots=True)
class Status:
    """Everything that `scorer status` tells. `state` is running, finished, interrupted or new."""

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

    def as_json(self) -> dict[str, object]:
        """Return it as plain JSON values."""
        overall: Counter[float] = sum(self.scores.values(), Counter())
        return {
            "job": self.folder.name,
            "folder": str(self.folder),
            "state": self.state,
            "models": list(self.spec.models),
            "dataset": self.spec.dataset.source,
            "template": self.spec.template.name,
            "selection": str(self.spec.selection),
            "total": self.counts.pending + self.counts.done + self.counts.dead,
            **asdict(self.counts),
            "rows_per_s": self.rows_per_s,
            "eta_s": self.eta_s,
            "elapsed_s": self.elapsed_s,
            "last_activity": datetime.fromtimestamp(self.last_activity, UTC).isoformat(),
            "scores": _histogram(overall),
            "hosts": {
                host.host: {
                    **{key: value for key, value in asdict(host).items() if key != "host"},
                    "recent_rows": self.recent.get(host.host, 0),
                    "scores": _histogram(self.scores.get(host.host, Counter())),
                }
                for host in self.hosts
            },
            "dead_by_kind": {kind.kind: {"rows": kind.count, "example": kind.error} for kind in self.dead},
            "results": str(self.folder / RESULTS),
        }


def _histogram(counts: Counter[float]) -> dict[str, int]:
    return {f"{score:g}": count for score, count in sorted(counts.items())}


def status(folder: Path, now: float | None = None) -> Status:
    """Read a job's status; short reads only, so that a running job is not held up."""
    now = time.time() if now is None else now
    spec = read_spec(folder)
    if not (folder / DATABASE).exists():
        raise UsageError(f"job {folder.name} was submitted but has not begun; `scorer resume {folder.name}` begins it")
    reader = Reader.open(folder / DATABASE)
    try:
        counts = reader.counts()
        recent = reader.recent(now, RECENT_S)
        running = is_locked(folder)
        complete = _complete(folder, spec, reader, counts)
        elapsed_s = reader.elapsed_s()
        span_s = min(max(elapsed_s, 1e-9), RECENT_S)
        rate = sum(recent.values()) / span_s if running else 0.0
        return Status(
            folder=folder,
            spec=spec,
            state=_state(counts, running=running, complete=complete),
            counts=counts,
            rows_per_s=rate,
            eta_s=counts.pending / rate if rate else None,
            elapsed_s=elapsed_s,
            last_activity=reader.last_activity(),
            hosts=reader.per_host(),
            recent=recent,
            scores=reader.score_counts(),
            dead=reader.dead_by_kind(),
        )
    finally:
        reader.close()


def _state(counts: Counts, *, running: bool, complete: bool) -> str:
    if running:
        return "running"
    if not complete:
        return "interrupted" if counts.total else "new"
    return "finished, some rows dead" if counts.dead else "finished"


def _complete(folder: Path, spec: JobSpec, reader: Reader, counts: Counts) -> bool:
    """Whether all rows were submitted and have ended, and all that is known of them is published."""
    if counts.pending or counts.total < spec.tasks or reader.unpublished():
        return False
    return not counts.dead or (folder / RESULTS / DEAD_FILE).exists()


def latest_unfinished(runs_dir: Path) -> Path:
    """Return the job that was active last of those in which a run would find something to do."""
    for folder in reversed(jobs_in(runs_dir)):
        try:
            reader = Reader.open(folder / DATABASE)
        except StoreError:
            # not begun yet, or damaged: going on with it begins it, or says what is wrong
            return folder
        try:
            if not _complete(folder, read_spec(folder), reader, reader.counts()):
                return folder
        finally:
            reader.close()
    raise UsageError(f"no unfinished job in {runs_dir}; `scorer jobs` lists what there is")


def named_or_latest(runs_dir: Path, name: str | None) -> Path:
    """Return the job's folder: the named one, or the one that was active last."""
    if name is not None:
        return find_job(runs_dir, name)
    folders = jobs_in(runs_dir)
    if not folders:
        raise UsageError(f"no jobs in {runs_dir} (--runs-dir names another folder)")
    return folders[-1]


def all_jobs(runs_dir: Path) -> tuple[list[Status], list[str]]:
    """Return the status of every job in a runs folder, and a line for each that cannot be read."""
    found, unreadable = [], []
    for folder in jobs_in(runs_dir):
        try:
            found.append(status(folder))
        except (UsageError, StoreError) as error:
            unreadable.append(f"{folder.name}: {error}")
    return found, unreadable
