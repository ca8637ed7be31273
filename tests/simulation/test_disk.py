"""Whole runs in virtual time on a disk that fills up or fails."""

import signal
from pathlib import Path

import anyio
import pyarrow.parquet as pq
import pytest
from invariants import check_invariants
from simulation.world import SimHost, World

from scorer.dispatch.events import Progress
from scorer.errors import DiskFull, StoreError
from scorer.jobs.look import status
from scorer.publish import Publisher
from scorer.queue import Queue


def kinds(world: World) -> list[str]:
    return [event.kind for event in world.view.events]


class FullDisk:
    """Makes commits of the real queue fail as on a full disk, so often as told, beginning with the n-th."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *, times: int, begin: int = 1, error: type[StoreError] = DiskFull
    ) -> None:
        self.left, self.begin, self.calls, self.refused = times, begin, 0, 0
        real = Queue.commit

        def commit(queue: Queue, batch: object, now: float) -> int:
            self.calls += 1
            if self.calls >= self.begin and self.left:
                self.left -= 1
                self.refused += 1
                raise error("no space left on the device")
            return real(queue, batch, now)  # type: ignore[arg-type]

        monkeypatch.setattr(Queue, "commit", commit)


def test_a_commit_that_finds_the_disk_full_is_tried_again_and_no_result_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch, times=4, begin=5)
    world = World(tmp_path, [SimHost("a", 1.0)], rows=100)
    assert world.run().counts.done == 100
    assert disk.refused == 4
    assert len(world.hosts[0].asked) == 100, "a result was thrown away"
    assert kinds(world).count("disk_full") == kinds(world).count("disk_ok") == 1
    check_invariants(world.job, expected=100)


def test_a_disk_that_fills_up_at_the_very_end_of_a_job_is_waited_for_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FullDisk(monkeypatch, times=3)
    world = World(tmp_path, [SimHost("a", 0.01)], rows=3)
    assert world.run().counts.done == 3
    assert len(world.hosts[0].asked) == 3
    check_invariants(world.job, expected=3)


def test_a_disk_that_is_full_when_the_last_part_is_published_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = Publisher.finish, []

    def finish(publisher: Publisher) -> None:
        calls.append(1)
        if len(calls) <= 3:
            raise DiskFull("no space left on the device")
        real(publisher)

    monkeypatch.setattr(Publisher, "finish", finish)
    world = World(tmp_path, [SimHost("a", 0.1)], rows=30)
    assert world.run().counts.done == 30
    assert len(calls) == 4
    assert kinds(world).count("disk_full") == 1
    check_invariants(world.job, expected=30)


def test_a_run_that_was_told_to_stop_does_not_wait_for_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FullDisk(monkeypatch, times=1_000_000, begin=10)
    world = World(tmp_path, [SimHost("a", 1.0)], rows=100)

    async def interrupt(_: World) -> None:
        await anyio.sleep(60)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(DiskFull) as error:
        world.run(events=interrupt)
    assert error.value.exit_code == 4
    assert world.virtual_s < 80
    committed = status(world.job).counts
    lost = len(world.hosts[0].answers) - committed.done
    assert lost > 0
    assert f"safe: {committed.done} done, 0 dead, {committed.pending} to do" in str(error.value)
    assert f"only in memory, and that will be asked again: {lost}\n" in str(error.value)
    assert "scorer resume sim" in str(error.value)
    disk.left = 0
    assert world.run().counts.done == 100
    check_invariants(world.job, expected=100)


def test_a_run_that_was_told_to_stop_with_nothing_to_commit_says_so_when_the_last_part_finds_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finish(publisher: Publisher) -> None:
        raise DiskFull("no space left on the device")

    async def interrupt(_: World) -> None:
        await anyio.sleep(60)
        signal.raise_signal(signal.SIGINT)

    world = World(tmp_path, [SimHost("a", 1.0)], rows=100)
    with monkeypatch.context() as full:
        full.setattr(Publisher, "finish", finish)
        with pytest.raises(DiskFull) as error:
            world.run(events=interrupt)
    assert "What was committed is safe" in str(error.value)
    assert "in memory" not in str(error.value)
    assert world.run().counts.done == 100
    assert {len(answers) for answers in world.hosts[0].answers.values()} == {1}, "something was asked twice"
    check_invariants(world.job, expected=100)


def test_a_disk_that_stays_full_for_longer_than_the_patience_ends_the_run_resumably(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch, times=1_000_000, begin=10)
    world = World(tmp_path, [SimHost("a", 1.0)], rows=100, patience_s=300.0)
    with pytest.raises(StoreError, match="longer than the patience"):
        world.run()
    assert 300 < world.virtual_s < 400
    disk.left = 0
    assert world.run().counts.done == 100
    check_invariants(world.job, expected=100)


def test_after_an_error_of_the_disk_nothing_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FullDisk(monkeypatch, times=1_000_000, begin=10, error=StoreError)
    world = World(tmp_path, [SimHost("a", 1.0)], rows=100)
    with pytest.raises(StoreError, match="no space"):
        world.run()
    assert disk.refused == 1
    disk.left = 0
    assert world.run().counts.done == 100
    check_invariants(world.job, expected=100)


def test_little_space_for_longer_than_the_patience_ends_the_run_resumably(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", 1.0)], rows=100, patience_s=100.0, free_bytes=1 << 20)
    with pytest.raises(StoreError, match="GB free"):
        world.run()
    world.free_bytes = 1 << 40
    assert world.run().counts.done == 100
    check_invariants(world.job, expected=100)


def test_when_the_dataset_cannot_be_read_any_more_what_was_answered_is_stored_and_published(tmp_path: Path) -> None:
    host = SimHost("a", 0.05, slots=8)
    world = World(tmp_path, [host], rows=1500, slots=8)
    source = tmp_path / "rows"
    source.mkdir()
    whole = pq.read_table(tmp_path / "rows.parquet")
    first, second = source / "1.parquet", source / "2.parquet"
    pq.write_table(whole[:1000], first)
    pq.write_table(whole[1000:], second)

    async def fail(_: World) -> None:
        await anyio.sleep(3)
        second.unlink()
        second.symlink_to(second)  # reading it fails in the system, not in the content

    with pytest.raises(StoreError, match=r"2\.parquet cannot be read"):
        world.run(events=fail, dataset=str(source))
    answered = len(host.answers)
    assert answered > 400
    assert len(pq.read_table(world.job / "results")) == answered
    check_invariants(world.job)
    second.unlink()
    pq.write_table(whole[1000:], second)
    assert world.run(dataset=str(source)).counts.done == 1500
    assert {len(answers) for answers in host.answers.values()} == {1}, "something was asked twice"
    check_invariants(world.job, expected=1500)


def test_a_pause_is_not_in_the_rate_that_is_told_after_it(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", 1.0)], rows=700, slots=1)
    seen: dict[str, Progress] = {}
    world.view.look = lambda now: (
        seen.update({"paused" if now.paused else "after": now}) if now.elapsed_s < 440 else None
    )

    async def fill_and_clear(_: World) -> None:
        await anyio.sleep(200)
        world.free_bytes = 1 << 20
        await anyio.sleep(200)
        world.free_bytes = 1 << 40

    assert world.run(events=fill_and_clear).counts.done == 700
    assert seen["paused"].eta_s is None
    assert seen["after"].rows_per_s == pytest.approx(1.0, rel=0.1)
    assert seen["after"].eta_s == pytest.approx(700 - 235, rel=0.1)
