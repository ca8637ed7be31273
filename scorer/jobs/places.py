"""Where a job's exports and reports may be written: never over the job, its dataset, or what something else has made.

A page that a report made is replaced by the next one without a question: it is looked at during a run and after.
"""

import os
from pathlib import Path

from scorer.errors import UsageError
from scorer.jobs.folder import RESULTS
from scorer.jobs.spec import JobSpec

PAGE_MARK = '<meta name="generator" content="scorer '
_HEAD_BYTES = 4096


def check_place(to: Path, folder: Path, spec: JobSpec, *, force: bool, sources: tuple[str, ...] = ()) -> None:
    """Raise UsageError if a file may not be written there: no folder, the job's own file, its dataset, in the way."""
    if not to.absolute().parent.is_dir():
        raise UsageError(f"{to}: there is no folder {to.parent}")
    if to.is_dir():
        raise UsageError(f"{to} is a folder: name a file in it")
    place, home = to.resolve(), folder.resolve()
    if place.is_relative_to(home / RESULTS) or (place.parent == home and to.exists() and place.suffix != ".html"):
        raise UsageError(f"{to} belongs to the job itself; write to another place")
    inputs = [Path(source) for source in (*sources, spec.dataset.source)]
    if to.exists() and any(path.exists() and path.samefile(to) for path in inputs):
        raise UsageError(f"{to} is the job's dataset; write to another place")
    if to.exists() and not force:
        raise UsageError(f"{to} is there already; name another file, or replace it with --force")


def check_page(to: Path, folder: Path, spec: JobSpec, *, force: bool) -> None:
    """Raise UsageError if a page may not be written there."""
    if to.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{to}: a report is an HTML file, so its name must end in .html")
    check_place(to, folder, spec, force=force or _is_page(to))


def write_page(to: Path, page: str) -> None:
    """Write a page whole or not at all; UsageError if the place cannot be written."""
    unfinished = to.with_name(f".{to.name}.{os.getpid()}")
    try:
        try:
            unfinished.write_text(page, encoding="utf-8", errors="replace")
            os.replace(unfinished, to)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {to}: {error.strerror or error}; name another place with -o") from None


def _is_page(path: Path) -> bool:
    """Whether a report made it."""
    try:
        with path.open("rb") as file:
            return PAGE_MARK.encode() in file.read(_HEAD_BYTES)
    except OSError:
        # what cannot be read is somebody else's, or not there
        return False
