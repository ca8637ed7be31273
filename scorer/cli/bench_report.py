"""`scorer bench report` and `scorer bench compare`."""

from pathlib import Path
from typing import Annotated

import typer

from scorer.cli.bench import bench
from scorer.cli.common import RUNS, Json, RunsDir, print_json, print_text, say
from scorer.cli.completion import job_names

BenchJob = Annotated[str, typer.Argument(help="The benchmark job's name.", autocompletion=job_names)]


@bench.command("report")
def report(
    job: BenchJob,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write one HTML page with plots and questions.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that no report has made.")] = False,
    runs_dir: RunsDir = RUNS,
    json_: Json = False,
) -> None:
    """Show accuracy with intervals for each suite and model; during a run and after."""
    from scorer.bench.answers import read_answers
    from scorer.bench.report import make_report
    from scorer.bench.text import report_text
    from scorer.jobs.folder import find_job

    answers = read_answers(find_job(runs_dir, job))
    if output is not None:
        from scorer.jobs.places import check_page

        check_page(output, answers.folder, answers.spec, force=force)
    made = make_report(answers)
    if output is not None:
        from scorer.bench.page import report_page
        from scorer.jobs.places import write_page

        write_page(output, report_page(answers, made))
    if json_:
        print_json(made.as_json() | {"page": str(output) if output else None})
        return
    print_text(report_text(made))
    say(f"\npage: {output}" if output else "\na page with plots and the questions: add -o report.html")


@bench.command("compare")
def compare(
    job: BenchJob,
    a: Annotated[str, typer.Argument(help="The one model.", show_default=False)],
    b: Annotated[str, typer.Argument(help="The other model.", show_default=False)],
    runs_dir: RunsDir = RUNS,
    json_: Json = False,
) -> None:
    """Say whether one model is better than another on the same questions, and what so many questions can show."""
    from scorer.bench.answers import read_answers
    from scorer.bench.compare import compare as compare_models
    from scorer.bench.compare import comparison_text
    from scorer.jobs.folder import find_job

    found = compare_models(read_answers(find_job(runs_dir, job)), a, b)
    if json_:
        print_json(found.as_json())
    else:
        print_text(comparison_text(found))
