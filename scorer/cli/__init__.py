"""The command line: parse, call, exit code. What a command does is written where it is done, not here.

Heavy packages are imported by the commands that need them, so that `--help` and mistakes answer at once. The order of
the imports is the order in `scorer --help`.
"""

# isort: off
from scorer.cli import run
from scorer.cli import jobs
from scorer.cli import prompts
from scorer.cli import simulate

# isort: on
from scorer.cli.common import app, main

__all__ = ["app", "jobs", "main", "prompts", "run", "simulate"]
