import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scorer.errors import UsageError
from scorer.inputs import Dataset, open_dataset


def values(dataset: Dataset, column: str, start: int = 0) -> list[object]:
    """Read a column, checking on the way that the pieces follow each other without a gap."""
    result: list[object] = []
    for row, batch in dataset.read([column], start):
        assert row == start + len(result)
        assert batch.schema.names == [column]
        assert 1 <= batch.num_rows <= 256
        result += batch.column(0).to_pylist()
    return result


@pytest.fixture(scope="module", params=["parquet-1", "parquet-7", "parquet-100", "parquet-5000", "jsonl"])
def numbered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """1,700 numbered rows of each format and of several sizes of row groups; JSON Lines in several blocks."""
    folder = tmp_path_factory.mktemp("numbered")
    rows = [{"n": i, "text": f"{i} " * 500} for i in range(1700)]
    if request.param == "jsonl":
        path = folder / "d.jsonl"
        path.write_text("".join(json.dumps(row) + ("\n\n" if row["n"] % 9 == 0 else "\n") for row in rows))
    else:
        path = folder / "d.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=int(request.param.split("-")[1]))
    return open_dataset(str(path))


@pytest.mark.parametrize("start", [0, 1, 99, 100, 255, 256, 701, 1699])
def test_rows_come_once_and_in_order_from_any_start(numbered: Dataset, start: int) -> None:
    assert values(numbered, "n", start) == list(range(start, 1700))


def test_a_start_at_the_end_gives_nothing(numbered: Dataset) -> None:
    assert list(numbered.read(["n"], 1700)) == []


def test_columns_come_as_asked_for(numbered: Dataset) -> None:
    _, batch = next(numbered.read(["text", "n", "text"]))
    assert batch.schema.names == ["text", "n"]
    assert batch.column("text")[3].as_py() == "3 " * 500


def test_no_columns_still_count_the_rows(numbered: Dataset) -> None:
    assert sum(batch.num_rows for _, batch in numbered.read([], 3)) == 1697


def test_pieces_of_long_rows_are_bounded_in_bytes(tmp_path: Path) -> None:
    megabyte = "x" * (1 << 20)
    table = pa.table({"text": [f"{i}{megabyte}" for i in range(40)]})
    pq.write_table(table, tmp_path / "d.parquet")
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    for name in ("d.parquet", "d.jsonl"):
        batches = [batch for _, batch in open_dataset(str(tmp_path / name)).read(["text"])]
        assert max(batch.nbytes for batch in batches) <= 8 << 20
        assert [value.as_py() for batch in batches for value in batch.column(0)] == table["text"].to_pylist()


def test_pieces_are_bounded_where_the_file_hides_the_size_of_its_rows(tmp_path: Path) -> None:
    """A dictionary holds each long value once, so the file looks as if its rows were short."""
    texts = ["x" * 200_000, "y" * 200_000] * 100
    pq.write_table(pa.table({"text": texts}), tmp_path / "d.parquet")
    batches = [batch for _, batch in open_dataset(str(tmp_path / "d.parquet")).read(["text"])]
    assert max(batch.nbytes for batch in batches) <= 8 << 20
    assert [value.as_py() for batch in batches for value in batch.column(0)] == texts


def test_a_single_row_larger_than_a_piece_still_comes(tmp_path: Path) -> None:
    texts = ["a", "b" * (9 << 20), "c"]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    assert values(open_dataset(str(tmp_path / "d.jsonl")), "text") == texts


TEXTS = ["plain", None, "", "naïve 🎉", "plain"]


@pytest.mark.parametrize(
    "array",
    [
        pa.array(TEXTS),
        pa.array(TEXTS, pa.large_string()),
        pa.array(TEXTS).dictionary_encode(),
        pa.array(TEXTS, pa.string_view()),
        pa.ExtensionArray.from_storage(pa.json_(), pa.array(TEXTS)),
    ],
    ids=lambda array: str(array.type),
)
def test_text_arrives_as_plain_strings_whatever_its_encoding(tmp_path: Path, array: pa.Array) -> None:
    pq.write_table(pa.table({"text": array}), tmp_path / "d.parquet")
    dataset = open_dataset(str(tmp_path / "d.parquet"))
    assert dataset.schema.field("text").type in (pa.string(), pa.large_string())
    assert next(dataset.read(["text"]))[1].schema.field("text").type == dataset.schema.field("text").type
    assert values(dataset, "text") == TEXTS


def not_utf8() -> pa.Array:
    return pa.array([b"good", b"caf\xe9", None]).view(pa.string())


