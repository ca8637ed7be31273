"""A job folder of an older scorer, and of a newer one, in the hands of this one."""

import json
import sqlite3
import tomllib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from bench_jobs import BenchJob, Case
from bench_jobs import Desk as BenchDesk
from doubles.ollama import OllamaDouble
from old_databases.make import FOLDER
from running import JUDGE, TEMPLATE, Desk, texts

from scorer.tables import SCHEMA_VERSION

COMMANDS = (
    JUDGE,
    ("resume", "judged"),
    ("status", "judged"),
    ("verify", "judged"),
    ("retry", "judged"),
    ("export", "judged", "-o", "scores.csv"),
    ("report", "judged", "-o", "page.html"),
    ("calibrate", "judged", "--labels", "labels.csv"),
    ("simulate", "--from-job", "judged", "--rows", "50"),
)
OF_BENCHMARKS = (
    ("bench", "report", "judged"),
    ("bench", "compare", "judged", "base", "tuned"),
)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A folder with the small template and twelve rows."""
    made = Desk(tmp_path)
    made.write("judge.toml", TEMPLATE)
    made.dataset(texts(12))
    made.write("labels.csv", "row,label\n" + "".join(f"{row},{1 + row % 9}\n" for row in range(12)))
    return made


def made_newer(job: Path) -> None:
    """Let a job's database be of the version after this one."""
    with closing(sqlite3.connect(job / "queue.sqlite")) as db:
        db.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")


def with_a_key_of_tomorrow(job: Path) -> None:
    """Let a job's file hold a key that this version does not know."""
    path = job / "job.toml"
    # first, since a key after a table would be that table's
    path.write_text('second_opinion = "a key of tomorrow"\n' + path.read_text(encoding="utf-8"), encoding="utf-8")


def contents(job: Path) -> dict[str, bytes]:
    """What a job consists of; who ran it last and its log are none of it."""
    kept = (path for path in job.rglob("*") if path.is_file())
    return {
        path.name: path.read_bytes() for path in kept if not path.name.startswith(("job.lock", "job.owner", "scorer"))
    }


def tables_of_version_1(database: Path) -> None:
    """Give a database the tables that the first version would have made, and leave its rows."""
    written = (FOLDER / "v1.sql").read_text(encoding="utf-8")
    run = next(part for part in written.split(";") if part.strip().startswith("CREATE TABLE run"))
    with closing(sqlite3.connect(database)) as db:
        db.execute("ALTER TABLE run RENAME TO newer")
        db.execute(run)
        db.execute("INSERT INTO run SELECT epoch, started_at, last_commit_at, pid, machine FROM newer")
        db.execute("DROP TABLE newer")
        db.execute("PRAGMA user_version=1")
        db.commit()


def test_a_job_that_an_older_scorer_began_is_finished_by_this_one(desk: Desk) -> None:
    with OllamaDouble() as double:
        desk.hosts({"only": double.url})
        desk.judge("--limit", "5")
        tables_of_version_1(desk.job / "queue.sqlite")
        assert json.loads(desk.scorer("status", "judged", "--json").out)["done"] == 5
        desk.judge()
        desk.check(texts(12), {"only": double})
        assert len(double.generations) == 12, "a row was asked again"
    with closing(sqlite3.connect(desk.job / "queue.sqlite")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


def test_every_command_refuses_a_newer_database_and_changes_nothing(desk: Desk) -> None:
    with OllamaDouble() as double:
        desk.hosts({"only": double.url})
        desk.judge("--limit", "5")
        made_newer(desk.job)
        before, asked = contents(desk.job), len(double.log)
        for command in COMMANDS:
            said = desk.scorer(*command, code=2)
            assert "upgrade scorer" in said.err, command
            assert len(said.messages) <= 3, said.err
            assert not said.out, command
        after = contents(desk.job)
        assert len(double.log) == asked, "a host was asked"
    assert after["queue.sqlite"] == before["queue.sqlite"]
    # readers make these two and may not remove them
    assert after.keys() - before.keys() <= {"queue.sqlite-wal", "queue.sqlite-shm"}
    assert {name for name in before if after[name] != before[name]} <= {"job.toml"}


def test_every_command_refuses_a_newer_job_file_and_keeps_what_it_holds(desk: Desk) -> None:
    with OllamaDouble() as double:
        desk.hosts({"only": double.url})
        desk.judge("--limit", "5")
        with_a_key_of_tomorrow(desk.job)
        for command in COMMANDS:
            said = desk.scorer(*command, code=2)
            assert "newer scorer" in said.err, command
            assert "second_opinion" in said.err, command
            assert not said.out, command
    frozen = tomllib.loads((desk.job / "job.toml").read_text(encoding="utf-8"))
    assert frozen["second_opinion"] == "a key of tomorrow"


@pytest.mark.parametrize("newer", [made_newer, with_a_key_of_tomorrow])
def test_a_newer_benchmark_is_refused_too(tmp_path: Path, newer: Callable[[Path], None]) -> None:
    desk = BenchDesk(tmp_path)
    job = BenchJob([Case("s", str(row)) for row in range(4)], lambda *_: "A").write(tmp_path / "runs", "judged")
    for command in OF_BENCHMARKS:
        desk.scorer(*command)
    newer(job)
    for command in OF_BENCHMARKS:
        assert "newer scorer" in desk.scorer(*command, code=2).err


def test_what_a_job_without_its_database_has_published_is_compared_with_labels(desk: Desk) -> None:
    with OllamaDouble() as double:
        desk.hosts({"only": double.url})
        desk.judge()
    (desk.job / "queue.sqlite").unlink()
    assert desk.scorer("calibrate", "judged", "--labels", "labels.csv", "--json").json["matched"] == 12


def test_what_a_benchmark_on_a_network_file_system_has_published_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = BenchDesk(tmp_path)
    BenchJob([Case("s", str(row)) for row in range(4)], lambda *_: "A").write(tmp_path / "runs")
    mounts = [SimpleNamespace(mountpoint="/", fstype="nfs4")]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: mounts)
    assert "network file system" in desk.scorer("status", "bench", code=2).err
    desk.scorer("bench", "report", "bench")
