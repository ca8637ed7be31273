"""The library as programs use it: results as they come, and an orderly end however a loop is left."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import numpy as np
import pyarrow as pa
import pytest
from doubles.ollama import OllamaDouble
from running import Desk, desk_of_this_process, finished, texts, wait_for

import scorer
from scorer.errors import NoHostsLeft, UsageError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def double() -> Iterator[OllamaDouble]:
    with OllamaDouble() as double:
        yield double


@pytest.fixture
def desk(tmp_path: Path, double: OllamaDouble, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return desk_of_this_process(tmp_path, double.url, monkeypatch)


@pytest.fixture(autouse=True)
def no_thread_stays_behind() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "scorer-job"]


def score(rows: object, **options: object) -> Iterator[scorer.Result]:
    return scorer.score(rows, prompt="judge.toml", **options)  # type: ignore[arg-type]


# -- results ----------------------------------------------------------------------------------------------------------


def test_rows_are_scored_and_the_same_rows_are_the_same_job(desk: Desk, double: OllamaDouble) -> None:
    rows = [{"text": text, "id": f"id {i}"} for i, text in enumerate([*texts(30), ""])]
    results = list(score(rows, keep=["id"]))
    assert sorted(result.row for result in results) == list(range(31))
    assert all(result.kept["id"] == f"id {result.row}" for result in results)
    *done, dead = results
    assert all(result.done and result.score in range(1, 11) and result.host == "only" for result in done)
    assert (dead.row, dead.status, dead.score, dead.fields) == (30, "dead", None, {})
    assert (dead.error or "").startswith("empty_prompt:")
    said = {record.user_text: record.content for record in double.generations}
    assert all(result.completion == said[rows[result.row]["text"]] for result in done)

    asked = len(double.log)
    again = list(score(iter(rows), keep=["id"]))
    assert {result.row: result for result in again} == {result.row: result for result in results}
    assert len(double.log) == asked, "a finished job contacted a host"
    (job,) = [path.name for path in (desk.folder / "runs").iterdir() if not path.name.startswith(".")]
    assert desk.scorer("verify", job).out == f"{job}: sound\n"


def test_a_dataset_is_scored_by_its_path_under_a_name(desk: Desk, double: OllamaDouble) -> None:
    desk.dataset(texts(20), when=pa.array(range(20), pa.timestamp("s")))
    results = list(
        score(Path("rows.parquet"), job="mine", models=["llama3.2:3b"], limit=np.int64(5), keep=["when"], samples=2)
    )
    assert sorted((result.row, result.sample) for result in results) == [(row, s) for row in range(5) for s in (0, 1)]
    assert {result.kept["when"].second for result in results} == {0, 1, 2, 3, 4}  # type: ignore[attr-defined]
    assert desk.scorer("status", "mine", "--json").json["done"] == 10


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_in_async_code_results_come_while_the_job_runs(desk: Desk, double: OllamaDouble, backend: str) -> None:
    async def main() -> tuple[int, int, str]:
        async with scorer.open_job(texts(300), prompt="judge.toml") as run:
            early = 0
            seen = set()
            async for result in run:
                early += (await run.status()).counts.pending > 0 if len(seen) < 5 else 0
                seen.add(result.row)
            return early, len(seen), (await run.status()).state

    early, count, state = anyio.run(main, backend=backend)
    assert (count, state) == (300, "finished")
    assert early > 0, "every result came only at the end"


# -- ends -------------------------------------------------------------------------------------------------------------


def test_a_loop_that_is_left_ends_the_job_and_the_next_goes_on(desk: Desk, double: OllamaDouble) -> None:
    rows = texts(600)
    for result in score(rows, job="mine"):
        assert result.done
        break

    def fail() -> None:
        for _ in score(rows, job="mine"):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    status = desk.scorer("status", "mine", "--json").json
    assert status["state"] == "interrupted"
    assert status["pending"] > 0
    results = list(score(rows, job="mine"))
    assert sorted(result.row for result in results) == list(range(600))
    assert max(result.attempts for result in results) <= 2
    desk.check(rows, {"only": double}, job=desk.folder / "runs" / "mine")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_async_code_that_breaks_raises_or_is_cancelled_ends_the_job_too(
    desk: Desk, double: OllamaDouble, backend: str
) -> None:
    rows = texts(600)

    async def main() -> None:
        async with scorer.open_job(rows, prompt="judge.toml", job="mine") as run:
            async for _ in run:
                break
        with pytest.raises(ZeroDivisionError):
            async with scorer.open_job(rows, prompt="judge.toml", job="mine") as run:
                raise ZeroDivisionError
        with anyio.CancelScope() as scope:
            async with scorer.open_job(rows, prompt="judge.toml", job="mine") as run:
                scope.cancel()
                async for _ in run:
                    pass
        assert scope.cancelled_caught
        async with scorer.open_job(rows, prompt="judge.toml", job="mine") as run:
            assert len({result.row async for result in run}) == 600

    anyio.run(main, backend=backend)
    desk.check(rows, {"only": double}, job=desk.folder / "runs" / "mine")


PROGRAM = """
import scorer, sys
print("begun", flush=True)
for result in scorer.score([f"text number {i}" for i in range(6000)], prompt="judge.toml", job="mine"):
    pass
