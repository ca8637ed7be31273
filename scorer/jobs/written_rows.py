"""Rows that a program gives, written as a dataset beside the jobs, so that a job over them can go on after anything.

The file is named after its content: the same rows are the same file and so the same job. JSON Lines and not Parquet,
because its bytes depend on the rows alone, and because rows need not agree on their types beforehand.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from scorer.errors import UsageError
from scorer.jobs.folder import make_lasting
from scorer.results import sync_folder

FOLDER = ".rows"
NAME_DIGITS = 12


def written_rows(
    rows: Iterable[Mapping[str, object]] | Iterable[str], runs_dir: Path, check: Callable[[], None] = lambda: None
) -> Path:
    """Write rows, one after the other, and return the file, safe from a power cut; texts become rows with `text`.

    `check` is called at each row and may end it by raising something.

    Raises UsageError for what is no row, a value that JSON does not have, and a folder that cannot be written; what the
    source of the rows raises is raised as it is.
    """
    _check_iterable(rows)
    folder = runs_dir / FOLDER
    with _writing(folder):
        make_lasting(folder)
        descriptor, name = tempfile.mkstemp(dir=folder, suffix=".tmp")
    unfinished = Path(name)
    file = os.fdopen(descriptor, "wb")
    try:
        digest = hashlib.sha256()
        for i, row in enumerate(rows):
            check()
            line = _line(i, row)
            digest.update(line)
            with _writing(folder):
                file.write(line)
        path = folder / f"rows-{digest.hexdigest()[:NAME_DIGITS]}.jsonl"
        with _writing(folder):
            file.flush()
            os.fsync(descriptor)
            unfinished.replace(path)
            sync_folder(folder)
    finally:
        # closing writes what is left in the buffer: after an error, nobody wants it
        with suppress(OSError):
            file.close()
        unfinished.unlink(missing_ok=True)
    return path


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Tell errors of writing into the folder as mistakes; around that alone, since the rows' source has its own."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot write the rows into {folder}: {error.strerror or error}") from None


def _check_iterable(rows: object) -> None:
    if hasattr(rows, "columns"):  # a data frame or table yields its columns or their names
        raise UsageError(
            f"a {type(rows).__name__} is not taken as it is: give its rows, such as frame.to_dict('records') "
            "or table.to_pylist(), or save it as Parquet and give the path"
        )
    if isinstance(rows, bytes | Mapping) or not isinstance(rows, Iterable):
        raise UsageError(
            f"rows are mappings or texts, one after the other, or a dataset's path; not {type(rows).__name__}"
        )


def _line(i: int, row: object) -> bytes:
    if isinstance(row, str):
        row = {"text": row}
    if not isinstance(row, Mapping):
        raise UsageError(f"row {i} is of type {type(row).__name__}: give a mapping of columns, or a text")
    try:
        # U+2028 and lone surrogates too stay inside their line and valid
        return json.dumps(dict(row), allow_nan=False).encode("ascii") + b"\n"
    except (TypeError, ValueError) as error:
        raise UsageError(f"row {i} holds what JSON does not have ({error}); turn it into text or numbers") from None
