"""Where exports, reports and traces may be written: never over a job, its dataset, or what something else has made.

A page that a report made is replaced by the next one without a question: it is looked at during a run and after.
Likewise a picture and a trace by the next one.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scorer.errors import UsageError
from scorer.jobs.folder import RESULTS
from scorer.jobs.spec import FILE, JobSpec
from scorer.pictures import MARK, PICTURES

PAGES = (".html", ".htm")
PAGE_MARK = '<meta name="generator" content="scorer '
_HEAD_BYTES = 4096


def check_place(to: Path, folder: Path, spec: JobSpec, *, force: bool, sources: tuple[str, ...] = ()) -> None:
    """Raise UsageError if a file may not be written there: no folder, a job's own file, its dataset, in the way."""
    with _looking(to):
        _check_new(to)
        place, mine = _real(to), folder.resolve()
        for home in [mine, *(home for home in place.parents if home != mine and (home / FILE).is_file())]:
            whose = "the job itself" if home == mine else f"job {home.name}"
            of_its_own = place.parent == home and to.exists() and place.suffix.lower() not in PAGES
            if place.is_relative_to(home / RESULTS) or of_its_own:
                raise UsageError(f"{to} belongs to {whose}; write to another place")
        inputs = [Path(source) for source in (*sources, spec.dataset.source)]
        if to.exists() and any(path.exists() and path.samefile(to) for path in inputs):
            raise UsageError(f"{to} is the job's dataset; write to another place")
        _check_free(to, force=force)


def check_outside(to: Path, *, force: bool) -> None:
    """Raise UsageError if what is about no job may not be written there: no folder, a job's folder, in the way."""
    with _looking(to):
        _check_new(to)
        if home := next((home for home in _real(to).parents if (home / FILE).is_file()), None):
            raise UsageError(f"{to} is in the folder of job {home.name}; write to another place")
        _check_free(to, force=force)


def check_page(to: Path, folder: Path, spec: JobSpec, *, force: bool) -> None:
    """Raise UsageError if a page may not be written there."""
    if to.suffix.lower() not in PAGES:
        raise UsageError(f"{to}: a report is an HTML file, so its name must end in .html")
    check_place(to, folder, spec, force=force or _begins_with(to, PAGE_MARK))


def check_picture(to: Path, *, force: bool) -> None:
    """Raise UsageError if a picture that is about no job may not be written there."""
    _check_kind(to)
    check_outside(to, force=force or _begins_with(to, MARK))


def check_picture_of(to: Path, folder: Path, spec: JobSpec, *, force: bool) -> None:
    """Raise UsageError if a picture of a job may not be written there."""
    _check_kind(to)
    check_place(to, folder, spec, force=force or _begins_with(to, MARK))


def write_page(to: Path, page: str) -> None:
    """Write a page whole or not at all; UsageError if the place cannot be written."""
    write_whole(to, lambda path: path.write_text(page, encoding="utf-8", errors="replace"), "-o")


def write_whole(to: Path, write: Callable[[Path], object], option: str) -> None:
    """Let a file be written whole or not at all; UsageError, with the option that names it, if it cannot be."""
    unfinished = to.with_name(f".{to.name}.{os.getpid()}")
    try:
        try:
            write(unfinished)
            os.replace(unfinished, to)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {to}: {error.strerror or error}; name another place with {option}") from None


@contextmanager
def _looking(to: Path) -> Iterator[None]:
    """Tell what keeps one from looking at a place: a folder that one may not enter, or a name that is too long."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot write {to}: {error.strerror}; name another place") from None


def _real(to: Path) -> Path:
    """Return where a place really is. (Python's own `resolve` fails in some versions over links in a circle.)"""
    place = Path(os.path.realpath(to))
    if place.is_symlink():
        raise UsageError(f"cannot write {to}: its links lead in a circle; name another place")
    return place


def _check_kind(to: Path) -> None:
    if to.suffix.lower() not in PICTURES:
        raise UsageError(f"{to}: the picture's name must end in {' or '.join(PICTURES)}")


def _check_new(to: Path) -> None:
    if not to.absolute().parent.is_dir():
        raise UsageError(f"{to}: there is no folder {to.parent}")
    if to.is_dir():
        raise UsageError(f"{to} is a folder: name a file in it")


def _check_free(to: Path, *, force: bool) -> None:
    if to.exists() and not to.is_file():
        # a pipe, or a device behind a link: nobody may be reading, and other programs need it as it is
        raise UsageError(f"{to} is no file that could be replaced; name another one")
    if to.exists() and not force:
        raise UsageError(f"{to} is there already; name another file, or replace it with --force")


def _begins_with(path: Path, mark: str) -> bool:
    """Whether a file has the mark of what is made here near its beginning."""
    try:
        if not path.is_file():
            # nobody may ever write into a pipe, so that reading one would last for ever
            return False
        with path.open("rb") as file:
            return mark.encode() in file.read(_HEAD_BYTES)
    except OSError:
        # what cannot be read is somebody else's, or not there
        return False
