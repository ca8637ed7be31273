import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.inputs import Dataset, census, open_dataset, spread


def written(path: Path, rows: list[dict[str, object]], group: int = 1 << 20) -> Dataset:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)
    return open_dataset(str(path))


@pytest.mark.parametrize("name", ["d.parquet", "d.jsonl"])
def test_a_small_dataset_is_counted_whole(tmp_path: Path, name: str) -> None:
    rows = [{"a": "ab", "n": 12}, {"a": " \n", "n": None}, {"a": None, "n": None}, {"a": "", "n": 7}]
    seen = census(written(tmp_path / name, rows), ["a", "n"])
    assert seen.lengths == (4, 2, 0, 1)
    assert (seen.sampled, seen.empty, seen.mean_chars, seen.max_chars) == (4, 2, 1.75, 4)


def test_characters_are_counted_and_not_bytes(tmp_path: Path) -> None:
    assert census(written(tmp_path / "d.parquet", [{"a": "é🎉"}]), ["a"]).lengths == (2,)


def test_times_that_python_cannot_hold_are_no_characters(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    pq.write_table(pa.table({"when": pa.array([0, 10**12], pa.timestamp("s"))}), path)
    seen = census(open_dataset(str(path)), ["when"])
    assert (seen.lengths, seen.empty) == ((19, 0), 1)


def test_a_template_without_variables_has_no_empty_rows(tmp_path: Path) -> None:
    seen = census(written(tmp_path / "d.parquet", [{"a": ""}]), [])
    assert (seen.sampled, seen.empty, seen.mean_chars) == (1, 0, 0)


@pytest.mark.parametrize(("name", "group"), [("d.parquet", 100), ("d.parquet", 777), ("d.jsonl", 0)])
def test_a_large_dataset_is_sampled_all_over(tmp_path: Path, name: str, group: int) -> None:
    """Lengths grow with the row, so the sample's lengths tell where it was taken."""
    rows = [{"a": "x" * i} for i in range(4000)]
    seen = census(written(tmp_path / name, rows, group), ["a"], sample=160)
    assert 100 <= seen.sampled <= 160
    assert len(set(seen.lengths)) == seen.sampled
    for quarter in range(4):
        assert any(quarter * 1000 <= length < quarter * 1000 + 1000 for length in seen.lengths)


def test_a_single_row_group_is_sampled_from_its_head(tmp_path: Path) -> None:
    seen = census(written(tmp_path / "d.parquet", [{"a": "x" * (i % 7)} for i in range(5000)]), ["a"], sample=600)
    assert seen.lengths == tuple(i % 7 for i in range(600))


def test_json_lines_are_sampled_whole_lines_only(tmp_path: Path) -> None:
    """Lines of one length put many of the sample's places exactly on the start of a line."""
    rows = [{"a": f"{i:08d}"} for i in range(1 << 13)]
    seen = census(written(tmp_path / "d.jsonl", rows), ["a"], sample=64)
    assert seen.lengths == (8,) * 64
    # Eight places of eight lines each, wanted whole.
    few = written(tmp_path / "few.jsonl", rows[:64])
    assert census(few, ["a"], sample=63).sampled == 64


def test_no_json_line_is_sampled_twice(tmp_path: Path) -> None:
    """The first half of the file's bytes is one line, the rest is short ones, fewer than the places ask for."""
    dataset = written(tmp_path / "d.jsonl", [{"a": "x" * n} for n in [5000, *range(1, 100)]])
    lengths = census(dataset, ["a"], sample=99).lengths
    assert len(set(lengths)) == len(lengths)


@given(st.integers(1, 5000), st.integers(1, 6000), st.integers(0, 3))
def test_spread_rows_are_distinct_ascending_and_evenly_spread(rows: int, count: int, seed: int) -> None:
    picked = spread(rows, count, seed)
    assert len(picked) == min(rows, count)
    assert sorted(set(picked)) == picked
    assert 0 <= picked[0] <= picked[-1] < rows
    for i, row in enumerate(picked):
        assert i * rows // len(picked) <= row < (i + 1) * rows // len(picked)


def test_spread_is_the_same_every_time_and_varies_with_the_seed() -> None:
    assert spread(1_000_000, 100) == spread(1_000_000, 100, 0)
    assert spread(1_000_000, 100) != spread(1_000_000, 100, 1)
