"""Looking whether a dataset is still what it was."""

import os
import shutil
from pathlib import Path

import pytest

from scorer.errors import DatasetChanged
from scorer.inputs import Dataset, Vigil, open_dataset, reopen
from scorer.inputs.opening import Known


def lines(path: Path, word: str = "row", rows: int = 2000) -> None:
    path.write_text("".join(f'{{"text":"{word} {i}"}}\n' for i in range(rows)))


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    lines(tmp_path / "a.jsonl")
    lines(tmp_path / "b.jsonl")
    return open_dataset(str(tmp_path))


def test_other_content_of_the_same_size_is_noticed_at_once_and_each_time(dataset: Dataset, tmp_path: Path) -> None:
    vigil = Vigil(dataset)
    vigil.look()
    lines(tmp_path / "b.jsonl", "ROW")
    for _ in range(2):
        with pytest.raises(DatasetChanged, match=r"changed while in use: .*b\.jsonl is not what .* `scorer resume`"):
            vigil.look()
    lines(tmp_path / "b.jsonl")
    vigil.look()


def test_a_change_before_the_first_look_is_noticed_also_after_reopening(dataset: Dataset, tmp_path: Path) -> None:
    known = Known(dataset.source, dataset.rows, dataset.schema, dataset.fingerprint)
    again = reopen(known)
    assert again is not None
    lines(tmp_path / "a.jsonl", "ROW")
    for opened in (dataset, again):
        with pytest.raises(DatasetChanged):
            Vigil(opened).look()


def test_times_alone_are_no_change(dataset: Dataset, tmp_path: Path) -> None:
    vigil = Vigil(dataset)
    os.utime(tmp_path / "a.jsonl", (1, 1))
    vigil.look()
    shutil.copy(tmp_path / "b.jsonl", tmp_path / "copy")
    os.replace(tmp_path / "copy", tmp_path / "b.jsonl")
    vigil.look()


def test_the_content_is_read_again_only_when_a_file_was_written_to(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vigil = Vigil(dataset)
    os.utime(tmp_path / "a.jsonl", (1, 1))
    vigil.look()
    monkeypatch.setattr("scorer.inputs.vigil.fingerprint", lambda *_: pytest.fail("it reads the content"))
    vigil.look()


def test_a_file_that_is_gone_stops_nobody_who_can_read_it_still(dataset: Dataset, tmp_path: Path) -> None:
    vigil = Vigil(dataset)
    (tmp_path / "a.jsonl").unlink()
    vigil.look()
    with pytest.raises(DatasetChanged, match=r"a\.jsonl is gone"):
        vigil.explain()


def test_nothing_is_explained_by_a_dataset_that_is_as_it_was(dataset: Dataset) -> None:
    Vigil(dataset).explain()