"""


def test_ctrl_c_ends_a_program_in_order(desk: Desk, double: OllamaDouble) -> None:
    command = [sys.executable, "-c", PROGRAM]
    process = subprocess.Popen(
        command, env=desk.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=desk.folder
    )
    with process:
        wait_for(process, double, lambda double: len(double.generations) > 50)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode in (-signal.SIGINT, 130)
    assert said.splitlines()[-1] == "KeyboardInterrupt"
    assert desk.scorer("status", "mine", "--json").json["state"] == "interrupted"
    assert desk.scorer("verify", "mine").out == "mine: sound\n"


# -- mistakes ---------------------------------------------------------------------------------------------------------

MISTAKES: dict[str, tuple[object, dict[str, object], str]] = {
    "no such template": (["a"], {"prompt": "./no.toml"}, "no.toml"),
    "no such dataset": ("no.parquet", {}, "no.parquet"),
    "no such hosts file": (["a"], {"hosts": "no.toml"}, "no.toml"),
    "no such column": ([{"text": "a"}], {"keep": ["lable"]}, "lable"),
    "a name for a list": ([{"text": "a"}], {"keep": "text"}, "keep=['text']"),
    "one mapping": ({"text": "a"}, {}, "mappings or texts"),
    "bytes": (b"a", {}, "mappings or texts"),
    "a table": (pa.table({"text": ["a"]}), {}, "to_pylist"),
    "a number": ([1], {}, "row 0 is of type int"),
    "no JSON": ([{"text": "a"}, {"text": object()}], {}, "row 1"),
    "no number": ([{"text": float("nan")}], {}, "row 0"),
    "no rows": ([], {}, "no rows"),
    "an empty name": ("", {}, "the dataset's name is empty"),
    "a job in another folder": (["a"], {"job": "../elsewhere"}, "'../elsewhere' cannot be a job's name"),
    "a job in a folder of a job": (["a"], {"job": "a/b"}, "cannot be a job's name"),
    "a job at a path": (["a"], {"job": "/elsewhere"}, "cannot be a job's name"),
    "a job of two words": (["a"], {"job": "Has Space"}, "lower-case letters"),
    "an empty job name": (["a"], {"job": ""}, "'' cannot be a job's name"),
    "a path for a name": (["a"], {"job": Path("mine")}, "give the job's name as a text"),
    "one model in two cases": (["a"], {"models": ["m:1b", "M:1B"]}, '"m:1b" and "M:1B" are one model'),
    "no name of a model": (["a"], {"models": ["m:1b", 7]}, "7 is none"),
    "no row": (["a"], {"limit": 0}, "limit=0: give a whole number from 1 on"),
    "fewer rows than none": (["a"], {"limit": -3}, "limit=-3"),
    "a part of a row": (["a"], {"limit": 1.5}, "limit=1.5"),
    "whether there is a limit": (["a"], {"limit": True}, "limit=True"),
    "no sample": (["a"], {"samples": 0}, "samples=0: give a whole number from 1 to 1000"),
    "fewer samples than none": (["a"], {"samples": -1}, "samples=-1"),
    "part of a sample": (["a"], {"samples": 2.5}, "samples=2.5"),
    "a number as a text": (["a"], {"samples": "2"}, "samples='2'"),
    "too many samples": (["a"], {"samples": 1001}, "samples=1001"),
    "no patience at all": (["a"], {"patience_s": -1}, "patience_s=-1"),
    "patience that is no number": (["a"], {"patience_s": float("nan")}, "patience_s=nan"),
}


@pytest.mark.parametrize(("rows", "options", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_raised_before_any_row(desk: Desk, rows: object, options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError) as told:
        list(scorer.score(rows, **{"prompt": "judge.toml", **options}))  # type: ignore[arg-type]
    assert words in str(told.value)

    async def main() -> None:
        async with scorer.open_job(rows, **{"prompt": "judge.toml", **options}):  # type: ignore[arg-type]
            raise AssertionError("it was entered")

    with pytest.raises(UsageError):
        anyio.run(main)
    runs = desk.folder / "runs"
    assert not runs.exists() or [path.name for path in runs.iterdir()] == [".rows"]
    assert not list(runs.glob(".rows/*.tmp"))
    assert not (desk.folder / "elsewhere").exists()


def test_no_row_is_read_before_the_options_were_looked_at(desk: Desk) -> None:
    rows = iter(["a", "b"])
    with pytest.raises(UsageError, match="cannot be a job's name"):
        list(score(rows, job="../elsewhere"))
    assert list(rows) == ["a", "b"]


def test_other_rows_under_the_same_name_are_refused(desk: Desk, double: OllamaDouble) -> None:
    list(score(["one"], job="mine"))
    with pytest.raises(UsageError, match="job mine exists and is another one"):
        list(score(["two"], job="mine"))


def test_hosts_that_go_away_for_good_are_an_error_after_what_was_scored(desk: Desk, double: OllamaDouble) -> None:
    results: list[scorer.Result] = []

    def use() -> None:
        for result in score(texts(300), patience_s=0.5):
            results.append(result)
            double.go_down()

    with pytest.raises(NoHostsLeft):
        use()
    assert 0 < len(results) < 300


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_inside_an_event_loop_the_plain_loop_says_what_to_write(desk: Desk, backend: str) -> None:
    async def main() -> None:
        with pytest.raises(UsageError, match="async with scorer"):
            score(["a"])

    anyio.run(main, backend=backend)


def test_a_job_is_entered_once(desk: Desk, double: OllamaDouble) -> None:
    async def main() -> None:
        run = scorer.open_job(["a"], prompt="judge.toml")
        with pytest.raises(UsageError, match="not begun"):
            _ = run.folder
        async with run:
            assert [result.row async for result in run] == [0]
        with pytest.raises(UsageError, match="entered once"):
            async with run:
                pass

    anyio.run(main)


# -- the package ------------------------------------------------------------------------------------------------------


def test_importing_scorer_imports_nothing_else() -> None:
    program = "import sys, scorer; scorer.__version__; print(*(n for n in sys.modules if n.startswith('scorer')))"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["scorer"]


def test_every_name_of_the_package_is_there_and_no_other() -> None:
    for name in scorer.__all__:
        assert getattr(scorer, name) is not None
    assert set(dir(scorer)) == set(scorer.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = scorer.nothing  # type: ignore[attr-defined]


def test_the_types_of_the_package_name_what_it_has() -> None:
    stub = (ROOT / "scorer" / "__init__.pyi").read_text(encoding="utf-8")
    for name in scorer.__all__:
        assert name in stub


def test_the_example_runs(desk: Desk, double: OllamaDouble) -> None:
    command = [sys.executable, str(ROOT / "examples" / "library.py"), "hosts.toml"]
    environment = {**desk.environment(), "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=desk.folder
    ) as process:
        said = finished(process, 0)
    lines = said.out.splitlines()
    assert len(lines) == 6
    assert lines[4].startswith("the best: ")
    assert lines[5].startswith("4 results in runs/rows-")
