"""On what a benchmark ran: the line that stands above its table."""

import os
import platform
import sqlite3
from importlib.metadata import version

PACKAGES = ("anyio", "aiohttp", "httpx", "httpx-aiohttp", "pyarrow", "sqlalchemy", "pydantic")


def header() -> str:
    """Return machine and versions on two lines."""
    machine = f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return f"{machine}\nSQLite {sqlite3.sqlite_version}, " + ", ".join(f"{name} {version(name)}" for name in PACKAGES)
