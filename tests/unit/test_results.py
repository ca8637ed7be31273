import datetime as dt
import errno
import json
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from scorer import results
from scorer.core.output import RESERVED
from scorer.core.result import ResultRow
from scorer.core.score import Field
from scorer.errors import DiskFull, StoreError, Torn
from scorer.results import (
    ResultFile,
    check_file,
    describe_file,
    listed_rows,
    reading,
    remove_file,
    results_schema,
    same_rows,
    write_dead,
    write_manifest,
    write_part,
)

FIELDS = [
    Field("score", "integer", minimum=1, maximum=10),
    Field("weight", "number"),
    Field("reason", "string", max_length=200),
    Field("ok", "boolean"),
    Field("grade", "choice", values=("a", "b")),
]
SCHEMA = results_schema(FIELDS, {"name": pa.string(), "when": pa.timestamp("s"), "ratio": pa.float32()})
Folders = tuple[Path, Path]
FIXED = (
    *("row", "model", "sample", "status", "error", "completion", "model_digest", "host", "attempts"),
    *("prompt_tokens", "output_tokens", "duration_s", "finished_at"),
)


def scored(row: int, **changes: object) -> ResultRow:
    fields = {"score": row % 10, "weight": 0.5, "reason": "wé\x00🦉", "ok": True, "grade": "a"}
    kept = {"name": f"f{row}", "when": 1_000 + row, "ratio": "NaN"}
    base = ResultRow(
        *(row, "m", 0, json.dumps(fields), json.dumps(kept), "done", None, "{}", "d" * 64, "p40", 2),
        *(100, None, 1.5, 1_700_000_000_250_001),
    )
    return base._replace(**changes)


def dead(row: int) -> ResultRow:
    return scored(row)._replace(fields=None, status="dead", error="deadline: late", completion=None, host=None)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return tmp_path / "results", tmp_path / ".unfinished"


def test_the_columns_are_those_of_the_contract_in_its_order() -> None:
    assert list(zip(SCHEMA.names, map(str, SCHEMA.types), strict=True)) == [
        ("row", "int64"),
        ("model", "string"),
        ("sample", "int32"),
        ("score", "int64"),
        ("weight", "double"),
        ("reason", "string"),
        ("ok", "bool"),
        ("grade", "string"),
        ("name", "string"),
        ("when", "timestamp[s]"),
        ("ratio", "float"),
        ("status", "string"),
        ("error", "string"),
        ("completion", "string"),
        ("model_digest", "string"),
        ("host", "string"),
        ("attempts", "int32"),
        ("prompt_tokens", "int32"),
        ("output_tokens", "int32"),
        ("duration_s", "double"),
        ("finished_at", "timestamp[us, tz=UTC]"),
    ]


def test_the_names_that_templates_may_not_take_are_the_fixed_columns() -> None:
    assert set(FIXED) == set(results_schema([], {}).names)
    assert set(FIXED) <= RESERVED


def test_a_part_holds_every_value_and_dead_rows_have_no_score(folders: Folders) -> None:
    file = write_part(*folders, 3, [[scored(1)], [dead(2)]], SCHEMA)
    first, second = pq.read_table(folders[0] / "part-00003.parquet").to_pylist()
    assert file == ResultFile("part-00003.parquet", 2, *_size_and_sha(folders[0] / file.name))
    assert str(first.pop("ratio")) == "nan"
    assert first == {
        "row": 1,
        "model": "m",
        "sample": 0,
        "score": 1,
        "weight": 0.5,
        "reason": "wé\x00🦉",
        "ok": True,
        "grade": "a",
        "name": "f1",
        "when": dt.datetime(1970, 1, 1, 0, 16, 41),  # noqa: DTZ001  (the kept column has no zone)
        "status": "done",
        "error": None,
        "completion": "{}",
        "model_digest": "d" * 64,
        "host": "p40",
        "attempts": 2,
        "prompt_tokens": 100,
        "output_tokens": None,
        "duration_s": 1.5,
        "finished_at": dt.datetime(2023, 11, 14, 22, 13, 20, 250_001, tzinfo=dt.UTC),
    }
    assert (second["score"], second["ok"], second["status"], second["name"]) == (None, None, "dead", "f2")


