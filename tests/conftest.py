"""What all tests share: property tests may take their time on a busy machine, and it is UTC everywhere."""

import gc
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import in_memory
import pytest
from hypothesis import settings

settings.register_profile("scorer", deadline=None)
settings.load_profile("scorer")

# a host's hours are local time
os.environ["TZ"] = "UTC"
time.tzset()

# Commands inherit what is ignored here, as under `nohup` and a shell's `&`, but not what is handled; either way these
# tests go on.
for _number in (signal.SIGHUP, signal.SIGINT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda _number, _frame: None)


def pytest_collection_finish() -> None:
    """Leave thousands of collected tests out of every later search for garbage, of which statsmodels makes many."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def memory_path() -> Iterator[Path]:
    """Like `tmp_path`, in memory where that is possible; gone after the test."""
    with tempfile.TemporaryDirectory(prefix="test-", dir=in_memory.place()) as folder:
        yield Path(folder)
