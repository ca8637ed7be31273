import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
from invariants import check_invariants, read_results
from made_jobs import MadeJob, texts
from simulation.world import EPOCH_S, MODEL, Faults, SimHost, World

from scorer.errors import UsageError
from scorer.jobs.folder import locked
from scorer.jobs.mend import retry, verify
from scorer.jobs.spec import read_spec
from scorer.queue import Queue


def cut_world(folder: Path) -> World:
    """Every answer is cut, and one row is empty."""
    world = World(folder, [SimHost("a", 0.1, faults=Faults(cut=1.0))], texts=["one", "two", ""])
    world.run()
    return world


def test_dead_rows_get_another_chance_with_more_room(tmp_path: Path) -> None:
    world = cut_world(tmp_path)
    told: list[str] = []
    assert retry(world.job, kind="cut_output", num_ctx=None, num_predict=500, tell=told.append) == 2
    assert told == ["num_predict is now 500, was 32, for all rows that are still to come"]
    assert [row["row"] for row in read_results(world.job)] == [2], "a row that is tried again is still shown as dead"
    world.hosts[0].faults = Faults()
    ended = world.run()
    assert (ended.counts.done, ended.counts.dead) == (2, 1)
    assert world.hosts[0].asked[-1].body["options"]["num_predict"] == 500  # type: ignore[index]
    rows = check_invariants(world.job, expected=3)
    assert [row["attempts"] for row in rows] == [4, 4, 0], "the tries before are still counted"


def test_all_kinds_are_revived_when_none_is_named(tmp_path: Path) -> None:
    world = cut_world(tmp_path)
    told: list[str] = []
    assert retry(world.job, kind=None, num_ctx=1024, num_predict=32, tell=told.append) == 3
    assert told == ["num_ctx is now 1024, was 2048, for all rows that are still to come"]
    assert "num_ctx = 1024" in read_spec(world.job).template.text
    world.hosts[0].faults = Faults()
    assert world.run().counts.done == 2
    assert world.hosts[0].asked[-1].body["options"]["num_ctx"] == 1024  # type: ignore[index]
    check_invariants(world.job, expected=3)


def test_a_kind_of_which_there_are_none_is_answered_with_those_there_are(tmp_path: Path) -> None:
    world = cut_world(tmp_path)
    with pytest.raises(UsageError, match=r"it has: cut_output \(2\), empty_prompt \(1\)"):
        retry(world.job, kind="deadline", num_ctx=None, num_predict=None)
    check_invariants(world.job, expected=3)


def test_impossible_options_change_nothing(tmp_path: Path) -> None:
    world = cut_world(tmp_path)
    before = read_spec(world.job)
    with pytest.raises(UsageError, match="num_predict"):
        retry(world.job, kind=None, num_ctx=None, num_predict=0)
    assert read_spec(world.job) == before
    check_invariants(world.job, expected=3)


