"""`scorer bench`: benchmark evaluation runs."""

from functools import partial
from typing import Annotated

import typer

from scorer.cli.common import RUNS, HostsOption, Json, RunsDir, app, print_json, print_text
from scorer.cli.completion import suite_names
from scorer.cli.run import PATIENCE_S, AllowMixedModels, OnFinish, Patience, ShareHosts, follow
from scorer.cli.signals import unattended

bench = typer.Typer(help="Benchmark evaluation runs of one's own models.", no_args_is_help=True)
app.add_typer(bench, name="bench")


@bench.command("run")
@unattended()
def run(
    suites: Annotated[
        list[str],
        typer.Argument(help="Suites, subsets as SUITE/SUBSET, or suite files.", autocompletion=suite_names),
    ],
    model: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Model to evaluate; may be given several times.")
    ] = None,
    hosts: HostsOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="N questions of each suite, spread over it.")] = None,
    shots: Annotated[int | None, typer.Option(min=0, max=64, help="K worked examples before each question.")] = None,
    samples: Annotated[int, typer.Option(min=1, max=1000, help="Ask each question N times, at a temperature.")] = 1,
    temperature: Annotated[float | None, typer.Option(min=0, max=2, help="Not the suites' own.")] = None,
    data: Annotated[
        list[str] | None, typer.Option(metavar="[SUITE=]PATH", help="Take a suite's rows from a file or folder.")
    ] = None,
    examples: Annotated[
        list[str] | None, typer.Option(metavar="[SUITE=]PATH", help="Take its worked examples from a file.")
    ] = None,
    pull: Annotated[bool, typer.Option("--pull", help="First fetch the models on the hosts that lack them.")] = False,
    job: Annotated[str | None, typer.Option(help="The job's name; default from suites and models.")] = None,
    runs_dir: RunsDir = RUNS,
    patience: Patience = PATIENCE_S,
    allow_mixed_models: AllowMixedModels = False,
    fresh: Annotated[bool, typer.Option(help="Begin anew; the old folder is moved aside, not deleted.")] = False,
    share_hosts: ShareHosts = False,
    on_finish: OnFinish = None,
    json_: Json = False,
) -> None:
    """Ask models a benchmark's questions on all hosts: start the job, or go on with it if the same job exists."""
    from scorer.bench.run import BenchOptions
    from scorer.bench.run import run as run_bench

    told = BenchOptions(
        suites=tuple(suites),
        models=tuple(dict.fromkeys(model or ())),
        hosts=hosts,
        data=tuple(data or ()),
        examples=tuple(examples or ()),
        limit=limit,
        shots=shots,
        samples=samples,
        temperature=temperature,
        pull=pull,
        job=job,
        runs_dir=runs_dir,
        patience_s=patience,
        allow_mixed_models=allow_mixed_models,
        fresh=fresh,
        share_hosts=share_hosts,
    )
    follow(partial(run_bench, told), json_, on_finish)


@bench.command("list")
def list_suites(json_: Json = False) -> None:
    """List the shipped suites."""
    from scorer.bench.listing import suite_facts, suites_table
    from scorer.suites.catalogue import shipped

    suites = shipped()
    if json_:
        print_json([suite_facts(suite) for suite in suites])
    else:
        print_text(suites_table(suites))


@bench.command("show")
def show_suite(
    name: Annotated[str, typer.Argument(help="A shipped suite's name, or a file.", autocompletion=suite_names)],
    json_: Json = False,
) -> None:
    """Print a suite's file, to read or to copy and change."""
    from scorer.bench.listing import suite_facts
    from scorer.suites.catalogue import find

    suite = find(name)[0].suite
    if json_:
        print_json({**suite_facts(suite), "text": suite.text})
    else:
        print_text(suite.text.rstrip())
