import csv
import io
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scorer.errors import UsageError
from scorer.inputs import Dataset, open_dataset
from scorer.inputs.lines import BLOCK_BYTES

Open = Callable[..., Dataset]


@pytest.fixture
def table(tmp_path: Path) -> Open:
    def write(content: str | bytes, name: str = "d.csv") -> Dataset:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return open_dataset(str(path))

    return write


def column(dataset: Dataset, name: str, start: int = 0) -> list[object]:
    return [value for _, batch in dataset.read([name], start) for value in batch.column(0).to_pylist()]


def types(dataset: Dataset) -> dict[str, str]:
    return {field.name: str(field.type) for field in dataset.schema}


def test_names_come_from_the_first_line_and_values_from_the_rest(table: Open) -> None:
    dataset = table('id,text\n1,plain\n2,"a ""quoted"", value\nof two lines"\n')
    assert (dataset.format, dataset.rows) == ("csv", 2)
    assert column(dataset, "id") == [1, 2]
    assert column(dataset, "text") == ["plain", 'a "quoted", value\nof two lines']


def test_a_byte_order_mark_crlf_blank_lines_and_no_last_newline_are_fine(table: Open) -> None:
    dataset = table(b'\xef\xbb\xbfa,b\r\n\r\n1,"x\r\ny"\r\n\r\n2,z')
    assert dataset.schema.names == ["a", "b"]
    assert column(dataset, "b") == ["x\r\ny", "z"]


def test_tabs_separate_in_tsv(table: Open) -> None:
    dataset = table('a\tb\n1\t"x\ty"\n2\t1,5\n', "d.tsv")
    assert column(dataset, "b") == ["x\ty", "1,5"]


def test_a_quotation_mark_inside_an_unquoted_value_stands_for_itself(table: Open) -> None:
    assert column(table('size,n\n5" disk,1\n'), "size") == ['5" disk']


def test_nul_and_line_separators_of_other_alphabets_are_part_of_the_text(table: Open) -> None:
    text = "x\0y\u2028z\x0bw\x85\x1c"
    assert column(table(f"a,b\n1,{text}\n"), "b") == [text]


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        (["1", "-2", "0"], "int64"),
        (["9223372036854775807", "-9223372036854775808"], "int64"),
        (["9223372036854775808"], "string"),
        (["1", "2.5"], "double"),
        (["0.1", "1e-05", "1e+16", "0.30000000000000004", "-0.0"], "double"),
        (["9007199254740993", "0.5"], "string"),
        (["0.5", "9007199254740993"], "string"),
        (["007"], "string"),
        (["1.10"], "string"),
        (["1e5"], "string"),
        (["1e999"], "string"),
        (["+49"], "string"),
        (["-0"], "string"),
        (["1", "NA"], "string"),
        (["1", "nan"], "string"),
        (["true", "false"], "string"),
        (["2020-01-01"], "string"),
        (["1_000"], "string"),
        (["\u0661"], "string"),
        ([" 1"], "string"),
        (["", ""], "string"),
    ],
)
def test_a_column_is_of_numbers_only_if_nothing_is_lost(table: Open, values: list[str], type_: str) -> None:
    dataset = table("a,b\n" + "".join(f"{value},x\n" for value in values))
    assert types(dataset)["a"] == type_
    if type_ == "string":
        assert column(dataset, "a") == values
    elif type_ == "int64":
        assert [str(value) for value in column(dataset, "a")] == values
    else:
        assert column(dataset, "a") == [float(value) for value in values]


def test_a_column_that_changes_late_is_text_from_the_first_row_on(table: Open) -> None:
    dataset = table("a,b\n" + "1,2\n" * 5000 + "one,2.5\n")
    assert types(dataset) == {"a": "string", "b": "double"}
    assert column(dataset, "a", 4999) == ["1", "one"]
    assert column(dataset, "b", 4999) == [2.0, 2.5]


def test_an_empty_value_is_null_among_numbers_and_empty_among_texts(table: Open) -> None:
    dataset = table('n,f,t\n1,,x\n,0.5,""\n2,1.5,\n')
    assert column(dataset, "n") == [1, None, 2]
    assert column(dataset, "f") == [None, 0.5, 1.5]
    assert column(dataset, "t") == ["x", "", ""]


