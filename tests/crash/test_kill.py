"""`kill -9`, SIGSTOP and chosen crash points on the real command over real sockets: nothing is lost, nothing is twice.

Readers of a running job are here too: `scorer status`, pandas and `datasets` look in from processes of their own.
"""

import json
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from doubles.ollama import OllamaDouble, Spec
from killing import SLOTS, Desk, campaign, count_committed, some_rows, verify, wait_while
from running import JUDGE, RUN_TIMEOUT_S, TEMPLATE, finished, texts, wait_for

from scorer.failpoints import CRASH_STATUS

KILLS = 10
MANY_ROWS = 100_000
STOPPED_S = 2.5

PLACES_OF_A_RUN = (
    "enqueue-written",
    "enqueue-done",
    "commit-begun",
    "commit-written",
    "commit-done",
    "part-begun",
    "part-fixed",
    "part-written",
    "part-synced",
    "part-replaced",
    "part-published",
    "part-recorded",
    "dead-begun",
    "dead-published",
    "manifest-begun",
    "manifest-published",
)
PLACES_OF_A_RETRY = ("retry-begun", "retry-removed", "retry-written", "retry-done")

READ_AS_A_USER_DOES = """
import json, sys
import datasets, pandas
results = sys.argv[1]
frame = pandas.read_parquet(results)
loaded = datasets.load_dataset("parquet", data_dir=results, split="train", cache_dir="cache")
print(json.dumps({"pandas": sorted(frame["row"].tolist()), "datasets": sorted(loaded["row"])}))
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A folder with the small template."""
    made = Desk(tmp_path)
    made.write("judge.toml", TEMPLATE)
    return made


@pytest.fixture
def double() -> Iterator[OllamaDouble]:
    """A host that does about a hundred rows a second."""
    with OllamaDouble(Spec(overhead_s=0.04, slots=SLOTS, prefix_cache=False, cancel_poll_s=0)) as running:
        yield running


def answered(double: OllamaDouble) -> int:
    return sum(record.outcome == "answered" for record in double.generations)


# -- kill -9 ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("small_parts", [False, True], ids=["parts of usual size", "parts being published all the time"])
def test_a_job_that_is_killed_ten_times_ends_with_each_row_once(tmp_path: Path, small_parts: bool) -> None:
    report = campaign(tmp_path, KILLS, seed=11 + small_parts, small_parts=small_parts)
    print("\n".join(report.lines()))  # noqa: T201  (the figures, for `pytest -s` and for failures)
    assert len(report.deaths) == KILLS
    assert all(death.in_flight and death.committed for death in report.deaths)
    assert report.parts > 10 if small_parts else report.parts == 1
    # a duplicate of a running row pays at the end only, and there is a tenth of the slots for it
    assert report.hedges <= 2


def test_a_kill_while_a_large_job_is_submitted_leaves_what_the_same_command_goes_on_with(
    desk: Desk, double: OllamaDouble
) -> None:
    desk.dataset(texts(MANY_ROWS))
    desk.hosts({"a": double.url}, slots=SLOTS)
    rng = random.Random(5)
    for sign in ("job.lock", "job.toml", "queue.sqlite", "queue.sqlite-wal", "queue.sqlite-wal", "job.owner.json"):
        before = _sizes(desk.job)
        with desk.started(*JUDGE) as process:
            wait_while(lambda sign=sign, before=before: _sizes(desk.job).get(sign, 0) <= before.get(sign, -1))
            threading.Event().wait(rng.uniform(0, 0.1))  # the instant is what is drawn: nothing is being waited for
            process.kill()
            process.communicate()
        assert not double.generations, "the kill came too late to be one of the start"
        if (desk.job / "job.toml").exists():
            verify(_copy(desk.job))
    with desk.started(*JUDGE) as process:
        wait_for(process, double, lambda double: answered(double) >= 30)
        process.send_signal(signal.SIGINT)
        finished(process, 130)
    status = desk.scorer("status", "--json").json
    assert (status["total"], status["done"]) == (MANY_ROWS, answered(double))
    desk.check(texts(MANY_ROWS), {"a": double}, expected=answered(double))


def _sizes(job: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in job.glob("*")} if job.exists() else {}


