"""The N-th write, sync, rename or other operation of a whole job fails, for N = 1, 2, … until a job passes clean.

On a full disk (ENOSPC) a run waits and goes on by itself, or ends so that the same command goes on. After an error of
the disk (EIO) it ends, and nothing is asked of the failed file again. Either way the job can be finished with each row
once, and what was committed is not asked again.
"""

import errno
import io
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr
from itertools import count
from pathlib import Path

import pytest
import small_world
from disk import Disk, Failure
from invariants import check_invariants
from sqlite_seam import library

from scorer.errors import ScorerError, StoreError
from scorer.jobs.folder import DATABASE

pytestmark = pytest.mark.skipif(library() is None, reason="this Python's SQLite does not show its file layer")

KINDS = {
    "write": frozenset({"write"}),
    "sync": frozenset({"sync", "sync_folder"}),
    "rename": frozenset({"rename"}),
    "names": frozenset({"create", "mkdir", "unlink", "truncate"}),
}
WENT_ON = "went on by itself"
NUMBERS = {"full": errno.ENOSPC, "failed": errno.EIO}


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("kinds", KINDS)
def test_whichever_operation_fails_the_job_can_be_finished_with_each_row_once(
    memory_path: Path, kinds: str, number: str
) -> None:
    ended: Counter[str] = Counter()
    for turn in count(1):
        failure = Failure(KINDS[kinds], turn, NUMBERS[number])
        ended[_one_failure(memory_path / str(turn), failure)] += 1
        shutil.rmtree(memory_path / str(turn))
        if failure.happened is None:
            break
    print(f"{kinds}, {number}: {turn - 1} operations, {dict(ended)}")  # noqa: T201  (the figures)
    assert turn > 5
    assert ended.pop("clean") == 1
    if number == "failed":
        assert not ended[WENT_ON]
    else:
        # a full disk cannot be told from a broken one when a sync fails, and nobody waits while a job is made
        assert kinds == "sync" or ended[WENT_ON] > ended["StoreError"]


def _one_failure(folder: Path, failure: Failure) -> str:
    """Give the user's commands, the failed one again; return how it ended."""
    folder.mkdir()
    world = small_world.make(folder)
    disk = Disk(folder / "runs", failure)
    said = io.StringIO()
    ended = WENT_ON
    with small_world.small_parts(), small_world.promising(disk), redirect_stderr(said):
        with disk.watched():
            for step in small_world.steps(world):
                try:
                    step()
                except ScorerError as error:
                    ended = type(error).__name__
                    break
        assert failure.happened is not None or ended == WENT_ON
        if ended == "StoreError":
            _check_nothing_asked_again(disk, failure)
        promised = {promise[0] for promise in _promises(disk)}
        asked = [len(host.asked) for host in world.hosts]
        world.run()
    again = {a.user for host, n in zip(world.hosts, asked, strict=True) for a in host.asked[n:]}
    check_invariants(world.job, expected=len(small_world.TEXTS))
    assert not {small_world.TEXTS.index(text) for text in again} & promised, "a committed row was asked again"
    assert "Traceback" not in said.getvalue(), said.getvalue()
    if failure.happened is None:
        return "clean"
    # when it closes, SQLite tells nobody that it could not clear its log away; the log stays, and with it all results
    of_database = failure.happened.path.name.startswith(DATABASE)
    closing = of_database and ended == WENT_ON and failure.number == errno.EIO
    return "closing" if closing else ended


def _promises(disk: Disk) -> Iterator[tuple[int, str]]:
    for op in disk.ops:
        if isinstance(op.promise, tuple):
            yield op.promise


def _check_nothing_asked_again(disk: Disk, failure: Failure) -> None:
    """A failed sync may succeed the second time without the data."""
    happened = failure.happened
    if happened is None or happened.kind != "sync" or failure.number != errno.EIO:
        return
    if happened.path.name == DATABASE:
        # SQLite's own: making the file, when nothing was promised yet, and the last copy of the log, which stays
        return
    later = disk.ops[failure.at :]
    assert not [op for op in later if op.kind == "sync" and op.path == happened.path], happened


def test_errors_say_which_file_and_what_can_be_done(memory_path: Path) -> None:
    world = small_world.make(memory_path)
    disk = Disk(memory_path / "runs", Failure(KINDS["sync"], 20, errno.EIO))
    with small_world.small_parts(), disk.watched(), pytest.raises(StoreError, match=r"queue\.sqlite: the disk failed"):
        world.run()
