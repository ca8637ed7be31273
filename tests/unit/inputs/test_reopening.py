from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scorer.errors import UsageError
from scorer.inputs import Dataset, Known, open_dataset, reopen


def again(dataset: Dataset, source: Path | None = None) -> Dataset | None:
    known = Known(dataset.source, dataset.rows, dataset.schema, dataset.fingerprint)
    return reopen(known, str(source) if source else None)


def opened_lines(path: Path, count: int = 100) -> Dataset:
    path.write_text("".join(f'{{"id": {i}, "text": "row {i}", "tags": [{{"b": {i}}}]}}\n' for i in range(count)))
    return open_dataset(str(path))


def test_what_was_opened_before_opens_again_as_the_same_dataset(tmp_path: Path) -> None:
    lines = opened_lines(tmp_path / "d.jsonl")
    assert again(lines) == lines
    pq.write_table(pa.table({"text": ["a", "b"]}), tmp_path / "d.parquet")
    table = open_dataset(str(tmp_path / "d.parquet"))
    assert again(table) == table


def test_a_dataset_that_has_moved_is_known_by_its_content(tmp_path: Path) -> None:
    dataset = opened_lines(tmp_path / "d.jsonl")
    moved = Path(dataset.source).rename(tmp_path / "other.jsonl")
    found = again(dataset, moved)
    assert found is not None
    assert found.source == str(moved)
    assert [batch.to_pydict() for _, batch in found.read(["id"])] == [{"id": list(range(100))}]


@pytest.mark.parametrize(
    ("old", "new"), [(b"row 7", b"row 8"), (b"row 7", b"row seven")], ids=["same size", "other size"]
)
def test_other_content_is_another_dataset(tmp_path: Path, old: bytes, new: bytes) -> None:
    dataset = opened_lines(tmp_path / "d.jsonl")
    path = Path(dataset.source)
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    assert again(dataset) is None


def test_only_the_sampled_blocks_are_read(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    line = '{"text": "' + "x" * 1000 + '"}\n'
    path.write_text(line * 10_000)
    dataset = open_dataset(str(path))
    # the second block begins at 1/63 of the file; before it lies what no sample touches
    between = 100 * len(line)
    with path.open("r+b") as file:
        file.seek(between)
        file.write(b"no JSON at all")
    with pytest.raises(UsageError, match=":101: not JSON"):
        open_dataset(str(path))
    assert again(dataset) == dataset


def test_a_dataset_that_is_gone_is_the_users_error(tmp_path: Path) -> None:
    dataset = opened_lines(tmp_path / "d.jsonl")
    Path(dataset.source).unlink()
    with pytest.raises(UsageError, match=r"d\.jsonl does not exist"):
        again(dataset)
