"""A feed over a real dataset and a real queue."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from entries import died, done, tried
from virtual import EPOCH_S, virtual_seams, virtually

from scorer import inputs, templates
from scorer.core.result import Died
from scorer.core.task import Task, TaskKey
from scorer.dispatch import feed as feed_module
from scorer.dispatch.feed import Feed, Source
from scorer.queue import Queue

TEMPLATE = """
name = "t"
system = "Judge."
user = "{{ text }}{{ 1 // (text | length - 13) }}"
[output.score]
type = "integer"
minimum = 1
maximum = 10
"""


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    opened = Queue.open(tmp_path / "queue.sqlite", EPOCH_S)
    yield opened
    opened.close()


def feed_of(tmp_path: Path, queue: Queue, texts: list[str | None], samples: int = 1) -> Feed:
    path = tmp_path / "rows.parquet"
    table = pa.table({"text": pa.array(texts, pa.string()), "id": list(range(len(texts)))})
    pq.write_table(table, path, row_group_size=100)
    queue.enqueue(["m"], len(texts), samples)
    template = templates.loads(TEMPLATE, "t")
    source = Source(inputs.open_dataset(str(path)), template, {"text": "text"}, ("id", "text"))
    assert source.reads == ["text", "id"]
    return Feed("m", queue, source, virtual_seams())


def take_all(feed: Feed, count: int = 100, held: frozenset[TaskKey] = frozenset()) -> list[Task | Died]:
    async def main() -> list[Task | Died]:
        found: list[Task | Died] = []
        while not feed.exhausted:
            chunk = await feed.take(count, held)
            assert len(chunk) <= count
            found += chunk
        return found

    return virtually(main)


def test_rows_come_once_in_order_with_their_prompts_and_kept_columns(tmp_path: Path, queue: Queue) -> None:
    tasks = take_all(feed_of(tmp_path, queue, [f"text {i}" for i in range(2500)]))
    assert [task.key.row for task in tasks] == list(range(2500))
    first = tasks[0]
    assert isinstance(first, Task)
    assert first.user == "text 0-1"
    assert first.chars == len("Judge.") + len(first.user)
    assert first.kept == '{"id":0,"text":"text 0"}'


def test_a_time_that_python_cannot_hold_is_one_dead_row_and_no_end_of_the_run(tmp_path: Path, queue: Queue) -> None:
    path = tmp_path / "rows.parquet"
    when = pa.array([0, 10**12, 60], pa.timestamp("s"))
    pq.write_table(pa.table({"text": ["a", "b", "c"], "when": when}), path)
    queue.enqueue(["m"], 3, 1)
    template = templates.loads(TEMPLATE.replace("{{ 1", "{{ when }}{{ 1"), "t")
    columns = {"text": "text", "when": "when"}
    feed = Feed("m", queue, Source(inputs.open_dataset(str(path)), template, columns, ("when",)), virtual_seams())
    before, far, after = take_all(feed)
    assert isinstance(before, Task)
    assert isinstance(after, Task)
    assert after.user.startswith("c1970-01-01 00:01:00")
    assert isinstance(far, Died)
    assert far.error.startswith("render_failed: column when holds a timestamp[ms] that Python cannot hold")
    assert far.kept == '{"when":1000000000000000}'


def test_what_is_done_or_dead_or_held_does_not_come(tmp_path: Path, queue: Queue) -> None:
    feed = feed_of(tmp_path, queue, ["x"] * 5)
    queue.commit([done(0), died(1)], EPOCH_S)
    tasks = take_all(feed, held=frozenset({TaskKey("m", 3, 0)}))
    assert [task.key.row for task in tasks] == [2, 4]


def test_far_rows_are_found_behind_many_that_are_done(tmp_path: Path, queue: Queue) -> None:
    feed = feed_of(tmp_path, queue, [f"text {i}" for i in range(1000)])
    queue.commit([done(row) for row in range(1, 998)], EPOCH_S)
    tasks = take_all(feed)
    assert [(task.key.row, task.user) for task in tasks if isinstance(task, Task)] == [
        (0, "text 0-1"),
        (998, "text 998-1"),
        (999, "text 999-1"),
    ]


def test_another_pass_meets_what_was_put_aside_with_what_happened_since(tmp_path: Path, queue: Queue) -> None:
    feed = feed_of(tmp_path, queue, ["x"] * 3)
    take_all(feed)
    queue.commit([done(0), tried(1)], EPOCH_S)
    feed.put_aside = True
    feed.rewind()
    assert not feed.put_aside
    again = take_all(feed)
    assert [task.key.row for task in again] == [1, 2]
    assert isinstance(again[0], Task)
    assert (len(again[0].history), again[0].tries) == (1, 1)


def test_samples_are_tasks_of_their_own_with_the_same_prompt(tmp_path: Path, queue: Queue) -> None:
    tasks = take_all(feed_of(tmp_path, queue, ["x", "y"], samples=2))
    assert [(task.key.row, task.key.sample) for task in tasks] == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_rows_that_can_have_no_prompt_are_stillborn_with_a_reason(tmp_path: Path, queue: Queue) -> None:
    tasks = take_all(feed_of(tmp_path, queue, ["good", None, " \n", "thirteen chars"[:13], "good"]))
    assert [isinstance(task, Died) for task in tasks] == [False, True, True, True, False]
    empty, _, broken = (task for task in tasks if isinstance(task, Died))
    assert (empty.kind, empty.error) == ("empty_prompt", "empty_prompt: nothing in column text")
    assert broken.kind == "render_failed"
    assert broken.kept == '{"id":3,"text":"thirteen char"}'


@pytest.mark.parametrize(
    ("text", "most_chars"),
    # a prompt and the text that is kept; a text that is kept of a row that can have no prompt
    [("x" * 600, 2000), (" " * 600, 1000)],
)
def test_a_bound_on_characters_keeps_huge_rows_from_filling_memory(
    tmp_path: Path, queue: Queue, monkeypatch: pytest.MonkeyPatch, text: str, most_chars: int
) -> None:
    monkeypatch.setattr(feed_module, "MAX_CHARS", most_chars)
    feed = feed_of(tmp_path, queue, [text] * 10)

    async def main() -> int:
        return len(await feed.take(10, frozenset()))

    assert virtually(main) == 2
    assert [task.key.row for task in take_all(feed)] == list(range(2, 10))
