"""`scorer export` as its users run it: during a run, after it, with and without --json, and with mistakes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from doubles.ollama import OllamaDouble
from running import Desk, finished, texts, wait_for


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
