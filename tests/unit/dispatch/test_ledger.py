"""The ledger between the real queue and publisher, on a virtual clock."""

import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pyarrow as pa
import pytest
from entries import died, done, tried
from virtual import EPOCH_S, virtual_seams, virtually

from scorer.core.result import Done, Entry
from scorer.core.score import Field
from scorer.core.task import TaskKey
from scorer.dispatch import ledger
from scorer.dispatch.events import Event
from scorer.dispatch.ledger import COMMIT_ENTRIES, MAX_ENTRIES, Ledger
from scorer.errors import DiskFull, StoreError
from scorer.publish import Publisher
from scorer.queue import Queue
from scorer.results import results_schema

FIELDS = (Field("score", "integer", minimum=1, maximum=10), Field("reason", "string", max_length=200))


class Desk:
    """A ledger at work, and what it told."""

    def __init__(self, folder: Path, patience_s: float = 100.0, rows: int = 2000) -> None:
        self.folder = folder
        self.free = 1 << 40
        self.events: list[Event] = []
        self.committed: list[int] = []
        self.queue = Queue.open(folder / "queue.sqlite", EPOCH_S)
        self.queue.enqueue(["m"], rows, 1)
        publisher = Publisher(self.queue, folder, results_schema(FIELDS, {"name": pa.string()}))
        seams = dataclasses.replace(virtual_seams(), free_bytes=lambda _: self.free)
        self.ledger = Ledger(self.queue, publisher, folder, seams, patience_s)
        self.ledger.observe = self.events.append
        self.ledger.on_commit = lambda batch: self.committed.append(len(batch))


@asynccontextmanager
async def at_work(folder: Path, patience_s: float = 100.0) -> AsyncIterator[Desk]:
    desk = Desk(folder, patience_s)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(desk.ledger.run)
            yield desk
            group.cancel_scope.cancel()
    finally:
        desk.queue.close()


def published(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("results/*")}


def test_a_single_entry_is_committed_within_a_quarter_of_a_second(tmp_path: Path) -> None:
    async def main() -> None:
        async with at_work(tmp_path) as desk:
            desk.ledger.add(done(1))
            await anyio.sleep(0.2)
            assert desk.queue.counts().done == 0
            assert desk.ledger.keys() == {TaskKey("m", 1, 0)}
            await anyio.sleep(0.1)
            assert desk.queue.counts().done == 1
            assert len(desk.ledger) == 0
            assert desk.ledger.keys() == set()

    virtually(main)


def test_a_hundred_entries_are_committed_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with at_work(tmp_path) as desk:
            for row in range(COMMIT_ENTRIES):
                desk.ledger.add(done(row))
            await anyio.sleep(0.01)
            assert desk.committed == [COMMIT_ENTRIES]

    virtually(main)


def test_a_failed_try_does_not_end_its_task(tmp_path: Path) -> None:
    async def main() -> None:
        async with at_work(tmp_path) as desk:
            desk.ledger.add(tried(1))
            desk.ledger.add(died(2))
            assert desk.ledger.keys() == {TaskKey("m", 2, 0)}
            await anyio.sleep(1)
            assert desk.queue.pending("m", None, 2)[1].history[0].host == "p40"
            assert desk.queue.counts().dead == 1

    virtually(main)


def test_too_many_entries_stop_the_taking_of_rows(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        for row in range(MAX_ENTRIES - 1):
            desk.ledger.add(done(row))
        assert not desk.ledger.overloaded
        desk.ledger.add(done(MAX_ENTRIES))
        assert desk.ledger.overloaded
        await desk.ledger.close()
        assert not desk.ledger.overloaded
        assert desk.queue.counts().done == MAX_ENTRIES
        desk.queue.close()

    virtually(main)


def long(row: int, size_bytes: int) -> Done:
    """A result of which its ledger counts so many bytes."""
    return done(row, kept="x" * size_bytes, completion="")


def test_a_transaction_holds_a_bounded_number_of_bytes_and_comes_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "COMMIT_BYTES", 1000)

    async def main() -> None:
        async with at_work(tmp_path) as desk:
            for row, size_bytes in enumerate([400, 400, 200, 1, 999, 5000, 300, 300]):
                desk.ledger.add(long(row, size_bytes))
            await anyio.sleep(0.01)
            # a single one that is larger goes alone
            assert desk.committed == [3, 2, 1]
            assert desk.ledger.keys() == {TaskKey("m", 6, 0), TaskKey("m", 7, 0)}
            await anyio.sleep(0.3)
            assert desk.committed == [3, 2, 1, 2]

    virtually(main)


