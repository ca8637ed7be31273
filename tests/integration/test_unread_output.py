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
        assert any("scorer retry judged" in line for line in said[-8:]), "the summary comes last"


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
