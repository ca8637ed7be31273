"""`scorer export` as its users run it: during a run, after it, with and without --json, and with mistakes."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from doubles.ollama import OllamaDouble
from running import JUDGE, Desk, finished, texts, wait_for


@pytest.fixture
def double() -> Iterator[OllamaDouble]:
    with OllamaDouble() as double:
        yield double


@pytest.fixture
def desk(tmp_path: Path, double: OllamaDouble) -> Desk:
    from running import TEMPLATE

    desk = Desk(tmp_path)
    desk.write("judge.toml", TEMPLATE)
    desk.hosts({"only": double.url})
    return desk


def test_a_finished_job_is_exported_with_its_input_in_every_format(desk: Desk, double: OllamaDouble) -> None:
    rows = [*texts(39), ""]
    desk.dataset(rows, label=pa.array([f"label {i}" for i in range(40)]))
    desk.judge(code=3)
    asked = len(double.log)

    said = desk.scorer("export", "judged", "-o", "all.parquet")
    assert "40 rows, 1 of them dead" in said.out
    table = pq.read_table(desk.folder / "all.parquet")
    assert table["row"].to_pylist() == list(range(40))
    assert table["status"].to_pylist() == ["done"] * 39 + ["dead"]

    told = desk.scorer("export", "judged", "-o", "joined.jsonl.gz", "--join", "--json").json
    assert (told["rows"], told["dead"], told["pending"], told["format"]) == (40, 1, 0, "jsonl")
    assert told["columns"][-2:] == ["text", "label"]
    lines = pd.read_json(desk.folder / "joined.jsonl.gz", lines=True)
    assert lines["text"].to_list() == rows
    assert lines["label"].to_list() == [f"label {i}" for i in range(40)]

    desk.scorer("export", "judged", "-o", "some.csv", "--join", "--where", "label LIKE '%7' AND status = 'done'")
    assert pd.read_csv(desk.folder / "some.csv")["row"].to_list() == [7, 17, 27, 37]

    desk.scorer("export", "judged", "-o", "some.csv", code=2)
    desk.scorer("export", "judged", "-o", "some.csv", "--force", "--escape-formulas")
    assert len(double.log) == asked, "an export contacted a host"
    assert desk.scorer("verify", "judged").out == "judged: sound\n"


def test_a_running_job_is_exported_as_far_as_it_is(desk: Desk, double: OllamaDouble) -> None:
    desk.dataset(texts(400))
    with desk.started("run", "rows.parquet", "--prompt", "judge.toml", "--job", "judged") as process:
        wait_for(process, double, lambda double: len(double.generations) > 100)
        told = desk.scorer("export", "judged", "-o", "early.parquet", "--json").json
        finished(process, 0)
    assert told["rows"] > 0
    assert told["rows"] + told["pending"] == 400
    early = pq.read_table(desk.folder / "early.parquet")
    assert early.num_rows == told["rows"]
    desk.scorer("export", "judged", "-o", "late.parquet")
    late = {line["row"]: line for line in pq.read_table(desk.folder / "late.parquet").to_pylist()}
    assert len(late) == 400
    assert all(late[line["row"]] == line for line in early.to_pylist())


def test_empty_objects_of_json_lines_are_text_in_parquet_and_that_is_said(desk: Desk, double: OllamaDouble) -> None:
    lines = [{"text": "a", "meta": {}, "more": {"tags": {}, "n": 1}}, {"text": "b", "meta": {}, "more": None}]
    desk.write("rows.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    desk.scorer("run", "rows.jsonl", *JUDGE[2:])
    said = desk.scorer("export", "judged", "-o", "a.parquet", "--join", "--json")
    assert said.json["rows"] == 2
    assert [line.split("`")[1] for line in said.messages] == ["meta", "more"]
    table = pq.read_table(desk.folder / "a.parquet")
    assert table["meta"].to_pylist() == ["{}", "{}"]
    assert [text and json.loads(text) for text in table["more"].to_pylist()] == [{"tags": {}, "n": 1}, None]


def test_columns_of_the_rarer_types_of_arrow_are_joined_in_every_format(desk: Desk, double: OllamaDouble) -> None:
    columns = {
        "text": pa.array(["a", "b", "c"]),
        "view": pa.array(["u", "v", "w"], pa.string_view()),
        "runs": pa.RunEndEncodedArray.from_arrays(pa.array([1, 3], pa.int32()), pa.array(["x", "y"])),
        "wide": pa.array([Decimal("1.5"), None, Decimal("2.5")], pa.decimal256(70, 2)),
        "hundreds": pa.array([Decimal(100)] * 3, pa.decimal128(5, -2)),
        "interval": pa.array([(1, 2, 3)] * 3, pa.month_day_nano_interval()),
    }
    desk.arrow(columns)
    desk.scorer("run", "rows.arrow", *JUDGE[2:], "--keep", "wide")
    for name in ("all.parquet", "all.jsonl", "all.csv"):
        desk.scorer("export", "judged", "-o", name, "--join")
    table = pq.read_table(desk.folder / "all.parquet")
    assert table["wide"].to_pylist() == columns["wide"].to_pylist()
    for frame in (table.to_pandas(), pd.read_json(desk.folder / "all.jsonl", lines=True)):
        assert list(frame["view"]) == ["u", "v", "w"]
    assert list(pd.read_csv(desk.folder / "all.csv")["runs"]) == ["x", "y", "y"]

    for condition, rows in (("text = 'b'", [1]), ("runs = 'y' AND view <> 'v'", [2])):
        desk.scorer("export", "judged", "-o", "some.parquet", "--force", "--join", "--where", condition)
        assert pq.read_table(desk.folder / "some.parquet")["row"].to_pylist() == rows


def test_what_cannot_be_kept_or_joined_is_told_with_its_column(desk: Desk, double: OllamaDouble) -> None:
    far = pa.array([2**62], pa.int64()).view(pa.timestamp("s"))
    desk.arrow({"text": pa.array(["a"]), "far": far, "hundreds": pa.array([Decimal(100)], pa.decimal128(5, -2))})
    run = ("run", "rows.arrow", *JUDGE[2:])
    for column in ("hundreds", "far"):
        said = desk.scorer(*run, "--keep", column, code=2)
        assert f"--keep {column}: " in said.err
        assert "leave it out" in said.err or "without it" in said.err
    assert not double.generations
    desk.scorer(*run, "--fresh")
    said = desk.scorer("export", "judged", "-o", "a.parquet", "--join", code=2)
    assert len(said.messages) == 1
    assert "the column `far` (timestamp[s])" in said.err
    desk.scorer("export", "judged", "-o", "a.parquet")


MISTAKES = {
    "no file": (("judged",), ("--output",)),
    "no such column": (
        ("judged", "-o", "a.csv", "--where", "scoore > 3"),
        ("scoore", "did you mean score?", "columns:"),
    ),
    "more than a condition": (
        ("judged", "-o", "a.csv", "--where", "1=1); DROP TABLE results; SELECT (1"),
        ("one condition",),
    ),
    "another file": (
        ("judged", "-o", "a.csv", "--where", "row < (SELECT count(*) FROM 'rows.parquet')"),
        ("rows.parquet",),
    ),
    "another dataset": (
        ("judged", "-o", "a.csv", "--join", "--dataset", "other.parquet"),
        ("not the dataset", "--dataset"),
    ),
}


def test_mistakes_are_told_in_a_few_lines_and_leave_nothing_behind(desk: Desk, double: OllamaDouble) -> None:
    desk.dataset(texts(3), label=pa.array(["a", "b", "c"]))
    desk.dataset(texts(4), "other.parquet")
    desk.judge()
    before = sorted(path.name for path in desk.folder.iterdir())
    for name, (arguments, words) in MISTAKES.items():
        said = desk.scorer("export", *arguments, code=2)
        assert said.out == "", name
        if name != "no file":  # the parser's own words
            assert len(said.messages) <= 3, said.err
            assert "leaked" not in said.err
        for word in words:
            assert word in said.err, said.err
    assert sorted(path.name for path in desk.folder.iterdir()) == before


def test_what_was_exported_is_json_for_a_machine(desk: Desk, double: OllamaDouble) -> None:
    desk.dataset(texts(3))
    desk.judge()
    said = desk.scorer("export", "judged", "-o", "a.jsonl", "--where", "row = 1", "--json")
    assert json.loads(said.out) == {
        "job": "judged",
        "file": "a.jsonl",
        "format": "jsonl",
        "rows": 1,
        "dead": 0,
        "pending": 0,
        "bytes": (desk.folder / "a.jsonl").stat().st_size,
        "columns": list(json.loads((desk.folder / "a.jsonl").read_text())),
    }
