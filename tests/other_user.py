"""What another user sees, who may only read what everybody may."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534


@contextmanager
def open_folder() -> Iterator[Path]:
    """A new folder that every user may enter: pytest's own are private."""
    with tempfile.TemporaryDirectory(prefix="scorer-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Be another user for as long as it lasts; only root, whom no mode keeps out, can and needs to.

    Anybody else is kept out of their own files by modes that lack the bit (0o000, 0o444). Modules that are imported
    late must be there before.
    """
    if os.geteuid() != 0:
        yield
        return
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
