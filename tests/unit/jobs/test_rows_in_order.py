"""Rows in order: what comes out is what went in, sorted, whatever the parts look like."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.jobs import rows_in_order
from scorer.jobs.rows_in_order import RowsInOrder, bucket_edges

SCHEMA = pa.schema(
    [("row", pa.int64()), ("model", pa.string()), ("sample", pa.int32()), ("text", pa.string()), ("x", pa.float16())]
)
TASKS = st.lists(st.tuples(st.integers(0, 500), st.sampled_from("ab"), st.integers(0, 2)), unique=True, max_size=120)


def written(folder: Path, parts: list[list[tuple[int, str, int]]]) -> list[Path]:
    files = []
    for i, part in enumerate(parts):
        rows = [{"row": r, "model": m, "sample": s, "text": "t" * (r % 50), "x": np.float16(r)} for r, m, s in part]
        path = folder / f"{i}.parquet"
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path, row_group_size=7)
        files.append(path)
    return files


@given(TASKS, st.integers(1, 5), st.integers(40, 4000))
def test_all_rows_come_out_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, tasks: list[tuple[int, str, int]], count: int, bucket_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    files = written(folder, [tasks[i::count] for i in range(count)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_in_order, "BUCKET_BYTES", bucket_bytes)
        patch.setattr(rows_in_order, "BATCH_ROWS", 5)
        rows = RowsInOrder(files, SCHEMA, folder, None)
        for _ in range(2):  # it may be read again
            batches = list(rows.batches())
            assert all(batch.schema == SCHEMA for batch in batches)
            found = [(line["row"], line["model"], line["sample"]) for batch in batches for line in batch.to_pylist()]
            assert found == sorted(tasks)
            assert all(line["x"] == np.float16(line["row"]) for batch in batches for line in batch.to_pylist())


def test_buckets_are_of_about_the_same_size_where_texts_are_long_too(tmp_path: Path) -> None:
    schema = pa.schema([("row", pa.int64()), ("text", pa.string())])
    rng = np.random.default_rng(0)
    files = []
    for part in range(40):
        size = 4000 if part >= 30 else 40  # the last quarter of the rows is a hundred times as long
        rows = {"row": range(part * 100, part * 100 + 100), "text": [rng.bytes(size).hex() for _ in range(100)]}
        files.append(tmp_path / f"{part}.parquet")
        pq.write_table(pa.table(rows, schema), files[-1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_in_order, "BUCKET_BYTES", 1 << 20)
        edges = bucket_edges(files)
    assert 6 <= len(edges) <= 12
    assert np.all(np.diff(edges) > 0)
    assert edges[0] > 3000


def test_no_more_than_a_few_buckets_are_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    schema = pa.schema([("row", pa.int64()), ("model", pa.string()), ("sample", pa.int32()), ("text", pa.string())])
    files = []
    for part in range(20):  # every part holds rows from all over
        rows = np.sort(rng.choice(20_000, 500, replace=False))
        columns = {"row": rows, "model": ["m"] * 500, "sample": [part] * 500, "text": [rng.bytes(2000).hex()] * 500}
        files.append(tmp_path / f"{part}.parquet")
        pq.write_table(pa.table(columns, schema), files[-1], use_dictionary=False, row_group_size=100)
    monkeypatch.setattr(rows_in_order, "BUCKET_BYTES", 1 << 20)
    before = pa.total_allocated_bytes()
    pool = pa.default_memory_pool()
    rows_ = RowsInOrder(files, schema, tmp_path, None)
    total = most = 0
    for batch in rows_.batches():
        total += batch.num_rows
        most = max(most, pa.total_allocated_bytes() - before)
    assert total == 10_000
    assert pool.bytes_allocated() - before < 16 << 20
    assert most < 16 << 20, "40 MB of rows are held at once"


def test_a_long_text_that_repeats_is_counted_as_often_as_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [letter * 8000 for letter in "abcde"]
    files = []
    for part in range(8):  # every part holds rows from all over
        rows = np.arange(part, 4000, 8)
        columns = {"row": rows, "model": ["m"] * 500, "sample": [0] * 500, "text": [texts[r % 5] for r in rows]}
        files.append(tmp_path / f"{part}.parquet")
        pq.write_table(pa.table(columns, SCHEMA.remove(4)), files[-1], row_group_size=100)
    monkeypatch.setattr(rows_in_order, "BUCKET_BYTES", 1 << 20)
    assert sum(path.stat().st_size for path in files) < 1 << 20
    before = pa.total_allocated_bytes()
    rows_, most = [], 0
    for batch in RowsInOrder(files, SCHEMA.remove(4), tmp_path, None).batches():
        rows_ += batch.column("row").to_pylist()
        assert batch.column("text")[0].as_py() == texts[rows_[-batch.num_rows] % 5]
        most = max(most, pa.total_allocated_bytes() - before)
    assert rows_ == list(range(4000))
    assert most < 8 << 20, "32 MB of rows are held at once"


def test_the_results_of_one_row_stay_together_however_large_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [(row, model, sample) for sample in (2, 0, 1) for row in (7, 700) for model in "ba"]
    monkeypatch.setattr(rows_in_order, "BUCKET_BYTES", 10)
    batches = list(RowsInOrder(written(tmp_path, [tasks]), SCHEMA, tmp_path, None).batches())
    found = [(line["row"], line["model"], line["sample"]) for batch in batches for line in batch.to_pylist()]
    assert found == sorted(tasks)
    assert len(batches) == 2
