"""On what a benchmark ran, the line that stands above its table; and what a process has held of its memory."""

import os
import platform
import re
import resource
import sqlite3
import sys
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("anyio", "aiohttp", "httpx", "pyarrow", "sqlalchemy", "pydantic")


def header() -> str:
    """Return machine and versions on two lines."""
    machine = f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return f"{machine}\nSQLite {sqlite3.sqlite_version}, " + ", ".join(f"{name} {version(name)}" for name in PACKAGES)


def peak_mb() -> float:
    """Return the most memory that this process has held, in MB."""
    status = Path("/proc/self/status")
    if status.exists():
        # ru_maxrss would be no less than what the process that started this one held
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        assert found is not None
        return int(found.group(1)) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1024)
