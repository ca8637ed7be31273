"""No test here needs a real disk."""

from pathlib import Path

import pytest


@pytest.fixture
def tmp_path(memory_path: Path) -> Path:
    """Return a folder that a sync costs nothing in."""
    return memory_path
