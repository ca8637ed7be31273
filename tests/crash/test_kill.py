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
from killing import IN_FLIGHT, SLOTS, Desk, campaign, count_committed, some_rows, stops, verify
from running import JUDGE, RUN_TIMEOUT_S, TEMPLATE, finished, texts, wait_for, wait_while

from scorer.failpoints import CRASH_STATUS
from scorer.jobs.look import latest_unfinished, status

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
    "manifest-synced",
    "manifest-replaced",
    "manifest-published",
)
AFTER_PUBLISHING = ("manifest-begun", "manifest-synced", "manifest-replaced", "manifest-published")
"""All rows are published by then: `resume` without a name finds nothing that is unfinished."""
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


# -- kill -9 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("small_parts", [False, True], ids=["usual parts", "parts published all the time"])
def test_a_job_that_is_killed_ten_times_ends_with_each_row_once(tmp_path: Path, small_parts: bool) -> None:
    report = campaign(tmp_path, KILLS, seed=11 + small_parts, small_parts=small_parts)
    print("\n".join(report.lines()))  # noqa: T201  (the figures, for `pytest -s` and for failures)
    assert len(report.deaths) == KILLS
    assert all(death.in_flight and death.committed for death in report.deaths)
    assert report.parts > 10 if small_parts else report.parts == 1
    assert report.hedges <= IN_FLIGHT, "second copies of running rows pay at the very end only"


def test_a_kill_while_a_large_job_is_submitted_leaves_what_the_same_command_goes_on_with(
    desk: Desk, double: OllamaDouble
) -> None:
    desk.dataset(texts(MANY_ROWS))
    rng = random.Random(5)
    submitted: list[int] = []
    with OllamaDouble(Spec(load_s=RUN_TIMEOUT_S)) as loading:  # so that no row is asked, however slow this machine is
        desk.hosts({"a": loading.url}, slots=SLOTS)
        for sign in (desk.job, *[desk.job / "job.toml"] * 5):
            _kill_at_change(desk, sign, delay_s=rng.uniform(0, 0.2) if submitted else 0)
            copy = _copy(desk.job)
            if (copy / "job.toml").exists():
                assert latest_unfinished(copy.parent) == copy
                verify(copy)
                submitted.append(status(copy).counts.pending)
            else:
                submitted.append(0)
    assert submitted[0] == 0, "the first kill came too late"
    assert set(submitted) <= {0, MANY_ROWS}, "some of the rows were submitted, and some not"
    desk.hosts({"a": double.url}, slots=SLOTS)
    with desk.started(*JUDGE) as process:
        wait_for(process, double, lambda double: answered(double) >= 30)
        process.send_signal(signal.SIGINT)
        finished(process, 130)
    found = status(desk.job).counts
    assert (found.total, found.done) == (MANY_ROWS, answered(double))
    desk.check(texts(MANY_ROWS), {"a": double}, expected=answered(double))


def _kill_at_change(desk: Desk, sign: Path, delay_s: float) -> None:
    """Kill a run so long after a file has appeared or changed."""
    before = sign.stat().st_mtime_ns if sign.exists() else None
    with desk.started(*JUDGE) as process:
        wait_while(lambda: not sign.exists() or sign.stat().st_mtime_ns == before)
        threading.Event().wait(delay_s)  # the instant is what is drawn: nothing is being waited for
        assert process.poll() is None
        process.kill()
        process.communicate()


def _copy(job: Path) -> Path:
    """A copy of a job at rest, so that looking at it changes nothing of what the next run finds."""
    copy = job.parent.parent / "copies" / job.name
    shutil.rmtree(copy, ignore_errors=True)
    return Path(shutil.copytree(job, copy))


# -- every crash point once, through the command itself ---------------------------------------------------------------


def test_a_job_that_crashes_at_every_place_in_turn_ends_with_each_row_once(
    desk: Desk, double: OllamaDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = some_rows(50)
    desk.dataset(rows)
    desk.hosts({"a": double.url}, slots=SLOTS)
    stored = 0
    for place in PLACES_OF_A_RUN:
        monkeypatch.setenv("SCORER_FAILPOINT", place)
        command = ["resume"] if desk.job.exists() and place not in AFTER_PUBLISHING else [*JUDGE]
        desk.scorer(*command, code=CRASH_STATUS)
        verify(_copy(desk.job))
        assert count_committed(desk.job) >= stored, place
        stored = count_committed(desk.job)
    monkeypatch.delenv("SCORER_FAILPOINT")
    desk.judge(code=3)
    desk.check(rows, {"a": double})

    for place in PLACES_OF_A_RETRY:
        monkeypatch.setenv("SCORER_FAILPOINT", place)
        desk.scorer("retry", "judged", code=CRASH_STATUS)
        verify(_copy(desk.job))
        found = status(desk.job).counts
        assert (found.pending, found.dead) == ((2, 0) if place == "retry-done" else (0, 2)), place
    monkeypatch.delenv("SCORER_FAILPOINT")
    desk.scorer("resume", code=3)
    desk.check(rows, {"a": double})


# -- a process that is stopped for a while ----------------------------------------------------------------------------


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


def test_a_run_that_is_stopped_again_and_again_loses_nothing(tmp_path: Path) -> None:
    report = stops(tmp_path, 3, seed=3)
    print("\n".join(report.lines()))  # noqa: T201  (the figures, for `pytest -s` and for failures)
    assert len(report.stopped_s) == 3


# -- looking in while it runs -----------------------------------------------------------------------------------------


def test_status_pandas_and_datasets_read_a_job_while_it_runs(desk: Desk, double: OllamaDouble) -> None:
    rows = texts(600)
    desk.dataset(rows)
    desk.hosts({"a": double.url}, slots=SLOTS)
    with desk.started(*JUDGE) as process:
        wait_for(process, double, lambda double: answered(double) >= 40)
        assert not list((desk.job / "results").glob("*")), "nothing is published in the first minute"
        process.send_signal(signal.SIGINT)
        finished(process, 130)
    first = status(desk.job).counts.done
    double.set_speed(0.1)
    with desk.started(*JUDGE) as process:
        wait_while(lambda: process.poll() is None and count_committed(desk.job) == first)
        seen = _read_as_a_user_does(desk)
        told = desk.scorer("status", "--json").json
        assert process.poll() is None, "the job had ended before it was read"
        assert told["state"] == "running"
        assert first < told["done"] < len(rows)
        assert told["hosts"]["a"]["rows"] == told["done"]
        double.set_speed(10)
        finished(process, 0)
    assert len(seen["pandas"]) == len(set(seen["pandas"])) == first
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
