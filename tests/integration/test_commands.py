"""Every command as its users type it: options, what is printed with and without --json, and what mistakes are told."""

import json
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from doubles.ollama import OllamaDouble, Spec
from invariants import check_invariants, read_results
from running import JUDGE, TEMPLATE, Desk, chats, model, texts

LONG = "far too many words " * 400


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A folder with the small template."""
    made = Desk(tmp_path)
    made.write("judge.toml", TEMPLATE)
    return made


@pytest.fixture
def double(desk: Desk) -> Iterator[OllamaDouble]:
    """The only host of the hosts file."""
    with OllamaDouble(Spec()) as serving:
        desk.hosts({"only": serving.url})
        yield serving


# -- rows and their second chances ------------------------------------------------------------------------------------


def test_dead_rows_end_with_3_and_can_be_given_another_try_with_more_room(desk: Desk, double: OllamaDouble) -> None:
    rows = [*texts(4), "", None, " \n\t", LONG]
    desk.dataset(rows)

    said = desk.judge(code=3)
    results = desk.check(rows, {"only": double})
    errors = {row["row"]: row["error"].split(":")[0] for row in results if row["status"] == "dead"}
    assert errors == {4: "empty_prompt", 5: "empty_prompt", 6: "empty_prompt", 7: "context_overflow"}
    assert {record.user_text for record in double.generations} == {*texts(4), LONG}
    assert "empty_prompt: 3, such as row 4" in said.err

    requests = len(double.log)
    again = desk.judge(code=3)
    assert len(double.log) == requests, "a finished job contacted a host"
    assert "scorer retry judged" in again.err

    wrong = desk.scorer("retry", "judged", "--kind", "overflow", code=2)
    assert "context_overflow (1)" in wrong.err
    revived = desk.scorer("retry", "judged", "--kind", "context_overflow", "--num-ctx", "4096")
    assert revived.out == "1 row is pending again; go on with: scorer resume judged\n"
    assert revived.err == "num_ctx is now 4096, was 1024, for all rows that are still to come\n"
    desk.scorer("resume", code=3)
    results = desk.check(rows, {"only": double})
    assert results[7]["status"] == "done"
    assert results[7]["attempts"] == 2
    assert double.generations[-1].body["options"]["num_ctx"] == 4096

    assert desk.scorer("retry", "judged", "--json").json == {"job": "judged", "revived": 3}
    assert desk.scorer("status", "--json").json["pending"] == 3
    desk.judge(code=3)
    desk.check(rows, {"only": double})


def test_verdicts_are_counted_for_all_and_by_host(desk: Desk) -> None:
    rows = texts(30)
    desk.dataset(rows, request=pa.array(rows), answer_a=pa.array(["one"] * 30), answer_b=pa.array(["two"] * 30))
    with OllamaDouble(Spec()) as one, OllamaDouble(Spec()) as other:
        desk.hosts({"one": one.url, "other": other.url})
        said = desk.scorer("run", "rows.parquet", "--prompt", "pairwise", "--job", "pairs")
    results = read_results(desk.folder / "runs" / "pairs")
    status = desk.scorer("status", "pairs", "--json").json
    assert status["scores"] == dict(sorted(Counter(row["score"] for row in results).items()))
    assert set(status["scores"]) == {"A", "B"}
    for name, host in status["hosts"].items():
        assert host["scores"] == Counter(row["score"] for row in results if row["host"] == name)
    for text in (said.err, desk.scorer("status", "pairs").out):
        assert "scores: most often" in text
        assert "by host, from A to B:" in text
    assert desk.scorer("verify", "pairs").out == "pairs: sound\n"


@pytest.mark.parametrize(
    ("pilot", "expected"), [(("--limit", "10"), list(range(10))), (("--sample", "10"), None)], ids=["limit", "sample"]
)
def test_a_pilot_is_the_beginning_of_the_whole_job(
    desk: Desk, double: OllamaDouble, pilot: tuple[str, str], expected: list[int] | None
) -> None:
    rows = texts(50)
    desk.dataset(rows)
    said = desk.judge(*pilot)
    chosen = [row["row"] for row in check_invariants(desk.job, expected=10)]
    if expected is None:
        assert min(chosen) < 10 < 40 <= max(chosen), "a sample is spread over the dataset"
    else:
        assert chosen == expected
    assert "all 50: about" in said.err

    desk.judge()
    desk.check(rows, {"only": double})
    assert len(double.generations) == 50, "the pilot's rows were asked again"


def test_samples_score_each_row_several_times_with_different_seeds(desk: Desk, double: OllamaDouble) -> None:
    rows = texts(6)
    desk.dataset(rows)
    assert "at temperature 0 they are the same answer 2 times" in desk.judge("--samples", "2").err
    results = desk.check(rows, {"only": double}, expected=12)
    assert [(row["row"], row["sample"]) for row in results] == [(i, j) for i in range(6) for j in range(2)]
    seeds: dict[str | None, set[int]] = {}
    for record in double.generations:
        seeds.setdefault(record.user_text, set()).add(record.body["options"]["seed"])
    assert {len(found) for found in seeds.values()} == {2}


def test_several_models_are_all_asked(desk: Desk) -> None:
    rows = texts(8)
    desk.dataset(rows)
    with OllamaDouble(Spec(models=(model("one:1b"), model("two:2b")))) as double:
        desk.hosts({"only": double.url}, model=None)
        desk.judge("--model", "one:1b", "--model", "two:2b")
        results = desk.check(rows, {"only": double}, expected=16)
        loads = [record.load for record in chats(double) if record.load]
    assert {(row["model"], row["row"]) for row in results} == {(m, i) for m in ("one:1b", "two:2b") for i in range(8)}
    assert len(loads) <= 2, "models were loaded again and again"


# -- columns ----------------------------------------------------------------------------------------------------------


def test_kept_columns_arrive_with_their_values_and_types(desk: Desk, double: OllamaDouble) -> None:
    rows = texts(3)
    kept: dict[str, pa.Array] = {
        "id": pa.array([2**60, None, -1], pa.int64()),
        "weight": pa.array([0.1, float("nan"), None], pa.float64()),
        "flag": pa.array([True, False, None]),
        "label": pa.array(["ä", "\N{SNOWMAN}", None], pa.string()),
        "tags": pa.array([["a", None], [], None], pa.list_(pa.string())),
        "at": pa.array([datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), None, None], pa.timestamp("us", "UTC")),
        "blob": pa.array([b"\x00\xff", b"", None], pa.binary()),
    }
    desk.dataset([*rows[:2], ""], **kept)
    desk.judge(*(part for name in kept for part in ("--keep", name)), code=3)

    part = pq.read_table(desk.job / "results" / "part-00000.parquet")
    for name, column in kept.items():
        assert part.schema.field(name).type == column.type, name
    stored = pa.concat_tables([part, pq.read_table(desk.job / "results" / "dead.parquet")]).sort_by("row")
    for name, column in kept.items():
        assert repr(stored[name].to_pylist()) == repr(column.to_pylist()), name
    assert desk.check([*rows[:2], ""], {"only": double})


def test_the_column_is_chosen_and_the_choice_is_printed(desk: Desk, double: OllamaDouble) -> None:
    lines = [json.dumps({"note": "x", "body": text}) for text in texts(4)]
    desk.write("rows.jsonl", "\n".join(lines) + "\n")
    said = desk.scorer("run", "rows.jsonl", "--prompt", "judge.toml", "--job", "chosen")
    assert [line for line in said.messages if "`text`" in line and "`body`" in line and "longest" in line], said.err
    assert {record.user_text for record in double.generations} == set(texts(4))

    desk.scorer("run", "rows.jsonl", "--prompt", "judge.toml", "--job", "mapped", "--column", "text=note")
    assert double.generations[-1].user_text == "x"


# -- one command, one job ---------------------------------------------------------------------------------------------


def test_a_name_that_belongs_to_another_job_is_refused_with_what_differs(desk: Desk, double: OllamaDouble) -> None:
    desk.dataset(texts(5))
    desk.judge()
    desk.dataset(texts(6), name="other.parquet", note=pa.array(["n"] * 6))
    desk.write("strict.toml", TEMPLATE.replace("Judge the text.", "Judge it hard."))
    other = ("--prompt", "strict.toml", "--column", "text=note", "--keep", "note", "--samples", "2", "--model", "m")
    said = desk.scorer("run", "other.parquet", *other, "--job", "judged", code=2)
    for word in ("dataset", "template", "model", "columns", "kept columns", "samples"):
        assert [line for line in said.messages if line.strip().startswith(word + ":")], said.err
    assert "--fresh" in said.err
    assert tomllib.loads((desk.job / "job.toml").read_text())["samples"] == 1, "the job was changed"

    edited = desk.dataset([*texts(4), "changed"])
    said = desk.judge(code=2)
    assert str(edited) in said.err
    assert "other content" in said.err


def test_fresh_begins_anew_and_keeps_the_old_folder(desk: Desk, double: OllamaDouble) -> None:
    rows = texts(5)
    desk.dataset(rows)
    desk.judge()
    before = read_results(desk.job)
    for number in (1, 2):
        said = desk.judge("--fresh")
        assert f"judged.{number}" in said.err
    assert read_results(desk.folder / "runs" / "judged.1") == before
    desk.check(rows, {"only": double})
    assert len(double.generations) == 15
    assert {job["job"] for job in desk.scorer("jobs", "--json").json["jobs"]} == {"judged", "judged.1", "judged.2"}


def test_a_job_goes_on_with_dataset_and_hosts_file_in_another_place(desk: Desk, double: OllamaDouble) -> None:
    rows = texts(20)
    dataset = desk.dataset(rows)
    desk.judge("--limit", "5")
    double.go_down()
    desk.judge("--limit", "10", "--patience", "0.5", code=4)
    double.come_back()
    moved = desk.folder / "elsewhere"
    moved.mkdir()
    dataset.rename(moved / "rows.parquet")
    (desk.folder / "hosts.toml").rename(moved / "fleet.toml")
    assert "scorer" not in desk.scorer("status").err

    said = desk.scorer("resume", "judged", code=2)
    assert "rows.parquet" in said.err
    assert "--dataset" in said.err
    said = desk.scorer("resume", "judged", "--dataset", "elsewhere/rows.parquet", code=2)
    assert "hosts.toml" in said.err
    assert "--hosts" in said.err
    desk.scorer("resume", "judged", "--dataset", "elsewhere/rows.parquet", "--hosts", "elsewhere/fleet.toml")
    assert len(double.generations) == 10

    # what was named is remembered, and a finished job asks nobody
    assert tomllib.loads((desk.job / "job.toml").read_text())["hosts_file"] == str((moved / "fleet.toml").resolve())
    desk.scorer("resume", "judged")
    (moved / "fleet.toml").rename(moved / "again.toml")
    desk.scorer("resume", "judged")
    (moved / "again.toml").rename(moved / "fleet.toml")

    command = ("run", "elsewhere/rows.parquet", "--hosts", "elsewhere/fleet.toml", *JUDGE[2:])
    desk.scorer(*command)
    desk.check(rows, {"only": double})
    assert len(double.generations) == 20


# -- what is printed --------------------------------------------------------------------------------------------------


def test_with_json_a_run_prints_one_event_a_line_and_nothing_else(desk: Desk, double: OllamaDouble) -> None:
    rows = [*texts(9), ""]
    desk.dataset(rows)
    said = desk.judge("--json", code=3)
    kinds = [event["event"] for event in said.events]
    assert {"choice", "started", "host_up", "row_dead", "progress", "ended"} <= set(kinds)
    last = said.events[-1]
    assert (last["event"], last["exit_code"], last["done"], last["dead"]) == ("summary", 3, 9, 1)
    assert all("time" in event for event in said.events)
    log = [json.loads(line) for line in (desk.job / "scorer.log").read_text().splitlines()]
    assert {"started", "host_up", "ended"} <= {line["kind"] for line in log}

    refused = desk.judge("--json", "--keep", "nothing", code=2)
    assert refused.out == ""
    desk.check(rows, {"only": double})


def test_every_command_that_looks_prints_text_or_json(desk: Desk, double: OllamaDouble) -> None:
    rows = [*texts(9), ""]
    desk.dataset(rows)
    desk.judge(code=3)
    asked = len(double.log)

    assert "judged" in desk.scorer("jobs").out
    (job,) = desk.scorer("jobs", "--json").json["jobs"]
    assert (job["job"], job["done"], job["dead"]) == ("judged", 9, 1)

    text = desk.scorer("status", "judged").out
    for word in ("9 done, 1 dead", "only", "scores: mean", "empty_prompt"):
        assert word in text
    found = desk.scorer("status", "--json").json
    assert (found["total"], found["done"], found["dead"], found["pending"]) == (10, 9, 1, 0)
    assert found["hosts"]["only"]["rows"] == 9
    assert sum(found["scores"].values()) == 9
    assert found["dead_by_kind"]["empty_prompt"]["rows"] == 1

    assert desk.scorer("verify", "judged").out == "judged: sound\n"
    assert desk.scorer("verify", "--json").json == {"job": "judged", "verdict": "sound", "findings": []}
    (desk.job / "results" / "part-00000.parquet").unlink()
    repaired = desk.scorer("verify", "--json").json
    assert repaired["verdict"] == "repaired"
    assert repaired["findings"]
    desk.check(rows, {"only": double})
    assert len(double.log) == asked, "a command that only looks contacted a host"


def test_the_prompts_are_listed_shown_and_previewed_as_they_are_sent(desk: Desk, double: OllamaDouble) -> None:
    rows = ["look: <|im_end|> what", *texts(2)]
    desk.dataset(rows)
    names = {entry["name"] for entry in desk.scorer("prompts", "list", "--json").json["prompts"]}
    assert {"quality", "code-quality", "edu", "yes-no"} <= names
    assert names <= {line.split()[0] for line in desk.scorer("prompts", "list").out.splitlines()}
    assert tomllib.loads(desk.scorer("prompts", "show", "quality").out)["name"] == "quality"

    shown = desk.scorer("prompts", "preview", "rows.parquet", "--prompt", "judge.toml", "--row", "0").out
    found = desk.scorer("prompts", "preview", "rows.parquet", "--prompt", "judge.toml", "--json").json
    assert found["user"] in shown
    desk.judge("--limit", "1")
    sent: dict[str, Any] = double.generations[0].body
    assert sent["messages"] == [
        {"role": "system", "content": found["system"]},
        {"role": "user", "content": found["user"]},
    ]
    assert sent["format"] == found["schema"]
    assert found["control_tokens_neutralised"] == 1
    assert "<|im_end|>" not in found["user"]


def test_a_bug_is_one_line_on_the_screen_and_a_traceback_in_the_log(desk: Desk, double: OllamaDouble) -> None:
    desk.dataset(texts(2))
    broken = "import sys; from scorer.jobs import run; run.forecast = None; from scorer.cli import main; main()"
    command = [sys.executable, "-c", broken, *JUDGE]
    said = subprocess.run(command, cwd=desk.folder, env=desk.environment(), capture_output=True, text=True, check=False)
    assert said.returncode == 1
    assert "Traceback" not in said.stderr
    last = said.stderr.splitlines()[-1]
    assert "this is a bug" in last
    assert "scorer.log" in last
    logged = [json.loads(line) for line in (desk.job / "scorer.log").read_text().splitlines()]
    assert "Traceback" in next(line for line in logged if line["kind"] == "bug")["traceback"]


# -- mistakes ---------------------------------------------------------------------------------------------------------

RUN = ("run", "rows.parquet", "--prompt", "judge.toml")
MISTAKES = {
    "no such dataset": (("run", "row.parquet"), ("row.parquet", "rows.parquet")),
    "a dataset of another kind": (("run", "judge.toml"), ("judge.toml", ".parquet")),
    "a broken dataset": (("run", "broken.parquet"), ("broken.parquet",)),
    "no such column": ((*RUN, "--column", "text=txt"), ("txt", "did you mean `text`")),
    "no such variable": ((*RUN, "--column", "txet=text"), ("txet", "`text`")),
    "half a mapping": ((*RUN, "--column", "text"), ("--column text", "VARIABLE=COLUMN")),
    "no such kept column": ((*RUN, "--keep", "lable"), ("lable", "label")),
    "a kept column that clashes": ((*RUN, "--keep", "score"), ("score",)),
    "a dataset that is not UTF-8": (("run", "caf\udce9.parquet"), (r"caf\xe9.parquet", "UTF-8")),
    "a runs folder that is not UTF-8": ((*RUN, "--runs-dir", "r\udce9uns"), (r"r\xe9uns", "UTF-8")),
    "no such template": (("run", "rows.parquet", "--prompt", "qualty"), ("qualty", "quality")),
    "no such template file": (("run", "rows.parquet", "--prompt", "./mine.toml"), ("mine.toml",)),
    "a template with a wrong key": (("run", "rows.parquet", "--prompt", "wrong.toml"), ("wrong.toml", "num_predict")),
    "no such hosts file": ((*RUN, "--hosts", "host.toml"), ("host.toml",)),
    "a hosts file with a wrong key": ((*RUN, "--hosts", "wrong-hosts.toml"), ("wrong-hosts.toml", "slots")),
    "a hosts file that is no TOML": ((*RUN, "--hosts", "no-toml.toml"), ("no-toml.toml", "line")),
    "a job name that leads elsewhere": ((*RUN, "--job", "../elsewhere"), ("../elsewhere", "lower-case")),
    "an empty job name": ((*RUN, "--job", ""), ("''", "lower-case")),
    "an empty name of a benchmark": (("bench", "run", "arc", "--job", ""), ("''", "lower-case")),
    "one model in two cases": (
        (*RUN, "--model", "llama3.2:3b", "--model", "LLAMA3.2:3B"),
        ('"llama3.2:3b" and "LLAMA3.2:3B" are one model', "name it once"),
    ),
    "one model with and without its tag": (
        (*RUN, "--model", "mistral", "--model", "other", "--model", "mistral:latest"),
        ('"mistral" and "mistral:latest" are one model',),
    ),
    "a dataset with a name too long for a file": (("run", f"{'d' * 300}.csv"), ("File name too long",)),
    "a template with a name too long for a file": ((*RUN[:2], "--prompt", "t" * 300), ("File name too long",)),
    "a suite with a name too long for a file": (("bench", "show", "s" * 300), ("File name too long",)),
    "a runs folder with a name too long for one": ((*RUN, "--runs-dir", "r" * 300), ("File name too long",)),
    "a hosts file that is a link to itself": ((*RUN, "--hosts", "circle.toml"), ("circle.toml", "symbolic links")),
    "two kinds of pilot": ((*RUN, "--limit", "1", "--sample", "1"), ("--limit", "--sample")),
    "status without jobs": (("status",), ("runs",)),
    "resume without jobs": (("resume",), ("runs",)),
    "no such job": (("status", "nothing", "--runs-dir", "."), ("nothing",)),
    "a runs folder of no jobs that is not UTF-8": (("status", "--runs-dir", "r\udce9uns"), (r"r\xe9uns", "UTF-8")),
    "a row beyond the end": (("prompts", "preview", "rows.parquet", "--row", "99"), ("99", "2")),
    "no such template to show": (("prompts", "show", "nothing"), ("nothing", "quality")),
    "verify without jobs": (("verify",), ("runs",)),
    "retry without jobs": (("retry", "nothing"), ("nothing",)),
}


@pytest.mark.parametrize(("arguments", "words"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_told_in_a_line_or_two(desk: Desk, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    desk.dataset(texts(2), score=pa.array([1, 2]), label=pa.array(["a", "b"]))
    desk.write("broken.parquet", "this is no Parquet")
    desk.write("wrong.toml", TEMPLATE.replace("num_predict", "num_perdict"))
    desk.write("wrong-hosts.toml", '[[hosts]]\nname = "a"\nurl = "http://127.0.0.1:1"\nslot = 2\n')
    desk.write("no-toml.toml", "[[hosts\n")
    (desk.folder / "circle.toml").symlink_to("circle.toml")
    desk.hosts({"a": "http://127.0.0.1:1"})
    said = desk.scorer(*arguments, code=2)
    assert said.out == ""
    assert len(said.messages) <= 3, said.err
    assert said.messages[-1]
    for word in words:
        assert word in said.err, said.err
    assert not (desk.folder / "runs").exists()


def test_a_folder_that_is_not_utf8_is_refused_before_a_job_begins_in_it(tmp_path: Path, double: OllamaDouble) -> None:
    old = Desk(tmp_path / "d\udce9")
    old.folder.mkdir()
    old.write("judge.toml", TEMPLATE)
    rows = Desk(tmp_path).dataset(texts(2))
    for dataset in ("rows.parquet", str(rows)):
        said = old.scorer("run", dataset, "--prompt", "judge.toml", "--hosts", str(tmp_path / "hosts.toml"), code=2)
        (line,) = said.messages
        assert r"/d\xe9/" in line
        assert "is not UTF-8" in line
    assert not (old.folder / "runs").exists()
    assert double.log == []
