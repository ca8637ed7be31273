"""From the queue to the results folder: when a part is due, how a crash in between is mended, whether all is sound.

Parquet is a projection of the queue. A part's range of results is fixed in the queue, then its file is published, then
the file is recorded in the queue; whatever stops the process in between, `recover` ends with the same rows in the same
file. Dead rows are in no part: they are one file of their own, written whole when a run ends or drains and removed
before a retry revives them. The manifest comes last and may lag behind by one part.

This module never decides what a row's fate is, and never touches a file it cannot account for.
All calls block; one at a time, and never beside another call to the same queue.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import pyarrow as pa

from scorer.core.result import Part
from scorer.errors import Damaged, StoreError, UsageError
from scorer.failpoints import failpoint
from scorer.queue import Queue
from scorer.results import (
    DEAD_FILE,
    MANIFEST_FILE,
    ResultFile,
    check_file,
    describe_file,
    manifest,
    part_name,
    remove_file,
    same_rows,
    write_dead,
    write_manifest,
    write_part,
)

PART_ROWS = 10_000
PART_AGE_S = 60.0
PART_AGE_SHARE = 0.02
MIN_FREE_BYTES = 1 << 30
UNFINISHED_DIR = ".unfinished"

DAMAGE = (
    "the database is the truth about a job: nothing can be rebuilt without it, and nothing was touched; "
    "parts stay readable"
)
UNREADABLE = "the database is the truth about a job: only a copy of it from before can help; parts stay readable"
REBUILT = "the database has these rows: the file is written anew from it"
FOREIGN = "its rows are read with the job's own, and nothing proves what they are: move it out of the results folder"

_PART_NAME = re.compile(r"part-\d{5,}\.parquet")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that `verify` found, what that means and what is done about it, and whether it is put right now."""

    problem: str
    explanation: str
    repaired: bool


@dataclass(frozen=True, slots=True)
class _Check:
    """A finding and what puts it right; None where that cannot be known."""

    problem: str
    explanation: str
    mend: Callable[[], object] | None