def test_the_folder_opens_with_pandas_and_datasets_while_parts_are_being_written(
    folders: Folders, tmp_path: Path
) -> None:
    def chunks() -> Iterator[list[ResultRow]]:
        yield [scored(row) for row in range(100)]
        # The second part is half written now.
        assert len(pd.read_parquet(folders[0])) == 150
        rows = load_dataset("parquet", data_dir=str(folders[0]), split="train", cache_dir=str(tmp_path / "cache"))
        assert sorted(rows["row"]) == list(range(1000, 1150))

    write_part(*folders, 0, [[scored(row) for row in range(1000, 1100)]], SCHEMA)
    write_dead(*folders, [[dead(row) for row in range(1100, 1150)]], SCHEMA)
    write_part(*folders, 1, chunks(), SCHEMA)
    assert len(pd.read_parquet(folders[0])) == 250
    assert list(folders[1].iterdir()) == []


def test_row_groups_stay_small_when_texts_are_long_and_large_when_they_are_short(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "GROUP_BYTES", 1 << 20)
    monkeypatch.setattr(results, "GROUP_ROWS", 300)
    write_part(*folders, 0, [[scored(r) for r in range(100)] for _ in range(6)], SCHEMA)
    write_part(*folders, 1, [[scored(r, completion="x" * 20_000) for r in range(100)] for _ in range(4)], SCHEMA)
    assert _groups(folders[0] / "part-00000.parquet") == [300, 300]
    assert _groups(folders[0] / "part-00001.parquet") == [100, 100, 100, 100]


def _long_rows() -> Iterator[list[ResultRow]]:
    """Rows of a megabyte each, one a piece: 40 MB in all."""
    return ([scored(row, completion=f"{row:02}" * 500_000)] for row in range(40))


def test_a_full_disk_leaves_nothing_behind_and_can_be_tried_again(folders: Folders) -> None:
    folders[1].mkdir()
    (folders[1] / "part-00000.parquet").symlink_to("/dev/full")
    with pytest.raises(DiskFull, match="no room left"):
        write_part(*folders, 0, [[scored(1)]], SCHEMA)
    assert list(folders[0].iterdir()) == list(folders[1].iterdir()) == []
    assert write_part(*folders, 0, [[scored(1)]], SCHEMA).rows == 1


def test_a_folder_that_cannot_be_written_is_a_store_error(folders: Folders) -> None:
    folders[0].write_text("in the way")
    with pytest.raises(StoreError, match="results"):
        write_part(*folders, 0, [[scored(1)]], SCHEMA)


def test_a_part_that_cannot_be_read_again_is_never_published(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        results, "_sync", lambda descriptor: os.ftruncate(descriptor, 100) if _is_file(descriptor) else None
    )
    with pytest.raises(StoreError, match="cannot be read again"):
        write_part(*folders, 0, [[scored(1)]], SCHEMA)
    assert list(folders[0].iterdir()) == []


def test_removing_a_file_that_is_not_there_is_fine(folders: Folders) -> None:
    write_dead(*folders, [[dead(1)]], SCHEMA)
    remove_file(folders[0] / "dead.parquet")
    remove_file(folders[0] / "dead.parquet")
    assert list(folders[0].iterdir()) == []


def test_the_manifest_lists_what_is_published(folders: Folders, tmp_path: Path) -> None:
    part = write_part(*folders, 0, [[scored(1), scored(2)]], SCHEMA)
    dead_file = write_dead(*folders, [[dead(3)]], SCHEMA)
    write_manifest(tmp_path, folders[1], [part], dead_file)
    assert json.loads((tmp_path / "manifest.json").read_text()) == {
        "rows": 3,
        "parts": [{"file": part.name, "rows": 2, "bytes": part.size_bytes, "sha256": part.sha256}],
        "dead": {"file": "dead.parquet", "rows": 1, "bytes": dead_file.size_bytes, "sha256": dead_file.sha256},
    }
    write_manifest(tmp_path, folders[1], [], None)
    assert json.loads((tmp_path / "manifest.json").read_text()) == {"rows": 0, "parts": [], "dead": None}


