import fcntl
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from other_user import as_nobody, open_folder

from scorer.errors import StoreError, UsageError
from scorer.jobs.folder import (
    LOCK,
    MAX_NAME,
    OWNER,
    check_name,
    default_name,
    find_job,
    is_locked,
    jobs_in,
    last_change,
    locked,
    make_folder,
    move_aside,
)
from scorer.jobs.spec import FILE


def job(runs: Path, name: str, at: float = 1000.0) -> Path:
    folder = runs / name
    folder.mkdir(parents=True)
    (folder / FILE).touch()
    os.utime(folder / FILE, (at, at))
    return folder


@pytest.mark.parametrize("name", ["a", "7", "code-quality_2.1", "x" * 64])
def test_names_of_small_letters_digits_and_few_signs_are_fine(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "A", "-a", ".hidden", "x" * 65, "a b", "ä", "a\n"])
def test_names_that_could_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a job's name"):
        check_name(name)


@given(st.text(), st.text(), st.lists(st.text(), max_size=3))
def test_a_default_name_is_always_a_name(dataset: str, template: str, models: list[str]) -> None:
    assert check_name(default_name(dataset, template, tuple(models)))


def test_the_default_name_tells_dataset_template_and_model() -> None:
    assert default_name("/data/functions.parquet", "quality", ("qwen2.5-coder:7b",)) == (
        "functions-quality-qwen2.5-coder-7b"
    )


def test_long_default_names_are_cut_and_stay_different() -> None:
    one, other = (default_name("x" * 80, "quality", (model,)) for model in ("a", "b"))
    assert len(one) == len(other) == MAX_NAME
    assert one != other


def test_jobs_are_listed_with_the_last_active_one_at_the_end(tmp_path: Path) -> None:
    for name, at in (("new", 3000.0), ("old", 1000.0), ("middle", 2000.0)):
        job(tmp_path, name, at)
    (tmp_path / "not-a-job").mkdir()
    (tmp_path / "old" / "queue.sqlite").touch()
    assert [folder.name for folder in jobs_in(tmp_path)] == ["middle", "new", "old"]
    assert jobs_in(tmp_path / "nowhere") == []


def test_a_job_is_found_by_its_name(tmp_path: Path) -> None:
    assert find_job(tmp_path, job(tmp_path, "one").name) == tmp_path / "one"


def test_a_job_that_is_not_there_is_answered_with_the_nearest_or_all(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there are no jobs in"):
        find_job(tmp_path, "quality")
    job(tmp_path, "quality")
    with pytest.raises(UsageError, match="did you mean quality"):
        find_job(tmp_path, "qualty")
    with pytest.raises(UsageError, match="there are: quality"):
        find_job(tmp_path, "zzz")
    with pytest.raises(UsageError, match="cannot be a job's name"):
        find_job(tmp_path, "../quality")


def test_an_old_job_is_moved_to_the_next_free_number(tmp_path: Path) -> None:
    assert move_aside(job(tmp_path, "a")).name == "a.1"
    assert move_aside(job(tmp_path, "a")).name == "a.2"
    assert (tmp_path / "a.1" / FILE).is_file()


def test_a_job_that_was_moved_aside_is_found_however_long_its_name(tmp_path: Path) -> None:
    aside = move_aside(job(tmp_path, "x" * MAX_NAME))
    assert find_job(tmp_path, f"{'x' * MAX_NAME}.1") == aside


def test_a_lock_is_held_once_and_told_of(tmp_path: Path) -> None:
    folder = job(tmp_path, "a")
    assert not is_locked(folder)
    with locked(folder):
        assert is_locked(folder)
        with (
            pytest.raises(UsageError, match=f"in use by process {os.getpid()} on {socket.gethostname()}"),
            locked(folder),
        ):
            pass
        (folder / OWNER).write_text("{torn")
        with pytest.raises(UsageError, match="in use by another process"), locked(folder):
            pass
        (folder / OWNER).write_text(json.dumps({"pid": 1}))
        with pytest.raises(UsageError, match="in use by another process"), locked(folder):
            pass
    assert not is_locked(folder)


@pytest.mark.parametrize("name", [OWNER, LOCK])
def test_a_job_that_cannot_be_locked_is_named_and_not_left_locked(tmp_path: Path, name: str) -> None:
    folder = job(tmp_path, "a")
    (folder / name).mkdir()
    with pytest.raises(StoreError, match=f"cannot write .*{name}"), locked(folder):
        pass
    (folder / name).rmdir()
    with locked(folder):
        pass


def test_the_lock_of_a_process_that_was_killed_is_free(tmp_path: Path) -> None:
    folder = job(tmp_path, "a")
    hold = (
        "import sys, os, signal; from pathlib import Path; from scorer.jobs.folder import locked\n"
        f"with locked(Path({str(folder)!r})):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", hold], check=False).returncode == -9
    assert (folder / OWNER).exists()
    assert not is_locked(folder)
    with locked(folder):
        pass


def test_a_log_that_goes_while_one_looks_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = job(tmp_path, "one", 5.0)
    monkeypatch.setattr(Path, "exists", lambda _: True)
    assert last_change(one) == 5.0


def test_a_runs_folder_that_may_not_be_read_is_named() -> None:
    with open_folder() as folder:
        (folder / "runs").mkdir(mode=0o000)
        with as_nobody(), pytest.raises(UsageError, match=r"cannot read .*runs: Permission denied"):
            jobs_in(folder / "runs")


def test_a_lock_that_may_only_be_read_tells_whether_it_is_held() -> None:
    with open_folder() as folder:
        with locked(folder):
            (folder / LOCK).chmod(0o444)
            with as_nobody():
                assert is_locked(folder)
        with as_nobody():
            assert not is_locked(folder)
        (folder / LOCK).chmod(0o000)
        with as_nobody(), pytest.raises(UsageError, match=r"cannot read .*job\.lock: Permission denied"):
            is_locked(folder)


def test_two_who_look_do_not_take_each_other_for_a_run(tmp_path: Path) -> None:
    with locked(tmp_path):
        pass
    with (tmp_path / LOCK).open() as another:
        fcntl.flock(another, fcntl.LOCK_SH)
        assert not is_locked(tmp_path)


def test_no_job_is_made_where_its_files_could_not_be_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"d\\xe9/one is not UTF-8"):
        make_folder(tmp_path / "d\udce9" / "one")
    assert not list(tmp_path.iterdir())
