"""A power cut at any instant of a job, on a disk that keeps nothing but what was synced and drops or reorders the rest.

Every write, sync, rename and removal of a real job is written down; every content of the disk that they allow is made
in a folder, looked at as a user would, and gone on with by the same command.
"""

import hashlib
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from itertools import islice
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import small_world
from disk import Disk, Op
from invariants import check_invariants
from power import Left, lefts
from sqlite_seam import library

from scorer.jobs.folder import DATABASE
from scorer.jobs.mend import verify
from scorer.jobs.spec import FILE
from scorer.results import part_name

pytestmark = pytest.mark.skipif(library() is None, reason="this Python's SQLite does not show its file layer")
SHARDS = 6


def record(folder: Path) -> Disk:
    """Everything that the job does to the disk, from its submission to its end."""
    world = small_world.make(folder)
    disk = Disk(folder / "runs")
    with small_world.small_parts(), small_world.promising(disk), disk.watched():
        for step in small_world.steps(world):
            step()
        disk.promise("finished")
    world.run()
    check_invariants(world.job, expected=len(small_world.TEXTS))
    return disk


@pytest.mark.parametrize("shard", range(SHARDS))
def test_after_a_power_cut_nothing_that_was_acknowledged_is_gone_and_the_job_can_be_finished(
    memory_path: Path, shard: int
) -> None:
    runs = memory_path / "runs"
    disk = record(memory_path)
    checked = 0
    for left in islice(lefts(runs, disk.ops), shard, None, SHARDS):
        shutil.rmtree(runs)
        runs.mkdir()
        left.put_into(runs, runs)
        check(memory_path, left, repair=checked % 2 == 0)
        checked += 1
    print(f"{checked} contents of the disk after {len(disk.ops)} operations")  # noqa: T201  (the figure)
    assert checked > 50


def check(folder: Path, left: Left, *, repair: bool) -> None:
    """What must hold right after the cut and in the end; `repair`: with a `scorer verify` before going on."""
    job = folder / "runs" / "sim"
    promised = dict(promise for promise in left.promises if isinstance(promise, tuple))
    rows = _published(job)
    assert not rows or max(rows.values()) == 1, f"a row is there twice {left.moment}"
    if promised:
        assert (job / FILE).exists(), f"the job is gone {left.moment}"
        assert promised.items() <= _done(job).items(), f"acknowledged rows are gone {left.moment}"
        missing = [name for name, sha256 in _recorded(job).items() if not _is(job / "results" / name, sha256)]
        assert not missing, f"recorded parts are gone or have changed {left.moment}: {missing}"
    if repair and (job / FILE).exists():
        damage = [finding for finding in verify(job) if not finding.repaired]
        assert not damage, f"{damage} {left.moment}"
    world = small_world.make(folder)
    with small_world.small_parts():
        world.run()
    check_invariants(job, expected=len(small_world.TEXTS))
    asked = {small_world.TEXTS.index(a.user) for host in world.hosts for a in host.asked}
    assert not asked & promised.keys(), f"acknowledged rows were asked again {left.moment}"


def _published(job: Path) -> Counter[int]:
    files = (job / "results").glob("*.parquet")
    return Counter(row for file in files for row in pq.read_table(file, columns=["row"])["row"].to_pylist())


def _done(job: Path) -> dict[int, str]:
    with closing(sqlite3.connect(job / DATABASE)) as db:
        return dict(db.execute("SELECT row, completion FROM result"))


def _recorded(job: Path) -> dict[str, str]:
    with closing(sqlite3.connect(job / DATABASE)) as db:
        recorded = db.execute("SELECT number, sha256 FROM part WHERE sha256 IS NOT NULL")
        return {part_name(number): sha256 for number, sha256 in recorded}


def _is(file: Path, sha256: str) -> bool:
    return file.exists() and hashlib.sha256(file.read_bytes()).hexdigest() == sha256


# -- the model itself ---------------------------------------------------------------------------------------------


def contents(ops: list[Op], root: Path) -> set[tuple[tuple[str, bytes], ...]]:
    return {
        tuple(sorted((path.name, content) for path, content in left.files.items()))
        for left in lefts(root, [*ops, Op("ack", root)])
    }


def test_a_file_renamed_before_its_sync_may_be_found_torn_under_its_new_name(memory_path: Path) -> None:
    new, old = memory_path / "new", memory_path / "old"
    unsafe = [Op("create", new), Op("write", new, 0, b"abcd"), Op("rename", new, target=old)]
    assert {(("old", b"ab"),), (("old", b""),), (("old", b"abcd"),), ()} <= contents(unsafe, memory_path)
    safe = [*unsafe[:2], Op("sync", new), *unsafe[2:], Op("sync_folder", memory_path)]
    at_the_end = contents(safe, memory_path) - contents(safe[:-1], memory_path)
    assert (("old", b"ab"),) not in contents(safe, memory_path)
    assert not at_the_end


def test_a_removal_without_a_sync_of_its_folder_may_be_undone(memory_path: Path) -> None:
    file = memory_path / "file"
    made = [Op("create", file), Op("sync", file), Op("sync_folder", memory_path)]
    assert contents(
        [*made, Op("unlink", file), Op("sync_folder", memory_path), Op("ack", memory_path)], memory_path
    ) == {
        (),
        (("file", b""),),
    }


def test_of_two_writes_the_second_may_be_there_without_the_first(memory_path: Path) -> None:
    file = memory_path / "file"
    made = [Op("create", file), Op("sync", file), Op("sync_folder", memory_path)]
    found = contents([*made, Op("write", file, 0, b"ab"), Op("write", file, 2, b"cd")], memory_path)
    assert {(("file", b"\0\0cd"),), (("file", b"ab"),), (("file", b"abc"),), (("file", b""),)} <= found
