"""What must hold after every run, whatever happened in it: one function, called by every test of a run.

It believes neither scorer's database nor its Parquet by themselves: it compares them with each other and, where there
is one, with the hosts' own record of what they answered.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from scorer.jobs.mend import verify


def read_results(job: Path) -> list[dict[str, object]]:
    """All rows of the results folder, dead ones included, in row order."""
    files = sorted((job / "results").glob("*.parquet"))
    if not files:
        return []
    table = pa.concat_tables([_read(file) for file in files])
    return sorted(table.to_pylist(), key=lambda row: (row["model"], row["row"], row["sample"]))


def _read(file: Path) -> pa.Table:
    # a crowd of threads for a small file, thousands of times over, costs more than the reading
    with pq.ParquetFile(file) as whole:
        return whole.read(use_threads=False)


def check_invariants(
    job: Path,
    *,
    expected: int | None = None,
    answers: Mapping[int, Mapping[str, list[str]]] | None = None,
) -> list[dict[str, object]]:
    """Assert everything that must hold of a job folder at rest, and return its results.

    `expected`: tasks of a finished job, each of which must be there exactly once. `answers`: for each row what each
    host answered for it, by its own record.
    """
    assert [finding.problem for finding in verify(job)] == []
    rows = read_results(job)
    keys = Counter((row["model"], row["row"], row["sample"]) for row in rows)
    assert [key for key, count in keys.items() if count > 1] == [], "a row is there twice"
    if expected is not None:
        assert len(keys) == expected, "a row is missing"
    _check_database(job, rows)
    for row in rows:
        _check_row(row)
        if answers is not None and row["status"] == "done":
            said = answers[row["row"]].get(row["host"], [])  # type: ignore[index, call-overload]
            assert row["completion"] in said, f"row {row['row']}: {row['host']} never answered {row['completion']!r}"
    _check_manifest(job)
    assert not list(job.glob("**/*.tmp")), "a temporary file is left"
    return rows


def _check_row(row: Mapping[str, object]) -> None:
    if row["status"] == "done":
        assert row["error"] is None
        assert row["host"], row
        assert row["completion"], row
        assert json.loads(str(row["completion"]))["score"] == row["score"], "the score is not what was said"
    else:
        assert row["status"] == "dead"
        assert row["score"] is None
        assert ": " in str(row["error"])


def _check_database(job: Path, rows: list[dict[str, object]]) -> None:
    """The database is never behind Parquet, and is sound."""
    with sqlite3.connect(f"file:{job / 'queue.sqlite'}?mode=ro", uri=True) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (done,) = db.execute("SELECT count(*) FROM result").fetchone()
        (dead,) = db.execute("SELECT count(*) FROM dead").fetchone()
        by_state = dict(db.execute("SELECT state, count(*) FROM task GROUP BY state"))
    db.close()
    assert done >= sum(row["status"] == "done" for row in rows)
    assert dead >= sum(row["status"] == "dead" for row in rows)
    assert (by_state.get(1, 0), by_state.get(2, 0)) == (done, dead)


def _check_manifest(job: Path) -> None:
    manifest = json.loads((job / "manifest.json").read_text())
    listed = {part["file"]: part for part in manifest["parts"]}
    for file in (job / "results").glob("part-*.parquet"):
        assert listed[file.name]["rows"] == pq.read_metadata(file).num_rows
        assert listed[file.name]["bytes"] == file.stat().st_size
