"""`run` and `resume` as the command line calls them, in a real event loop, against nothing that needs a host."""

import signal
from pathlib import Path

import pytest
from invariants import check_invariants
from simulation.world import Recorder, SimHost, World

from scorer.config import HostConfig, HostsFile, load_hosts
from scorer.dispatch.loop import Ending
from scorer.errors import UsageError
from scorer.jobs.folder import locked
from scorer.jobs.run import _host_maker, _Watch, resume, run


@pytest.fixture
def finished(tmp_path: Path) -> World:
    world = World(tmp_path, [SimHost("a", 0.1)], texts=["", *(f"text {i}" for i in range(19))])
    world.run()
    return world


def test_a_finished_job_contacts_no_host(finished: World) -> None:
    view = Recorder()
    ended = run(finished.options(), view)
    assert (ended.ending, ended.counts.done, ended.counts.dead) == (Ending.FINISHED, 19, 1)
    assert [event.kind for event in view.events] == ["choice", "finished_before"] or "finished_before" in [
        event.kind for event in view.events
    ]
    assert resume(finished.job.parent, "sim", None, None, Recorder()).counts == ended.counts
    check_invariants(finished.job, expected=20)


def test_handlers_of_signals_are_after_a_run_what_they_were_before(finished: World) -> None:
    def handle(_number: int, _frame: object) -> None:
        pass

    numbers = (signal.SIGHUP, signal.SIGTERM)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        run(finished.options(), Recorder())
        assert [signal.getsignal(number) for number in numbers] == [handle, handle]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_job_that_another_process_runs_is_left_alone(finished: World) -> None:
    with locked(finished.job):
        for fresh in (False, True):
            with pytest.raises(UsageError, match="in use by process"):
                run(finished.options(fresh=fresh), Recorder())
    assert finished.job.is_dir()


def test_a_name_that_leads_elsewhere_is_refused_before_anything_is_read(finished: World) -> None:
    with pytest.raises(UsageError, match="cannot be a job's name"):
        run(finished.options(job="../x", dataset="nowhere.parquet"), Recorder())


def test_beginning_anew_keeps_the_old_folder(finished: World) -> None:
    view = Recorder()
    # nothing listens there: the new job ends at the roll call, and the old one has been moved by then
    (finished.folder / "closed.toml").write_text('[[hosts]]\nname = "closed"\nurl = "http://127.0.0.1:9"\n')
    with pytest.raises(UsageError, match="no host can be reached"):
        run(finished.options(fresh=True, hosts=finished.folder / "closed.toml"), view)
    assert "moved_aside" in [event.kind for event in view.events]
    check_invariants(finished.job.with_name("sim.1"), expected=20)
    assert not finished.job.exists()


def test_a_job_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", 0.1)], rows=2)
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(UsageError, match="cannot make the job's folder"):
        world.run()


def test_a_selection_of_nothing_is_finished_at_once(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", 0.1)], rows=5)
    assert world.run(limit=0).counts.total == 0
    assert not world.hosts[0].asked


def test_hosts_are_made_with_their_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    config = HostConfig(name="a", url="http://127.0.0.1:1", token_env="SCORER_TEST_TOKEN")
    with pytest.raises(UsageError, match="SCORER_TEST_TOKEN"):
        _host_maker(os.environ)(config)
    monkeypatch.setenv("SCORER_TEST_TOKEN", "secret")
    assert "secret" not in repr(_host_maker(os.environ)(config))


def test_the_hosts_file_is_read_again_only_when_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "hosts.toml"
    path.write_text('[[hosts]]\nname = "a"\nurl = "http://a.test:1"\n')
    watch = _Watch(load_hosts(path))
    assert watch() is None
    path.write_text('[[hosts]]\nname = "bb"\nurl = "http://a.test:1"\n')
    changed = watch()
    assert changed is not None
    assert [host.name for host in changed.hosts] == ["bb"]
    assert watch() is None
    path.unlink()
    with pytest.raises(UsageError):
        watch()
    assert watch() is None, "it is told once"
    assert _Watch(HostsFile(path=None, default_model=None, hosts=()))() is None


def test_an_edit_of_the_hosts_file_since_it_was_read_is_a_change(tmp_path: Path) -> None:
    path = tmp_path / "hosts.toml"
    path.write_text('[[hosts]]\nname = "a"\nurl = "http://a.test:1"\n')
    read = load_hosts(path)
    path.write_text('[[hosts]]\nname = "bb"\nurl = "http://a.test:1"\n')
    changed = _Watch(read)()
    assert changed is not None
    assert [host.name for host in changed.hosts] == ["bb"]


def test_a_run_leaves_what_a_closed_terminal_does_as_it_was(finished: World) -> None:
    def going_on(_number: int, _frame: object) -> None: ...

    before = signal.signal(signal.SIGHUP, going_on)
    try:
        run(finished.options(), Recorder())
        assert signal.getsignal(signal.SIGHUP) is going_on
    finally:
        signal.signal(signal.SIGHUP, before)
