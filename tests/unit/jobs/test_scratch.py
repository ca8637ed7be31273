"""The scratch folder of an export: none is left, not even by one that was killed, and nobody else's is taken."""

import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from made_jobs import MadeJob, texts

from scorer.jobs import scratch as scratches
from scorer.jobs.export import ExportOptions, export
from scorer.jobs.scratch import LOCK, scratch

KILLED = """
import os, signal, sys
from pathlib import Path
from scorer.jobs import export
def die(folder, scratch_dir):
    (scratch_dir / "sorted").write_bytes(b"x" * 1000)
    os.kill(os.getpid(), signal.SIGKILL)
export.gather = die
export.export(Path(sys.argv[1]), export.ExportOptions(to=Path(sys.argv[2])))
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_export_leaves_behind_is_removed_by_the_next_one_to_the_same_file(tmp_path: Path) -> None:
    job = MadeJob(table=texts(20)).write(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    for name in ("a.csv", "b.csv"):
        command = [sys.executable, "-c", KILLED, str(job), str(out / name)]
        assert subprocess.run(command, check=False).returncode == -9
    left_a, left_b = names(out)
    assert (left_a.startswith(".a.csv."), left_b.startswith(".b.csv.")) == (True, True)
    export(job, ExportOptions(to=out / "a.csv"))
    assert names(out) == [left_b, "a.csv"], "another file's folder is another export's to remove"


def test_an_export_that_is_at_work_keeps_its_folder(tmp_path: Path) -> None:
    to = tmp_path / "a.csv"
    with scratch(to) as first:
        (first / "sorted").touch()
        with scratch(to) as second:
            assert first != second
            assert (first / "sorted").exists()
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "name",
    [
        ".a.csv.export-abcd",
        ".a.csv.export-abcdefgh.bak",
        ".a.csv.abcdefgh",
        "a.csv.export-abcdefgh",
        ".aXcsv.export-abcdefgh",
    ],
)
def test_what_only_looks_like_it_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / LOCK).touch()
    with scratch(tmp_path / "a.csv"):
        pass
    assert names(tmp_path) == [name]


def test_a_link_and_a_folder_without_a_lock_are_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / LOCK).touch()
    (tmp_path / ".a.csv.export-abcdefgh").symlink_to(mine)
    (tmp_path / ".a.csv.export-12345678").mkdir()
    before = names(tmp_path)
    with scratch(tmp_path / "a.csv"):
        pass
    assert names(tmp_path) == before
    assert (mine / LOCK).exists()


def test_a_folder_that_somebody_took_for_a_stale_one_before_it_was_locked_is_given_up_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []

    class Hasty(FileLock):
        """Comes too late the first time: the folder is gone once it has the lock."""

        def acquire(self, *args: object, **options: object) -> object:
            got = super().acquire(*args, **options)  # type: ignore[arg-type]
            if not taken:
                taken.append(self.lock_file)
                Path(self.lock_file).unlink()
            return got

    monkeypatch.setattr(scratches, "FileLock", Hasty)
    with scratch(tmp_path / "a.csv") as folder:
        assert taken
        assert str(folder) not in taken[0]
        assert (folder / LOCK).exists()
    assert names(tmp_path) == []