def test_a_job_without_dead_rows_has_nothing_to_retry(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", 0.1)], rows=3)
    world.run()
    with pytest.raises(UsageError, match="has no dead rows"):
        retry(world.job, kind=None, num_ctx=None, num_predict=None)


def test_a_running_job_is_neither_repaired_nor_retried(tmp_path: Path) -> None:
    world = cut_world(tmp_path)
    with locked(world.job):
        with pytest.raises(UsageError, match="in use"):
            verify(world.job)
        with pytest.raises(UsageError, match="in use"):
            retry(world.job, kind=None, num_ctx=None, num_predict=None)


def test_a_part_that_was_lost_is_made_again_from_the_database(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", 0.1)], rows=30)
    world.run()
    rows = read_results(world.job)
    part = world.job / "results" / "part-00000.parquet"
    part.unlink()
    (finding,) = verify(world.job)
    assert finding.repaired
    assert "part-00000" in finding.problem
    assert read_results(world.job) == rows
    assert verify(world.job) == []


def killed(job: Path) -> Path:
    """A copy of a job as a killed process leaves it, with commits in the log beside the database."""
    queue = Queue.open(job / "queue.sqlite", EPOCH_S)
    queue.enqueue([MODEL], 400, 1)
    copy = job.with_name("killed")
    shutil.copytree(job, copy)
    queue.close()
    assert (copy / "queue.sqlite-wal").stat().st_size
    return copy


def content(job: Path) -> dict[str, bytes]:
    """What a job is made of, without the lock and the index of the log, which SQLite makes when it reads."""
    passing = {"job.lock", "job.owner.json", "queue.sqlite-shm"}
    files = {path.name: path.read_bytes() for path in job.rglob("*") if path.is_file() and path.name not in passing}
    return {name: data for name, data in files.items() if data}


@pytest.mark.parametrize("after_a_kill", [False, True])
@pytest.mark.parametrize("damage", ["the header", "a page in the middle", "a task"])
def test_a_damaged_database_is_a_finding_and_nothing_is_touched(
    tmp_path: Path, damage: str, after_a_kill: bool
) -> None:
    world = World(tmp_path, [SimHost("a", 0.1)], rows=300)
    world.run()
    if damage == "a task":
        with closing(sqlite3.connect(world.job / "queue.sqlite")) as connection, connection:
            connection.execute("DELETE FROM result WHERE seq = 7")
    job = killed(world.job) if after_a_kill else world.job
    if damage != "a task":
        database = bytearray((job / "queue.sqlite").read_bytes())
        # of the first page, what the log has of it counts
        begin = 0 if damage == "the header" and not after_a_kill else len(database) // 8192 * 4096
        database[begin : begin + 4096] = b"x" * 4096
        (job / "queue.sqlite").write_bytes(database)
    (job / "results" / "part-00000.parquet").unlink()
    (job / "job.toml.tmp").write_text("name = ")
    before = content(job)
    for _ in range(2):
        findings = verify(job)
        assert findings
        assert not any(finding.repaired for finding in findings)
        assert "nothing was touched" in findings[0].explanation
        assert content(job) == before
    said = findings[0].problem
    assert "damaged" in said or "no SQLite database" in said or "300 tasks are done, 299 rows say so" in said


DAMAGED_TEXTS = {
    "fields cut off": "fields = substr(fields, 1, 6)",
    "fields of another kind": "fields = '[1]'",
    "a score of another type": """fields = '{"score": "x"}'""",
    "kept cut off": "kept = '{'",
    "kept without the column": "kept = '{}'",
    "kept of another type": """kept = '{"id": "x"}'""",
    "bytes for a text": "completion = x'00ff'",
    "a text for a number": "attempts = 'abc'",
}


@pytest.mark.parametrize("damage", DAMAGED_TEXTS)
@pytest.mark.parametrize("part", ["there", "lost"])
def test_a_result_that_was_damaged_is_a_finding(tmp_path: Path, damage: str, part: str) -> None:
    job = MadeJob(table=texts(30, id=pa.array(range(30))), keep=("id",)).write(tmp_path)
    assert verify(job) == []
    with closing(sqlite3.connect(job / "queue.sqlite")) as database, database:
        row = database.execute("SELECT row FROM result WHERE seq = 5").fetchone()[0]
        database.execute(f"UPDATE result SET {DAMAGED_TEXTS[damage]} WHERE seq = 5")
    if part == "lost":
        (job / "results" / "part-00000.parquet").unlink()
    before = content(job)
    for _ in range(2):
        (finding,) = verify(job)
        assert not finding.repaired
        assert f"the database is damaged: what it holds of row {row} is no result" in finding.problem
    assert {**content(job), "queue.sqlite": b""} == {**before, "queue.sqlite": b""}, "the run is noted there"


def test_a_text_that_cannot_be_read_is_a_finding_after_what_was_put_right(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", 0.1)], rows=300)
    world.run()
    with closing(sqlite3.connect(world.job / "queue.sqlite")) as database, database:
        database.execute("UPDATE result SET completion = cast(x'7b22ff' AS TEXT) WHERE seq = 7")
        database.execute("DELETE FROM host_tally")
    mended, damage = verify(world.job)
    assert mended.repaired
    assert "host_tally" in mended.problem
    assert not damage.repaired
    assert "damaged" in damage.problem
    assert "completion" in damage.problem


def test_what_a_crash_left_of_the_job_file_is_removed(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", 0.1)], rows=30)
    world.run()
    (world.job / "job.toml.tmp").write_text("name = ")
    (finding,) = verify(world.job)
    assert finding.repaired
    assert not (world.job / "job.toml.tmp").exists()
    assert verify(world.job) == []
