"""What the shells are offered, asked as they ask: through the variables that the installed completion scripts set."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scorer.cli import app


def asked(line: str, shell: str) -> dict[str, str]:
    """The variables of a shell that asks for what may stand at the end of a line."""
    variables = {
        "bash": {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": line},
        "fish": {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }
    return {**variables[shell], "_SCORER_COMPLETE": f"complete_{shell}"}


def offered(line: str) -> set[str]:
    """The words that bash is offered in the present folder."""
    said = CliRunner().invoke(app, [], prog_name="scorer", env=asked(line, "bash"))
    assert said.stderr == ""
    return set(said.stdout.split())


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two jobs, a third one elsewhere, and files of several kinds."""
    folder = tmp_path_factory.mktemp("desk")
    # a job is what has a job.toml: nothing else is looked at while a key waits
    for runs, name in (("runs", "first"), ("runs", "second"), ("elsewhere", "third")):
        (folder / runs / name).mkdir(parents=True)
        (folder / runs / name / "job.toml").touch()
    for name in ("mine.toml", "rows.parquet", ".hidden.toml"):
        (folder / name).touch()
    return folder


@pytest.fixture(autouse=True)
def _at_the_desk(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_jobs_are_offered_in_every_shell(desk: Path, shell: str) -> None:
    code = "import sys; sys.argv[0] = 'scorer'; from scorer.cli import main; main()"
    command = [sys.executable, "-c", code]
    environment = os.environ | asked("scorer status ", shell)
    said = subprocess.run(command, cwd=desk, env=environment, capture_output=True, text=True, check=False)
    assert said.stderr == ""
    assert {"first", "second"} <= set(re.findall(r"\w+", said.stdout))


@pytest.mark.parametrize("command", ["status", "resume", "verify", "retry"])
def test_every_command_that_names_a_job_completes_it(command: str) -> None:
    assert offered(f"scorer {command} s") == {"second"}


def test_the_runs_folder_that_was_named_is_the_one_that_is_looked_into() -> None:
    assert offered("scorer status --runs-dir elsewhere t") == {"third"}
    assert offered("scorer status --runs-dir nowhere ") == set()


def test_templates_are_offered_by_name_and_as_files() -> None:
    found = offered("scorer run rows.parquet --prompt ")
    assert {"quality", "code-quality", "mine.toml", "runs/"} <= found
    assert not found & {"rows.parquet", ".hidden.toml"}
    assert "code-quality" in offered("scorer prompts show code")
    assert "code-quality" in offered("scorer prompts preview rows.parquet --prompt code")


def test_hosts_files_and_kinds_of_death_are_offered() -> None:
    assert offered("scorer run rows.parquet --hosts m") == {"mine.toml"}
    assert offered("scorer retry first --kind context") == {"context_overflow"}
