import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.ipc
import pytest

from scorer.errors import UsageError
from scorer.inputs import Dataset, open_dataset

TEXTS = ["plain", None, "", "naïve 🎉", "plain"]


def written(path: Path, table: pa.Table, batch_rows: int = 1000, **options: object) -> Path:
    """Write a file, or a stream if the suffix is .ipc."""
    make = pa.ipc.new_stream if path.suffix == ".ipc" else pa.ipc.new_file
    settings = pa.ipc.IpcWriteOptions(**options)
    with pa.OSFile(str(path), "wb") as file, make(file, table.schema, options=settings) as writer:
        writer.write_table(table, max_chunksize=batch_rows)
    return path


def numbered(rows: int) -> pa.Table:
    return pa.table({"n": range(rows), "text": [f"{i} " * 20 for i in range(rows)]})


def values(dataset: Dataset, column: str, start: int = 0) -> list[object]:
    result: list[object] = []
    for row, batch in dataset.read([column], start):
        assert row == start + len(result)
        assert 1 <= batch.num_rows <= 256
        result += batch.column(0).to_pylist()
    return result


@pytest.mark.parametrize("name", ["d.arrow", "d.feather", "d.ipc"])
@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
@pytest.mark.parametrize("batch_rows", [1, 100, 700, 5000])
def test_files_and_streams_of_any_layout_give_the_same_rows(
    tmp_path: Path, name: str, compression: str | None, batch_rows: int
) -> None:
    dataset = open_dataset(str(written(tmp_path / name, numbered(1500), batch_rows, compression=compression)))
    assert (dataset.format, dataset.rows) == ("arrow", 1500)
    for start in (0, 1, 255, 256, 699, 700, 1499, 1500):
        assert values(dataset, "n", start) == list(range(start, 1500))
    assert values(dataset, "text", 1498) == ["1498 " * 20, "1499 " * 20]
    assert sum(batch.num_rows for _, batch in dataset.read([], 3)) == 1497


def test_what_pandas_and_polars_call_feather_is_read(tmp_path: Path) -> None:
    feather.write_feather(numbered(10), tmp_path / "d.feather")
    assert values(open_dataset(str(tmp_path / "d.feather")), "n") == list(range(10))


@pytest.mark.parametrize(
    "array",
    [
        pa.array(TEXTS),
        pa.array(TEXTS, pa.large_string()),
        pa.array(TEXTS).dictionary_encode(),
        pa.array(TEXTS, pa.string_view()),
    ],
    ids=lambda array: str(array.type),
)
def test_text_arrives_as_plain_strings_whatever_its_encoding(tmp_path: Path, array: pa.Array) -> None:
    dataset = open_dataset(str(written(tmp_path / "d.arrow", pa.table({"text": array}))))
    assert dataset.schema.field("text").type in (pa.string(), pa.large_string())
    assert values(dataset, "text") == TEXTS


def test_bytes_that_are_not_utf8_become_replacement_characters(tmp_path: Path) -> None:
    array = pa.array([b"good", b"caf\xe9", None]).view(pa.string())
    dataset = open_dataset(str(written(tmp_path / "d.arrow", pa.table({"text": array}))))
    assert values(dataset, "text") == ["good", "caf\ufffd", None]


def test_nested_columns_are_read(tmp_path: Path) -> None:
    rows = [{"s": {"a": [1, None]}, "l": [{"x": "y"}]}, {"s": None, "l": []}]
    dataset = open_dataset(str(written(tmp_path / "d.arrow", pa.Table.from_pylist(rows))))
    assert [row for _, batch in dataset.read(["s", "l"]) for row in batch.to_pylist()] == rows


@pytest.mark.parametrize("name", ["d.arrow", "d.ipc"])
@pytest.mark.parametrize("kept", [0, 5, 200, 0.5, -4, -8])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, name: str, kept: float) -> None:
    path = written(tmp_path / name, numbered(1500), 100)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(UsageError, match="damaged or not what its name says"):
        open_dataset(str(path))


