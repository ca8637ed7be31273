"""`scorer run` and `scorer resume`."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from scorer.cli.common import (
    EXIT_BUG,
    EXIT_DEAD,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    RUNS,
    Dataset,
    HostsOption,
    JobArgument,
    Json,
    Prompt,
    RunsDir,
    app,
    pairs,
    say,
)
from scorer.cli.signals import unattended
from scorer.errors import ScorerError

if TYPE_CHECKING:
    from scorer.jobs.run import Ended, View
    from scorer.live import JsonView, PlainView, TerminalView

OnFinish = Annotated[
    str | None,
    typer.Option(metavar="CMD", help="Run this shell command when the run ends; SCORER_STATE and others tell it how."),
]
ShareHosts = Annotated[bool, typer.Option(help="Use hosts that another run on this machine uses, too.")]
Patience = Annotated[float, typer.Option(min=0, help="Seconds to go on while no host is usable.")]
# the same as in `jobs.submit`, which takes too long to import for `--help`
PATIENCE_S = 1800.0
MOST_SAMPLES = 1000
AllowMixedModels = Annotated[bool, typer.Option(help="Go on though hosts have different digests.")]


def _view(json_wanted: bool) -> "JsonView | PlainView | TerminalView":
    from rich.console import Console

    from scorer.live import JsonView, PlainView, TerminalView, apart

    if json_wanted:
        return JsonView(apart(sys.stdout))
    console = Console(stderr=True, highlight=False)
    if console.file.isatty() and not console.is_dumb_terminal:
        return TerminalView(console)
    return PlainView(apart(sys.stderr))


@app.command()
@unattended()
def run(
    dataset: Dataset,
    hosts: HostsOption = None,
    prompt: Prompt = "quality",
    model: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Model to score with; may be given several times.")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option(metavar="VARIABLE=COLUMN", help="Fill a template variable: VARIABLE=COLUMN.")
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Carry an input column over to the results.")
    ] = None,
    job: Annotated[str | None, typer.Option(help="The job's name; default from dataset, template and model.")] = None,
    runs_dir: RunsDir = RUNS,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N rows, as a pilot.")] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="Only N rows spread over the dataset, as a pilot.")] = None,
    samples: Annotated[int, typer.Option(min=1, max=MOST_SAMPLES, help="Score each row K times.")] = 1,
    patience: Patience = PATIENCE_S,
    allow_mixed_models: AllowMixedModels = False,
    fresh: Annotated[bool, typer.Option(help="Begin anew; the old folder is moved aside, not deleted.")] = False,
    share_hosts: ShareHosts = False,
    on_finish: OnFinish = None,
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
        share_hosts=share_hosts,
    )
    follow(partial(run_job, told), json_, on_finish)


@app.command()
@unattended()
def resume(
    job: JobArgument = None,
    hosts: Annotated[Path | None, typer.Option(help="Where the hosts file is now.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Where the dataset is now.")] = None,
    runs_dir: RunsDir = RUNS,
    patience: Patience = PATIENCE_S,
    allow_mixed_models: AllowMixedModels = False,
    share_hosts: ShareHosts = False,
    on_finish: OnFinish = None,
    json_: Json = False,
) -> None:
    """Go on with a job from what its folder froze."""
    from scorer.jobs.run import Switches
    from scorer.jobs.run import resume as resume_job

    switches = Switches(patience, allow_mixed_models, share_hosts)
    resumed = partial(resume_job, runs_dir, job, hosts, dataset, switches=switches)
    follow(lambda view: resumed(view=view), json_, on_finish)


def follow(go: "Callable[[View], Ended]", json_wanted: bool, on_finish: str | None) -> NoReturn:
    """Run a job, say how it ended, let the user's own command know, and exit with the code that says so."""
    from scorer.jobs.on_finish import Noting

    shown = _view(json_wanted)
    view = Noting(shown)
    code = EXIT_BUG
    try:
        code = _said(go(view), shown, json_wanted)
    except ScorerError as error:
        code = error.exit_code
        raise
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
        raise
    finally:
        # a command that was wrong from the start has its user before it
        if on_finish and view.folder is not None and (view.started or code != EXIT_USAGE):
            _run_on_finish(on_finish, view.folder, code, view)
        shown.close()
    raise typer.Exit(code)


def _said(ended: "Ended", shown: "JsonView | PlainView | TerminalView", json_wanted: bool) -> int:
    """Tell how a run ended; return the exit code."""
    from scorer.dispatch.events import Event
    from scorer.jobs.look import status as look
    from scorer.show import summary

    code = EXIT_INTERRUPTED if ended.ending == "interrupted" else EXIT_DEAD if ended.counts.dead else 0
    status = look(ended.folder)
    if json_wanted:
        shown.event(Event("summary", str(ended.ending), details={"exit_code": code, **status.as_json()}))
    elif shown.close():
        say(summary(status, ending=str(ended.ending)))
    return code


def _run_on_finish(command: str, folder: Path, code: int, view: "View") -> None:
    from scorer.dispatch.events import Event
    from scorer.jobs.look import counts_of
    from scorer.jobs.on_finish import Finish, run_command

    trouble = run_command(command, Finish(folder, code, counts_of(folder)))
    if trouble:
        view.event(Event("on_finish_failed", f"the --on-finish command {trouble}", "warning"))
