"""A job folder without its job.toml, or with one that nobody can read: no other job may take its scores over."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from invariants import check_invariants
from other_user import as_nobody, open_folder
from simulation.world import Recorder, SimHost, World

from scorer.errors import Damaged, UsageError
from scorer.jobs.folder import is_in_the_way, is_job
from scorer.jobs.run import run
from scorer.jobs.submit import draft, existing


@pytest.fixture
def lost(tmp_path: Path) -> World:
    """A finished job whose job.toml is gone, and another dataset for the same command."""
    world = World(tmp_path, [SimHost("a", 0.1)], rows=20)
    world.run()
    (world.job / "job.toml").unlink()
    pq.write_table(pa.table({"text": [f"another text {i}" for i in range(20)]}), tmp_path / "other.parquet")
    return world


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def other(world: World, **changes: object) -> dict[str, object]:
    return {"dataset": str(world.folder / "other.parquet"), **changes}


@pytest.mark.parametrize("models", [("judge:7b",), ()])
def test_scores_of_a_job_without_its_job_file_are_not_another_datasets(lost: World, models: tuple[str, ...]) -> None:
    before = everything(lost.job)
    for _ in range(2):
        with pytest.raises(Damaged, match=r"job\.toml is missing, but there is queue\.sqlite") as error:
            run(lost.options(**other(lost, models=models)), Recorder())
    assert error.value.exit_code == 4
    assert "--fresh" in str(error.value)
    assert everything(lost.job) == before


def test_nor_when_only_the_hosts_say_which_model_it_is(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", 0.1)], rows=20)
    folder = world.run(job=None, models=()).folder
    (folder / "job.toml").unlink()
    before = everything(folder)
    with pytest.raises(Damaged, match=r"job\.toml is missing"):
        world.run(job=None, models=())
    assert everything(folder) == before


def test_results_of_another_job_are_enough(lost: World) -> None:
    (lost.job / "queue.sqlite").write_bytes(b"")
    for path in (lost.job / "manifest.json", lost.job / "results"):
        assert is_in_the_way(lost.job)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert not is_in_the_way(lost.job)


@pytest.mark.parametrize("damage", ["lost", "unreadable"])
def test_beginning_anew_moves_it_aside_whatever_state_it_is_in(lost: World, damage: str) -> None:
    if damage == "unreadable":
        (lost.job / "job.toml").write_text("name = ")
        with pytest.raises(UsageError, match="is damaged"):
            run(lost.options(), Recorder())
    before, view = everything(lost.job), Recorder()
    # nothing listens there: the new job ends at the roll call, and the old one has been moved by then
    (lost.folder / "closed.toml").write_text('[[hosts]]\nname = "closed"\nurl = "http://127.0.0.1:9"\n')
    with pytest.raises(UsageError, match="no host can be reached"):
        run(lost.options(**other(lost, fresh=True, share_hosts=True, hosts=lost.folder / "closed.toml")), view)
    assert "moved_aside" in [event.kind for event in view.events]
    assert not lost.job.exists()
    aside = everything(lost.job.with_name("sim.1"))
    assert {name: aside[name] for name in before} == before
    assert lost.run(**other(lost)).counts.done == 20
    check_invariants(lost.job, expected=20)


def test_a_folder_in_which_no_job_has_come_about_is_free(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", 0.1)], rows=5)
    (world.job / "results").mkdir(parents=True)
    # what a crash leaves before the first job.toml is in its place
    (world.job / "job.toml.tmp").write_text("name = ")
    assert not is_job(world.job)
    assert not is_in_the_way(world.job)
    assert world.run().counts.done == 5
    check_invariants(world.job, expected=5)


@pytest.fixture
def closed() -> Iterator[World]:
    """A job of another user, who keeps it to himself, in a place that is everybody's."""
    with open_folder() as folder:
        world = World(folder, [SimHost("a", 0.1)], rows=5)
        world.run()
        world.job.chmod(0)
        try:
            yield world
        finally:
            world.job.chmod(0o700)


@pytest.mark.parametrize("fresh", [False, True])
def test_a_closed_folder_of_another_user_is_told_in_a_line(closed: World, fresh: bool) -> None:
    options = closed.options(fresh=fresh)
    drafted = draft(closed.options(job="another"))
    with as_nobody(), pytest.raises(UsageError, match=r"cannot read .*sim/.*: Permission denied"):
        existing(drafted, options)
    if not fresh:
        with as_nobody(), pytest.raises(UsageError, match=r"cannot read .*sim/.*: Permission denied"):
            draft(options)
