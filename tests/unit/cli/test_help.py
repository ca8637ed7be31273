"""What --help says of arguments that several commands have."""

import pytest
from typer.testing import CliRunner

from scorer.cli import app


@pytest.mark.parametrize("command", [("run",), ("prompts", "preview")], ids=" ".join)
def test_the_dataset_may_be_all_that_can_be_read(command: tuple[str, ...]) -> None:
    said = " ".join(CliRunner().invoke(app, [*command, "--help"]).stdout.split())
    for word in ("Parquet", "JSONL", "CSV", "Arrow", "folder", "glob", "hf://"):
        assert word in said