def test_how_many_rows_the_manifest_lists_is_read_from_it(folders: Folders, tmp_path: Path) -> None:
    assert listed_rows(tmp_path) == (0, 0), "there is none"
    parts = [ResultFile("part-00000.parquet", 5, 1, ""), ResultFile("part-00001.parquet", 2, 1, "")]
    write_manifest(tmp_path, folders[1], parts, ResultFile("dead.parquet", 3, 1, ""))
    assert listed_rows(tmp_path) == (7, 3)
    write_manifest(tmp_path, folders[1], parts, None)
    assert listed_rows(tmp_path) == (7, 0)
    for torn in ("", "{}", "[1]", '{"parts": [{}], "dead": null}', "\0"):
        (tmp_path / "manifest.json").write_text(torn)
        assert listed_rows(tmp_path) == (0, 0)


class TestCheckFile:
    @pytest.fixture
    def part(self, folders: Folders) -> ResultFile:
        return write_part(*folders, 0, [[scored(1), scored(2)]], SCHEMA)

    def test_a_file_as_it_was_published_is_fine(self, folders: Folders, part: ResultFile) -> None:
        assert check_file(folders[0] / part.name, part) is None

    def test_a_missing_file(self, folders: Folders, part: ResultFile) -> None:
        (folders[0] / part.name).unlink()
        assert "is missing" in check_file(folders[0] / part.name, part)

    def test_a_torn_file(self, folders: Folders, part: ResultFile) -> None:
        os.truncate(folders[0] / part.name, part.size_bytes - 10)
        assert "is torn" in check_file(folders[0] / part.name, part)

    def test_a_file_with_other_rows(self, folders: Folders, part: ResultFile) -> None:
        write_part(*folders, 0, [[scored(1)]], SCHEMA)
        assert "has 1 rows, not 2" in check_file(folders[0] / part.name, part)

    def test_a_file_with_one_other_bit(self, folders: Folders, part: ResultFile) -> None:
        content = bytearray((folders[0] / part.name).read_bytes())
        content[20] ^= 1
        (folders[0] / part.name).write_bytes(content)
        assert "has changed" in check_file(folders[0] / part.name, part)


