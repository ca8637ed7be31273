"""Rows that a program gives: the same rows are the same file, and nothing half written stays."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syncs import Syncs

from scorer import inputs
from scorer.errors import UsageError
from scorer.jobs.written_rows import written_rows

# lone surrogates are no text
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(st.lists(TEXT, min_size=1, max_size=20))
def test_any_texts_come_back_in_their_order(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = written_rows(iter(texts), tmp_path_factory.mktemp("runs"))
    dataset = inputs.open_dataset(str(path))
    assert [text for _, batch in dataset.read(["text"]) for text in batch.column("text").to_pylist()] == texts


def test_the_same_rows_are_the_same_file_and_others_another(tmp_path: Path) -> None:
    rows = [{"text": "a", "n": 1}, {"text": "b", "n": 2.5}]
    path = written_rows(rows, tmp_path)
    assert written_rows(iter(rows), tmp_path) == path
    assert len({path, written_rows(rows[::-1], tmp_path), written_rows(rows[:1], tmp_path)}) == 3
    assert path.parent.parent == tmp_path
    assert all(one.suffix == ".jsonl" for one in path.parent.iterdir())


@pytest.mark.parametrize("error", [ZeroDivisionError(), FileNotFoundError(2, "No such file or directory", "input.txt")])
def test_a_source_that_fails_leaves_nothing_and_fails_as_it_is(tmp_path: Path, error: Exception) -> None:
    def source() -> Iterator[str]:
        yield "a"
        raise error

    with pytest.raises(type(error)) as told:
        written_rows(source(), tmp_path)
    assert told.value is error
    assert list((tmp_path / ".rows").iterdir()) == []


def test_writing_ends_at_the_row_at_which_it_is_told_to(tmp_path: Path) -> None:
    given: list[str] = []

    def source() -> Iterator[str]:
        for _ in range(10):
            given.append("a")
            yield "a"

    def check() -> None:
        if len(given) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        written_rows(source(), tmp_path, check)
    assert len(given) == 3
    assert list((tmp_path / ".rows").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(UsageError, match="cannot write the rows"):
        written_rows(["a"], tmp_path / "runs")


def test_a_disk_on_which_the_rows_have_no_room_is_told_and_nothing_stays(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(UsageError, match=r"cannot write the rows into .*\.rows: File too large"):
            written_rows(("a" * 1000 for _ in range(1000)), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / ".rows").iterdir()) == []


def test_a_power_cut_takes_no_rows_away_once_they_are_written(tmp_path: Path) -> None:
    syncs = Syncs()
    with syncs.watched():
        path = written_rows(["a", "b"], tmp_path / "runs")
    assert syncs.keeps(path, tmp_path)
