"""Async tests on a virtual clock: what waits for minutes takes no time."""

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import anyio.lowlevel
import trio.testing

from scorer.dispatch.seams import Seams

T = TypeVar("T")
EPOCH_S = 1_700_000_000.0


def virtually(main: Callable[[], Awaitable[T]]) -> T:
    """Run an async function on trio's virtual clock."""
    clock = trio.testing.MockClock(autojump_threshold=0)
    return anyio.run(main, backend="trio", backend_options={"clock": clock})


async def inline(func: Callable[..., object], *args: object) -> object:
    """Make a blocking call in the loop itself: a thread would let the virtual clock jump."""
    await anyio.lowlevel.checkpoint()
    return func(*args)


def virtual_seams(free_bytes: int = 1 << 40) -> Seams:
    """The seams under a virtual clock."""
    return Seams(inline, inline, lambda: EPOCH_S + anyio.current_time(), random.Random(0), lambda _: free_bytes)