@pytest.mark.parametrize("array", [not_utf8(), not_utf8().dictionary_encode()], ids=["plain", "dictionary"])
def test_bytes_that_are_not_utf8_become_replacement_characters(tmp_path: Path, array: pa.Array) -> None:
    pq.write_table(pa.table({"text": array}), tmp_path / "d.parquet")
    assert values(open_dataset(str(tmp_path / "d.parquet")), "text") == ["good", "caf\ufffd", None]


def test_bytes_that_are_not_utf8_inside_a_list_are_the_users_error(tmp_path: Path) -> None:
    array = pa.ListArray.from_arrays([0, 1, 2, 3], not_utf8())
    pq.write_table(pa.table({"tags": array}), tmp_path / "d.parquet")
    with pytest.raises(UsageError, match=r"d\.parquet, rows from 0: column `tags` holds text that is not UTF-8"):
        list(open_dataset(str(tmp_path / "d.parquet")).read(["tags"]))


def test_names_with_dots_do_not_drag_in_other_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1], "a.b": [2], "s": [{"b": 3}]}), tmp_path / "d.parquet")
    dataset = open_dataset(str(tmp_path / "d.parquet"))
    assert values(dataset, "a") == [1]
    assert values(dataset, "a.b") == [2]
    assert values(dataset, "s") == [{"b": 3}]


def test_empty_row_groups_are_passed_over(tmp_path: Path) -> None:
    with pq.ParquetWriter(tmp_path / "d.parquet", pa.schema([("n", pa.int64())])) as writer:
        for numbers in ([], [1, 2], [], [3], []):
            writer.write_table(pa.table({"n": pa.array(numbers, pa.int64())}))
    dataset = open_dataset(str(tmp_path / "d.parquet"))
    assert values(dataset, "n") == [1, 2, 3]
    assert values(dataset, "n", 2) == [3]
    assert [batch.column("n").to_pylist() for batch in dataset.sample(["n"], 2)] == [[1], [3]]


def test_bytes_arrive_as_bytes_whatever_their_encoding(tmp_path: Path) -> None:
    pq.write_table(pa.table({"b": pa.array([b"\xff", None], pa.binary_view())}), tmp_path / "d.parquet")
    dataset = open_dataset(str(tmp_path / "d.parquet"))
    assert dataset.schema.field("b").type == pa.binary()
    assert values(dataset, "b") == [b"\xff", None]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.integers(1, 120), st.data())
def test_any_layout_gives_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: int, group: int, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, rows))
    path = tmp_path_factory.mktemp("layout") / "d.parquet"
    pq.write_table(pa.table({"n": range(rows)}), path, row_group_size=group)
    assert values(open_dataset(str(path)), "n", start) == list(range(start, rows))


def small_rows() -> pa.Table:
    """200,000 rows of 1.5 KB, 300 MB in one column chunk."""
    chunk = pa.array([f"{i:06d}" + "x" * 1500 for i in range(1000)])
    return pa.table({"text": pa.chunked_array([chunk] * 200)})


def large_rows() -> pa.Table:
    """300 rows of 1 MB, of which 256 at once would be too many."""
    return pa.table({"text": pa.chunked_array([pa.array(["x" * (1 << 20)])] * 300)})


@pytest.mark.parametrize("make", [small_rows, large_rows])
def test_a_single_large_row_group_is_read_in_flat_memory(tmp_path: Path, make: Callable[[], pa.Table]) -> None:
    table = make()
    path = str(tmp_path / "d.parquet")
    pq.write_table(table, path, row_group_size=table.num_rows, compression="none", use_dictionary=False)
    # In a process of its own: this one's peak already holds the table.
    code = """
import pyarrow as pa, sys
from scorer.inputs import open_dataset
dataset = open_dataset(sys.argv[1])
rows = sum(batch.num_rows for _, batch in dataset.read(["text"]))
print(rows, pa.default_memory_pool().max_memory())
"""
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    rows, peak_bytes = map(int, done.stdout.split())
    assert rows == table.num_rows
    assert peak_bytes < 50 << 20


def test_importing_inputs_loads_nothing_heavy() -> None:
    code = "import sys, scorer.inputs; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"datasets", "pandas", "pyarrow.dataset", "pyarrow.parquet", "pyarrow.compute", "pyarrow.json"}
    assert heavy.isdisjoint(done.stdout.split())


def test_reading_local_files_never_imports_datasets(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["x"]}), tmp_path / "d.parquet")
    code = """
import sys
from scorer.inputs import census, choose_text_column, open_dataset
dataset = open_dataset(sys.argv[1])
choose_text_column(dataset), census(dataset, ["text"]), list(dataset.read(["text"]))
print(*sys.modules)
"""
    path = str(tmp_path / "d.parquet")
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert {"datasets", "pyarrow.dataset"}.isdisjoint(done.stdout.split())
