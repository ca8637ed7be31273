"""Which suites a job asks, where their rows are, and the file of cases that is frozen."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from syncs import Syncs

from scorer.bench.answers import CASE_COLUMNS
from scorer.bench.prepare import SCHEMA, all_cases, asked_suite, files_by_suite, write_cases
from scorer.errors import UsageError
from scorer.suites.battery import AskedSuite
from scorer.suites.catalogue import find


def tasks(folder: Path, *names: str) -> Path:
    """Files of BBH tasks with five questions each."""
    examples = [{"input": f"Which, {i}?\nOptions:\n(A) this\n(B) that", "target": "(A)"} for i in range(5)]
    for name in names:
        (folder / name).write_text(json.dumps({"canary": "x", "examples": examples}))
    return folder


def asked(name: str, **given: str) -> AskedSuite:
    (part,) = find(name)
    return asked_suite(part, None, {name: given["data"]} if "data" in given else {}, {})


def test_a_suite_without_files_of_ours_is_the_hub_s() -> None:
    one = asked("gsm8k")

    assert (one.data, one.examples, one.shots) == ("hf://openai/gsm8k:main/test", "hf://openai/gsm8k:main/train", 5)


def test_a_file_of_ours_gives_its_own_worked_examples(tmp_path: Path) -> None:
    one = asked("gsm8k", data=str(tmp_path / "test.jsonl"))

    assert (one.data, one.examples) == (str(tmp_path / "test.jsonl"), "")


def test_a_suite_s_own_file_lies_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\nsource = "x"\ndata = "q.jsonl"\nuser = "{{ q }}"\ngold = "{{ a }}"\nmetric = "exact"\n'
        'answer = "text"\n'
    )
    (part,) = find(str(path))

    assert asked_suite(part, None, {}, {}).data == str(tmp_path / "q.jsonl")


def test_a_folder_serves_each_subset_with_the_file_of_its_name(tmp_path: Path) -> None:
    tasks(tmp_path, "bbh_snarks.json", "navigate.json")
    (part,) = find("bbh/snarks")

    assert asked_suite(part, None, {"bbh": str(tmp_path)}, {}).data == str(tmp_path / "bbh_snarks.json")
    (absent,) = find("bbh/hyperbaton")
    with pytest.raises(UsageError, match="no file for bbh/hyperbaton; name it: --data bbh/hyperbaton=FILE"):
        asked_suite(absent, None, {"bbh": str(tmp_path)}, {})


def test_files_are_given_by_suite_or_alone_for_the_only_one() -> None:
    both = [*find("gsm8k"), *find("bbh/snarks")]

    assert files_by_suite(["gsm8k=a.jsonl", "bbh/snarks=b.json"], both, "--data") == {
        "gsm8k": "a.jsonl",
        "bbh/snarks": "b.json",
    }
    assert files_by_suite(["a.jsonl"], find("gsm8k"), "--data") == {"gsm8k": "a.jsonl"}
    with pytest.raises(UsageError, match="of which suite"):
        files_by_suite(["a.jsonl"], both, "--data")
    with pytest.raises(UsageError, match='did you mean "gsm8k"'):
        files_by_suite(["gsm8=a.jsonl"], both, "--data")


def test_cases_are_written_as_the_reports_read_them(tmp_path: Path) -> None:
    tasks(tmp_path, "bbh_snarks.json")
    one = asked("bbh/snarks", data=str(tmp_path / "bbh_snarks.json"))

    cases, notes = all_cases([one], None)
    path = write_cases(tmp_path / "job", cases)

    table = pq.read_table(path)
    assert table.schema.equals(SCHEMA)
    assert set(CASE_COLUMNS) <= set(table.column_names)
    assert table["row"].to_pylist() == [0, 1]
    assert table["suite"].unique().to_pylist() == ["bbh/snarks"]
    assert notes[-1].startswith("bbh/snarks: 2 questions from ")
    assert [file.name for file in path.parent.iterdir()] == ["cases.parquet"]


def test_the_same_rows_give_the_same_file(tmp_path: Path) -> None:
    tasks(tmp_path, "bbh_snarks.json")
    one = asked("bbh/snarks", data=str(tmp_path / "bbh_snarks.json"))

    files = [write_cases(tmp_path / name, all_cases([one], 2)[0]) for name in ("a", "b")]

    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_power_cut_takes_no_questions_away_once_they_are_written(tmp_path: Path) -> None:
    tasks(tmp_path, "bbh_snarks.json")
    cases, _ = all_cases([asked("bbh/snarks", data=str(tmp_path / "bbh_snarks.json"))], None)
    syncs = Syncs()

    with syncs.watched():
        path = write_cases(tmp_path / "runs" / "job", cases)

    assert syncs.keeps(path, tmp_path)