@pytest.mark.parametrize(
    "entry",
    [
        done(1, kept="", completion="x" * 500),
        done(1, kept="x" * 1000, completion=""),
        done(1, kept="", completion="é" * 125),
        died(1, kept="x" * 1000, error=""),
        died(1, kept="", error="", completion="x" * 1000),
        died(1, kept="", error="x" * 1000),
        tried(1, message="", completion="x" * 1000),
    ],
)
def test_long_texts_of_each_kind_stop_the_taking_of_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: Entry
) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        monkeypatch.setattr(ledger, "MAX_BYTES", 1001)
        desk.ledger.add(entry)
        assert not desk.ledger.overloaded
        monkeypatch.setattr(ledger, "MAX_BYTES", 1000)
        assert desk.ledger.overloaded
        desk.queue.close()

    virtually(main)


def test_results_can_be_read_after_a_minute(tmp_path: Path) -> None:
    async def main() -> None:
        async with at_work(tmp_path) as desk:
            desk.ledger.add(done(1)._replace(finished_at=EPOCH_S))
            await anyio.sleep(50)
            assert published(tmp_path) == set()
            await anyio.sleep(15)
            assert published(tmp_path) == {"part-00000.parquet"}

    virtually(main)


def test_what_is_left_is_committed_and_published_at_the_end(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        desk.ledger.add(done(1))
        desk.ledger.add(died(2))
        await desk.ledger.close()
        assert desk.queue.counts().done == 1
        assert published(tmp_path) == {"part-00000.parquet", "dead.parquet"}
        desk.queue.close()

    virtually(main)


def test_a_full_disk_pauses_and_keeps_what_came_in_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, refused = Queue.commit, 0

    def commit(queue: Queue, batch: object, now: float) -> int:
        nonlocal refused
        if refused < 3:
            refused += 1
            raise DiskFull("no room left")
        return real(queue, batch, now)  # type: ignore[arg-type]

    monkeypatch.setattr(Queue, "commit", commit)

    async def main() -> None:
        async with at_work(tmp_path) as desk:
            desk.ledger.add(done(1))
            await anyio.sleep(1)
            assert desk.ledger.paused == "no room left"
            assert desk.ledger.overloaded
            desk.ledger.add(done(2))
            await anyio.sleep(30)
            assert desk.ledger.paused is None
            assert desk.queue.counts().done == 2
            assert [event.kind for event in desk.events] == ["disk_full", "disk_ok"]

    virtually(main)


def test_little_room_pauses_until_there_is_more(tmp_path: Path) -> None:
    async def main() -> None:
        async with at_work(tmp_path) as desk:
            desk.free = 1 << 20
            await anyio.sleep(20)
            assert desk.ledger.overloaded
            desk.ledger.add(done(1))
            await anyio.sleep(20)
            assert desk.queue.counts().done == 1, "what is finished is still committed"
            desk.free = 1 << 40
            await anyio.sleep(20)
            assert not desk.ledger.overloaded

    virtually(main)


def test_after_the_patience_a_full_disk_ends_the_run_and_a_short_shortage_does_not_add_up(tmp_path: Path) -> None:
    async def main() -> None:
        async with at_work(tmp_path, patience_s=60.0) as desk:
            for _ in range(3):
                desk.free = 1 << 20
                await anyio.sleep(40)
                desk.free = 1 << 40
                await anyio.sleep(40)
            desk.free = 1 << 20
            await anyio.sleep(120)

    with pytest.raises(ExceptionGroup) as raised:
        virtually(main)
    (error,) = raised.value.exceptions
    assert isinstance(error, StoreError)
    assert "scorer resume" in str(error)


def test_what_comes_in_during_a_commit_is_in_the_next(tmp_path: Path) -> None:
    async def main() -> None:
        async with at_work(tmp_path) as desk:
            desk.ledger.on_commit = lambda batch: desk.committed.append(len(batch))
            real = desk.ledger._seams.store

            async def store(func: Callable[..., object], *args: object) -> object:
                if func == desk.queue.commit and len(desk.ledger) == COMMIT_ENTRIES:
                    desk.ledger.add(done(500))
                return await real(func, *args)

            desk.ledger._seams = dataclasses.replace(desk.ledger._seams, store=store)  # type: ignore[arg-type]
            for row in range(COMMIT_ENTRIES):
                desk.ledger.add(done(row))
            await anyio.sleep(0.01)
            assert desk.committed == [COMMIT_ENTRIES]
            await anyio.sleep(0.3)
            assert desk.committed == [COMMIT_ENTRIES, 1]

    virtually(main)
