"""What people and machines do to a job while it runs or lies about: files go, folders move, clocks jump."""

import contextlib
import json
import shutil
import signal
import socket
import sqlite3
from pathlib import Path

import anyio
import pytest
from doubles.ollama import OllamaDouble, Spec
from invariants import check_invariants
from running import JUDGE, TEMPLATE, Desk, finished, texts, wait_for
from simulation.world import SimHost, World

ROWS = texts(1500)
SLOW = Spec(overhead_s=0.05, prefix_cache=False)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A folder with the small template."""
    made = Desk(tmp_path)
    made.write("judge.toml", TEMPLATE)
    return made


# -- what goes away ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv"])
def test_a_dataset_that_is_deleted_during_a_run_loses_no_row(desk: Desk, kind: str) -> None:
    """Whoever has a file open keeps it; where it is opened anew the run ends, and goes on once the file is back."""
    name = f"rows.{kind}"
    if kind == "parquet":
        desk.dataset(ROWS)
    elif kind == "jsonl":
        desk.write(name, "".join(json.dumps({"text": text}) + "\n" for text in ROWS))
    else:
        desk.write(name, "text\n" + "".join(f'"{text}"\n' for text in ROWS))
    with OllamaDouble(SLOW) as double:
        desk.hosts({"only": double.url}, slots=4)
        with desk.started("run", name, *JUDGE[2:]) as process:
            wait_for(process, double, lambda double: len(double.generations) >= 20)
            (desk.folder / name).rename(desk.folder / "away")
            (desk.folder / "away").rename(desk.folder.parent / f"{desk.folder.name}-{name}")
            double.set_speed(400)
            _, err = process.communicate(timeout=120)
        if process.returncode:
            assert process.returncode in (2, 4), err
            assert name in err
            assert "Traceback" not in err
            said = desk.scorer("resume", "judged", code=2)
            assert name in said.err
            assert "--dataset" in said.err
            shutil.move(desk.folder.parent / f"{desk.folder.name}-{name}", desk.folder / name)
            desk.scorer("resume", "judged")
        desk.check(ROWS, {"only": double})


def test_a_hosts_file_that_is_deleted_during_a_run_is_told_of_once_and_changes_nothing(desk: Desk) -> None:
    desk.dataset(ROWS[:400])
    with OllamaDouble(SLOW) as one, OllamaDouble() as two:
        file = desk.hosts({"one": one.url}, slots=1)
        with desk.started(*JUDGE) as process:
            wait_for(process, one, lambda double: len(double.generations) >= 5)
            file.unlink()
            lines = iter(process.stderr.readline, "")  # type: ignore[union-attr]
            gone = next(line for line in lines if "last good version" in line)
            assert "hosts.toml" in gone
            asked = len(one.generations)
            wait_for(process, one, lambda double: len(double.generations) >= asked + 40)
            desk.hosts({"one": one.url, "two": two.url}, slots=1)
            wait_for(process, two, lambda double: len(double.generations) >= 5)
            rest = [line for line in lines if "last good version" in line]
            assert process.wait(60) == 0
        assert rest == []
        desk.check(ROWS[:400], {"one": one, "two": two})


# -- what moves -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_job_folder_that_was_moved_is_gone_on_with_where_it_is(desk: Desk, number: signal.Signals) -> None:
    rows = ROWS[:300]
    desk.dataset(rows)
    with OllamaDouble(SLOW) as double:
        desk.hosts({"only": double.url}, slots=1)
        with desk.started(*JUDGE) as process:
            wait_for(process, double, lambda double: len(double.generations) >= 30)
            process.send_signal(number)
            process.communicate(timeout=60)
        archive = desk.folder / "archive"
        archive.mkdir()
        desk.job.rename(archive / "moved")
        assert "judged" in desk.scorer("resume", "judged", code=2).err
        before = len(double.generations)
        double.set_speed(20)
        desk.scorer("resume", "moved", "--runs-dir", "archive")
        desk.check(rows, {"only": double}, job=archive / "moved")
        # at most what was in flight and one batch is asked again
        assert len(double.generations) - before <= len(rows) - before + 101
        assert not desk.job.exists()


def test_the_second_of_two_runs_says_which_process_on_which_machine_has_the_job(desk: Desk) -> None:
    desk.dataset(ROWS[:200])
    with OllamaDouble(SLOW) as double:
        desk.hosts({"only": double.url}, slots=1)
        with desk.started(*JUDGE) as process:
            wait_for(process, double, lambda double: len(double.generations) >= 1)
            asked = {record.user_text for record in double.generations}
            said = desk.judge(code=2)
            assert f"job judged is in use by process {process.pid} on {socket.gethostname()}" in said.err
            assert len(said.messages) <= 2
            double.set_speed(50)
            finished(process, 0)
        desk.check(ROWS[:200], {"only": double})
        assert asked
        assert len(double.generations) == 200, "the second run asked as well"


# -- clocks -----------------------------------------------------------------------------------------------------------

DAY_S = 86_400.0


@pytest.mark.parametrize("jump_s", [-400 * DAY_S, -DAY_S, -90.0, 90.0, DAY_S, 400 * DAY_S])
def test_a_wall_clock_that_jumps_costs_no_row_and_blames_nobody(tmp_path: Path, jump_s: float) -> None:
    world = World(tmp_path, [SimHost("a", 2.0), SimHost("b", 3.0)], rows=200, slots=2)

    async def jump(world: World) -> None:
        await anyio.sleep(50)
        world.wall_ahead_s += jump_s
        await anyio.sleep(110)
        published.extend(path.name for path in (world.job / "results").iterdir())

    published: list[str] = []
    ended = world.run(events=jump)
    assert (ended.counts.done, ended.counts.dead) == (200, 0)
    assert published, "for minutes nothing could be read"
    rows = check_invariants(world.job, expected=200)
    assert {row["attempts"] for row in rows} <= {1, 2}
    assert sum(len(host.asked) for host in world.hosts) <= 200 + 6, "more was asked again than was in flight"
    assert world.virtual_s < 300
    with contextlib.closing(sqlite3.connect(world.job / "queue.sqlite")) as db:
        assert db.execute("SELECT count(*) FROM attempt").fetchone() == (0,)
