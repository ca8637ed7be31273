"""Files of results: what each format makes of every type, and that it reads back."""

import csv
import gzip
import io
import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scorer.errors import UsageError
from scorer.jobs.writers import Format, open_writer

BATCH = pa.record_batch(
    {
        "row": pa.array([0, 1, 2]),
        "text": pa.array(["=1+1", 'a "b",\nc', None]),
        "number": pa.array([1.5, float("nan"), float("-inf")]),
        "bytes": pa.array([b"\x00\xff", b"", None]),
        "list": pa.array([[1, 2], [], None]),
        "struct": pa.array([{"a": float("nan")}, {"a": 2.0}, None]),
        "at": pa.array([datetime(2026, 11, 21, 7, 0, tzinfo=UTC)] * 3, pa.timestamp("us", "UTC")),
        "took": pa.array([timedelta(seconds=1.5)] * 3),
        "money": pa.array([Decimal("1.10")] * 3),
        "yes": pa.array([True, False, None]),
        "nothing": pa.nulls(3),
    }
)


def written(path: Path, *, escape: bool = False) -> Path:
    writer = open_writer(path, Format.of(path), BATCH.schema, escape_formulas=escape)
    writer.write(BATCH.slice(0, 2))
    writer.write(BATCH.slice(2))
    writer.close()
    return path


def test_parquet_keeps_every_type(tmp_path: Path) -> None:
    table = pq.read_table(written(tmp_path / "a.parquet"))
    assert table.schema == BATCH.schema
    assert repr(table.to_pylist()) == repr(BATCH.to_pylist())


def test_json_lines_have_what_json_can_say(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in written(tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines[0] == {
        "row": 0,
        "text": "=1+1",
        "number": 1.5,
        "bytes": "AP8=",
        "list": [1, 2],
        "struct": {"a": None},
        "at": "2026-11-21T07:00:00+00:00",
        "took": 1.5,
        "money": "1.10",
        "yes": True,
        "nothing": None,
    }
    assert [line["number"] for line in lines] == [1.5, None, None]
    assert lines[1]["text"] == 'a "b",\nc'


def test_csv_reads_back_and_escapes_formulas_only_on_request(tmp_path: Path) -> None:
    plain, escaped = (
        list(csv.DictReader(io.StringIO(written(tmp_path / f"{escape}.csv", escape=escape).read_text())))
        for escape in (False, True)
    )
    assert plain[0]["text"] == "=1+1"
    assert escaped[0]["text"] == "'=1+1"
    assert plain[1]["text"] == escaped[1]["text"] == 'a "b",\nc'
    assert escaped[2]["number"] == "-inf", "a number is no formula"
    assert [line["list"] for line in plain] == ["[1, 2]", "[]", ""]
    assert json.loads(plain[1]["struct"]) == {"a": 2.0}
    assert [line["bytes"] for line in plain] == ["AP8=", "", ""]
    assert {line["took"] for line in plain} == {"1.5"}


STRANGE = {
    "nothing in it": pa.array([{}, None]),
    "deeper": pa.array([{"tags": {}, "n": 1}, None]),
    "interval": pa.array([(1, 2, 3), None], pa.month_day_nano_interval()),
    "hundreds": pa.array([Decimal(12300), None], pa.decimal128(5, -2)),
    "runs": pa.RunEndEncodedArray.from_arrays(pa.array([1, 2], pa.int32()), pa.array(["x", None])),
    "either": pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([7, 0]), pa.array(["", "x"])]),
}


def test_what_parquet_has_no_type_for_is_json_there_and_that_is_said(tmp_path: Path) -> None:
    batch = pa.record_batch({"row": pa.array([0, 1]), **STRANGE})
    writer = open_writer(tmp_path / "a.parquet", Format("parquet", None), batch.schema, escape_formulas=False)
    writer.write(batch)
    writer.close()
    assert [note.split("`")[1] for note in writer.notes] == list(STRANGE)
    first, second = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert {name: json.loads(text) for name, text in first.items() if name != "row"} == {
        "nothing in it": {},
        "deeper": {"tags": {}, "n": 1},
        "interval": [1, 2, 3],
        "hundreds": "1.23E+4",
        "runs": "x",
        "either": 7,
    }
    assert second == {"row": 1, **dict.fromkeys(STRANGE), "either": '"x"'}


def test_json_and_csv_have_a_word_for_every_type(tmp_path: Path) -> None:
    batch = pa.record_batch({**STRANGE, "id": pa.array([b"0" * 16, None], pa.uuid())})
    for name in ("a.jsonl", "a.csv"):
        writer = open_writer(tmp_path / name, Format.of(tmp_path / name), batch.schema, escape_formulas=False)
        writer.write(batch)
        writer.close()
        assert writer.notes == ()
    line = json.loads((tmp_path / "a.jsonl").read_text().splitlines()[0])
    assert (line["runs"], line["id"]) == ("x", "30303030-3030-3030-3030-303030303030")
    cells = next(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text())))
    assert (cells["runs"], cells["nothing in it"]) == ("x", "{}")


