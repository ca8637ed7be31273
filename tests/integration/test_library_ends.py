"""However a program leaves its results, it gets an orderly end: at its own exit, after a time limit, by Ctrl-C."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from doubles.ollama import OllamaDouble, Spec
from running import Desk, Said, desk_of_this_process, texts

import scorer
from scorer.errors import UsageError
from scorer.jobs.board import read_posting
from scorer.jobs.results_since import ResultsSince

# a program that should end and does not must not hold up the tests for long
END_TIMEOUT_S = 60.0


@pytest.fixture
def double() -> Iterator[OllamaDouble]:
    with OllamaDouble(Spec(overhead_s=0.02)) as double:
        yield double


@pytest.fixture
def desk(tmp_path: Path, double: OllamaDouble, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return desk_of_this_process(tmp_path, double.url, monkeypatch)


@pytest.fixture(autouse=True)
def no_thread_stays_behind() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "scorer-job"]


@contextmanager
def started(desk: Desk, program: str) -> Iterator["subprocess.Popen[str]"]:
    """Start a program; it is killed on leaving if it still runs."""
    command = [sys.executable, "-c", "import gc, scorer, threading\n" + program]
    with subprocess.Popen(
        command, env=desk.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=desk.folder
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def run_to_its_end(desk: Desk, program: str) -> Said:
    with started(desk, program) as process:
        out, err = process.communicate(timeout=END_TIMEOUT_S)
    return Said(process.returncode, out, err)


def check_interrupted(desk: Desk) -> None:
    """Assert that the job `mine` was ended in order, with rows left."""
    status = desk.scorer("status", "mine", "--json").json
    assert status["state"] == "interrupted"
    assert status["pending"] > 0
    assert desk.scorer("verify", "mine").out == "mine: sound\n"
    posting = read_posting(desk.folder / "runs" / "mine")
    assert posting is not None
    assert posting.ended is not None, "it was torn off"


# -- the program ends -------------------------------------------------------------------------------------------------

START = """
def start():
    return scorer.score([f"text number {i}" for i in range(6000)], prompt="judge.toml", job="mine")
"""

LEFT_OPEN = {
    "a script that ends": ("results = start(); next(results)", 0, ""),
    "a script that raises": ("results = start(); next(results); raise SystemExit(3)", 3, ""),
    "an exception in a loop, whose traceback holds the results": (
        "def main():\n    results = start()\n    for result in results:\n        1 / 0\nmain()",
        1,
        "ZeroDivisionError: division by zero",
    ),
    "an async program that never leaves the job": (
        "import asyncio\n"
        "async def main():\n"
        "    run = scorer.open_job([f'text {i}' for i in range(6000)], prompt='judge.toml', job='mine')\n"
        "    await run.__aenter__()\n"
        "    await anext(run)\n"
        "asyncio.run(main())",
        0,
        "",
    ),
}


@pytest.mark.parametrize(("program", "code", "last_words"), LEFT_OPEN.values(), ids=LEFT_OPEN)
def test_a_program_that_ends_while_it_holds_results_ends_the_job_in_order(
    desk: Desk, program: str, code: int, last_words: str
) -> None:
    ended = run_to_its_end(desk, START + program)
    assert ended.code == code, ended.err
    assert ended.err.strip().endswith(last_words) if last_words else not ended.err, ended.err
    check_interrupted(desk)


# the cycle is what a stored exception with its traceback makes too; the main thread makes no garbage while it waits, so
# that the search for it happens on the job's own threads
FORGOTTEN = """
gc.disable()
def forget():
    box = [start()]
    box.append(box)
    next(box[0])
