import json
import sqlite3
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import entries
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import DBAPIError

from scorer.core.result import Counts, DeadKind, HostTotals, Part
from scorer.core.task import Blame, TaskKey
from scorer.database import Database
from scorer.errors import Damaged, DiskFull, FaultKind, StoreError, UsageError
from scorer.queue import Queue, Reader, pages, problems, schema
from scorer.queue.batch import fields_json, storable
from scorer.queue.statements import ENQUEUE_TASKS

NOW = 1_700_000_000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.sqlite"


@pytest.fixture
def queue(path: Path) -> Iterator[Queue]:
    with_tasks = Queue.open(path, NOW)
    with_tasks.enqueue(["m"], 10, 1)
    yield with_tasks
    with_tasks.close()


def keys(queue: Queue) -> list[tuple[int, int]]:
    return [(p.key.row, p.key.sample) for p in queue.pending("m", None, 1000)]


def sql(path: Path, statement: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(path) as connection:
        rows = connection.execute(statement).fetchall()
    connection.close()
    return rows


class TestEnqueue:
    def test_a_number_means_all_rows_below_it(self, queue: Queue) -> None:
        assert keys(queue) == [(row, 0) for row in range(10)]

    def test_adding_again_adds_nothing(self, queue: Queue) -> None:
        assert queue.enqueue(["m"], 10, 1) == 0
        assert queue.counts() == Counts(10, 0, 0)

    def test_a_pilot_grows_into_the_whole_job(self, path: Path) -> None:
        queue = Queue.open(path, NOW)
        assert queue.enqueue(["m"], [7, 3], 1) == 2
        queue.commit([entries.done(3)], NOW)
        assert queue.enqueue(["m"], 10, 2) == 18
        assert keys(queue) == [(r, s) for r in range(10) for s in range(2) if (r, s) != (3, 0)]
        queue.close()

    def test_a_long_list_of_rows_is_added_whole(self, path: Path) -> None:
        queue = Queue.open(path, NOW)
        assert queue.enqueue(["m"], range(0, 50_000, 2), 1) == 25_000
        queue.close()

    def test_every_model_has_its_own_tasks(self, queue: Queue) -> None:
        assert queue.enqueue(["m", "n"], 10, 1) == 10
        queue.commit([entries.done(0, model="n")], NOW)
        assert queue.counts("m") == Counts(10, 0, 0)
        assert queue.counts("n") == Counts(9, 1, 0)
        assert queue.counts().total == 20

    def test_a_million_and_one_tasks_take_two_transactions_and_miss_none(self, path: Path) -> None:
        queue = Queue.open(path, NOW)
        assert queue.enqueue(["m"], ENQUEUE_TASKS + 1, 1) == ENQUEUE_TASKS + 1
        last = queue.pending("m", (ENQUEUE_TASKS - 2, 0), 10)
        assert [p.key.row for p in last] == [ENQUEUE_TASKS - 1, ENQUEUE_TASKS]
        queue.close()


class TestPending:
    def test_pages_follow_each_other_without_gap_or_overlap(self, queue: Queue) -> None:
        queue.enqueue(["m"], 10, 3)
        queue.commit([entries.done(r, sample=s) for r in range(2, 8) for s in range(3) if (r, s) != (4, 1)], NOW)
        seen, after = [], None
        while page := queue.pending("m", after, 4):
            seen += [p.key for p in page]
            after = (page[-1].key.row, page[-1].key.sample)
        expected = [(r, s) for r in range(10) for s in range(3) if not 2 <= r < 8 or (r, s) == (4, 1)]
        assert seen == [TaskKey("m", row, sample) for row, sample in expected]

    def test_failed_tries_come_with_the_task_in_their_order(self, queue: Queue) -> None:
        first = entries.tried(4, message="first", completion="half an ans", downed=True)
        second = entries.tried(4, host="mac", blame=Blame.ROW, kind=FaultKind.CUT_OUTPUT, permanent=True)
        unsent = entries.tried(4, host="mac", kind=FaultKind.UNREACHABLE, blame=Blame.HOST, sent=False)
        queue.commit([first, entries.tried(5)], NOW)
        queue.commit([second, unsent], NOW)
        (task,) = queue.pending("m", (3, 0), 1)
        without_completion = replace(first.attempt, completion=None)
        assert task.history == (without_completion, second.attempt, unsent.attempt)
        assert task.tries == 2, "what was not sent is no try"

    def test_an_unknown_model_is_a_bug_and_not_an_empty_job(self, queue: Queue) -> None:
        with pytest.raises(KeyError):
            queue.pending("other", None, 1)


class TestCommit:
    def test_the_first_answer_wins(self, queue: Queue) -> None:
        assert queue.commit([entries.done(1, completion="first")], NOW) == 1
        assert queue.commit([entries.done(1, completion="second"), entries.died(1), entries.tried(1)], NOW) == 0
        (rows,) = queue.results(1, 1)
        assert [r.completion for r in rows] == ["first"]
        assert queue.counts() == Counts(9, 1, 0)

    def test_the_first_answer_wins_inside_one_batch(self, queue: Queue) -> None:
        batch = [entries.tried(1), entries.died(1), entries.done(1), entries.tried(1)]
        assert queue.commit(batch, NOW) == 2
        assert queue.counts() == Counts(9, 0, 1)

    def test_what_was_never_enqueued_is_ignored(self, queue: Queue) -> None:
        assert queue.commit([entries.done(99)], NOW) == 0
        assert queue.counts() == Counts(10, 0, 0)

    def test_an_empty_batch_is_fine(self, queue: Queue) -> None:
        assert queue.commit([], NOW) == 0

    def test_numbers_are_dense_whatever_is_ignored(self, queue: Queue, path: Path) -> None:
        queue.commit([entries.done(3), entries.done(3), entries.done(1)], NOW)
        queue.commit([entries.done(3), entries.died(4), entries.done(2)], NOW)
        (rows,) = queue.results(1, 100)
        assert [r.row for r in rows] == [3, 1, 2]
        assert problems(path) == []

    def test_a_result_comes_back_as_it_went_in(self, queue: Queue) -> None:
        entry = entries.done(1, fields={"score": 3, "ok": True, "reason": "naïve \x00 🦉"}, prompt_tokens=None)
        queue.commit([entry], NOW)
        ((row,),) = queue.results(1, 1)
        assert row.fields == '{"score":3,"ok":true,"reason":"naïve \\u0000 🦉"}'
        assert row._replace(fields=None) == (
            *(1, "m", 0, None, '{"name":"f"}', "done", None, '{"score": 7}', "d" * 64, "p40", 1),
            *(None, 10, 1.5, 1_700_000_000_250_000),
        )

    def test_a_dead_row_comes_back_as_it_went_in(self, queue: Queue) -> None:
        entry = entries.died(1, host="mac", completion="nonsense", output_tokens=5, duration_s=2.5)
        queue.commit([entry], NOW)
        ((row,),) = queue.dead_rows()
        assert row == (
            *(1, "m", 0, None, '{"name":"f"}', "dead", "deadline: row 1 took too long", "nonsense", None, "mac", 3),
            *(None, 5, 2.5, 1_700_000_001_500_000),
        )

    def test_text_that_is_no_utf8_or_holds_nul_is_stored(self, queue: Queue) -> None:
        bad = "a\ud800b\x00c"
        queue.commit([entries.done(0, completion=bad, fields={"reason": bad}, kept='{"x":"\udfff"}', host=bad)], NOW)
        queue.commit([entries.tried(1, message=bad, completion=bad), entries.died(2, error=bad, completion=bad)], NOW)
        ((row,),) = queue.results(1, 1)
        assert row.completion == row.host == "a\ufffdb\x00c"
        assert row.fields == '{"reason":"a\ufffdb\\u0000c"}'
        assert queue.pending("m", None, 1)[0].history[0].message == "a\ufffdb\x00c"
        assert next(queue.dead_rows())[0].error == "a\ufffdb\x00c"

    @given(
        st.dictionaries(
            st.text(max_size=5),
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
            max_size=4,
        )
    )
    def test_fields_are_stored_as_json_with_every_value(self, fields: dict[str, object]) -> None:
        assert repr(json.loads(fields_json(fields))) == repr(fields)

    @given(st.text(st.characters(exclude_categories=())))
    def test_storable_text_is_utf8_and_changes_only_surrogates(self, text: str) -> None:
        stored = storable(text)
        assert stored.encode().decode() == stored
        assert len(stored) == len(text)
        assert all(
            new == old or (new == "\ufffd" and "\ud800" <= old <= "\udfff")
            for new, old in zip(stored, text, strict=True)
        )

    def test_a_process_that_was_overtaken_cannot_write(self, queue: Queue, path: Path) -> None:
        queue.commit([entries.done(0)], NOW)
        newer = Queue.open(path, NOW)
        for write in (
            lambda: queue.commit([entries.done(1)], NOW),
            lambda: queue.enqueue(["m"], 20, 1),
            lambda: queue.revive(None),
            lambda: queue.fix_part(10),
        ):
            with pytest.raises(StoreError, match="another process took over"):
                write()
        assert newer.counts() == Counts(9, 1, 0)
        assert newer.commit([entries.done(1)], NOW) == 1
        newer.close()

    def test_a_full_disk_rolls_back_and_the_same_commit_succeeds_later(self, queue: Queue, path: Path) -> None:
        pages = queue._database._connection.exec_driver_sql("PRAGMA max_page_count=1").scalar_one()
        queue._database._connection.commit()
        batch = [entries.done(row, completion="x" * 20_000) for row in range(10)]
        with pytest.raises(DiskFull, match="no room left"):
            queue.commit(batch, NOW)
        assert queue.counts() == Counts(10, 0, 0)
        queue._database._connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 10_000}")
        queue._database._connection.commit()
        assert queue.commit(batch, NOW) == 10
        assert problems(path) == []

    @pytest.mark.parametrize("table", ["attempt", "result", "dead", "task", "host_tally", "score_tally", "run"])
    def test_a_commit_that_fails_half_way_leaves_nothing_of_itself(self, queue: Queue, path: Path, table: str) -> None:
        sql(path, f"CREATE TRIGGER broken BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'broken'); END")
        sql(path, f"CREATE TRIGGER broken_too BEFORE UPDATE ON {table} BEGIN SELECT RAISE(ABORT, 'broken'); END")
        batch = [entries.tried(0), entries.done(0), entries.tried(1), entries.died(1), entries.tried(2)]
        with pytest.raises(DBAPIError, match="broken"):
            queue.commit(batch, NOW)
        assert queue.counts() == Counts(10, 0, 0)
        for written in ("attempt", "result", "dead", "host_tally", "score_tally"):
            assert sql(path, f"SELECT * FROM {written}") == []
        for trigger in ("broken", "broken_too"):
            sql(path, f"DROP TRIGGER {trigger}")
        assert queue.commit(batch, NOW) == 5
        assert problems(path) == []

    def test_what_was_committed_is_there_for_the_next_process(self, queue: Queue, path: Path) -> None:
        queue.commit([entries.done(0), entries.died(1), entries.tried(2)], NOW)
        again = Queue.open(path, NOW + 5)
        assert again.counts() == Counts(8, 1, 1)
        assert len(again.pending("m", None, 1)[0].history) == 1
        assert again.hosts_that_scored() == {entries.done(0).host}
        again.close()

    def test_only_hosts_with_a_score_count_as_such_that_scored(self, queue: Queue) -> None:
        queue.commit([entries.died(1), entries.tried(2)], NOW)
        assert queue.hosts_that_scored() == set()


