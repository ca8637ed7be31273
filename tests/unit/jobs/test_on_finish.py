import json
import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from simulation.world import Recorder

from scorer.core.result import Counts
from scorer.dispatch.events import Event
from scorer.jobs.on_finish import Finish, Noting, run_command

TELL = f"{sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))' > told.json"


@pytest.mark.parametrize(
    ("code", "state"), [(0, "finished"), (3, "dead"), (4, "stopped"), (130, "interrupted"), (1, "failed")]
)
def test_a_command_is_told_how_the_run_ended(
    code: int, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(TELL, Finish(Path("runs/my-job"), code, Counts(5, 90, 7))) is None
    told = json.loads((tmp_path / "told.json").read_text())
    assert {key: value for key, value in told.items() if key.startswith("SCORER_")} == {
        "SCORER_JOB": "my-job",
        "SCORER_FOLDER": str(tmp_path / "runs" / "my-job"),
        "SCORER_RESULTS": str(tmp_path / "runs" / "my-job" / "results"),
        "SCORER_STATE": state,
        "SCORER_EXIT_CODE": str(code),
        "SCORER_TOTAL": "102",
        "SCORER_DONE": "90",
        "SCORER_DEAD": "7",
        "SCORER_PENDING": "5",
    }
    assert told["PATH"] == os.environ["PATH"]


def test_without_a_database_there_are_no_counts_and_the_command_runs_all_the_same() -> None:
    assert "SCORER_DONE" not in Finish(Path("j"), 4, None).environment
    assert run_command("true", Finish(Path("j"), 4, None)) is None


@pytest.mark.parametrize(
    ("command", "trouble"),
    [
        ("exit 7", "ended with exit code 7"),
        ("no-such-command-anywhere 2>/dev/null", "ended with exit code 127"),
        ("kill -9 $$", "was ended by signal 9"),
        ("a\0b", "cannot be started"),
    ],
)
def test_what_goes_wrong_with_it_is_said_and_raises_nothing(command: str, trouble: str) -> None:
    assert trouble in str(run_command(command, Finish(Path("j"), 0, None)))


def test_what_it_prints_never_gets_into_our_output() -> None:
    code = (
        "from pathlib import Path; from scorer.jobs.on_finish import Finish, run_command; "
        "run_command('echo noise; read x || echo no input', Finish(Path('j'), 0, None))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (said.stdout, said.stderr) == ("", "noise\nno input\n")


def test_the_job_is_noted_from_what_a_view_is_told() -> None:
    recorder = Recorder()
    noting = Noting(recorder)
    assert noting.folder is None
    for event in (Event("choice", "x"), Event("job", "y", details={"job": "j", "folder": "runs/j"})):
        noting.event(event)
    assert noting.folder == Path("runs/j")
    assert [event.kind for event in recorder.events] == ["choice", "job"]

    async def main() -> None:
        with anyio.move_on_after(0):
            await noting.watch(lambda: None)  # type: ignore[arg-type, return-value]

    anyio.run(main)
