import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from scorer.errors import UsageError
from scorer.inputs import Dataset, open_dataset

ROWS = [{"n": i, "text": f"{i} " * 500} for i in range(1700)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
TABLE = b"n,text\n" + b"".join(f'{row["n"]},"{row["text"]}"\n'.encode() for row in ROWS)
PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".zst": lambda content: bytes(pa.compress(content, codec="zstd", asbytes=True)),
}


def column(dataset: Dataset, start: int = 0) -> list[object]:
    return [value for _, batch in dataset.read(["n"], start) for value in batch.column(0).to_pylist()]


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize(
    ("suffix", "content"), [(".jsonl", LINES), (".ndjson", LINES), (".json", LINES), (".csv", TABLE)]
)
def test_text_files_may_be_compressed(tmp_path: Path, packing: str, suffix: str, content: bytes) -> None:
    path = tmp_path / f"d{suffix}{packing}"
    path.write_bytes(PACK[packing](content))
    dataset = open_dataset(str(path))
    assert (dataset.rows, dataset.format) == (1700, "csv" if suffix == ".csv" else "jsonl")
    for start in (0, 1, 699, 1699):
        assert column(dataset, start) == list(range(start, 1700))
    assert next(iter(dataset.sample(["n"], 50))).column(0).to_pylist()[:3] == [0, 1, 2]
    assert sum(batch.num_rows for batch in dataset.sample(["n"], 50)) == 50


@pytest.mark.parametrize("packing", PACK)
def test_several_streams_in_one_file_are_read_on(tmp_path: Path, packing: str) -> None:
    path = tmp_path / f"d.jsonl{packing}"
    path.write_bytes(PACK[packing](LINES) + PACK[packing](LINES))
    assert open_dataset(str(path)).rows == 3400


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize(
    "damage",
    [lambda c: b"", lambda c: c[:-4], lambda c: c[: len(c) // 2], lambda c: c + b"more", lambda c: b'{"n": 1}\n'],
    ids=["empty", "no end", "half", "more behind it", "not compressed"],
)
def test_a_broken_stream_is_the_users_error(tmp_path: Path, packing: str, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / f"d.jsonl{packing}"
    path.write_bytes(damage(PACK[packing](LINES)))
    with pytest.raises(UsageError, match=rf"d\.jsonl\{packing} is damaged or not what its name says"):
        open_dataset(str(path))


def test_a_compressed_file_without_the_suffix_is_told_so(tmp_path: Path) -> None:
    for packing, pack in PACK.items():
        path = tmp_path / "d.jsonl"
        path.write_bytes(pack(LINES))
        with pytest.raises(UsageError, match=rf"let its name end in \{packing}"):
            open_dataset(str(path))


def test_parquet_is_not_compressed_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "d.parquet.gz").write_bytes(b"")
    with pytest.raises(UsageError, match="a parquet file compressed as a whole cannot be read: decompress it"):
        open_dataset(str(tmp_path / "d.parquet.gz"))


def test_a_json_array_is_told_how_to_become_lines(tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    path.write_text(json.dumps(ROWS[:2], indent=1))
    with pytest.raises(UsageError, match=r"d\.json:1: holds a list, not an object: .*jq -c"):
        open_dataset(str(path))


def test_a_line_of_50_megabytes_is_a_row(tmp_path: Path) -> None:
    text = "x" * 50_000_000
    (tmp_path / "d.jsonl").write_text(json.dumps({"text": text}) + '\n{"text": "y"}\n')
    dataset = open_dataset(str(tmp_path / "d.jsonl"))
    assert [batch.column(0).to_pylist() for _, batch in dataset.read(["text"])] == [[text], ["y"]]


@pytest.mark.parametrize("name", ["d.csv", "d.jsonl"])
def test_ten_thousand_columns_are_read(tmp_path: Path, name: str) -> None:
    names = [f"c{i}" for i in range(10_000)]
    if name == "d.csv":
        (tmp_path / name).write_text(",".join(names) + "\n" + ",".join(map(str, range(10_000))) + "\n")
    else:
        (tmp_path / name).write_text(json.dumps(dict(zip(names, range(10_000), strict=True))) + "\n")
    dataset = open_dataset(str(tmp_path / name))
    assert len(dataset.schema) == 10_000
    _, batch = next(dataset.read(["c9999", "c0"]))
    assert batch.to_pylist() == [{"c9999": 9999, "c0": 0}]
