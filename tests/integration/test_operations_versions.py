"""A job folder of an older scorer, and of a newer one, in the hands of this one."""

import json
import sqlite3
import tomllib
from contextlib import closing
from pathlib import Path

import pytest
from doubles.ollama import OllamaDouble
from old_databases.make import FOLDER
from running import JUDGE, TEMPLATE, Desk, texts

from scorer.tables import SCHEMA_VERSION

COMMANDS = (
    JUDGE,
    ("resume", "judged"),
    ("status", "judged"),
    ("verify", "judged"),
)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A folder with the small template and twelve rows."""
    made = Desk(tmp_path)
    made.write("judge.toml", TEMPLATE)
    made.dataset(texts(12))
    return made


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
        with closing(sqlite3.connect(desk.job / "queue.sqlite")) as db:
            db.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
        before, asked = contents(desk.job), len(double.log)
        for command in COMMANDS:
            said = desk.scorer(*command, code=2)
            assert "upgrade scorer" in said.err, command
            assert len(said.messages) <= 3, said.err
        after = contents(desk.job)
        assert len(double.log) == asked, "a host was asked"
    assert after["queue.sqlite"] == before["queue.sqlite"]
    # readers make these two and may not remove them
    assert after.keys() - before.keys() <= {"queue.sqlite-wal", "queue.sqlite-shm"}
    assert {name for name in before if after[name] != before[name]} <= {"job.toml"}


def test_a_newer_job_file_is_refused_and_what_it_holds_is_kept(desk: Desk) -> None:
    with OllamaDouble() as double:
        desk.hosts({"only": double.url})
        desk.judge("--limit", "5")
        path = desk.job / "job.toml"
        # first, since a key after a table would be that table's
        text = 'second_opinion = "a key of tomorrow"\n' + path.read_text(encoding="utf-8")
        path.write_text(text, encoding="utf-8")
        for command in (JUDGE, ("resume", "judged"), ("verify", "judged")):
            said = desk.scorer(*command, code=2)
            assert "newer scorer" in said.err
            assert "second_opinion" in said.err
    assert tomllib.loads(path.read_text(encoding="utf-8"))["second_opinion"] == "a key of tomorrow"
