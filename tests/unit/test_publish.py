import errno
import json
import multiprocessing
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import get_args

import crash_life
import entries
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scorer import publish
from scorer.errors import StoreError, UsageError
from scorer.failpoints import CRASH_STATUS, FailpointName
from scorer.publish import Publisher
from scorer.queue import Queue, Reader

NOW = 1_700_000_000.0
SCHEMA = crash_life.SCHEMA


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return tmp_path / "job"


@pytest.fixture
def queue(job: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    monkeypatch.setattr(publish, "PART_ROWS", 4)
    job.mkdir()
    opened = Queue.open(job / "queue.sqlite", NOW)
    opened.enqueue(["m"], 20, 1)
    yield opened
    opened.close()


@pytest.fixture
def publisher(job: Path, queue: Queue) -> Publisher:
    made = Publisher(queue, job, SCHEMA)
    made.recover()
    return made


def published(job: Path) -> dict[str, list[int]]:
    """Rows of the results folder by file, as a user would read them."""
    return {path.name: pq.read_table(path)["row"].to_pylist() for path in sorted((job / "results").glob("*"))}


def done_rows(queue: Queue, rows: Iterable[int], **changes: object) -> None:
    queue.commit([entries.done(row, kept="{}", **changes) for row in rows], NOW)


def sql(job: Path, statement: str) -> None:
    with sqlite3.connect(job / "queue.sqlite") as connection:
        connection.execute(statement)
    connection.close()


class TestPublish:
    def test_nothing_is_due_before_the_first_result(self, queue: Queue, publisher: Publisher) -> None:
        assert not publisher.due(NOW + 1e6, 0.0)
        assert publisher.publish(everything=True) == publisher.publish(everything=False) == 0

    def test_a_part_is_due_when_it_is_full(self, queue: Queue, publisher: Publisher) -> None:
        done_rows(queue, range(3), finished_at=NOW)
        assert not publisher.due(NOW, 0.0)
        done_rows(queue, [3], finished_at=NOW)
        assert publisher.due(NOW, 0.0)

    @pytest.mark.parametrize(("elapsed_s", "age_s"), [(0.0, 60.0), (3000.0, 60.0), (100_000.0, 2000.0)])
    def test_a_part_is_due_after_a_minute_or_two_percent_of_the_run(
        self, queue: Queue, publisher: Publisher, elapsed_s: float, age_s: float
    ) -> None:
        done_rows(queue, [0], finished_at=NOW)
        assert not publisher.due(NOW + age_s, elapsed_s)
        assert publisher.due(NOW + age_s + 1, elapsed_s)

    def test_a_part_is_due_when_its_results_are_of_a_time_that_the_clock_was_set_back_from(
        self, queue: Queue, publisher: Publisher
    ) -> None:
        done_rows(queue, [0], finished_at=NOW)
        assert not publisher.due(NOW - 1, 0.0)
        assert publisher.due(NOW - 3600, 0.0)

    def test_full_parts_leave_the_rest_for_later(self, job: Path, queue: Queue, publisher: Publisher) -> None:
        done_rows(queue, range(9))
        assert publisher.publish(everything=False) == 2
        assert published(job) == {"part-00000.parquet": [0, 1, 2, 3], "part-00001.parquet": [4, 5, 6, 7]}

    def test_a_part_that_is_due_by_age_need_not_be_full(self, job: Path, queue: Queue, publisher: Publisher) -> None:
        done_rows(queue, range(2))
        assert publisher.publish(everything=False) == 1
        assert published(job) == {"part-00000.parquet": [0, 1]}

    def test_finishing_publishes_all_and_the_dead_and_the_manifest(
        self, job: Path, queue: Queue, publisher: Publisher
    ) -> None:
        done_rows(queue, range(5))
        queue.commit([entries.died(7, kept="{}"), entries.died(6, kept="{}")], NOW)
        publisher.finish()
        assert published(job) == {
            "dead.parquet": [6, 7],
            "part-00000.parquet": [0, 1, 2, 3],
            "part-00001.parquet": [4],
        }
        manifest = json.loads((job / "manifest.json").read_text())
        assert [part["rows"] for part in manifest["parts"]] == [4, 1]
        assert manifest["dead"]["rows"] == 2
        assert manifest["rows"] == 7
        assert publisher.verify(repair=False) == []

    def test_a_retry_takes_the_dead_file_away_before_rows_come_back(
        self, job: Path, queue: Queue, publisher: Publisher
    ) -> None:
        queue.commit([entries.died(6, kept="{}")], NOW)
        publisher.finish()
        publisher.before_retry()
        assert published(job) == {}
        queue.revive(None)
        done_rows(queue, [6])
        publisher.finish()
        assert published(job) == {"part-00000.parquet": [6]}

    def test_finishing_without_dead_rows_leaves_no_dead_file(
        self, job: Path, queue: Queue, publisher: Publisher
    ) -> None:
        queue.commit([entries.died(6, kept="{}")], NOW)
        publisher.finish()
        queue.revive(None)
        publisher.finish()
        assert published(job) == {}

    def test_the_space_wanted_is_a_gibibyte_or_three_parts(self, job: Path, queue: Queue, publisher: Publisher) -> None:
        assert publisher.needed_bytes() == 1 << 30
        done_rows(queue, [0])
        publisher.finish()
        assert publisher.needed_bytes() == 1 << 30
        sql(job, "UPDATE part SET size_bytes=1000000000")
        assert publisher.needed_bytes() == 3_000_000_000

    def test_a_part_without_its_results_is_never_recorded(self, job: Path, queue: Queue, publisher: Publisher) -> None:
        done_rows(queue, range(4))
        queue.fix_part(4)
        sql(job, "DELETE FROM result WHERE seq=2")
        with pytest.raises(StoreError, match="3 of its 4 rows"):
            publisher.publish(everything=True)
        assert not queue.parts()[0].recorded


class TestRecover:
    def test_a_fixed_part_is_written_under_its_name_with_its_range(
        self, job: Path, queue: Queue, publisher: Publisher
    ) -> None:
        done_rows(queue, range(3))
        queue.fix_part(2)
        Publisher(queue, job, SCHEMA).recover()
        assert published(job) == {"part-00000.parquet": [0, 1]}
        assert queue.parts()[0].recorded

    def test_a_file_that_was_published_but_not_recorded_is_written_again_and_recorded(
        self, job: Path, queue: Queue, publisher: Publisher
    ) -> None:
        done_rows(queue, range(4))
        queue.fix_part(4)
        (job / "results").mkdir()
        (job / "results" / "part-00000.parquet").write_text("who knows")
        publisher.recover()
        assert published(job) == {"part-00000.parquet": [0, 1, 2, 3]}
        assert queue.parts()[0].recorded

    def test_a_recorded_part_that_is_missing_is_written_again(
        self, job: Path, queue: Queue, publisher: Publisher
    ) -> None:
        done_rows(queue, range(4))
        publisher.finish()
        (job / "results" / "part-00000.parquet").unlink()
        publisher.recover()
        assert published(job) == {"part-00000.parquet": [0, 1, 2, 3]}
        assert publisher.verify(repair=False) == []

    def test_a_recorded_part_that_is_there_is_not_touched(self, job: Path, queue: Queue, publisher: Publisher) -> None:
        done_rows(queue, range(4))
        publisher.finish()
        before = (job / "results" / "part-00000.parquet").stat()
        publisher.recover()
        assert (job / "results" / "part-00000.parquet").stat() == before

    def test_our_own_unfinished_files_go_and_others_stay(self, job: Path, queue: Queue, publisher: Publisher) -> None:
        (job / ".unfinished").mkdir(exist_ok=True)
        for name in ("part-00000.parquet", "dead.parquet", "manifest.json", "diary.txt", "part-x.parquet"):
            (job / ".unfinished" / name).write_text("half")
        publisher.recover()
        assert sorted(path.name for path in (job / ".unfinished").iterdir()) == ["diary.txt", "part-x.parquet"]

    def test_a_part_of_somebody_else_is_refused_and_not_removed(
        self, job: Path, queue: Queue, publisher: Publisher
    ) -> None:
        stranger = job / "results" / "part-00042.parquet"
        stranger.parent.mkdir()
        stranger.write_text("mine")
        with pytest.raises(UsageError, match="part-00042"):
            publisher.recover()
        assert stranger.exists()


def footer_bytes(content: bytes) -> int:
    """How long the end of a Parquet file is that says what is in it, with the length and magic behind it."""
    return 8 + int.from_bytes(content[-8:-4], "little")


def flip_the_footer(path: Path) -> None:
    """Flip one bit so that Arrow calls it no invalid file but an error of reading, without a number."""
    content = path.read_bytes()
    for place in range(len(content) - footer_bytes(content), len(content) - 8):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        try:
            pq.read_metadata(path)
        except OSError:
            return
        except (pa.ArrowException, UnicodeDecodeError):
            pass
    raise AssertionError("no bit of the footer does that")


class TestVerify:
    @pytest.fixture
    def finished(self, queue: Queue, publisher: Publisher) -> Publisher:
        done_rows(queue, range(10))
        queue.commit([entries.died(row, kept="{}") for row in range(10, 20)], NOW)
        publisher.finish()
        assert publisher.verify(repair=False) == []
        return publisher

    @pytest.mark.parametrize("name", ["part-00001.parquet", "dead.parquet"])
    @pytest.mark.parametrize("damage", ["missing", "torn", "flipped", "footer", "pages", "other rows"])
    def test_a_damaged_file_is_found_and_rebuilt(
        self, job: Path, queue: Queue, finished: Publisher, name: str, damage: str
    ) -> None:
        path = job / "results" / name
        content = path.read_bytes()
        match damage:
            case "missing":
                path.unlink()
            case "torn":
                os.truncate(path, 100)
            case "flipped":
                path.write_bytes(content.replace(b"because of", b"because oh"))
                if path.read_bytes() == content:
                    path.write_bytes(content[:50] + bytes([content[50] ^ 255]) + content[51:])
            case "footer":
                flip_the_footer(path)
            case "pages":
                end = len(content) - footer_bytes(content)
                path.write_bytes(content[:4] + b"\xff" * (end - 4) + content[end:])
            case "other rows":
                pq.write_table(pq.read_table(path).slice(1), path)
        before = finished.verify(repair=False)
        assert before
        assert not any(finding.repaired for finding in before)
        after = finished.verify(repair=True)
        assert after
        assert all(finding.repaired for finding in after)
        assert finished.verify(repair=False) == []
        assert sorted(chain(*published(job).values())) == list(range(20))

    def test_a_file_of_dead_rows_that_cannot_be_read_is_not_in_the_manifest_and_written_anew_at_the_end(
        self, job: Path, queue: Queue, finished: Publisher
    ) -> None:
        flip_the_footer(job / "results" / "dead.parquet")
        queue.enqueue(["m"], 24, 1)
        done_rows(queue, range(20, 24))
        assert finished.publish(everything=True)
        assert json.loads((job / "manifest.json").read_text())["dead"] is None
        finished.finish()
        assert finished.verify(repair=False) == []

    def test_a_disk_that_fails_is_no_damaged_file(
        self, job: Path, finished: Publisher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(_: Path) -> None:
            raise OSError(errno.EIO, "Input/output error")

        before = published(job)
        monkeypatch.setattr(pq, "read_metadata", fail)
        with pytest.raises(StoreError, match=r"part-00000\.parquet: Input/output error"):
            finished.verify(repair=True)
        monkeypatch.undo()
        assert published(job) == before

    def test_a_row_that_differs_from_the_queue_is_found_though_the_checksum_is_right(
        self, job: Path, queue: Queue, finished: Publisher
    ) -> None:
        path = job / "results" / "part-00000.parquet"
        table = pq.read_table(path)
        pq.write_table(table.set_column(3, "score", [[1, 1, 1, 1]]), path)
        file = publish.describe_file(path)
        queue.record_part(0, file.size_bytes, file.sha256)
        assert any("does not hold the rows" in f.problem for f in finished.verify(repair=True))
        assert finished.verify(repair=False) == []

    def test_leftovers_and_a_lagging_manifest_are_put_right(self, job: Path, queue: Queue, finished: Publisher) -> None:
        (job / ".unfinished" / "part-00009.parquet").write_text("half")
        (job / "manifest.json").write_text("{}")
        problems = [f.problem for f in finished.verify(repair=True)]
        assert any("left unfinished" in p for p in problems)
        assert any("manifest.json is behind" in p for p in problems)
        assert finished.verify(repair=False) == []

    def test_a_missing_manifest_is_written(self, job: Path, queue: Queue, finished: Publisher) -> None:
        (job / "manifest.json").unlink()
        assert [f.repaired for f in finished.verify(repair=True)] == [True]
        assert finished.verify(repair=False) == []

    def test_a_job_that_ended_in_a_crash_is_published(self, job: Path, queue: Queue, publisher: Publisher) -> None:
        done_rows(queue, range(18))
        queue.commit([entries.died(row, kept="{}") for row in (18, 19)], NOW)
        queue.fix_part(4)
        assert all(finding.repaired for finding in publisher.verify(repair=True))
        assert sorted(chain(*published(job).values())) == list(range(20))
        assert publisher.verify(repair=False) == []

    def test_a_job_in_the_middle_is_sound_without_a_dead_file(self, queue: Queue, publisher: Publisher) -> None:
        done_rows(queue, range(3))
        queue.commit([entries.died(5, kept="{}")], NOW)
        assert publisher.verify(repair=False) == []

    def test_tallies_are_put_right(self, job: Path, queue: Queue, finished: Publisher) -> None:
        sql(job, "DELETE FROM score_tally")
        assert [f.repaired for f in finished.verify(repair=True)] == [True]
        assert finished.verify(repair=False) == []

    def test_a_foreign_part_is_reported_and_left(self, job: Path, queue: Queue, finished: Publisher) -> None:
        stranger = job / "results" / "part-00042.parquet"
        stranger.write_text("mine")
        assert [f.repaired for f in finished.verify(repair=True)] == [False]
        assert stranger.exists()

    def test_a_copy_of_a_part_is_removed_and_anything_else_that_would_be_read_is_left(
        self, job: Path, queue: Queue, finished: Publisher
    ) -> None:
        results = job / "results"
        (results / "part-00001 (copy).parquet").write_bytes((results / "part-00001.parquet").read_bytes())
        (results / "part-00077.parquet").write_bytes((results / "part-00000.parquet").read_bytes())
        pq.write_table(pq.read_table(results / "part-00000.parquet").slice(1), results / "mine.parquet")
        found = {finding.problem: finding.repaired for finding in finished.verify(repair=True)}
        assert found == {
            "part-00001 (copy).parquet is a copy of part-00001.parquet": True,
            "part-00077.parquet is a copy of part-00000.parquet": True,
            f"{results / 'mine.parquet'} was not written by this job": False,
        }
        assert sorted(path.name for path in results.iterdir() if "0000" not in path.name) == [
            "dead.parquet",
            "mine.parquet",
        ]

    def test_every_finding_says_what_it_means(self, job: Path, queue: Queue, finished: Publisher) -> None:
        (job / "results" / "part-00000.parquet").unlink()
        (job / "manifest.json").write_text("{}")
        (job / ".unfinished" / "part-00009.parquet").write_text("half")
        sql(job, "DELETE FROM score_tally")
        assert len(findings := finished.verify(repair=False)) == 4
        assert len({finding.explanation for finding in findings}) == 4


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Fresh processes that have everything imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["scorer.publish", "pandas"])  # pyarrow imports the latter at the first array
    return context


class TestCrashes:
    """The process ends at every named place; after a restart each row is in the output once."""

    @staticmethod
    def live(processes: ForkServerContext, job: Path, place: str) -> int | None:
        process = processes.Process(target=crash_life.live, args=(job, place))
        process.start()
        process.join()
        return process.exitcode

    @pytest.mark.parametrize("occurrence", [1, 2, 3])
    @pytest.mark.parametrize("name", get_args(FailpointName))
    def test_a_crash_and_another_one_during_recovery(
        self, processes: ForkServerContext, job: Path, name: str, occurrence: int
    ) -> None:
        job.mkdir()
        ends = [self.live(processes, job, f"{name}:{occurrence}")]
        self.every_row_at_most_once(job)
        reader = Reader.open(job / "queue.sqlite")  # `status` right after a crash, before anything was mended
        assert reader.counts().total in (0, crash_life.ROWS)
        reader.close()
        ends.append(self.live(processes, job, f"{name}:1"))
        self.every_row_at_most_once(job)
        ends.append(self.live(processes, job, ""))
        assert CRASH_STATUS in ends[:2], "the place was never passed"
        assert ends[2] == 0
        rows = Counter(chain(*published(job).values()))
        assert rows == dict.fromkeys(range(crash_life.ROWS), 1)
        queue = Queue.open(job / "queue.sqlite", NOW)
        assert Publisher(queue, job, SCHEMA).verify(repair=False) == []
        queue.close()

    @staticmethod
    def every_row_at_most_once(job: Path) -> None:
        rows = Counter(chain(*published(job).values()))
        assert not rows or max(rows.values()) == 1