class Publisher:
    """Keeps the results folder of one job. `schema`: what `results_schema` made for it."""

    def __init__(self, queue: Queue, job_dir: Path, schema: pa.Schema) -> None:
        self._queue = queue
        self._job_dir = job_dir
        self._schema = schema
        self._results_dir = job_dir / "results"
        self._unfinished_dir = job_dir / UNFINISHED_DIR

    def recover(self) -> None:
        """Mend what a crash left, at the start of a run. Cheap: it looks at names, not into files.

        Raises UsageError for a part that is not this job's: it would be read with the others.
        """
        if foreign := self._foreign_parts():
            raise UsageError(f"{foreign[0]} was not written by this job; move it out of the results folder")
        for path in self._stale_files():
            remove_file(path)
        for part in self._queue.parts():
            if not part.recorded or not self._path_of(part).exists():
                self._write(part)

    def due(self, now: float, elapsed_s: float) -> bool:
        """Whether there are results for a part: 10,000, or some that wait for more than 60 s or 2 % of the run."""
        rows, oldest = self._queue.unpublished()
        if rows >= PART_ROWS:
            return True
        # a result of the future is one from before the clock was set back
        return oldest is not None and abs(now - oldest) > max(PART_AGE_S, PART_AGE_SHARE * elapsed_s)

    def publish(self, *, everything: bool) -> int:
        """Publish full parts, or one part of what there is; with `everything` both. Return how many parts that made."""
        written = 0
        while everything or not written or self._queue.unpublished()[0] >= PART_ROWS:
            failpoint("part-begun")
            part = self._queue.fix_part(PART_ROWS)
            failpoint("part-fixed")
            if part is None:
                break
            self._write(part)
            written += 1
        if written:
            self._write_manifest()
        return written

    def finish(self) -> None:
        """Publish everything, dead rows too: at the end of a run and at a drain."""
        self.publish(everything=True)
        failpoint("dead-begun")
        self._write_dead()
        failpoint("dead-published")
        self._write_manifest()

    def before_retry(self) -> None:
        """Remove the file of dead rows; only then may the queue revive them, so that no row is ever there twice."""
        failpoint("retry-begun")
        remove_file(self._results_dir / DEAD_FILE)
        failpoint("retry-removed")

    def needed_bytes(self) -> int:
        """Free space below which no more rows should be taken: 1 GiB, or what three of the largest parts take."""
        return max([MIN_FREE_BYTES, *(3 * (part.size_bytes or 0) for part in self._queue.parts())])

    def verify(self, *, repair: bool) -> list[Finding]:
        """Compare the queue with itself and every file with the queue, row by row; put right what can be rebuilt.

        Nothing found means sound, if the queue itself is: whoever repairs has asked `queue.problems` before it was
        opened. A text that cannot be read shows only when its row's turn comes, after what was put right before it.
        """
        findings: list[Finding] = []
        try:
            for check in self._checks():  # lazily: a check sees what was mended before it
                mends = repair and check.mend is not None
                if mends and check.mend is not None:
                    check.mend()
                findings.append(Finding(check.problem, check.explanation, repaired=mends))
        except Damaged as error:
            findings.append(Finding(str(error), UNREADABLE, repaired=False))
        return findings

    def _checks(self) -> Iterator[_Check]:
        for problem in self._queue.tally_problems():
            yield _Check(problem, "the figures of `scorer status` are summed anew", self._queue.rebuild_tallies)
        for path in self._stale_files():
            problem = f"{path.name} was left unfinished by a crash"
            yield _Check(problem, "nothing reads it and a run would write it anew: removed", partial(remove_file, path))
        for part in self._queue.parts():
            if part_problem := self._problem_of(part):
                yield _Check(part_problem, REBUILT, partial(self._write, part))
        yield from self._foreign_checks()
        finished = not self._queue.counts().pending
        if finished and (rows := self._queue.unpublished()[0]):
            yield _Check(f"{rows} results were not published", REBUILT, partial(self.publish, everything=True))
        if dead_problem := self._problem_of_dead(finished=finished):
            yield _Check(dead_problem, REBUILT, self._write_dead)
        if self._manifest_is_behind():
            yield _Check(f"{MANIFEST_FILE} is behind", "it is written anew from the database", self._write_manifest)

    def _foreign_checks(self) -> Iterator[_Check]:
        """Files that would be read with the job's own. Only what is the same bytes twice is known to be worthless."""
        known = {part_name(part.number) for part in self._queue.parts()} | {DEAD_FILE}
        originals = {part.sha256: part_name(part.number) for part in self._queue.parts() if part.recorded}
        for path in sorted(self._results_dir.glob("*.parquet")):
            if path.name in known:
                continue
            file = describe_file(path)
            if file is not None and (original := originals.get(file.sha256)):
                problem = f"{path.name} is a copy of {original}"
                yield _Check(problem, "its rows would be read twice: removed", partial(remove_file, path))
            else:
                yield _Check(f"{path} was not written by this job", FOREIGN, None)

    def _problem_of(self, part: Part) -> str | None:
        if not part.recorded:
            return f"{part_name(part.number)} was not recorded before a crash"
        path = self._path_of(part)
        if problem := check_file(path, _file_of(part)):
            return problem
        if same_rows(path, self._queue.results(part.first_seq, part.last_seq), self._schema):
            return None
        return f"{path.name} does not hold the rows of the queue"

    def _problem_of_dead(self, *, finished: bool) -> str | None:
        path = self._results_dir / DEAD_FILE
        file = describe_file(path)
        if file is None:
            missing = finished and self._queue.counts().dead
            return f"{DEAD_FILE} is missing" if missing else None
        if file.rows < 0:
            return f"{DEAD_FILE} is torn"
        if same_rows(path, self._queue.dead_rows(), self._schema):
            return None
        return f"{DEAD_FILE} does not hold the dead rows of the queue"

    def _manifest_is_behind(self) -> bool:
        path = self._job_dir / MANIFEST_FILE
        parts, dead = self._published()
        if not path.exists():
            return bool(parts or dead)
        return path.read_bytes() != manifest(parts, dead).encode()

    def _stale_files(self) -> list[Path]:
        names = (path for path in self._unfinished_dir.glob("*") if _is_ours(path.name))
        return sorted(names)

    def _foreign_parts(self) -> list[Path]:
        known = {part_name(part.number) for part in self._queue.parts()}
        return sorted(path for path in self._results_dir.glob("part-*.parquet") if path.name not in known)

    def _path_of(self, part: Part) -> Path:
        return self._results_dir / part_name(part.number)

    def _write(self, part: Part) -> None:
        rows = self._queue.results(part.first_seq, part.last_seq)
        file = write_part(self._results_dir, self._unfinished_dir, part.number, rows, self._schema)
        if file.rows != part.rows:
            raise StoreError(f"{file.name}: the queue has {file.rows} of its {part.rows} rows; try `scorer verify`")
        failpoint("part-published")
        self._queue.record_part(part.number, file.size_bytes, file.sha256)
        failpoint("part-recorded")

    def _write_dead(self) -> None:
        chunks = self._queue.dead_rows()
        first = next(chunks, None)
        if first is None:
            remove_file(self._results_dir / DEAD_FILE)
        else:
            write_dead(self._results_dir, self._unfinished_dir, chain([first], chunks), self._schema)

    def _write_manifest(self) -> None:
        failpoint("manifest-begun")
        parts, dead = self._published()
        write_manifest(self._job_dir, self._unfinished_dir, parts, dead)
        failpoint("manifest-published")

    def _published(self) -> tuple[list[ResultFile], ResultFile | None]:
        parts = [_file_of(part) for part in self._queue.parts() if part.recorded]
        dead = describe_file(self._results_dir / DEAD_FILE)
        # of a torn one nobody knows the rows; it is written anew when the run ends
        return parts, dead if dead is not None and dead.rows >= 0 else None


def _is_ours(name: str) -> bool:
    return name in (DEAD_FILE, MANIFEST_FILE) or _PART_NAME.fullmatch(name) is not None


def _file_of(part: Part) -> ResultFile:
    return ResultFile(part_name(part.number), part.rows, part.size_bytes or 0, part.sha256 or "")
