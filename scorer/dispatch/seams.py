"""What production and simulation do differently: blocking calls, the wall clock, chance and the free disk space.

Monotonic time needs no seam: it is the event loop's own clock (`anyio.current_time`), which trio's virtual clock
replaces in tests.
"""

import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar, TypeVarTuple, Unpack

import anyio
import anyio.to_thread

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class RunBlocking(Protocol):
    """How a blocking call is run: in a thread in production, inline under a virtual clock."""

    async def __call__(self, func: Callable[[Unpack[Ts]], T], *args: *Ts) -> T:
        """Return what the call returns, or raise what it raises; never abandoned half-way by a cancellation."""


@dataclass(frozen=True, slots=True)
class Seams:
    """`store` serialises: there is one read-write connection. `read` is for the dataset and other files."""

    store: RunBlocking
    read: RunBlocking
    wall: Callable[[], float]
    rng: random.Random
    free_bytes: Callable[[Path], int]


class _Thread:
    """Calls in a thread, one at a time."""

    def __init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(1)

    async def __call__(self, func: Callable[[Unpack[Ts]], T], *args: *Ts) -> T:
        return await anyio.to_thread.run_sync(func, *args, limiter=self._limiter)


def free_bytes(folder: Path) -> int:
    """Return the bytes free to us on the file system of a folder."""
    return shutil.disk_usage(folder).free


def production() -> Seams:
    """Threads, the real clock, real chance. Call inside a running event loop."""
    # choosing hosts and jitter needs no cryptographic randomness
    return Seams(_Thread(), _Thread(), time.time, random.Random(), free_bytes)
