"""`scorer export`."""

from pathlib import Path
from typing import Annotated

import typer

from scorer.cli.common import RUNS, Json, NamedJob, RunsDir, app, print_json, print_text, say


@app.command()
def export(
    job: NamedJob,
    to: Annotated[
        Path, typer.Option("-o", "--output", help="The file: .parquet, .jsonl or .csv (these two also .gz or .zst).")
    ],
    join: Annotated[bool, typer.Option("--join", help="Put the input's columns beside the results.")] = False,
    where: Annotated[
        str | None, typer.Option(help="Only these: an SQL condition, such as \"score >= 8 AND status = 'done'\".")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Where the dataset is now, for --join.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    escape_formulas: Annotated[
        bool,
        typer.Option("--escape-formulas", help="In CSV, put ' before cells and names that a spreadsheet would run."),
    ] = False,
    runs_dir: RunsDir = RUNS,
    json_: Json = False,
) -> None:
    """Write a job's results to one file, in row order; during a run and after."""
    from scorer.jobs.export import ExportOptions
    from scorer.jobs.export import export as write
    from scorer.jobs.folder import find_job

    options = ExportOptions(
        to=to, join=join, where=where, dataset=dataset, force=force, escape_formulas=escape_formulas
    )
    done = write(find_job(runs_dir, job), options)
    for note in done.notes:
        say(note)
    if json_:
        print_json(done.as_json())
        return
    from scorer.show.words import file_size

    rows = "1 row" if done.rows == 1 else f"{done.rows:,} rows"
    print_text(
        f"{done.file}: {rows}{f', {done.dead:,} of them dead' if done.dead else ''}, {file_size(done.size_bytes)}"
    )
    if done.pending:
        print_text(f"not in it: {done.pending:,} of the job's rows, which have not ended yet")
