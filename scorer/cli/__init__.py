"""The command line: parse, call, exit code. What a command does is written where it is done, not here.

Heavy packages are imported by the commands that need them, so that `--help` and mistakes answer at once. The order of
the imports is the order in `scorer --help`.
"""

# isort: off
from scorer.cli import run
from scorer.cli import jobs
from scorer.cli import export
from scorer.cli import report
from scorer.cli import hosts
from scorer.cli import prompts
from scorer.cli import calibrate
from scorer.cli import bench_report
from scorer.cli import simulate

# isort: on
from scorer.cli.common import app, main

__all__ = [
    "app",
    "bench_report",
    "calibrate",
    "export",
    "hosts",
    "jobs",
    "main",
    "prompts",
    "report",
    "run",
    "simulate",
]
