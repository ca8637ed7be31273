import math
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scorer.errors import DatasetUnreadable, UsageError
from scorer.inputs import Known, normal_source, open_dataset, reopen


def parquet(path: Path, table: pa.Table, **options: object) -> str:
    pq.write_table(table, path, **options)
    return str(path)


def plain_table(rows: int = 1000) -> pa.Table:
    return pa.table({"id": range(rows), "code": [f"def f{i}(): pass" for i in range(rows)]})


def test_a_parquet_file_opens_with_its_rows_schema_and_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet(tmp_path / "d.parquet", plain_table())
    monkeypatch.chdir(tmp_path)
    dataset = open_dataset("d.parquet")
    assert dataset.source == str(tmp_path / "d.parquet")
    assert dataset.files == (dataset.source,)
    assert (dataset.format, dataset.rows) == ("parquet", 1000)
    assert dataset.schema == pa.schema([("id", pa.int64()), ("code", pa.string())])


def test_the_suffix_counts_whatever_its_case(tmp_path: Path) -> None:
    (tmp_path / "d.JSONL").write_text('{"a":1}\n')
    assert open_dataset(str(tmp_path / "d.JSONL")).format == "jsonl"


def broken_files() -> list[tuple[str, Callable[[Path], bytes]]]:
    def written(path: Path, table: pa.Table) -> bytes:
        return Path(parquet(path.with_suffix(".tmp"), table)).read_bytes()

    return [
        ("an empty file", lambda _: b""),
        ("something else", lambda _: b"id,code\n1,x\n" * 100),
        ("no end", lambda p: written(p, plain_table())[:-200]),
        ("no beginning", lambda p: written(p, plain_table())[-100:]),
        ("a destroyed footer", lambda p: written(p, plain_table())[:-60] + b"\xff" * 52 + b"PAR1PAR1"),
    ]


@pytest.mark.parametrize(("name", "content"), broken_files(), ids=[n for n, _ in broken_files()])
def test_a_broken_parquet_file_is_the_users_error_in_few_lines(
    tmp_path: Path, name: str, content: Callable[[Path], bytes]
) -> None:
    path = tmp_path / "d.parquet"
    path.write_bytes(content(path))
    with pytest.raises(UsageError, match=r"d\.parquet is damaged or not what its name says") as raised:
        open_dataset(str(path))
    assert len(str(raised.value).splitlines()) <= 2
    assert len(str(raised.value)) < 500


