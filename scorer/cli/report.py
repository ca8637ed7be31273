"""`scorer report`."""

from pathlib import Path
from typing import Annotated

import typer

from scorer.cli.common import RUNS, JobArgument, Json, RunsDir, app, print_json, print_text


@app.command()
def report(
    job: JobArgument = None,
    to: Annotated[Path, typer.Option("-o", "--output", help="The HTML file.")] = Path("report.html"),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that no report has made.")] = False,
    runs_dir: RunsDir = RUNS,
    json_: Json = False,
) -> None:
    """Write a job's report as one HTML file: scores, hosts, time, dead rows, extremes; during a run and after."""
    from scorer.jobs.look import named_or_latest
    from scorer.report.page import report as write

    done = write(named_or_latest(runs_dir, job), to, force=force)
    if json_:
        print_json(done.as_json())
    else:
        rows = "1 row" if done.done == 1 else f"{done.done:,} rows"
        print_text(f"{done.file}: the report of {done.job}: {rows} done, {done.dead:,} dead, {done.pending:,} to go")
