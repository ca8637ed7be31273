import json
import os
import shutil
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from other_user import as_nobody, open_folder

from scorer.errors import UsageError
from scorer.inputs import Dataset, Known, label, open_dataset, reopen
from scorer.inputs.places import naturally


def parquet(path: Path, **columns: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def column(dataset: Dataset, name: str = "n", start: int = 0) -> list[object]:
    read: list[object] = []
    for row, batch in dataset.read([name], start):
        assert row == start + len(read)
        read += batch.column(0).to_pylist()
    return read


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of three files of two rows each, whose order by name is not their natural one."""
    for number in (1, 2, 10):
        parquet(tmp_path / "data" / f"part-{number}.parquet", n=[number, number])
    return tmp_path / "data"


@pytest.mark.parametrize("source", ["", "/*.parquet", "/**/*.parquet", "/part-?*.parquet"])
def test_files_of_a_folder_or_glob_come_in_natural_order(folder: Path, source: str) -> None:
    dataset = open_dataset(f"{folder}{source}")
    assert [Path(path).name for path in dataset.files] == ["part-1.parquet", "part-2.parquet", "part-10.parquet"]
    assert (dataset.source, dataset.format, dataset.rows) == (f"{folder}{source}", "parquet", 6)
    for start, rest in enumerate([[1, 1, 2, 2, 10, 10], [1, 2, 2, 10, 10], [2, 2, 10, 10], [2, 10, 10], [10, 10]]):
        assert column(dataset, "n", start) == rest
    assert column(dataset, "n", 6) == []
    assert "3 files are read in order, from part-1.parquet to part-10.parquet" in dataset.notes


def test_what_is_left_out_is_said_and_what_is_hidden_is_no_data(folder: Path) -> None:
    (folder / "README.md").write_text("x")
    (folder / "labels.json").write_text("{}")
    for name in (".hidden.parquet", "_metadata.parquet", "_SUCCESS"):
        (folder / name).write_text("x")
    dataset = open_dataset(str(folder))
    assert dataset.rows == 6
    assert "1 other file is left out: README.md" in dataset.notes


def test_a_name_with_the_signs_of_a_pattern_is_a_name_first(tmp_path: Path) -> None:
    parquet(tmp_path / "a[1].parquet", n=[1])
    parquet(tmp_path / "a1.parquet", n=[2])
    assert column(open_dataset(str(tmp_path / "a[1].parquet"))) == [1]


@pytest.mark.parametrize("source", [".", "*.parquet", "caf\udce9.parquet", "nowhere/\udce9"])
def test_names_that_are_not_utf8_are_refused(tmp_path: Path, source: str) -> None:
    written = parquet(tmp_path / "rows.parquet", n=[1])
    written.rename(tmp_path / "caf\udce9.parquet")
    with pytest.raises(UsageError, match="is not UTF-8"):
        open_dataset(str(tmp_path / source))


def test_files_of_several_kinds_are_refused(folder: Path) -> None:
    (folder / "more.csv").write_text("n\n1\n")
    with pytest.raises(
        UsageError, match=r"mixes files of several kinds \(3 parquet and 1 csv\): name one, like '.*/\*\."
    ):
        open_dataset(str(folder))
    assert open_dataset(f"{folder}/*.csv").rows == 1


def test_the_same_file_packed_and_unpacked_is_not_read_twice(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"n": 1}\n')
    (tmp_path / "a.jsonl.gz").write_bytes(b"")
    with pytest.raises(UsageError, match=r"1 jsonl and 1 jsonl\.gz|1 jsonl\.gz and 1 jsonl"):
        open_dataset(str(tmp_path))


def test_a_folder_without_a_file_says_where_one_is(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a folder without a file to read: known are"):
        open_dataset(str(tmp_path))
    parquet(tmp_path / "train" / "a.parquet", n=[1])
    with pytest.raises(UsageError, match=r"did you mean .*/train, or '.*/\*\*/\*\.parquet'\?"):
        open_dataset(str(tmp_path))


def test_a_pattern_without_a_file_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file matches this pattern"):
        open_dataset(f"{tmp_path}/*.csv")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UsageError, match="none of its files can be read"):
        open_dataset(f"{tmp_path}/*")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"n": ["x"], "t": ["x"]}, r"b\.parquet: column `n` is string, but int64 in .*a\.parquet"),
        ({"n": [1]}, r"b\.parquet: its columns are not those of .*a\.parquet: it lacks `t`"),
        ({"n": [1], "t": ["x"], "u": [1]}, "it has `u` besides"),
        ({"n": [1], "T": ["x"]}, "it lacks `t` and it has `T` besides"),
    ],
)
def test_files_that_do_not_agree_are_refused_with_what_differs(
    tmp_path: Path, other: dict[str, object], message: str
) -> None:
    parquet(tmp_path / "a.parquet", n=[1], t=["x"])
    parquet(tmp_path / "b.parquet", **other)
    with pytest.raises(UsageError, match=message):
        open_dataset(str(tmp_path))


def test_order_nulls_and_widths_of_text_may_differ_between_files(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", n=[1], t=pa.array(["a"]), o=pa.nulls(1))
    parquet(tmp_path / "b.parquet", t=pa.array(["b"], pa.large_string()), o=pa.array([2.5]), n=pa.nulls(1))
    parquet(tmp_path / "c.parquet", o=[3.5], n=[3], t=pa.array(["c"]).dictionary_encode())
    dataset = open_dataset(str(tmp_path))
    assert dataset.schema == pa.schema([("n", pa.int64()), ("t", pa.large_string()), ("o", pa.float64())])
    rows = [row for _, batch in dataset.read(["n", "t", "o"]) for row in batch.to_pylist()]
    assert [tuple(row.values()) for row in rows] == [(1, "a", None), (None, "b", 2.5), (3, "c", 3.5)]


def test_text_files_get_types_that_fit_all_of_them(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n,m\n1,1\n")
    (tmp_path / "b.csv").write_text("m,n\n2.5,two\n")
    dataset = open_dataset(f"{tmp_path}/*.csv")
    assert column(dataset, "n") == ["1", "two"]
    assert column(dataset, "m") == [1.0, 2.5]
    (tmp_path / "a.jsonl").write_text('{"n": 1, "l": []}\n')
    (tmp_path / "b.jsonl").write_text('{"n": 2.5, "l": [1], "late": "x"}\n')
    dataset = open_dataset(f"{tmp_path}/*.jsonl")
    assert column(dataset, "n") == [1.0, 2.5]
    assert column(dataset, "l") == [[], [1]]
    assert column(dataset, "late") == [None, "x"]
    (tmp_path / "c.jsonl").write_text('\n{"n": "three"}\n')
    with pytest.raises(UsageError, match=r"c\.jsonl:2: column `n` holds a string, but a number before"):
        open_dataset(f"{tmp_path}/*.jsonl")


def test_empty_files_among_others_are_fine(folder: Path) -> None:
    pq.write_table(pa.table({"n": pa.array([], pa.int64())}), folder / "part-3.parquet")
    assert column(open_dataset(str(folder)), "n", 2) == [2, 2, 10, 10]


def test_a_broken_file_among_others_is_named(folder: Path) -> None:
    (folder / "part-2.parquet").write_bytes(b"PAR1")
    with pytest.raises(UsageError, match=r"part-2\.parquet is damaged"):
        open_dataset(str(folder))


def again(dataset: Dataset, source: Path | None = None) -> Dataset | None:
    known = Known(dataset.source, dataset.rows, dataset.schema, dataset.fingerprint)
    return reopen(known, str(source) if source else None)


def test_a_folder_that_moved_is_the_same_and_one_that_changed_is_not(folder: Path) -> None:
    dataset = open_dataset(str(folder))
    assert again(dataset) == dataset
    moved = folder.rename(folder.with_name("elsewhere"))
    os.utime(moved / "part-2.parquet", (1, 1))
    assert again(dataset, moved) is not None
    copy = moved / "part-11.parquet"
    shutil.copy(moved / "part-1.parquet", copy)
    assert again(dataset, moved) is None
    copy.unlink()
    # the same files in another order are other rows
    (moved / "part-10.parquet").rename(moved / "part-0.parquet")
    assert again(dataset, moved) is None


def test_a_changed_byte_in_any_of_many_files_is_seen(tmp_path: Path) -> None:
    for i in range(200):
        (tmp_path / f"{i}.jsonl").write_text(f'{{"n": {i:05d}1}}\n'.replace("00", "10"))
    dataset = open_dataset(str(tmp_path))
    changed = tmp_path / "137.jsonl"
    changed.write_text(changed.read_text().replace("1", "2", 1))
    assert again(dataset) is None


# -- folders saved by `datasets` --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    datasets.disable_progress_bars()
    rows = datasets.Dataset.from_dict({"n": range(30), "text": [f"text {i}" for i in range(30)]})
    rows.save_to_disk(folder / "one", num_shards=12)
    datasets.DatasetDict(train=rows, test=rows.select(range(3))).save_to_disk(folder / "splits")
    return folder


def test_a_folder_that_datasets_saved_is_read_in_its_order(saved: Path) -> None:
    dataset = open_dataset(str(saved / "one"))
    assert (dataset.format, dataset.rows, len(dataset.files)) == ("arrow", 30, 12)
    assert column(dataset, "n", 7) == list(range(7, 30))
    assert again(dataset) == dataset


def test_of_saved_splits_one_must_be_named(saved: Path) -> None:
    with pytest.raises(UsageError, match=r"has several splits: name one of .*/splits/train, .*/splits/test"):
        open_dataset(str(saved / "splits"))
    assert open_dataset(str(saved / "splits" / "test")).rows == 3
    with pytest.raises(UsageError, match=r"did you mean .*/one\?"):
        open_dataset(str(saved))


@pytest.mark.parametrize("state", ["", "[]", "{}", '{"_data_files": 3}', '{"_data_files": []}'])
def test_a_damaged_saved_folder_is_the_users_error(tmp_path: Path, state: str) -> None:
    (tmp_path / "state.json").write_text(state)
    with pytest.raises(UsageError, match=r"is damaged|has no rows"):
        open_dataset(str(tmp_path))


def test_a_saved_folder_that_lost_a_file_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-0.arrow"}]}))
    with pytest.raises(UsageError, match=r"saved with data-0\.arrow, which is not there"):
        open_dataset(str(tmp_path))


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("/x/functions.parquet", "functions"),
        ("/x/a.b.jsonl.gz", "a"),
        ("/x/corpus", "corpus"),
        ("/x/corpus/", "corpus"),
        ("/x/corpus/*.parquet", "corpus"),
        ("/x/corpus/**/*.parquet", "corpus"),
        ("/x/corpus/train-*.parquet", "train"),
        ("/*", "rows"),
        ("hf://org/name:config/train", "org-name-config-train"),
        ("hf://squad", "squad"),
    ],
)
def test_a_source_has_a_short_name(source: str, expected: str) -> None:
    assert label(source) == expected


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=20, unique=True))
def test_natural_order_is_that_of_the_numbers(numbers: list[int]) -> None:
    names = [f"part-{number}.parquet" for number in numbers]
    assert sorted(names, key=naturally) == [f"part-{number}.parquet" for number in sorted(numbers)]


def test_a_link_that_leads_nowhere_is_told_with_where_it_leads(tmp_path: Path) -> None:
    link = tmp_path / "rows.parquet"
    link.symlink_to(tmp_path / "gone.parquet")
    with pytest.raises(UsageError, match=r"rows.parquet is a link to .*gone.parquet, which is not there"):
        open_dataset(str(link))


def test_a_place_that_cannot_be_looked_at_is_told() -> None:
    with pytest.raises(UsageError, match="File name too long"):
        open_dataset("d" * 300 + ".csv")
    with open_folder() as folder:
        (folder / "locked").mkdir(mode=0o000)
        with as_nobody(), pytest.raises(UsageError, match="Permission denied"):
            open_dataset(str(folder / "locked" / "rows.csv"))
        (folder / "locked").chmod(0o755)
