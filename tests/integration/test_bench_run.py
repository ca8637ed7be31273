"""`scorer bench run` in its own process, against doubles of Ollama on real sockets.

Doubles answer in prose that is a pure function of the prompt, so what a run must count is known from their own record.
"""

import json
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import bench_jobs
import pyarrow.parquet as pq
import pytest
from doubles.answers import prose
from doubles.ollama import OllamaDouble, Spec
from running import MODEL, Desk, chats, finished, model, wait_for

from scorer.jobs.folder import LOCK, OWNER

OTHER = "qwen2.5:0.5b"

# the adjectives that the doubles' prose is made of
SUITE = """
name = "looks"
source = "made up for this test"
data = "looks.jsonl"
user = "What of {{ thing }}?"
worked = " {{ look }}"
gold = "{{ look }}"
metric = "exact"
answer = "pattern"
pattern = 'looks (\\w+)'
"""
LINES = 60


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A folder with a suite of the user's own and its questions."""
    made = Desk(tmp_path)
    made.write("looks.toml", SUITE)
    rows = ({"thing": f"thing {i}", "look": ("clear", "odd", "dense")[i % 3]} for i in range(LINES))
    made.write("looks.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return made


@contextmanager
def serving(**specs: Spec) -> Iterator[dict[str, OllamaDouble]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(OllamaDouble(spec)) for name, spec in specs.items()}


def results(folder: Path) -> list[dict[str, Any]]:
    """All published results, by row, model and sample."""
    found: list[dict[str, Any]] = pq.read_table(folder / "results").to_pylist()
    return sorted(found, key=lambda row: (row["row"], row["model"], row["sample"]))


def recounted(row: dict[str, Any], case: dict[str, Any]) -> float:
    """The score of a raw completion, counted without scorer."""
    found = re.findall(r"looks (\w+)", row["completion"])
    return float(bool(found) and found[-1] == case["gold"])


def checked(folder: Path, doubles: dict[str, OllamaDouble]) -> list[dict[str, Any]]:
    """Every result must be what a double said to the case's own prompt, scored as an independent count does."""
    cases = pq.read_table(folder / "cases.parquet").to_pylist()
    rows = results(folder)
    for row in rows:
        case = cases[row["row"]]
        assert case["row"] == row["row"]
        assert row["completion"] == prose(case["prompt"])
        assert row["score"] == recounted(row, case)
        assert row["parsed"] is (row["answer"] is not None)
        assert (row["suite"], row["case"], row["gold"]) == (case["suite"], case["case"], case["gold"])
    said = [record for double in doubles.values() for record in double.generations]
    assert {record.user_text for record in said} == {case["prompt"] for case in cases}
    return rows


def test_a_user_s_own_suite_runs_and_the_same_command_asks_nobody_again(desk: Desk) -> None:
    command = ("bench", "run", "looks.toml", "--hosts", "hosts.toml", "--shots", "2")
    with serving(one=Spec(), two=Spec()) as doubles:
        desk.hosts({name: double.url for name, double in doubles.items()})
        first = desk.scorer(*command)
        asked = sum(len(double.log) for double in doubles.values())
        desk.write("looks.jsonl", "the questions may go, once they are frozen")
        desk.scorer(*command)
        assert sum(len(double.log) for double in doubles.values()) == asked

        rows = checked(desk.folder / "runs" / "bench-looks-k2-llama3.2-3b", doubles)
        bodies = [record.body for double in doubles.values() for record in chats(double) if record.body["messages"]]
    assert "looks: 2 of its rows are the worked examples" in first.err
    assert "accuracy: scorer bench report bench-looks-k2-llama3.2-3b" in first.err
    assert len(rows) == LINES - 2
    assert all("format" not in body and [m["role"] for m in body["messages"]] == ["user"] for body in bodies)
    report = desk.scorer("bench", "report", "bench-looks-k2-llama3.2-3b", "--json").json
    (figure,) = report["figures"]
    assert figure["accuracy"]["value"] == pytest.approx(sum(row["score"] for row in rows) / len(rows))


def test_an_interrupted_run_goes_on_wherever_its_folder_is_now(desk: Desk) -> None:
    with serving(one=Spec(overhead_s=0.05)) as doubles:
        desk.hosts({"one": doubles["one"].url})
        with desk.started("bench", "run", "looks.toml", "--hosts", "hosts.toml", "--job", "own") as process:
            wait_for(process, doubles["one"], lambda double: len(double.generations) >= 5)
            process.send_signal(signal.SIGINT)
            finished(process, 130)
        for name in ("looks.toml", "looks.jsonl"):
            (desk.folder / name).unlink()
        (desk.folder / "runs").rename(desk.folder / "moved")
        desk.scorer("resume", "own", "--runs-dir", "moved")

        rows = checked(desk.folder / "moved" / "own", doubles)
    assert len(rows) == LINES
    assert desk.scorer("verify", "own", "--runs-dir", "moved", "--json").json["verdict"] == "sound"
    exported = desk.scorer("export", "own", "--runs-dir", "moved", "-o", "out.jsonl", "--join")
    assert exported.code == 0


def test_each_model_answers_every_question_each_time_it_is_sampled(desk: Desk) -> None:
    small = Spec(models=(model(), model(OTHER)))
    with serving(both=small, one=Spec()) as doubles:
        desk.hosts({name: double.url for name, double in doubles.items()})
        desk.scorer(
            *("bench", "run", "looks.toml", "--hosts", "hosts.toml", "--job", "two", "--limit", "6"),
            *("--model", MODEL, "--model", OTHER, "--samples", "2"),
        )
        rows = checked(desk.folder / "runs" / "two", doubles)
        temperatures = {r.body["options"]["temperature"] for d in doubles.values() for r in d.generations if r.body}
        seeds = {r.body["options"]["seed"] for d in doubles.values() for r in d.generations if r.body}
    assert [(r["row"], r["model"], r["sample"]) for r in rows] == [
        (row, name, sample) for row in range(6) for name in sorted((MODEL, OTHER)) for sample in (0, 1)
    ]
    assert {row["host"] for row in rows if row["model"] == OTHER} == {"both"}
    assert temperatures == {0.7}
    assert seeds == {0, 1}


def test_missing_models_are_pulled_first(desk: Desk) -> None:
    with serving(empty=Spec(models=(), pullable=(model(),))) as doubles:
        desk.hosts({"empty": doubles["empty"].url})
        said = desk.scorer(
            "bench", "run", "looks.toml", "--hosts", "hosts.toml", "--job", "p", "--limit", "3", "--pull"
        )
        assert len(checked(desk.folder / "runs" / "p", doubles)) == 3
    assert f"empty: {MODEL} is there" in said.err


def test_another_run_of_the_same_name_is_refused_with_what_differs(desk: Desk) -> None:
    command = ("bench", "run", "looks.toml", "--hosts", "hosts.toml", "--job", "own")
    with serving(one=Spec()) as doubles:
        desk.hosts({"one": doubles["one"].url})
        desk.scorer(*command, "--limit", "4")
        more = desk.scorer(*command, "--limit", "5", code=2).err
        desk.write("looks.toml", SUITE.replace("What of", "How is"))
        other = desk.scorer(*command, "--limit", "4", code=2).err
        desk.scorer(*command, "--limit", "5", "--fresh")
        assert len(results(desk.folder / "runs" / "own")) == 5
    assert "limit: the job has 4, this run 5" in more
    assert "looks: the suite's file has changed since" in other
    assert (desk.folder / "runs" / "own.1" / "cases.parquet").is_file()


def test_a_run_that_no_host_takes_leaves_nothing_behind(desk: Desk) -> None:
    with serving(one=Spec(models=(model("another:1b"),))) as doubles:
        desk.hosts({"one": doubles["one"].url})
        desk.scorer("bench", "run", "looks.toml", "--hosts", "hosts.toml", "--job", "own", code=2)
    assert not (desk.folder / "runs" / "own").exists()


def test_a_job_that_cannot_be_written_is_told_as_it_is_and_its_questions_go(desk: Desk) -> None:
    in_the_way = desk.folder / "runs" / "own" / "job.toml.tmp"
    in_the_way.mkdir(parents=True)
    with serving(one=Spec()) as doubles:
        desk.hosts({"one": doubles["one"].url})
        failed = desk.scorer("bench", "run", "looks.toml", "--hosts", "hosts.toml", "--job", "own", code=4)
    assert "job.toml: Is a directory" in failed.err
    assert {path.name for path in in_the_way.parent.iterdir()} == {in_the_way.name, LOCK, OWNER}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("gsm8",), 'no suite "gsm8"; did you mean "gsm8k"?'),
        (("looks.toml", "--data", "absent.jsonl"), "absent.jsonl does not exist"),
        (("looks.toml", "looks.toml", "--samples", "2", "--temperature", "0"), "several samples at temperature 0"),
        (("looks.toml", "--shots", "60"), "all 60 rows would be worked examples"),
        (("looks.toml", "--job", "Not A Name"), "cannot be a job's name"),
        (("looks.toml", "--model", "m", "--model", "M:latest"), '"m" and "M:latest" are one model'),
    ],
)
def test_mistakes_are_told_before_any_host_is_asked(desk: Desk, arguments: tuple[str, ...], said: str) -> None:
    desk.hosts({"one": "http://127.0.0.1:9"})
    here = bench_jobs.Desk(desk.folder)

    assert said in here.scorer("bench", "run", *arguments, "--hosts", "hosts.toml", code=2).err
    assert not (desk.folder / "runs").exists()


def test_suites_are_listed_and_shown(desk: Desk) -> None:
    here = bench_jobs.Desk(desk.folder)

    listed = here.scorer("bench", "list", "--json").json
    shown = here.scorer("bench", "show", "gsm8k").out

    assert {"gsm8k", "llmbar", "bbh"} <= {suite["name"] for suite in listed}
    assert "gsm8k" in here.scorer("bench", "list").out
    assert 'name = "gsm8k"' in shown
    assert here.scorer("bench", "show", "looks.toml", "--json").json["text"] == SUITE
