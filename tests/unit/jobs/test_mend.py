import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from invariants import check_invariants, read_results
from simulation.world import Faults, SimHost, World

from scorer.errors import UsageError
from scorer.jobs.folder import locked
from scorer.jobs.mend import retry, verify
from scorer.jobs.spec import read_spec


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


@pytest.mark.parametrize("damage", ["the header", "a page in the middle"])
def test_a_damaged_database_is_a_finding_and_nothing_is_touched(tmp_path: Path, damage: str) -> None:
    world = World(tmp_path, [SimHost("a", 0.1)], rows=300)
    world.run()
    database = world.job / "queue.sqlite"
    content = bytearray(database.read_bytes())
    begin = 0 if damage == "the header" else len(content) // 8192 * 4096
    content[begin : begin + 4096] = b"x" * 4096
    database.write_bytes(content)
    (world.job / "results" / "part-00000.parquet").unlink()
    findings = verify(world.job)
    assert findings
    assert not any(finding.repaired for finding in findings)
    assert "damaged" in findings[0].problem or "no SQLite database" in findings[0].problem
    assert "nothing was touched" in findings[0].explanation
    assert not list((world.job / "results").glob("part-*"))


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