class TestRevive:
    def test_dead_rows_wait_again_with_a_clean_slate_but_their_tries_counted(self, queue: Queue, path: Path) -> None:
        queue.commit([entries.tried(1), entries.tried(1), entries.died(1, attempts=3), entries.tried(2)], NOW)
        assert queue.revive(None) == 1
        assert queue.counts() == Counts(10, 0, 0)
        one, two = queue.pending("m", (0, 0), 2)
        assert (one.tries, one.history) == (3, ())
        assert (two.tries, len(two.history)) == (1, 1), "other rows keep what is held against them"
        assert problems(path) == []

    def test_only_the_kind_asked_for_is_revived(self, queue: Queue) -> None:
        queue.commit([entries.died(1), entries.died(2, kind="poison"), entries.died(3)], NOW)
        assert queue.dead_kinds() == {"deadline": 2, "poison": 1}
        assert queue.revive("deadline") == 2
        assert [r.row for rows in queue.dead_rows() for r in rows] == [2]
        assert queue.revive("no such kind") == 0

    def test_a_revived_row_can_be_scored(self, queue: Queue) -> None:
        queue.commit([entries.died(1)], NOW)
        queue.revive(None)
        assert queue.commit([entries.done(1)], NOW) == 1
        assert queue.counts() == Counts(9, 1, 0)

    def test_done_rows_stay_done(self, queue: Queue) -> None:
        queue.commit([entries.done(1)], NOW)
        assert queue.revive(None) == 0
        assert queue.counts().done == 1


