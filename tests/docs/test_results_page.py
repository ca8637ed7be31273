"""docs/results.md: what it shows runs, and its columns are those of the results."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import bench_jobs
import pyarrow.parquet as pq
import pytest
from doubles.ollama import OllamaDouble
from made_jobs import TEMPLATE, MadeJob, texts
from running import Desk

from scorer.results import results_schema

PAGE = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
PROGRAMS = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [line for language, text in BLOCKS if language == "sh" for line in text.splitlines()]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    desk = Desk(tmp_path_factory.mktemp("desk"))
    MadeJob(table=texts(120), models=("judge:7b",), template=TEMPLATE).write(desk.folder, "functions")
    return desk


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_does_what_it_says(desk: Desk, command: str) -> None:
    name, *arguments = shlex.split(command)
    assert name == "scorer"
    said = bench_jobs.Desk(desk.folder).scorer(*arguments)  # in this process, which spares seconds of imports
    written = desk.folder / arguments[arguments.index("-o") + 1]
    assert written.stat().st_size > 0
    assert said.out.startswith(written.name)


@pytest.mark.parametrize("program", [text for text in PROGRAMS if "import scorer" not in text])
def test_every_reader_reads_the_folder(desk: Desk, program: str) -> None:
    environment = {**desk.environment(), "HF_DATASETS_CACHE": str(desk.folder / ".cache"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", program]
    said = subprocess.run(command, cwd=desk.folder, env=environment, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert "score" in said.stdout or "mean" in said.stdout


def test_the_programs_that_score_run(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with OllamaDouble() as double:
        desk.hosts({"only": double.url})
        desk.dataset([f"text {i}" for i in range(4)], "functions.parquet")
        for program in (text for text in PROGRAMS if "import scorer" in text):
            text = program.replace('"code-quality"', '"quality"')  # the dataset here is of texts
            said = subprocess.run(
                [sys.executable, "-c", text],
                cwd=tmp_path,
                env=desk.environment(),
                capture_output=True,
                text=True,
                check=False,
            )
            assert said.returncode == 0, said.stderr
    assert pq.read_table(tmp_path / "runs" / "functions" / "results").num_rows == 4


def test_the_table_names_every_column_in_order() -> None:
    table = PAGE.split("## Columns")[1].split("```")[0]
    named = [name for line in re.findall(r"^\| (.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", line)]
    assert [name for name in named if name != "score"] == results_schema([], {}).names
