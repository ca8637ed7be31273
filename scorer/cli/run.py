"""`scorer run` and `scorer resume`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from scorer.cli.common import EXIT_DEAD, EXIT_INTERRUPTED, RUNS, JobArgument, Json, RunsDir, app, pairs, say

if TYPE_CHECKING:
    from scorer.jobs.run import Ended, View


def _view(json_wanted: bool) -> "View":
    from rich.console import Console

    from scorer.live import JsonView, PlainView, TerminalView

    if json_wanted:
        return JsonView(sys.stdout)
    if sys.stderr.isatty():
        return TerminalView(Console(stderr=True, highlight=False))
    return PlainView(sys.stderr)


@app.command()
def run(
    dataset: Annotated[str, typer.Argument(help="A Parquet or JSONL file.")],
    hosts: Annotated[Path | None, typer.Option(help="hosts.toml; default ./hosts.toml, else what runs here.")] = None,
    prompt: Annotated[str, typer.Option(help="A shipped template's name, or a template file.")] = "quality",
    model: Annotated[list[str] | None, typer.Option(help="Model to score with; may be given several times.")] = None,
    column: Annotated[list[str] | None, typer.Option(help="Fill a template variable: VARIABLE=COLUMN.")] = None,
    keep: Annotated[list[str] | None, typer.Option(help="Carry an input column over to the results.")] = None,
    job: Annotated[str | None, typer.Option(help="The job's name; default from dataset, template and model.")] = None,
    runs_dir: RunsDir = RUNS,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N rows, as a pilot.")] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="Only N rows spread over the dataset, as a pilot.")] = None,
    samples: Annotated[int, typer.Option(min=1, max=1000, help="Score each row K times.")] = 1,
    patience: Annotated[float, typer.Option(min=0, help="Seconds to go on while no host is usable.")] = 1800.0,
    allow_mixed_models: Annotated[bool, typer.Option(help="Go on though hosts have different digests.")] = False,
    fresh: Annotated[bool, typer.Option(help="Begin anew; the old folder is moved aside, not deleted.")] = False,
    json_: Json = False,
) -> None:
    """Score a dataset: start the job, or go on with it if the same job exists."""
    from scorer.jobs.run import run as run_job
    from scorer.jobs.submit import RunOptions

    told = RunOptions(
        dataset=dataset,
        hosts=hosts,
        prompt=prompt,
        models=tuple(dict.fromkeys(model or ())),
        columns=pairs(column or []),
        keep=tuple(dict.fromkeys(keep or ())),
        job=job,
        runs_dir=runs_dir,
        limit=limit,
        sample=sample,
        samples=samples,
        patience_s=patience,
        allow_mixed_models=allow_mixed_models,
        fresh=fresh,
    )
    _end(run_job(told, _view(json_)), json_)


@app.command()
def resume(
    job: JobArgument = None,
    hosts: Annotated[Path | None, typer.Option(help="Where the hosts file is now.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Where the dataset is now.")] = None,
    runs_dir: RunsDir = RUNS,
    json_: Json = False,
) -> None:
    """Go on with a job from what its folder froze."""
    from scorer.jobs.run import resume as resume_job

    _end(resume_job(runs_dir, job, hosts, dataset, _view(json_)), json_)


def _end(ended: "Ended", json_wanted: bool) -> NoReturn:
    """Print how a run ended and exit with the code that says so."""
    from scorer.dispatch.events import Event
    from scorer.jobs.look import status as look
    from scorer.live import JsonView
    from scorer.show import summary

    status = look(ended.folder)
    code = _code(ended)
    if json_wanted:
        details = {"exit_code": code, **status.as_json()}
        JsonView(sys.stdout).event(Event("summary", str(ended.ending), details=details))
    else:
        say(summary(status, interrupted=code == EXIT_INTERRUPTED))
    raise typer.Exit(code)


def _code(ended: "Ended") -> int:
    if ended.ending == "interrupted":
        return EXIT_INTERRUPTED
    return EXIT_DEAD if ended.counts.dead else 0
