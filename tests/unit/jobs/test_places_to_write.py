"""Where exports and reports may be written."""

import os
from pathlib import Path

import pytest
from made_jobs import MadeJob, texts
from other_user import as_nobody, open_folder

from scorer.errors import UsageError
from scorer.jobs.places import check_page, check_picture, check_picture_of, check_place
from scorer.jobs.spec import read_spec
from scorer.pictures import new_figure, write_picture


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
    with pytest.raises(UsageError, match="is no file that could be replaced"):
        check_page(tmp_path / "pipe.html", job, read_spec(job), force=False)


@pytest.mark.parametrize("name", ["p.svg", "p.png"])
def test_a_picture_replaces_a_picture_and_nothing_else_unasked(job: Path, tmp_path: Path, name: str) -> None:
    path, spec = tmp_path / name, read_spec(job)
    path.write_bytes(b"somebody's own")
    for look in (check_picture, lambda to, *, force: check_picture_of(to, job, spec, force=force)):
        with pytest.raises(UsageError, match=r"is there already; .* --force"):
            look(path, force=False)
        look(path, force=True)
        with pytest.raises(UsageError, match=r"\.svg or \.png"):
            look(tmp_path / "a.pdf", force=True)
        with pytest.raises(UsageError, match="no folder"):
            look(tmp_path / "no" / name, force=True)
    write_picture(new_figure(2, 1)[0], path)
    check_picture(path, force=False)
    check_picture_of(path, job, spec, force=False)
    check_picture_of(job / name, job, spec, force=False)
    with pytest.raises(UsageError, match="is in the folder of job judged"):
        check_picture(job / name, force=True)
    with pytest.raises(UsageError, match="belongs to the job itself"):
        check_picture_of(job / "results" / name, job, spec, force=True)


@pytest.mark.parametrize("force", [False, True])
def test_a_pipe_stays_what_it_is(job: Path, tmp_path: Path, force: bool) -> None:
    os.mkfifo(tmp_path / "pipe.svg")
    (tmp_path / "link.svg").symlink_to("/dev/null")
    for name in ("pipe.svg", "link.svg"):
        with pytest.raises(UsageError, match="is no file that could be replaced"):
            check_picture(tmp_path / name, force=force)
        with pytest.raises(UsageError, match="is no file that could be replaced"):
            check(job, tmp_path / name, force=force)


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