def test_a_stream_that_was_cut_between_two_batches_is_refused(tmp_path: Path) -> None:
    """It looks whole but for the mark at its end; the rows behind the cut would be lost without a word."""
    path = tmp_path / "d.ipc"
    with pa.OSFile(str(path), "wb") as file:
        writer = pa.ipc.new_stream(file, numbered(1).schema)
        writer.write_table(numbered(100))
        file.flush()
    assert pa.ipc.open_stream(path.read_bytes()).read_all().num_rows == 100
    with pytest.raises(UsageError, match="it was cut short"):
        open_dataset(str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id,text\n1,x\n", "no Arrow file"),
        (b"FEA1" + bytes(100), "Feather of version 1"),
        (b"PAR1" + bytes(100), r"is a Parquet file: let its name end in \.parquet"),
        (b"ARROW1", "damaged"),
    ],
)
def test_another_format_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "d.arrow").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        open_dataset(str(tmp_path / "d.arrow"))


def test_a_file_that_shrinks_in_use_is_the_users_error_and_not_the_end_of_the_process(tmp_path: Path) -> None:
    path = written(tmp_path / "d.ipc", numbered(3000), 100)
    reading = open_dataset(str(path)).read(["text"])
    next(reading)
    with path.open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(UsageError, match="changed while in use"):
        list(reading)


def test_a_sample_is_taken_from_all_over(tmp_path: Path) -> None:
    for batch_rows in (100, 5000):
        dataset = open_dataset(str(written(tmp_path / "d.arrow", numbered(4000), batch_rows)))
        seen = [n for batch in dataset.sample(["n"], 160) for n in batch.column(0).to_pylist()]
        assert 100 <= len(set(seen)) == len(seen) <= 160
        assert {n // 1000 for n in seen} == {0, 1, 2, 3}


FUZZ = """
import random, sys
from pathlib import Path
from scorer.errors import ScorerError
from scorer.inputs import open_dataset
path, rows = Path(sys.argv[1]), int(sys.argv[2])
content, rng, sound = path.read_bytes(), random.Random(7), 0
for _ in range(150):
    broken = bytearray(content)
    for _ in range(rng.choice([1, 1, 20])):
        near_an_end = rng.choice([rng.randrange(600), -1 - rng.randrange(600), rng.randrange(len(content))])
        broken[near_an_end] = rng.choice([0, 255, rng.randrange(256)])
    path.write_bytes(broken)
    try:
        dataset = open_dataset(str(path))
        read = sum(len(batch.to_pylist()) for _, batch in dataset.read(dataset.schema.names))
        list(dataset.sample(dataset.schema.names, 20))
        assert read == dataset.rows == rows, (read, dataset.rows)
        sound += 1
    except ScorerError:
        pass
print(sound)
"""


@pytest.mark.parametrize("name", ["d.arrow", "d.ipc"])
def test_damaged_bytes_never_kill_the_process_nor_lose_a_row(tmp_path: Path, name: str) -> None:
    """In a process of its own, because a wrong offset that is believed ends it."""
    random.seed(0)
    table = numbered(300).append_column("l", pa.array([[str(i)] * (i % 3) for i in range(300)]))
    path = written(tmp_path / name, table.append_column("d", table["text"].dictionary_encode()), 100)
    command = [sys.executable, "-X", "faulthandler", "-c", FUZZ, str(path), "300"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 5 < int(done.stdout) < 145


def test_a_single_large_batch_is_read_in_flat_memory(tmp_path: Path) -> None:
    chunk = pa.array([f"{i:06d}" + "x" * 1500 for i in range(1000)])
    table = pa.table({"text": pa.chunked_array([chunk] * 100)}).combine_chunks()
    path = written(tmp_path / "d.arrow", table, table.num_rows)
    code = """
import psutil, sys
from scorer.inputs import open_dataset
resident_bytes = lambda: psutil.Process().memory_info().rss
before = resident_bytes()
seen = [(batch.num_rows, resident_bytes()) for _, batch in open_dataset(sys.argv[1]).read(["text"])]
print(sum(rows for rows, _ in seen), max(size for _, size in seen) - before)
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    rows, growth_bytes = map(int, done.stdout.split())
    assert rows == 100_000
    assert growth_bytes < 60 << 20