FAR = pa.array([2**62], pa.int64())
UNSAYABLE = {
    "far.parquet": FAR.view(pa.timestamp("s")),
    "far.jsonl": FAR.view(pa.timestamp("s")),
    "long.csv": FAR.view(pa.duration("s")),
    "long.jsonl": FAR.view(pa.duration("s")),
    "mars.csv": pa.array([0], pa.int64()).view(pa.timestamp("s", "Mars/Phobos")),
    "twice.csv": pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]),
    "twice.jsonl": pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]),
}


@pytest.mark.parametrize("name", UNSAYABLE)
def test_a_value_that_a_format_cannot_say_is_told_with_its_column_and_what_to_do(tmp_path: Path, name: str) -> None:
    batch = pa.record_batch({"row": pa.array([0]), "strange": UNSAYABLE[name]})
    path = tmp_path / name
    writer = open_writer(path, Format.of(path), batch.schema, escape_formulas=False)
    told = pytest.raises(UsageError, match=r"the column `strange` \(.*holds a value that cannot be written")
    with told as error, closing(writer):
        writer.write(batch)
    assert len(str(error.value).splitlines()) == 1
    assert ("--join" if name.endswith("parquet") else ".parquet") in str(error.value).split("; ")[-1]


def test_csv_has_halves_as_it_has_other_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    numbers = [1.5, float("nan"), float("-inf"), -0.25, None]
    batch = pa.record_batch({"half": pa.array(numbers, pa.float16()), "double": pa.array(numbers, pa.float64())})
    writer = open_writer(path, Format.of(path), batch.schema, escape_formulas=True)
    writer.write(batch)
    writer.close()
    lines = list(csv.DictReader(io.StringIO(path.read_text())))
    assert [line["half"] for line in lines] == [line["double"] for line in lines] == ["1.5", "nan", "-inf", "-0.25", ""]


@pytest.mark.parametrize("start", "=+-@\t\r")
def test_every_start_that_a_spreadsheet_runs_is_escaped(tmp_path: Path, start: str) -> None:
    path = tmp_path / "a.csv"
    batch = pa.record_batch({"text": [f"{start}x", f"x{start}", f"'{start}"]})
    writer = open_writer(path, Format.of(path), batch.schema, escape_formulas=True)
    writer.write(batch)
    writer.close()
    with path.open(newline="") as file:
        assert [line[0] for line in csv.reader(file)][1:] == [f"'{start}x", f"x{start}", f"'{start}"]


@pytest.mark.parametrize("start", "=+-@\t\r")
def test_names_that_a_spreadsheet_runs_are_escaped_only_when_asked(tmp_path: Path, start: str) -> None:
    path = tmp_path / "a.csv"
    batch = pa.record_batch({f'{start}HYPERLINK("http://x")': ["a"], f"x{start}": ["b"]})
    for escapes, before in ((True, "'"), (False, "")):
        writer = open_writer(path, Format.of(path), batch.schema, escape_formulas=escapes)
        writer.write(batch)
        writer.close()
        names = [f'{before}{start}HYPERLINK("http://x")', f"x{start}"]
        with path.open(newline="") as file:
            assert list(csv.reader(file)) == [names, ["a", "b"]]
        assert list(writer.columns) == names


def test_a_value_that_cannot_be_written_is_blamed_on_the_column_by_its_own_name(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    batch = pa.record_batch({"=mars": UNSAYABLE["mars.csv"]})
    writer = open_writer(path, Format.of(path), batch.schema, escape_formulas=True)
    with closing(writer), pytest.raises(UsageError, match="the column `=mars`"):
        writer.write(batch)


def test_lines_are_compressed_as_the_name_says(tmp_path: Path) -> None:
    plain = written(tmp_path / "a.jsonl").read_bytes()
    assert gzip.decompress(written(tmp_path / "a.jsonl.gz").read_bytes()) == plain
    with pa.input_stream(str(written(tmp_path / "a.jsonl.zst")), compression="zstd") as stream:
        assert stream.read() == plain


@pytest.mark.parametrize("name", ["a", "a.txt", "a.parquet.gz", "a.gz", "a.xlsx"])
def test_a_name_that_tells_no_format_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"\.parquet, \.jsonl or \.csv"):
        Format.of(Path(name))


def test_case_does_not_matter_in_a_name() -> None:
    assert Format.of(Path("A.CSV.GZ")) == Format("csv", "gzip")
