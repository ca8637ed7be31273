"""`scorer bench`: benchmark evaluation runs."""

import typer

from scorer.cli.common import app

bench = typer.Typer(help="Benchmark evaluation runs of one's own models.", no_args_is_help=True)
app.add_typer(bench, name="bench")