def test_damage_in_the_middle_of_a_parquet_file_is_the_users_error(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    parquet(path, plain_table(), compression="none", use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[4:64] = bytes(60)
    path.write_bytes(content)
    dataset = open_dataset(str(path))
    with pytest.raises(UsageError, match="damaged"):
        list(dataset.read(["id"]))
    with pytest.raises(UsageError, match="damaged"):
        list(dataset.sample(["id"], 10))


def test_a_file_that_lost_rows_since_it_was_opened_is_noticed(tmp_path: Path) -> None:
    path = parquet(tmp_path / "d.parquet", plain_table(1000))
    dataset = open_dataset(path)
    parquet(tmp_path / "d.parquet", plain_table(900))
    with pytest.raises(UsageError, match="ends after 900 of 1000 rows"):
        list(dataset.read(["id"]))


def test_a_file_that_vanished_is_the_users_error(tmp_path: Path) -> None:
    path = parquet(tmp_path / "d.parquet", plain_table())
    dataset = open_dataset(path)
    os.unlink(path)
    with pytest.raises(UsageError, match="cannot be opened"):
        list(dataset.read(["id"]))


def test_an_error_of_the_disk_can_be_resumed_from(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('{"a":1}\n')
    dataset = open_dataset(str(path))
    path.unlink()
    path.symlink_to(path)  # reading it fails in the system, not in the content
    with pytest.raises(DatasetUnreadable, match=r"d\.jsonl cannot be read"):
        list(dataset.read(["a"]))


def test_a_missing_file_gets_the_nearest_name(tmp_path: Path) -> None:
    parquet(tmp_path / "functions.parquet", plain_table())
    with pytest.raises(UsageError, match=r"does not exist: did you mean .*/functions\.parquet"):
        open_dataset(str(tmp_path / "function.parquet"))
    with pytest.raises(UsageError, match="does not exist: give a"):
        open_dataset(str(tmp_path / "nowhere" / "x.parquet"))


@pytest.mark.parametrize("empty", ["", " ", "\t\n"])
def test_an_empty_name_is_not_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty: str) -> None:
    parquet(tmp_path / "rows.parquet", plain_table())
    monkeypatch.chdir(tmp_path)
    opened = open_dataset(".")
    known = Known(opened.source, opened.rows, opened.schema, opened.fingerprint)
    for refused in (lambda: open_dataset(empty), lambda: normal_source(empty), lambda: reopen(known, empty)):
        with pytest.raises(UsageError, match=r"^the dataset's name is empty: [^\n]*$"):
            refused()


def test_an_unknown_suffix_gets_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "d.xlsx").write_text("x")
    with pytest.raises(
        UsageError, match=r"must end in \.parquet, \.pq, \.jsonl, .* \(\.jsonl and \.csv also with \.gz or \.zst\)"
    ):
        open_dataset(str(tmp_path / "d.xlsx"))


def test_something_that_is_no_file_is_refused_without_reading_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "d.jsonl")
    with pytest.raises(UsageError, match="not a regular file"):
        open_dataset(str(tmp_path / "d.jsonl"))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (plain_table(0), "has no rows"),
        (pa.table([[1], [2], [3]], names=["a", "b", "a"]), "more than one column named `a`"),
    ],
)
def test_a_table_that_cannot_be_scored_is_refused(tmp_path: Path, table: pa.Table, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_dataset(parquet(tmp_path / "d.parquet", table))


@pytest.mark.parametrize("content", ["", "\n\n  \r\n"])
def test_json_lines_without_rows_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "d.jsonl").write_text(content)
    with pytest.raises(UsageError, match="has no rows"):
        open_dataset(str(tmp_path / "d.jsonl"))


def test_json_lines_without_keys_are_refused(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text("{}\n{}\n")
    with pytest.raises(UsageError, match="has no columns"):
        open_dataset(str(tmp_path / "d.jsonl"))


def test_the_fingerprint_ignores_place_and_time_of_change(tmp_path: Path) -> None:
    first = Path(parquet(tmp_path / "a.parquet", plain_table()))
    second = tmp_path / "b.parquet"
    second.write_bytes(first.read_bytes())
    os.utime(second, (1, 1))
    fingerprint = open_dataset(str(first)).fingerprint
    assert fingerprint == open_dataset(str(second)).fingerprint
    assert len(fingerprint) == 64
    assert int(fingerprint, 16)


@pytest.mark.parametrize("position", [0, 0.37, 1])
def test_the_fingerprint_sees_a_changed_byte_of_the_same_size(tmp_path: Path, position: float) -> None:
    lines = [f'{{"text":"{i:07d}"}}' for i in range(20_000)]
    path = tmp_path / "d.jsonl"
    path.write_text("\n".join(lines))
    before = open_dataset(str(path)).fingerprint
    changed = math.floor(position * (len(lines) - 1))
    lines[changed] = '{"text":"changed"}'
    path.write_text("\n".join(lines))
    assert open_dataset(str(path)).fingerprint != before


def test_the_fingerprint_sees_rows_and_types(tmp_path: Path) -> None:
    seen = {
        open_dataset(parquet(tmp_path / f"{i}.parquet", table)).fingerprint
        for i, table in enumerate([plain_table(10), plain_table(11), plain_table(10).rename_columns(["id", "text"])])
    }
    assert len(seen) == 3
