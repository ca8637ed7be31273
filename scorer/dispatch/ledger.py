"""Group commit: what has happened goes to the database in batches, and from there into parts.

A slot never waits for a commit. When the disk is full the finished results stay in memory, bounded by what was in
flight, no more rows are taken, and the commit is tried again until there is room or the patience is over. No rows are
taken either while many entries wait, or long ones: a reply may have a megabyte, and a row keep many.

Invariant: an entry leaves memory only after its transaction was acknowledged; nothing is published before that.
"""

from bisect import bisect
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path

import anyio

from scorer.core.result import Died, Done, Entry, size_bytes
from scorer.core.task import TaskKey
from scorer.dispatch.events import Event
from scorer.dispatch.seams import Seams
from scorer.errors import DiskFull, StoreError
from scorer.publish import Publisher
from scorer.queue import Queue

COMMIT_ENTRIES = 100
COMMIT_BYTES = 8 << 20
COMMIT_S = 0.25
MAX_ENTRIES = 1000
MAX_BYTES = 32 << 20
RETRY_S = 5.0
PUBLISH_EVERY_S = 1.0
SPACE_EVERY_S = 5.0


class Ledger:
    """Entries that are not committed yet, and the one who commits them."""

    def __init__(
        self,
        queue: Queue,
        publisher: Publisher,
        folder: Path,
        seams: Seams,
        patience_s: float,
    ) -> None:
        self._queue = queue
        self._publisher = publisher
        self._folder = folder
        self._seams = seams
        self._patience_s = patience_s
        self.observe: Callable[[Event], None] = lambda _: None
        self._entries: list[Entry] = []
        self._bytes = 0
        self._pending = anyio.Event()
        self._many = anyio.Event()
        self._earlier_s = queue.elapsed_s()
        self._begin = anyio.current_time()
        self._full_since: float | None = None
        self._space_checked = float("-inf")
        self.on_commit: Callable[[Sequence[Entry]], None] = lambda _: None
        self.paused: str | None = None

    @property
    def overloaded(self) -> bool:
        """Whether no more rows should be taken until commits have caught up."""
        return self.paused is not None or len(self._entries) >= MAX_ENTRIES or self._bytes >= MAX_BYTES

    def keys(self) -> set[TaskKey]:
        """Return the tasks whose end is not committed yet."""
        return {entry.key for entry in self._entries if isinstance(entry, Done | Died)}

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry) -> None:
        """Take in a fact; it is durable after the next commit."""
        self._entries.append(entry)
        self._bytes += size_bytes(entry)
        self._pending.set()
        if self._is_much:
            self._many.set()

    async def run(self) -> None:
        """Commit and publish until cancelled. Raises StoreError when that has become impossible."""
        while True:
            with anyio.move_on_after(PUBLISH_EVERY_S):
                await self._pending.wait()
            if self._entries:
                with anyio.move_on_after(COMMIT_S):
                    await self._many.wait()
            with anyio.CancelScope(shield=True):
                await self._turn()
            if self.paused is not None:
                await anyio.sleep(RETRY_S)

    async def close(self, patient: Callable[[], bool] = lambda: False) -> None:
        """Commit what is left and publish everything; a full disk is waited for while `patient()` holds.

        Raises StoreError if that fails, DiskFull if it must not wait.
        """
        while True:
            try:
                while self._entries:
                    await self._commit()
                return await self._seams.store(self._publisher.finish)
            except DiskFull as error:
                if not patient():
                    raise
                self._pause(str(error))
                await anyio.sleep(RETRY_S)

    async def _turn(self) -> None:
        try:
            if self._entries:
                await self._commit()
            await self._publish()
        except DiskFull as error:
            self._pause(str(error))
        else:
            await self._check_space()

    async def _commit(self) -> None:
        batch = self._next_batch()
        await self._seams.store(self._queue.commit, batch, self._seams.wall())
        del self._entries[: len(batch)]
        self._bytes -= sum(map(size_bytes, batch))
        if not self._entries:
            self._pending, self._many = anyio.Event(), anyio.Event()
        elif not self._is_much:
            self._many = anyio.Event()
        self.on_commit(batch)

    @property
    def _is_much(self) -> bool:
        return len(self._entries) >= COMMIT_ENTRIES or self._bytes >= COMMIT_BYTES

    def _next_batch(self) -> list[Entry]:
        """Return the first entries, as many as fit COMMIT_BYTES: the log grows by what a transaction holds."""
        if self._bytes <= COMMIT_BYTES:
            return self._entries[:]
        fit = bisect(list(accumulate(map(size_bytes, self._entries))), COMMIT_BYTES)
        return self._entries[: max(fit, 1)]

    async def _publish(self) -> None:
        elapsed_s = self._earlier_s + anyio.current_time() - self._begin
        if await self._seams.store(self._publisher.due, self._seams.wall(), elapsed_s):
            await self._seams.store(partial(self._publisher.publish, everything=False))

    async def _check_space(self) -> None:
        """Pause while there is little room; what is in flight is still committed."""
        now = anyio.current_time()
        if self.paused is None and now - self._space_checked < SPACE_EVERY_S:
            return
        self._space_checked = now
        needed = await self._seams.store(self._publisher.needed_bytes)
        free = await self._seams.store(self._seams.free_bytes, self._folder)
        if free < needed:
            self._pause(f"only {free / 1e9:.2f} GB free in {self._folder}, {needed / 1e9:.2f} GB wanted")
        elif self.paused is not None:
            self.paused, self._full_since = None, None
            self.observe(Event("disk_ok", "there is room on the disk again: going on"))

    def _pause(self, reason: str) -> None:
        now = anyio.current_time()
        if self.paused is None:
            self._full_since = now
            self.observe(Event("disk_full", f"{reason}: taking no more rows until there is room", "warning"))
        self.paused = reason
        if self._full_since is not None and now - self._full_since > self._patience_s:
            raise StoreError(f"{reason}, for longer than the patience; free some space and run `scorer resume`")
