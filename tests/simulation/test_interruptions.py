"""Whole runs in virtual time: signals, and a dataset that is written to."""

import os
import signal
from pathlib import Path

import anyio
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from invariants import check_invariants
from simulation.told import kinds
from simulation.world import Faults, SimHost, World

from scorer.dispatch.loop import Ending
from scorer.errors import DatasetChanged

# -- interruptions ---------------------------------------------------------------------------------------------------


def test_an_interrupt_lets_what_is_in_flight_finish_and_the_next_run_goes_on(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", 2.0)], rows=100, slots=2)

    async def interrupt(_: World) -> None:
        await anyio.sleep(31)
        signal.raise_signal(signal.SIGINT)

    ended = world.run(events=interrupt)
    assert ended.ending is Ending.INTERRUPTED
    assert 0 < ended.counts.done < 100
    assert {a.ended for a in world.hosts[0].asked} == {"answered"}
    check_invariants(world.job)
    assert world.run().counts.done == 100
    assert len(world.hosts[0].asked) == 100, "something was asked twice"
    check_invariants(world.job, expected=100)


def test_slow_requests_are_given_up_after_a_few_seconds_and_at_once_on_the_second_interrupt(tmp_path: Path) -> None:
    for times, most_s in ((1, 6.5), (2, 1.5)):
        world = World(tmp_path / str(times), [SimHost("a", 60.0)], rows=10, slots=2)

        async def interrupt(_: World, times: int = times) -> None:
            await anyio.sleep(30)
            for _i in range(times):
                signal.raise_signal(signal.SIGTERM)
                await anyio.sleep(0.1)

        assert world.run(events=interrupt).ending is Ending.INTERRUPTED
        assert world.virtual_s < 30 + most_s
        assert kinds(world).count("stopping") == 1
        check_invariants(world.job)
        assert world.run().counts.done == 10
        rows = check_invariants(world.job, expected=10)
        assert all(row["attempts"] == 1 for row in rows), "shutting down spends no attempt"


def test_a_request_that_cannot_be_called_off_is_waited_for_at_rest(tmp_path: Path) -> None:
    """Asking it again and again to end would keep a processor busy, and stop the virtual clock."""
    world = World(tmp_path, [SimHost("a", 1.0, faults=Faults(late=1.0, late_s=200.0))], rows=10, slots=2)

    async def interrupt(_: World) -> None:
        await anyio.sleep(5)
        signal.raise_signal(signal.SIGINT)

    assert world.run(events=interrupt).ending is Ending.INTERRUPTED
    assert 10 < world.virtual_s < 500
    check_invariants(world.job)


def test_a_closed_terminal_does_not_stop_a_run(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", 1.0)], rows=50)

    async def close(_: World) -> None:
        await anyio.sleep(10)
        signal.raise_signal(signal.SIGHUP)

    assert world.run(events=close).counts.done == 50
    assert "terminal_closed" in kinds(world)


def test_an_interrupt_before_the_first_host_has_answered_leaves_no_job(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", faults=Faults(down=((0.0, 1e9),)))], rows=50)

    async def interrupt(_: World) -> None:
        await anyio.sleep(0.5)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        world.run(events=interrupt)
    assert not world.job.exists()


# -- a dataset that is written to ------------------------------------------------------------------------------------


def write_rows(path: Path, texts: list[str]) -> None:
    """Write a dataset in place: whoever has the file open reads the new content."""
    table = pa.table({"text": texts})
    sink = pa.BufferOutputStream()
    if path.suffix == ".parquet":
        pq.write_table(table, sink, row_group_size=100)
        content = sink.getvalue().to_pybytes()
    elif path.suffix == ".arrow":
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, 100)
        content = sink.getvalue().to_pybytes()
    else:
        content = "".join(f'{{"text":"{text}"}}\n' for text in texts).encode()
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.arrow", "in/rows.parquet"])
def test_no_row_is_sent_with_what_was_written_to_the_dataset_during_the_run(tmp_path: Path, name: str) -> None:
    host = SimHost("a", 0.1, slots=4)
    texts = [f"row {i} {'x' * 200}" for i in range(1200)]
    world = World(tmp_path, [host], texts=texts, slots=4)  # type: ignore[arg-type]
    source = tmp_path / name
    source.parent.mkdir(exist_ok=True)
    write_rows(source, texts)

    async def edit(_: World) -> None:
        await anyio.sleep(3)
        write_rows(source, [text.replace("row", "ROW") for text in texts])

    with pytest.raises(DatasetChanged, match=r"changed while in use.* `scorer resume` goes on") as raised:
        world.run(events=edit, dataset=str(source))
    assert raised.value.exit_code == 4
    assert len(host.asked) > 100
    assert {asked.user[:3] for asked in host.asked} == {"row"}
    assert len(check_invariants(world.job)) == len(host.answers)

    write_rows(source, texts)
    assert world.run(dataset=str(source)).counts.done == 1200
    check_invariants(world.job, expected=1200)
    assert {asked.user[:3] for asked in host.asked} == {"row"}


def test_a_dataset_that_is_touched_or_deleted_while_it_is_open_stops_no_run(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", 0.05, slots=4)], rows=1000, slots=4)

    async def touch(_: World) -> None:
        await anyio.sleep(2)
        os.utime(tmp_path / "rows.parquet")
        await anyio.sleep(2)
        (tmp_path / "rows.parquet").unlink()

    assert world.run(events=touch).counts.done == 1000
    check_invariants(world.job, expected=1000)


def test_a_file_of_the_dataset_that_is_gone_ends_the_run_in_order(tmp_path: Path) -> None:
    host = SimHost("a", 0.05, slots=4)
    texts = [f"row {i} {'x' * 200}" for i in range(1000)]
    world = World(tmp_path, [host], texts=texts, slots=4)  # type: ignore[arg-type]
    source = tmp_path / "in"
    source.mkdir()
    write_rows(source / "1.parquet", texts[:700])
    write_rows(source / "2.parquet", texts[700:])

    async def remove(_: World) -> None:
        await anyio.sleep(2)
        (source / "2.parquet").unlink()

    with pytest.raises(DatasetChanged, match=r"2\.parquet is gone"):
        world.run(events=remove, dataset=str(source))
    write_rows(source / "2.parquet", texts[700:])
    assert world.run(dataset=str(source)).counts.done == 1000
    check_invariants(world.job, expected=1000)
