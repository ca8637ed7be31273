import os
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_jobs import MadeJob, texts
from simulation.world import MODEL, SimHost, World

from scorer import inputs
from scorer.errors import UsageError
from scorer.hosts import embedded
from scorer.jobs import submit
from scorer.jobs.look import latest_unfinished
from scorer.jobs.spec import Selection, read_spec, write_spec
from scorer.jobs.submit import draft, existing, find_hosts, grown, listening, reopened, selected_rows


@pytest.fixture
def finished(tmp_path: Path) -> World:
    world = World(tmp_path, [SimHost("a", 0.1)], rows=20)
    world.run()
    return world


def meant(world: World, **changes: object) -> Path | None:
    options = world.options(**changes)
    return existing(draft(options), options)


def test_the_same_command_means_the_same_job(finished: World) -> None:
    assert meant(finished) == finished.job
    assert meant(finished, limit=5) == finished.job, "a pilot is not another job"
    assert meant(finished, models=()) == finished.job, "a job that is named need not name its model"
    assert meant(finished, job="another") is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"models": ("other:1b",)}, "model: the job has judge:7b, this run other:1b"),
        ({"samples": 2}, "samples: the job has 1, this run 2"),
        ({"prompt": "quality"}, "template: the job has sim"),
    ],
)
def test_another_job_under_the_same_name_is_refused_with_what_differs(
    finished: World, change: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError, match="--fresh") as error:
        meant(finished, **change)
    assert words in str(error.value)
    assert meant(finished, fresh=True, **change) == finished.job


def test_two_kinds_of_pilot_at_once_are_refused(finished: World) -> None:
    with pytest.raises(UsageError, match="give one of them"):
        draft(finished.options(limit=1, sample=1))


def test_a_job_goes_on_from_what_its_folder_froze(interrupted: World) -> None:
    (interrupted.folder / "sim.toml").unlink()
    drafted = reopened(interrupted.job, None, None)
    assert drafted.spec == read_spec(interrupted.job)
    assert drafted.template.name == "sim"
    assert [host.name for host in drafted.hosts.hosts] == ["a"]


