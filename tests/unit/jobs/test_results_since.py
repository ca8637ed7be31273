"""Reading along: every result once, exactly as it is in the results, dead rows at the end."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from entries import done
from made_jobs import MadeJob, texts

from scorer.jobs.results_since import ResultsSince
from scorer.queue import Queue, pages


def test_results_are_those_of_the_parts_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PAGE_ROWS", 3)
    when = pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * 100, pa.timestamp("ms", "UTC"))
    job = MadeJob(table=texts(100, when=when), keep=("when",), samples=2).write(tmp_path)
    with closing(ResultsSince(job)) as since:
        found = []
        while some := since.scored():
            assert len(some) <= 3
            found += some
        dead = []
        while some := since.dead():
            assert len(some) <= 3
            dead += some
        assert since.dead() == []
    assert len(dead) > 3
    lines = {(line["row"], line["sample"]): line for line in pq.read_table(job / "results").to_pylist()}
    assert len(found) + len(dead) == len(lines) == 200
    for result in (*found, *dead):
        line = lines[result.row, result.sample]
        for name in ("model", "status", "error", "completion", "host", "attempts", "duration_s", "finished_at"):
            assert getattr(result, name) == line[name]
        assert result.score == line["score"]
        assert result.fields.get("reason") == line["reason"]
        assert result.kept == {"when": line["when"]}
        assert result.done is (line["score"] is not None)


def test_what_is_committed_later_comes_later(tmp_path: Path) -> None:
    job = MadeJob(table=texts(3), says=lambda *_: None, finished=False).write(tmp_path)
    queue = Queue.open(job / "queue.sqlite", 1.7e9)
    with closing(ResultsSince(job)) as since:
        for row in (2, 0, 1):
            assert since.scored() == []
            queue.commit([done(row, kept="{}")], 1.7e9)
            assert [result.row for result in since.scored()] == [row]
    queue.close()
