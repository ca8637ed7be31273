"""A run whose output nobody reads ends all the same, and says all of it once somebody does."""

import fcntl
import json
import os
import subprocess
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from doubles.ollama import OllamaDouble
from made_jobs import MadeJob, texts
from running import JUDGE, RUN_TIMEOUT_S, TEMPLATE, Desk, refused_url

from scorer.jobs.board import read_posting

ROWS = 300
PIPE_BYTES = 4096  # a page, the least that Linux gives


def wait_until_ended(process: "subprocess.Popen[bytes]", job: Path) -> None:
    """Wait until a run has ended, though its process has not."""
    deadline_s = time.monotonic() + RUN_TIMEOUT_S / 2
    while (posting := read_posting(job)) is None or posting.ended is None:
        assert time.monotonic() < deadline_s, "the run waits for whoever does not read"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1)


@pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="other systems' pipes take what they like")
@pytest.mark.parametrize("wanted", [("--json",), ()], ids=["json", "plain"])
def test_a_run_ends_while_nobody_reads_and_keeps_its_lines_for_whoever_does(
    tmp_path: Path, wanted: tuple[str, ...]
) -> None:
    desk = Desk(tmp_path)
    desk.write("judge.toml", TEMPLATE)
    desk.dataset([f"text {i}" if i % 2 else " " for i in range(ROWS)])  # half are empty: dead, each with a line
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    stream = "stdout" if wanted else "stderr"
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: writing}
    with OllamaDouble() as double:
        # a plain log leaves rows out, so many hosts have to be missed
        gone = {} if wanted else {f"gone-{i}": f"{refused_url()}/{i}" for i in range(60)}
        desk.hosts({"only": double.url, **gone})
        command = desk.command(*JUDGE, *wanted)
        with subprocess.Popen(command, cwd=tmp_path, env=desk.environment(), **streams) as process:  # type: ignore[call-overload]
            os.close(writing)
            try:
                wait_until_ended(process, desk.job)
                with os.fdopen(reading, encoding="utf-8") as lines:
                    said = lines.read().splitlines()
                assert process.wait(RUN_TIMEOUT_S) == 3
            finally:
                process.kill()
    assert pq.read_table(desk.job / "results").num_rows == ROWS
    if wanted:
        events = [json.loads(line) for line in said]
        assert sum(event["event"] == "row_dead" for event in events) == ROWS / 2
        assert (events[-1]["event"], events[-1]["exit_code"]) == ("summary", 3)
    else:
        assert sum(map(len, said)) > PIPE_BYTES
        assert sum(": gone-" in line or " gone-" in line for line in said) >= 60
        assert any("scorer export judged" in line for line in said[-8:]), "the summary comes last"


@pytest.mark.parametrize("wanted", [("--json",), ()], ids=["json", "plain"])
def test_a_run_with_closed_streams_ends_as_any_other(tmp_path: Path, wanted: tuple[str, ...]) -> None:
    desk = Desk(tmp_path)
    desk.write("judge.toml", TEMPLATE)
    desk.dataset(["a text"])
    with OllamaDouble() as double:
        desk.hosts({"only": double.url})
        closing = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *desk.command(*JUDGE, *wanted)]
        assert subprocess.run(closing, cwd=tmp_path, env=desk.environment(), check=False).returncode == 0
    assert pq.read_table(desk.job / "results").num_rows == 1


ASKED = {"status": ("status",), "jobs as JSON": ("jobs", "--json"), "a template": ("prompts", "show", "quality")}


@pytest.fixture
def with_a_job(tmp_path: Path) -> Desk:
    MadeJob(table=texts(20)).write(tmp_path)
    return Desk(tmp_path)


@pytest.mark.parametrize("command", ASKED.values(), ids=ASKED)
def test_a_command_whose_reader_has_gone_ends_quietly(with_a_job: Desk, command: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    assert _printed_to(writing, with_a_job, command) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
@pytest.mark.parametrize("command", ASKED.values(), ids=ASKED)
def test_a_command_that_cannot_write_what_was_asked_for_says_so(with_a_job: Desk, command: tuple[str, ...]) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    said = "scorer: cannot write to standard output: No space left on device\n"
    assert _printed_to(full, with_a_job, command) == (4, said)


def test_watching_ends_when_nobody_reads_any_more(with_a_job: Desk) -> None:
    for wanted in ((), ("--json",)):
        reading, writing = os.pipe()
        os.close(reading)
        assert _printed_to(writing, with_a_job, ("status", "--watch", *wanted)) == (0, "")


def _printed_to(out: int, desk: Desk, command: tuple[str, ...]) -> tuple[int, str]:
    """Return the exit code of a command with this standard output, and what it said on the other stream."""
    with os.fdopen(out, "w") as stdout:
        ended = subprocess.run(
            desk.command(*command),
            cwd=desk.folder,
            env=desk.environment(),
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=RUN_TIMEOUT_S,
        )
    return ended.returncode, ended.stderr