def test_what_has_moved_can_be_named_and_what_is_gone_is_said(
    interrupted: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = interrupted.folder / "moved.parquet"
    (interrupted.folder / "rows.parquet").rename(moved)
    (interrupted.folder / "hosts.toml").rename(interrupted.folder / "new.toml")
    monkeypatch.chdir(interrupted.folder)
    with pytest.raises(UsageError, match=r"rows\.parquet"):
        reopened(interrupted.job, None, Path("new.toml"))
    with pytest.raises(UsageError, match=r"hosts\.toml is gone: name the hosts file with --hosts"):
        reopened(interrupted.job, str(moved), None)
    Path("circle.toml").symlink_to("circle.toml")
    with pytest.raises(UsageError, match=r"cannot read the hosts file .*circle\.toml"):
        reopened(interrupted.job, str(moved), Path("circle.toml"))
    drafted = reopened(interrupted.job, str(moved), Path("new.toml"))
    assert drafted.dataset.rows == 100
    assert (drafted.spec.dataset.source, drafted.spec.hosts_file) == (
        str(moved),
        str(interrupted.folder.resolve() / "new.toml"),
    )


def test_a_job_with_nothing_left_to_do_needs_no_hosts_but_reads_those_that_are_named(finished: World) -> None:
    hosts = (finished.folder / "hosts.toml").rename(finished.folder / "new.toml")
    assert reopened(finished.job, None, None).hosts.hosts == ()
    assert [host.name for host in reopened(finished.job, None, hosts).hosts.hosts] == ["a"]
    # as if it was killed after it had grown and before its queue had
    write_spec(finished.job, replace(read_spec(finished.job), samples=2))
    with pytest.raises(UsageError, match=r"hosts\.toml is gone"):
        reopened(finished.job, None, None)


def test_another_dataset_in_the_same_place_is_not_the_jobs(finished: World) -> None:
    pq.write_table(pa.table({"text": ["other"]}), finished.folder / "rows.parquet")
    with pytest.raises(UsageError, match="is not the dataset that job sim was submitted with"):
        reopened(finished.job, None, None)


def test_the_latest_unfinished_job_is_the_one_to_resume(finished: World) -> None:
    runs = finished.job.parent
    with pytest.raises(UsageError, match="no unfinished job"):
        latest_unfinished(runs)
    unstarted = runs / "unstarted"
    unstarted.mkdir()
    (unstarted / "job.toml").write_bytes((finished.job / "job.toml").read_bytes())
    assert latest_unfinished(runs) == unstarted


def test_the_latest_unfinished_job_is_found_behind_finished_ones(interrupted: World) -> None:
    assert latest_unfinished(interrupted.job.parent) == interrupted.job


@pytest.mark.parametrize("content", ["name = ", "from_the_future = 1\n"])
def test_jobs_that_cannot_be_read_are_told_of_and_stand_in_nobodys_way(interrupted: World, content: str) -> None:
    runs = interrupted.job.parent
    (runs / "strange").mkdir()
    (runs / "strange" / "job.toml").write_text(content)
    os.utime(runs / "strange" / "job.toml", (4e9, 4e9))
    told: list[str] = []
    assert latest_unfinished(runs, told.append) == interrupted.job
    open_model = interrupted.options(models=(), job=None)
    drafted = draft(open_model)
    assert existing(drafted, open_model) is None
    assert [line.split(": ")[0] for line in (*told, drafted.notes[0])] == ["job strange is passed over"] * 2


@pytest.mark.parametrize("lost", [True, False])
def test_a_finished_job_whose_database_is_gone_or_broken_stands_in_nobodys_way(interrupted: World, lost: bool) -> None:
    finished = interrupted.job.with_name("finished")
    (interrupted.folder / "made").mkdir()
    shutil.copytree(MadeJob(table=texts(30)).write(interrupted.folder / "made"), finished)
    for path in finished.glob("queue.sqlite*"):
        path.unlink()
    if not lost:
        (finished / "queue.sqlite").write_bytes(b"no database" * 1000)
    os.utime(finished / "job.toml", (4e9, 4e9))
    told: list[str] = []
    assert latest_unfinished(finished.parent, told.append) == interrupted.job
    (line,) = told
    assert line.startswith("job finished is passed over: ")


def test_when_no_unfinished_job_can_be_read_that_is_said(finished: World) -> None:
    runs = finished.job.parent
    (runs / "strange").mkdir()
    (runs / "strange" / "job.toml").write_text("name = ")
    with pytest.raises(UsageError, match=r"no unfinished job in .*\njob strange is passed over: .* is damaged"):
        latest_unfinished(runs)


def test_a_job_whose_model_was_left_open_is_found_beside_one_that_cannot_be_read(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", 0.1)], rows=20)
    folder = world.run(models=(), job=None).folder
    (folder.parent / "strange").mkdir()
    (folder.parent / "strange" / "job.toml").write_text("name = ")
    assert meant(world, models=(), job=None) == folder


def test_a_selection_grows_and_never_shrinks() -> None:
    pilot, sample, whole = Selection("limit", 5), Selection("sample", 9), Selection()
    assert grown(pilot, whole) == grown(whole, pilot) == whole
    assert grown(pilot, sample) == sample


def test_a_selection_becomes_rows(finished: World) -> None:
    dataset = inputs.open_dataset(str(finished.folder / "rows.parquet"))
    assert selected_rows(dataset, Selection()) == 20
    assert selected_rows(dataset, Selection("limit", 5)) == 5
    assert selected_rows(dataset, Selection("limit", 50)) == 20
    assert selected_rows(dataset, Selection("sample", 50)) == 20
    spread = selected_rows(dataset, Selection("sample", 4))
    assert isinstance(spread, list)
    assert len(set(spread)) == 4


def test_hosts_are_those_of_the_file_then_of_the_folder_then_ollama_then_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def table(name: str) -> str:
        return f'[[hosts]]\nname = "{name}"\nurl = "http://{name}:11434"\n'

    (tmp_path / "given.toml").write_text(table("given"))
    monkeypatch.setattr(submit, "listening", lambda _: False)
    monkeypatch.setattr(embedded, "installed", lambda: False)
    with pytest.raises(UsageError, match=r"no hosts: write a hosts\.toml"):
        find_hosts(None, tmp_path)
    monkeypatch.setattr(embedded, "installed", lambda: True)
    assert [host.api for host in find_hosts(None, tmp_path).hosts] == ["embedded"]
    monkeypatch.setattr(submit, "listening", lambda _: True)
    assert [host.api for host in find_hosts(None, tmp_path).hosts] == ["ollama"]
    (tmp_path / "hosts.toml").write_text(table("here"))
    assert [host.name for host in find_hosts(None, tmp_path).hosts] == ["here"]
    assert [host.name for host in find_hosts(tmp_path / "given.toml", tmp_path).hosts] == ["given"]


def test_a_server_listens_where_a_connection_is_accepted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert listening(url)
    assert not listening(url)


def test_a_draft_names_its_job_after_what_it_is_made_of(finished: World) -> None:
    drafted = draft(finished.options(job=None))
    named = drafted.named((MODEL,), None, chosen=True)
    assert (named.name, named.model_was_chosen) == ("rows-sim-judge-7b", True)
    assert drafted.named((MODEL,), "mine", chosen=False) == replace(named, name="mine", model_was_chosen=False)