SEVERAL_BLOCKS = f"1,{'y' * 1000}\n" * (2 * BLOCK_BYTES // 1000)


@pytest.mark.parametrize("between", ["", SEVERAL_BLOCKS], ids=["first block", "later block"])
@pytest.mark.parametrize(
    ("rest", "line", "message"),
    [
        (b'1,"never\n2,x\n', 0, "a value of the row that begins here never ends"),
        (b'1,"never\n2,"x"\n', 1, "wrong quotation mark in the row that begins in line"),
        (b'1,"x"y\n', 0, "wrong quotation mark"),
        (b"1,2,3\n", 0, "3 values, but the header names 2 columns"),
        (b'"x\ny"\n', 0, "1 value, but the header names 2 columns"),
        (b"1,2\n1,caf\xe9\n", 1, r"not UTF-8 \(byte 0xe9\)"),
        (b"1,\xed\xa0\x80\n", 0, r"not UTF-8 \(byte 0xed\)"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(table: Open, between: str, rest: bytes, line: int, message: str) -> None:
    number = 2 + between.count("\n") + line
    with pytest.raises(UsageError, match=rf"d\.csv:{number}: {message}"):
        table(b"a,b\n" + between.encode() + rest)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty; its first line must name the columns"),
        (b"a,b\n", "has no rows"),
        (b"a,b,a\n1,2,3\n", "more than one column named `a`"),
        (b"1,2.5\n3,4\n", ":1: looks like a row; the first line must name the columns"),
        (b"x" * 2000 + b",b\n", ":1: looks like a row"),
        (b"a;b\n1;2\n", "one column named 'a;b': separated by semicolons, not by commas"),
        (b"a\tb\n1\t2\n", "separated by tabs, not by commas"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16, CSV must be UTF-8"),
        ("a,b\n1,2\n".encode("utf-16-le"), "is the file UTF-16"),
        (b"\x1f\x8b\x08", "compressed with gzip: let its name end in .gz"),
        (b"PAR1", "is a Parquet file: let its name end in .parquet"),
        (b"PK\x03\x04", "spreadsheet"),
    ],
)
def test_a_file_that_is_no_table_is_refused(table: Open, content: bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        table(content)


def test_commas_in_a_tsv_are_asked_about(table: Open) -> None:
    with pytest.raises(UsageError, match="separated by commas, not by tabs"):
        table("a,b\n1,2\n", "d.tsv")


def test_a_value_of_many_megabytes_is_read_and_one_beyond_the_limit_refused(
    table: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = "x" * 99 + "\n"
    long = line * (6 << 20 >> 6)
    assert column(table(f'a,b\n1,"{long}"\n2,y\n'), "b") == [long, "y"]
    monkeypatch.setattr("scorer.inputs.lines.MAX_LINE_BYTES", 1 << 20)
    with pytest.raises(UsageError, match=r"d\.csv:3: a value of the row that begins here never ends"):
        table(f'a,b\n1,x\n1,"{long}"\n2,y\n')
    with pytest.raises(UsageError, match=r"d\.csv:2: the line is longer than 1 MiB"):
        table(f"a,b\n1,{'x' * (3 << 20)}\n")


def test_a_file_that_changes_after_opening_is_the_users_error(table: Open) -> None:
    dataset = table("a,b\n1,2\n3,4\n")
    Path(dataset.source).write_text("a,b\n1,2\nthree,4\n")
    with pytest.raises(UsageError, match=r"d\.csv: column `a` holds 'three', .* changed while in use"):
        list(dataset.read(["a"]))
    Path(dataset.source).write_text("b,c\n1,2\n")
    with pytest.raises(UsageError, match=r"d\.csv: .* no column `a`.* changed while in use"):
        list(dataset.read(["a"]))
    Path(dataset.source).write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="ends after 1 of 2 rows"):
        list(dataset.read(["a"]))


def test_only_the_columns_asked_for_are_read_and_none_still_count(table: Open) -> None:
    dataset = table("a,b\n" + "1,2\n" * 600)
    assert next(dataset.read(["b"]))[1].schema.names == ["b"]
    assert sum(batch.num_rows for _, batch in dataset.read([], 100)) == 500


CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(["1", "-7", "0.5", "1e-05", ""])


@settings(deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=30), st.sampled_from(["\n", "\r\n"]), st.data())
def test_rows_written_as_csv_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], newline: str, data: st.DataObject
) -> None:
    text = io.StringIO(newline="")
    # left to itself, the writer of Python 3.11 forgets to quote a lone carriage return
    returns = any("\r" in cell for row in rows for cell in row)
    writer = csv.writer(text, lineterminator=newline, quoting=csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL)
    writer.writerows([("first column", "second column"), *rows])
    path = tmp_path_factory.getbasetemp() / "round.csv"
    path.write_bytes(text.getvalue().encode())
    dataset = open_dataset(str(path))
    assert dataset.rows == len(rows)
    start = data.draw(st.integers(0, len(rows)))
    read = [tuple(row.values()) for _, batch in dataset.read(dataset.schema.names, start) for row in batch.to_pylist()]

    def expected(value: str, type_: pa.DataType) -> object:
        convert = {"int64": int, "double": float}.get(str(type_), str)
        return convert(value) if value or convert is str else None

    assert read == [
        tuple(expected(value, type_) for value, type_ in zip(row, dataset.schema.types, strict=True))
        for row in rows[start:]
    ]
