"""Where tests put folders that are synced thousands of times: in memory, if there is such a place.

What a disk does to a file that was not synced they play themselves (`crash/disk.py`, `crash/power.py`); jobs on a real
disk are the business of `integration/` and of the kills.
"""

import shutil
from pathlib import Path

MEMORY = Path("/dev/shm")  # noqa: S108  (a file system, not a place for secrets)
ROOM_BYTES = 1 << 30


def place() -> Path | None:
    """Return where to make temporary folders; None, which is the usual place, without a roomy one in memory."""
    return MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM_BYTES else None