forget()
(job,) = [thread for thread in threading.enumerate() if thread.name == "scorer-job"]
gc.set_threshold(1)
gc.enable()
job.join()
"""


def test_results_that_are_found_as_garbage_on_the_jobs_own_threads_end_the_job(desk: Desk) -> None:
    ended = run_to_its_end(desk, START + FORGOTTEN)
    assert (ended.code, ended.err) == (0, "")
    check_interrupted(desk)


# -- a time limit -----------------------------------------------------------------------------------------------------


class Watched:
    """A job's reader that stops half-way in its first look until told to go on, and notes who looks beside it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.looking, self.go_on, self.looked = threading.Event(), threading.Event(), threading.Event()
        self.beside = False
        self._scored = ResultsSince.scored

        def scored(since: ResultsSince) -> list[scorer.Result]:
            return self.look(since)

        monkeypatch.setattr(ResultsSince, "scored", scored)

    def look(self, since: ResultsSince) -> list[scorer.Result]:
        self.beside |= self.looking.is_set() and not self.looked.is_set()
        self.looking.set()
        assert self.go_on.wait(END_TIMEOUT_S)
        found = self._scored(since)
        self.looked.set()
        return found


def test_results_that_nobody_waited_for_to_the_end_are_handed_out_by_the_next_call(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = texts(20)
    assert len(list(scorer.score(rows, prompt="judge.toml"))) == 20
    watched = Watched(monkeypatch)

    async def main() -> list[int]:
        async with scorer.open_job(rows, prompt="judge.toml") as run:

            async def one() -> int:
                return (await anext(run)).row

            # what asyncio.timeout does when the time is over, twice
            for _ in range(2):
                impatient = asyncio.create_task(one())
                assert await asyncio.to_thread(watched.looking.wait, END_TIMEOUT_S)
                impatient.cancel()
                await asyncio.wait([impatient])
                assert impatient.cancelled()
            watched.go_on.set()
            assert await asyncio.to_thread(watched.looked.wait, END_TIMEOUT_S)
            return [result.row async for result in run]

    assert sorted(asyncio.run(main())) == list(range(20))
    assert not watched.beside


# -- after the end ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("read", [0, 5, 20])
def test_a_job_that_was_left_hands_out_nothing_more_and_says_so(desk: Desk, read: int) -> None:
    async def main() -> None:
        async with scorer.open_job(texts(20), prompt="judge.toml") as run:
            for _ in range(read):
                await anext(run)
        for _ in range(2):
            with pytest.raises(UsageError, match="the job has ended: read its results inside"):
                await anext(run)

    asyncio.run(main())


# -- while the rows are read ------------------------------------------------------------------------------------------


def test_a_job_that_is_cancelled_while_it_reads_its_rows_reads_no_more_of_them(desk: Desk) -> None:
    given: list[int] = []
    begun = threading.Event()

    def rows() -> Iterator[str]:
        for number in range(1_000_000):
            given.append(number)
            begun.set()
            yield "a"

    async def enter() -> None:
        async with scorer.open_job(rows(), prompt="judge.toml"):
            raise AssertionError("it was entered")

    async def main() -> None:
        entering = asyncio.create_task(enter())
        assert await asyncio.to_thread(begun.wait, END_TIMEOUT_S)
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering

    asyncio.run(main())
    assert len(given) < 1_000_000
    assert not list((desk.folder / "runs").glob(".rows/*"))


READS = """
import sys
def rows():
    yield "a row"
    print("reading", flush=True)
    threading.Event().wait()
for result in scorer.score(rows(), prompt="judge.toml"):
    pass
"""


def test_ctrl_c_ends_a_program_that_waits_for_its_own_rows(desk: Desk) -> None:
    with started(desk, READS) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "reading\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=END_TIMEOUT_S)
    assert process.returncode in (-signal.SIGINT, 130)
    assert err.splitlines()[-1] == "KeyboardInterrupt"
    assert not list((desk.folder / "runs").glob(".rows/*"))


def test_rows_that_are_bound_to_their_thread_are_read_in_it(desk: Desk) -> None:
    with closing(sqlite3.connect(":memory:")) as database:
        rows = (text for (text,) in database.execute("SELECT 'a' UNION SELECT 'b'"))
        assert len(list(scorer.score(rows, prompt="judge.toml"))) == 2