def _copy(job: Path) -> Path:
    """A copy of a job at rest, so that looking at it changes nothing of what the next run finds."""
    copy = job.parent.parent / "copies" / job.name
    shutil.rmtree(copy, ignore_errors=True)
    return Path(shutil.copytree(job, copy))


# -- every crash point once, through the command itself ---------------------------------------------------------------------


def test_a_job_that_crashes_at_every_place_in_turn_ends_with_each_row_once(
    desk: Desk, double: OllamaDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = some_rows(50)
    desk.dataset(rows)
    desk.hosts({"a": double.url}, slots=SLOTS)
    stored = 0
    for place in PLACES_OF_A_RUN:
        monkeypatch.setenv("SCORER_FAILPOINT", place)
        desk.judge(code=CRASH_STATUS)
        monkeypatch.delenv("SCORER_FAILPOINT")
        verify(_copy(desk.job))
        assert count_committed(desk.job) >= stored, place
        stored = count_committed(desk.job)
    desk.judge(code=3)
    desk.check(rows, {"a": double})

    for place in PLACES_OF_A_RETRY:
        monkeypatch.setenv("SCORER_FAILPOINT", place)
        desk.scorer("retry", "judged", code=CRASH_STATUS)
        monkeypatch.delenv("SCORER_FAILPOINT")
        verify(_copy(desk.job))
        status = desk.scorer("status", "--json").json
        revived = place == "retry-done"
        assert (status["pending"], status["dead"]) == ((2, 0) if revived else (0, 2)), place
    desk.scorer("resume", code=3)
    desk.check(rows, {"a": double})


# -- a process that is stopped for a while ------------------------------------------------------------------------------------


def test_a_run_that_is_stopped_for_longer_than_its_deadlines_goes_on(desk: Desk, double: OllamaDouble) -> None:
    rows = texts(150)
    desk.dataset(rows)
    desk.hosts({"a": double.url}, slots=SLOTS, min_deadline_s=1)
    with desk.started(*JUDGE) as process:
        wait_for(process, double, lambda double: answered(double) >= 30)
        process.send_signal(signal.SIGSTOP)
        stopped = len(double.generations)
        threading.Event().wait(STOPPED_S)  # how long it is stopped is what is tested: nothing is being waited for
        assert len(double.generations) <= stopped + SLOTS, "it was not stopped"
        process.send_signal(signal.SIGCONT)
        finished(process, 0)
    results = desk.check(rows, {"a": double})
    assert {row["status"] for row in results} == {"done"}
    assert len(double.generations) <= len(rows) + SLOTS, "more was asked again than what was in flight"


# -- looking in while it runs -------------------------------------------------------------------------------------------------


def test_status_pandas_and_datasets_read_a_job_while_it_runs(desk: Desk, double: OllamaDouble) -> None:
    rows = texts(600)
    desk.dataset(rows)
    desk.hosts({"a": double.url}, slots=SLOTS)
    with desk.started(*JUDGE) as process:
        wait_for(process, double, lambda double: answered(double) >= 40)
        assert not list((desk.job / "results").glob("*")), "nothing is published in the first minute"
        process.send_signal(signal.SIGINT)
        finished(process, 130)
    first = desk.scorer("status", "--json").json
    double.set_speed(0.1)
    with desk.started(*JUDGE) as process:
        wait_while(lambda: process.poll() is None and count_committed(desk.job) == first["done"])
        seen = _read_as_a_user_does(desk)
        status = desk.scorer("status", "--json").json
        assert process.poll() is None, "the job had ended before it was read"
        assert status["state"] == "running"
        assert first["done"] < status["done"] < len(rows)
        assert status["hosts"]["a"]["rows"] == status["done"]
        double.set_speed(10)
        finished(process, 0)
    assert len(seen["pandas"]) == len(set(seen["pandas"])) == first["done"]
    assert seen["datasets"] == seen["pandas"]
    desk.check(rows, {"a": double})
    assert _read_as_a_user_does(desk) == {"pandas": list(range(600)), "datasets": list(range(600))}


def _read_as_a_user_does(desk: Desk) -> dict[str, list[int]]:
    read = subprocess.run(
        [sys.executable, "-c", READ_AS_A_USER_DOES, str(desk.job / "results")],
        cwd=desk.folder,
        env=desk.environment() | {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    assert read.returncode == 0, read.stderr
    return dict(json.loads(read.stdout.splitlines()[-1]))
