"""Where exports and reports may be written."""

import os
from pathlib import Path

import pytest
from made_jobs import MadeJob, texts
from other_user import as_nobody, open_folder

from scorer.errors import UsageError
from scorer.jobs.places import check_page, check_place
from scorer.jobs.spec import read_spec


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return MadeJob(table=texts(3)).write(tmp_path)


def check(job: Path, to: Path, *, force: bool = False) -> None:
    check_place(to, job, read_spec(job), force=force)


def test_what_belongs_to_another_job_is_never_replaced(job: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = MadeJob(table=texts(3)).write(tmp_path / "other", "second")
    for path in (other / "results" / "part-00000.parquet", other / "results" / "new.csv", other / "queue.sqlite"):
        with pytest.raises(UsageError, match="belongs to job second"):
            check(job, path, force=True)
    check(job, tmp_path / "other" / "runs" / "all.csv")
    with pytest.raises(UsageError, match="belongs to the job itself"):
        check(job, job / "results" / "report.html")


def test_a_page_is_not_looked_for_in_a_pipe_which_would_last_for_ever(job: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.html")
    with pytest.raises(UsageError, match="is there already"):
        check_page(tmp_path / "pipe.html", job, read_spec(job), force=False)


def test_a_place_that_cannot_be_looked_at_is_told(job: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="File name too long; name another place"):
        check(job, tmp_path / f"{'n' * 300}.html")
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(UsageError, match=r"links lead in a circle|there is no folder"):
        check(job, tmp_path / "a" / "report.html")
    with pytest.raises(UsageError, match="links lead in a circle"):
        check(job, tmp_path / "a")
    with open_folder() as folder:
        (folder / "locked").mkdir(mode=0o000)
        spec = read_spec(job)
        with as_nobody(), pytest.raises(UsageError, match="Permission denied; name another place"):
            check_place(folder / "locked" / "report.html", folder, spec, force=False)
        (folder / "locked").chmod(0o755)