class TestParts:
    def test_a_range_is_fixed_once_and_offered_until_it_is_recorded(self, queue: Queue) -> None:
        queue.commit([entries.done(row) for row in range(5)], NOW)
        assert queue.fix_part(3) == Part(0, 1, 3)
        queue.commit([entries.done(row) for row in range(5, 9)], NOW)
        assert queue.fix_part(100) == Part(0, 1, 3)
        queue.record_part(0, 1234, "abc")
        assert queue.fix_part(100) == Part(1, 4, 9)
        queue.record_part(1, 99, "def")
        assert queue.fix_part(100) is None
        assert queue.parts() == [Part(0, 1, 3, 1234, "abc"), Part(1, 4, 9, 99, "def")]

    def test_unpublished_counts_what_is_in_no_recorded_part(self, queue: Queue) -> None:
        assert queue.unpublished() == (0, None)
        queue.commit([entries.done(row, finished_at=NOW + row) for row in range(5)], NOW)
        queue.fix_part(3)
        assert queue.unpublished() == (5, NOW)
        queue.record_part(0, 1, "abc")
        assert queue.unpublished() == (2, NOW + 3)

    def test_long_ranges_come_in_small_pieces(self, path: Path) -> None:
        queue = Queue.open(path, NOW)
        queue.enqueue(["m"], 5000, 1)
        queue.commit([entries.done(row) for row in range(2500)], NOW)
        queue.commit([entries.died(row) for row in range(2500, 5000)], NOW)
        for pieces, rows in ((queue.results(1, 2500), range(2500)), (queue.dead_rows(), range(2500, 5000))):
            chunks = list(pieces)
            assert [len(c) for c in chunks] == [1000, 1000, 500]
            assert [r.row for c in chunks for r in c] == list(rows)
        queue.close()

    def test_commits_may_come_between_the_pieces(self, path: Path) -> None:
        queue = Queue.open(path, NOW)
        queue.enqueue(["m"], 3000, 1)
        queue.commit([entries.done(row) for row in range(2000)], NOW)
        pieces = queue.results(1, 2000)
        next(pieces)
        assert queue.commit([entries.done(2000)], NOW) == 1
        assert len(next(pieces)) == 1000
        queue.close()


