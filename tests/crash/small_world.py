"""A job of a few rows in virtual time whose every step of the protocol is taken: for tests of its disk operations.

It is a pilot first, then grows into the whole, and then the rows that died are revived. Two hosts answer,
nothing fails but the disk.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from disk import Disk
from simulation.world import SimHost, World

from scorer import publish
from scorer.core.result import Done, Entry
from scorer.jobs.mend import retry
from scorer.queue import Queue

TEXTS: list[str | None] = [None if row == 2 else f"text {row}" for row in range(10)]
PILOT = 4
PART = 4


def make(folder: Path) -> World:
    """A world whose job is that of every other call; its runs folder may hold what another left."""
    hosts = [SimHost("a", 0.1, slots=2), SimHost("b", 0.15)]
    world = World(folder, hosts, texts=list(TEXTS), slots=2, patience_s=60.0)
    (folder / "runs").mkdir(exist_ok=True)
    return world


def steps(world: World) -> list[Callable[[], object]]:
    """The commands of the user, in order. Each may be given again."""
    return [lambda: world.run(limit=PILOT), world.run, lambda: revive(world)]


def revive(world: World) -> None:
    """`scorer retry`."""
    retry(world.job, kind=None, num_ctx=None, num_predict=None)


@contextmanager
def small_parts() -> Iterator[None]:
    """Parts of a few rows."""
    with patch.object(publish, "PART_ROWS", PART):
        yield


@contextmanager
def promising(disk: Disk) -> Iterator[None]:
    """Note each commit that was acknowledged, with what it made done."""
    real = Queue.commit

    def commit(queue: Queue, batch: list[Entry], now: float) -> int:
        counted = real(queue, batch, now)
        for entry in batch:
            if isinstance(entry, Done):
                disk.promise((entry.key.row, entry.completion))
        return counted

    with patch.object(Queue, "commit", commit):
        yield