class TestSameRows:
    ROWS = tuple(scored(row) for row in range(25))

    @pytest.fixture
    def path(self, folders: Folders, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(results, "GROUP_ROWS", 7)
        write_part(*folders, 0, [self.ROWS], SCHEMA)
        return folders[0] / "part-00000.parquet"

    def test_comparing_takes_the_memory_of_a_row_group(self, folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(results, "GROUP_BYTES", 1 << 20)
        write_part(*folders, 0, _long_rows(), SCHEMA)
        ours, everyones = pa.proxy_memory_pool(pa.default_memory_pool()), pa.default_memory_pool()
        pa.set_memory_pool(ours)
        try:
            assert same_rows(folders[0] / "part-00000.parquet", _long_rows(), SCHEMA)
        finally:
            pa.set_memory_pool(everyones)
        assert ours.max_memory() < 20 << 20

    @pytest.mark.parametrize("size", [1, 4, 7, 10, 25, 100])
    def test_the_same_rows_in_other_pieces_are_the_same(self, path: Path, size: int) -> None:
        assert same_rows(path, [self.ROWS[i : i + size] for i in range(0, 25, size)], SCHEMA)

    @pytest.mark.parametrize(
        "rows",
        [
            ROWS[:-1],
            ROWS[1:],
            [*ROWS, scored(25)],
            [*ROWS[:10], scored(10, host="mac"), *ROWS[11:]],
            [*ROWS[:24], scored(24, kept='{"name":"f24","when":1024,"ratio":1.5}')],
            (),
        ],
    )
    def test_any_difference_is_seen(self, path: Path, rows: Sequence[ResultRow]) -> None:
        assert not same_rows(path, [rows[i : i + 10] for i in range(0, len(rows), 10)], SCHEMA)

    def test_other_columns_are_a_difference(self, path: Path) -> None:
        assert not same_rows(path, [self.ROWS], results_schema(FIELDS, {"name": pa.string()}))

    def test_a_file_in_which_any_bit_is_flipped_is_described_and_compared_without_an_error(self, path: Path) -> None:
        content = path.read_bytes()
        seen = set()
        for place in range(4, len(content) - 4, 5):
            path.write_bytes(content[:place] + bytes([content[place] ^ (1 << place % 8)]) + content[place + 1 :])
            file = describe_file(path)
            seen.add((file.rows, same_rows(path, [self.ROWS], SCHEMA)))
        assert {(25, True), (25, False), (-1, False)} <= seen

    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (pa.ArrowInvalid("no magic"), Torn),
            (pa.ArrowNotImplementedError("a strange type"), Torn),
            (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), Torn),
            (OSError("Couldn't deserialize thrift"), Torn),
            (OSError(errno.EIO, "Input/output error"), StoreError),
            (OSError(errno.EACCES, "Permission denied"), StoreError),
        ],
    )
    def test_what_the_disk_does_is_told_from_what_is_in_the_file(
        self, path: Path, error: Exception, kind: type[StoreError]
    ) -> None:
        with pytest.raises(StoreError, match=path.name) as told, reading(path):
            raise error
        assert type(told.value) is kind

    @pytest.mark.parametrize("error", [TypeError, pa.ArrowInvalid])
    def test_rows_that_only_together_are_too_much_are_no_damage(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
    ) -> None:
        columns = results._columns

        def too_much(rows: Sequence[ResultRow], schema: pa.Schema) -> pa.RecordBatch:
            if len(rows) > 1:
                raise error("a chunked array")
            return columns(rows, schema)

        monkeypatch.setattr(results, "_columns", too_much)
        with pytest.raises(error, match="a chunked array"):
            same_rows(path, [self.ROWS], SCHEMA)

    def test_describing_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        assert describe_file(tmp_path / "none.parquet") is None


def _groups(path: Path) -> list[int]:
    metadata = pq.read_metadata(path)
    return [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]


def _size_and_sha(path: Path) -> tuple[int, str]:
    file = describe_file(path)
    return file.size_bytes, file.sha256


def _is_file(descriptor: int) -> bool:
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of the disk, in order: the things whose order decides what a power cut can leave."""
    log: list[str] = []
    real = {"replace": os.replace, "fsync": os.fsync, "unlink": Path.unlink}

    def replace(source: Path, target: Path) -> None:
        log.append(f"replace {target.name}")
        real["replace"](source, target)

    def sync(descriptor: int) -> None:
        log.append("sync file" if _is_file(descriptor) else "sync folder")
        real["fsync"](descriptor)

    def unlink(path: Path, missing_ok: bool = False) -> None:
        log.append(f"unlink {path.name}")
        real["unlink"](path, missing_ok)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(results, "_sync", sync)
    monkeypatch.setattr(Path, "unlink", unlink)
    return log


def test_a_file_is_synced_before_it_is_renamed_and_the_folder_after(
    folders: Folders, tmp_path: Path, disk: list[str]
) -> None:
    part = write_part(*folders, 0, [[scored(1)]], SCHEMA)
    write_dead(*folders, [[dead(2)]], SCHEMA)
    write_manifest(tmp_path, folders[1], [part], None)
    remove_file(folders[0] / "dead.parquet")
    assert disk == [
        *("sync file", "replace part-00000.parquet", "sync folder"),
        *("sync file", "replace dead.parquet", "sync folder"),
        *("sync file", "replace manifest.json", "sync folder"),
        *("unlink dead.parquet", "sync folder"),
    ]