class TestPages:
    def test_long_texts_make_short_pages(self, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
        queue.enqueue(["m"], 40, 1)
        long = [3, 4, 5, 9]
        said = ["x" * 500 if row in long else "x" for row in range(40)]
        queue.commit([entries.done(row, completion=said[row], kept="{}", fields={}) for row in range(20)], NOW)
        queue.commit([entries.died(row + 20, completion=said[row], kept="{}", error="") for row in range(20)], NOW)
        monkeypatch.setattr(pages, "PAGE_BYTES", 1000)
        monkeypatch.setattr(pages, "PAGE_ROWS", 8)
        for found, first in ((queue.results(1, 20), 0), (queue.dead_rows(), 20)):
            rows = [[row.row - first for row in page] for page in found]
            assert rows == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [*range(10, 18)], [18, 19]]

    def test_a_row_that_is_longer_than_a_page_is_a_page(self, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
        queue.commit([entries.done(row) for row in range(5)], NOW)
        monkeypatch.setattr(pages, "PAGE_BYTES", 1)
        assert [[row.row for row in page] for page in queue.results(2, 4)] == [[1], [2], [3]]

    def test_what_is_behind_a_page_is_never_in_memory(self, queue: Queue) -> None:
        queue.enqueue(["m"], 40, 1)
        for row in range(20):
            queue.commit([entries.done(row, completion="x" * 2_000_000)], NOW)
            queue.commit([entries.died(row + 20, kept="x" * 2_000_000)], NOW)
        for found in (queue.results(1, 20), queue.dead_rows()):
            tracemalloc.start()
            rows = [len(next(found)) for _ in range(2)]
            _, peak_bytes = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert rows == [5, 5]
            # a page, and the one before it
            assert peak_bytes < 25_000_000


class TestOpen:
    def test_a_queue_of_a_newer_scorer_is_refused_with_the_way_out(self, path: Path) -> None:
        Queue.open(path, NOW).close()
        sql(path, "PRAGMA user_version=99")
        for opening in (lambda: Queue.open(path, NOW), lambda: Reader.open(path)):
            with pytest.raises(UsageError, match="upgrade scorer"):
                opening()

    def test_an_older_queue_is_brought_up_to_date(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        Queue.open(path, NOW).close()
        now = schema.SCHEMA_VERSION
        monkeypatch.setattr(schema, "SCHEMA_VERSION", now + 2)
        steps = {
            now: lambda db: db.exec_driver_sql("CREATE TABLE colour (name TEXT)"),
            now + 1: lambda db: db.exec_driver_sql("INSERT INTO colour VALUES ('red')"),
        }
        monkeypatch.setattr(schema, "MIGRATIONS", steps)
        Queue.open(path, NOW).close()
        Queue.open(path, NOW).close()
        assert sql(path, "SELECT name FROM colour") == [("red",)]
        assert sql(path, "PRAGMA user_version") == [(now + 2,)]

    def test_a_foreign_database_is_left_alone(self, path: Path) -> None:
        sql(path, "CREATE TABLE recipes (name TEXT)")
        with pytest.raises(UsageError, match="not the queue of a scorer job"):
            Queue.open(path, NOW)
        assert sql(path, "SELECT name FROM sqlite_master") == [("recipes",)]

    @pytest.mark.parametrize("table", ["task", "score_tally"])
    def test_a_queue_that_has_lost_a_table_is_damaged(self, path: Path, table: str) -> None:
        Queue.open(path, NOW).close()
        sql(path, f"DROP TABLE {table}")
        for opening in (lambda: Queue.open(path, NOW), lambda: Reader.open(path)):
            with pytest.raises(Damaged, match=f"has no table {table}"):
                opening()

    def test_a_file_that_is_no_database_is_refused(self, path: Path) -> None:
        path.write_text("not a database" * 100)
        with pytest.raises(StoreError, match="no SQLite database"):
            Queue.open(path, NOW)

    def test_a_missing_folder_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="is the folder there"):
            Queue.open(tmp_path / "absent" / "queue.sqlite", NOW)

    def test_elapsed_time_adds_up_over_runs_and_ignores_the_time_between(self, path: Path) -> None:
        for start in (1000.0, 5000.0):
            queue = Queue.open(path, start)
            queue.enqueue(["m"], 2, 1)
            queue.commit([entries.done(0)], start + 100)
            queue.close()
        queue = Queue.open(path, 9000.0)
        assert queue.elapsed_s() == 200.0
        queue.close()


class TestSoundness:
    @pytest.mark.parametrize(
        ("damage", "problem"),
        [
            ("UPDATE task SET state=1 WHERE row=9", "tasks are done"),
            ("UPDATE task SET state=0 WHERE row=0", "tasks are done"),
            ("DELETE FROM dead", "tasks are dead"),
            ("UPDATE dead SET row=8", "tasks are dead"),
            ("DELETE FROM result WHERE seq=2", "numbers of 2 results"),
            ("UPDATE part SET first_seq=2", "part 0 does not follow"),
            ("UPDATE part SET last_seq=9", "parts end at result 9"),
            ("INSERT INTO part VALUES (1, 3, 3, NULL, NULL), (2, 4, 4, NULL, NULL)", "part 2 does not follow"),
        ],
    )
    def test_every_broken_invariant_is_named(self, queue: Queue, path: Path, damage: str, problem: str) -> None:
        queue.commit([entries.done(row) for row in range(3)] + [entries.died(3)], NOW)
        queue.fix_part(2)
        queue.record_part(0, 1, "abc")
        assert problems(path) == []
        sql(path, damage)
        assert any(problem in found for found in problems(path))

    def test_pages_that_hold_rubbish_are_found(self, queue: Queue, path: Path) -> None:
        queue.enqueue(["m"], 20_000, 1)
        queue.close()
        content = bytearray(path.read_bytes())
        content[40 * 4096 : 50 * 4096] = bytes(10 * 4096)
        path.write_bytes(content)
        damaged = path.read_bytes()
        assert any("damaged" in problem for problem in problems(path))
        assert path.read_bytes() == damaged

    def test_tallies_are_rebuilt_from_the_results(self, queue: Queue, path: Path) -> None:
        batch = [entries.done(row, score=float(row % 2), host="p40" if row < 3 else "mac") for row in range(6)]
        queue.commit([*batch, entries.done(6, score=None, prompt_tokens=None, output_tokens=None)], NOW)
        assert queue.tally_problems() == []
        sql(path, "UPDATE host_tally SET rows=rows+1")
        sql(path, "DELETE FROM score_tally")
        assert len(queue.tally_problems()) == 2
        queue.rebuild_tallies()
        assert queue.tally_problems() == []


class TestReader:
    @pytest.fixture
    def reader(self, queue: Queue, path: Path) -> Iterator[Reader]:
        reader = Reader.open(path)
        yield reader
        reader.close()

    def test_figures_follow_the_commits_of_another_connection(self, queue: Queue, reader: Reader) -> None:
        queue.enqueue(["m", "n"], 10, 1)
        queue.commit([entries.done(0, score=3.0, finished_at=NOW), entries.done(1, score=3.0, host="mac")], NOW + 1)
        queue.commit([entries.done(2, score=8.0, prompt_tokens=None, finished_at=NOW + 9)], NOW + 10)
        # A clock that was set back must not make the host look idle.
        queue.commit([entries.done(3, score=8.0, finished_at=NOW + 4)], NOW + 11)
        queue.commit([entries.done(2, model="n", score=8.0, finished_at=NOW + 5)], NOW + 12)
        assert reader.counts() == Counts(15, 5, 0)
        assert reader.counts("n") == Counts(9, 1, 0)
        assert reader.per_host() == [
            HostTotals("mac", 1, 100, 10, 1.5, NOW + 0.25),
            HostTotals("p40", 4, 300, 40, 6.0, NOW + 9),
        ]
        assert reader.score_counts() == {"p40": {3.0: 1, 8.0: 3}, "mac": {3.0: 1}}
        assert reader.last_activity() == NOW + 12
        assert reader.elapsed_s() == 12.0

    def test_recent_results_are_those_of_the_window(self, queue: Queue, reader: Reader) -> None:
        batch = [entries.done(row, finished_at=NOW + 100 * row, host="p40" if row else "mac") for row in range(4)]
        queue.commit(batch, NOW)
        assert reader.recent(NOW + 301) == {"p40": 3}
        assert reader.recent(NOW + 300, window_s=150.0) == {"p40": 2}

    def test_results_of_a_clock_that_was_put_back_since_are_not_recent(self, queue: Queue, reader: Reader) -> None:
        queue.commit([entries.done(row, finished_at=NOW + 100 * row, host="p40") for row in range(4)], NOW)
        assert reader.recent(NOW + 100) == {"p40": 2}
        assert reader.recent(NOW - 7200) == {}

    def test_spans_are_those_of_the_last_scores_with_and_without_tokens(self, queue: Queue, reader: Reader) -> None:
        batch = [
            entries.done(row, finished_at=NOW + row, duration_s=0.5, prompt_tokens=100 if row % 2 else None)
            for row in range(4)
        ]
        queue.commit(batch, NOW)
        assert reader.spans(2) == [(NOW + 2.5, NOW + 3), (NOW + 1.5, NOW + 2)]

    def test_dead_rows_are_grouped_by_kind_with_the_first_as_example(self, queue: Queue, reader: Reader) -> None:
        queue.commit([entries.died(5), entries.died(2), entries.died(7, kind="poison")], NOW)
        assert reader.dead_by_kind() == [
            DeadKind("deadline", 2, TaskKey("m", 2, 0), "deadline: row 2 took too long"),
            DeadKind("poison", 1, TaskKey("m", 7, 0), "poison: row 7 took too long"),
        ]

    def test_a_job_without_tables_or_file_is_not_begun(self, tmp_path: Path) -> None:
        path = tmp_path / "queue.sqlite"
        with pytest.raises(StoreError, match="is the folder there"):
            Reader.open(path)
        assert not path.exists()
        path.touch()
        with pytest.raises(StoreError, match="not started yet"):
            Reader.open(path)

    def test_it_cannot_write(self, queue: Queue, path: Path) -> None:
        database = Database.open_to_read(path)
        with pytest.raises(StoreError, match="may not be written"), database.write() as db:
            db.exec_driver_sql("DELETE FROM task")
        database.close()
        assert queue.counts().total == 10
