"""A benchmark's rows from files in the formats in which benchmarks are published."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scorer.bench.rows import read_rows
from scorer.errors import UsageError

HEADER = ("question", "A", "answer")


def test_json_lines_and_documents_give_the_same_rows(tmp_path: Path) -> None:
    rows = [{"input": "a", "target": "1"}, {"input": "b", "target": "2"}]
    lines, plain, wrapped = tmp_path / "task.jsonl", tmp_path / "task.json", tmp_path / "sub" / "task.json"
    wrapped.parent.mkdir()
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plain.write_text(json.dumps(rows))
    wrapped.write_text(json.dumps({"canary": "do not train on this", "examples": rows}))

    expected = [{"file": "task", **row} for row in rows]

    assert read_rows(str(lines)) == read_rows(str(plain)) == read_rows(str(wrapped)) == expected


def test_json_lines_with_the_wrong_suffix_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "task.json"
    path.write_text('{"q": "a"}\n{"q": "b"}\n')

    assert [row["q"] for row in read_rows(str(path))] == ["a", "b"]


def test_csv_without_names_is_read_with_the_suite_s_and_knows_its_file(tmp_path: Path) -> None:
    (tmp_path / "law_test.csv").write_text('"Is it, so?",yes,A\n')
    (tmp_path / "art_test.csv").write_text("question,A,answer\nWhy?,because,A\n")

    rows = read_rows(str(tmp_path), HEADER)

    assert rows == [
        {"file": "art_test", "question": "Why?", "A": "because", "answer": "A"},
        {"file": "law_test", "question": "Is it, so?", "A": "yes", "answer": "A"},
    ]
    assert read_rows(str(tmp_path / "law_test.csv"), HEADER) == rows[1:]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("task.json", "[1, 2]", "no list of rows"),
        ("task.json", "[]", "no list of rows"),
        ("task.csv", "a,b\n", "row 1 has 2 values for the columns question, A, answer"),
        ("task.jsonl", "{", "task.jsonl"),
        ("task.txt", "x", "cannot tell its format"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_text(content)

    with pytest.raises(UsageError) as caught:
        read_rows(str(tmp_path / name), HEADER)
    assert said in str(caught.value)


def test_a_missing_file_or_an_empty_folder_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.csv", tmp_path / "absent.json", tmp_path):
        with pytest.raises(UsageError):
            read_rows(str(path), HEADER)


def test_a_time_that_python_cannot_hold_is_told_with_its_row_and_column(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"q": ["a", "b"], "when": pa.array([0, 10**12], pa.timestamp("s"))}), path)
    with pytest.raises(UsageError, match=r"rows\.parquet: row 1: column when holds a timestamp"):
        read_rows(str(path))
