"""The one place where what pyarrow and the system raise about a file becomes an error of ours.

An error number means the system: a file that is gone is the user's, a disk that fails is not. No number means the
content: the file is damaged or not what its name says.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from scorer.errors import DatasetUnreadable, ScorerError, UsageError

_REASON_CHARS = 200


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Map the foreign exceptions of a block that reads `path`: raises UsageError or StoreError naming it."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error) from error


def unreadable(path: str, error: Exception) -> ScorerError:
    """Return the error to raise for one that pyarrow or the system raised while reading `path`."""
    reason = " ".join(str(error).split())
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
        return UsageError(f"dataset {path} cannot be opened: {error.strerror or reason}")
    if isinstance(error, OSError) and error.errno:
        return DatasetUnreadable(f"dataset {path} cannot be read: {reason}")
    return UsageError(f"dataset {path} is damaged or not what its name says: {reason[:_REASON_CHARS]}")
