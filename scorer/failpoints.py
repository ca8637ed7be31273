"""Named places where a test can end the process as `kill -9` would: no `finally`, no flush, no good-bye.

Armed only by the environment: `SCORER_FAILPOINT="part-replaced:2"` ends the process with status 99 the second time that
place is passed. Unarmed, a failpoint costs one comparison. It must never change what the code around it does.
"""

import os
from typing import Literal

CRASH_STATUS = 99

FailpointName = Literal[
    "enqueue-written",
    "enqueue-done",
    "commit-begun",
    "commit-written",
    "commit-done",
    "part-begun",
    "part-fixed",
    "part-written",
    "part-synced",
    "part-replaced",
    "part-published",
    "part-recorded",
    "dead-begun",
    "dead-published",
    "manifest-begun",
    "manifest-synced",
    "manifest-replaced",
    "manifest-published",
    "retry-begun",
    "retry-removed",
    "retry-written",
    "retry-done",
]

_armed = ""
_passes_left = 0


def arm(place: str) -> None:
    """Choose the place and its turn, "name:occurrence"; an empty text disarms."""
    global _armed, _passes_left  # noqa: PLW0603  (process-wide by nature: it ends the process)
    _armed, _, occurrence = place.partition(":")
    _passes_left = int(occurrence or 1)


def failpoint(name: FailpointName) -> None:
    """End the process here if this place is armed and its turn has come."""
    global _passes_left  # noqa: PLW0603  (see `arm`)
    if name != _armed:
        return
    _passes_left -= 1
    if not _passes_left:
        os._exit(CRASH_STATUS)


arm(os.environ.get("SCORER_FAILPOINT", ""))
