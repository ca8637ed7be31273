"""A job whose folder came back from a backup without its database: every command says the same and touches nothing."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from invariants import check_invariants, read_results
from simulation.world import Recorder, SimHost, World

from scorer.errors import Damaged
from scorer.jobs.folder import check_database
from scorer.jobs.gather import gather
from scorer.jobs.look import all_jobs, status
from scorer.jobs.mend import retry, verify
from scorer.jobs.run import resume, run
from scorer.queue import Queue
from scorer.show import jobs_table


@pytest.fixture
def restored(world: World) -> World:
    """What docs/operations.md says to copy from a job that runs."""
    world.run()
    kept = world.folder / "backup"
    kept.mkdir()
    shutil.copytree(world.job / "results", kept / "results")
    for name in ("manifest.json", "job.toml"):
        shutil.copy2(world.job / name, kept)
    shutil.rmtree(world.job)
    kept.rename(world.job)
    return world


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


COMMANDS: dict[str, Callable[[World], object]] = {
    "run": lambda world: run(world.options(), Recorder()),
    "resume": lambda world: resume(world.job.parent, "sim", None, None, Recorder()),
    "resume without a name": lambda world: resume(world.job.parent, None, None, None, Recorder()),
    "retry": lambda world: retry(world.job, kind=None, num_ctx=None, num_predict=None),
    "status": lambda world: status(world.job),
    "export": lambda world: gather(world.job, world.folder),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_that_the_database_is_lost_and_makes_nothing(restored: World, command: str) -> None:
    before = everything(restored.job)
    for _ in range(2):
        with pytest.raises(Damaged, match=r"queue\.sqlite is missing, but there is part-00000\.parquet") as error:
            COMMANDS[command](restored)
    assert error.value.exit_code == 4
    assert everything(restored.job) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_a_database_of_no_bytes_is_a_lost_one(restored: World, command: str) -> None:
    (restored.job / "queue.sqlite").touch()
    before = everything(restored.job)
    for _ in range(2):
        with pytest.raises(Damaged, match=r"queue\.sqlite is empty, but there is part-00000\.parquet"):
            COMMANDS[command](restored)
    assert everything(restored.job) == before


@pytest.mark.parametrize("left", ["results/dead.parquet", "manifest.json", "results/part-00000.parquet"])
def test_verify_leaves_alone_what_is_beside_a_database_of_no_bytes(restored: World, left: str) -> None:
    for name in everything(restored.job).keys() - {"job.toml", left}:
        (restored.job / name).unlink()
    (restored.job / "queue.sqlite").touch()
    before = everything(restored.job)
    (finding,) = verify(restored.job)
    assert not finding.repaired
    assert "queue.sqlite is empty, but there is" in finding.problem
    assert everything(restored.job) == before


@pytest.mark.parametrize("begun", ["no table", "no task"])
def test_verify_leaves_alone_what_is_beside_a_database_that_knows_nothing(restored: World, begun: str) -> None:
    with closing(sqlite3.connect(restored.job / "queue.sqlite")) as database:
        database.execute("PRAGMA journal_mode=WAL")
    if begun == "no task":
        Queue.open(restored.job / "queue.sqlite", 0.0).close()
    before = everything(restored.job)
    (finding,) = verify(restored.job)
    assert not finding.repaired
    assert "the database knows no row, but there is part-00000.parquet" in finding.problem
    after = everything(restored.job)
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("state", ["is missing", "is empty"])
def test_so_is_one_whose_log_alone_is_left(interrupted: World, state: str) -> None:
    for path in [*interrupted.job.rglob("*.parquet"), *interrupted.job.glob("queue.sqlite*")]:
        path.unlink()
    (interrupted.job / "manifest.json").unlink()
    (interrupted.job / "queue.sqlite-wal").write_bytes(b"a commit")
    if state == "is empty":
        (interrupted.job / "queue.sqlite").touch()
    with pytest.raises(Damaged, match=rf"queue\.sqlite {state}, but there is queue\.sqlite-wal"):
        interrupted.run()
    assert (interrupted.job / "queue.sqlite-wal").read_bytes() == b"a commit"


def test_verify_says_so_too_and_the_results_stay_as_they_are(restored: World) -> None:
    before, rows = everything(restored.job), read_results(restored.job)
    (finding,) = verify(restored.job)
    assert not finding.repaired
    assert "queue.sqlite is missing, but there is part-00000.parquet" in finding.problem
    assert everything(restored.job) == before
    assert len(rows) == 20


def test_it_is_in_the_listing_of_jobs_with_what_is_published(restored: World) -> None:
    found, told = all_jobs(restored.job.parent)
    assert [(one.folder.name, one.state) for one in found] == [("sim", "damaged")]
    assert (found[0].counts.done, found[0].counts.dead, found[0].counts.pending) == (18, 2, 0)
    assert "sim  damaged" in jobs_table(found)
    assert "queue.sqlite is missing" in told[0]


def test_results_without_their_job_file_are_not_taken_for_a_new_jobs(restored: World) -> None:
    (restored.job / "job.toml").unlink()
    before = everything(restored.job)
    with pytest.raises(Damaged, match=r"queue\.sqlite is missing"):
        restored.run()
    assert everything(restored.job) == before


@pytest.mark.parametrize(
    ("left", "named"), [("results/dead.parquet", "dead.parquet"), ("manifest.json", "manifest.json")]
)
def test_one_file_that_was_published_is_enough(restored: World, left: str, named: str) -> None:
    for name in everything(restored.job).keys() - {"job.toml", left}:
        (restored.job / name).unlink()
    with pytest.raises(Damaged, match=f"but there is {named}"):
        check_database(restored.job)


def test_with_a_copy_of_the_database_made_during_the_run_the_job_goes_on(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", 1.0)], rows=300)
    kept = tmp_path / "backup"

    async def back_up(world: World) -> None:
        await anyio.sleep(100)
        shutil.copytree(world.job / "results", kept / "results")
        for name in ("manifest.json", "job.toml"):
            shutil.copy2(world.job / name, kept)
        await anyio.sleep(100)
        with closing(sqlite3.connect(f"{(world.job / 'queue.sqlite').as_uri()}?mode=ro", uri=True)) as database:
            database.execute("VACUUM INTO ?", [str(kept / "queue.sqlite")])

    world.run(events=back_up)
    shutil.rmtree(world.job)
    kept.rename(world.job)
    found = status(world.job)
    assert (found.state, found.counts.done > 150) == ("interrupted", True)
    assert world.run().counts.done == 300
    check_invariants(world.job, expected=300)


@pytest.mark.parametrize("empty", [False, True])
def test_a_job_that_a_crash_left_without_a_database_begins(tmp_path: Path, empty: bool) -> None:
    world = World(tmp_path, [SimHost("a", 0.1)], rows=5)
    world.run(limit=0)
    (world.job / "queue.sqlite").unlink()
    if empty:
        # the file is made before anything is written to it
        (world.job / "queue.sqlite").touch()
        assert verify(world.job) == []
        (world.job / "queue.sqlite").write_bytes(b"")
    assert not list((world.job / "results").iterdir())
    assert world.run().counts.done == 5
