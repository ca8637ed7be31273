"""A finished job to look at: made by the real dispatcher in virtual time."""

from pathlib import Path

import pytest
from simulation.world import Faults, SimHost, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Twenty rows, two of them dead."""
    texts = ["", None, *(f"text {i}" for i in range(18))]
    return World(tmp_path, [SimHost("a", 0.5), SimHost("b", 1.0)], texts=texts)


@pytest.fixture
def interrupted(tmp_path: Path) -> World:
    """A hundred rows, about thirty of them done when the only host went down."""
    from scorer.errors import NoHostsLeft

    made = World(tmp_path, [SimHost("a", 1.0, faults=Faults(down=((30.0, 1e9),)))], rows=100, patience_s=60.0)
    with pytest.raises(NoHostsLeft):
        made.run()
    return made
