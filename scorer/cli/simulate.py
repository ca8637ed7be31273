"""`scorer simulate`."""

from pathlib import Path
from typing import Annotated

import typer

from scorer.cli.common import RUNS, Json, RunsDir, app, print_json, print_text
from scorer.errors import UsageError

MOST_TOKENS = 1_000_000


@app.command()
def simulate(
    fleet: Annotated[Path | None, typer.Option(help="A fleet file, such as examples/fleets/home.toml.")] = None,
    from_job: Annotated[str | None, typer.Option(help="The hosts of a job, as fast as its results show.")] = None,
    add: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="One more host: name=…,prefill_tps=…,decode_tps=… (tokens/s)."),
    ] = None,
    remove: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Without this host.")] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="How many; default 5,000, or the job's.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same result.")] = 0,
    outputs: Annotated[str | None, typer.Option(help="Output tokens: one of 8,60,250; default 60.")] = None,
    median_tokens: Annotated[
        float | None, typer.Option(min=1, max=MOST_TOKENS, help="Median of the prompts; default 400.")
    ] = None,
    sigma: Annotated[float | None, typer.Option(min=0, max=5, help="Sigma of their logarithm; default 1.")] = None,
    noise: Annotated[float, typer.Option(min=0, max=2, help="Coefficient of variation of the service time.")] = 0.3,
    models: Annotated[str | None, typer.Option(help="Models of the rows, as the fleet file names them: a,b.")] = None,
    trace: Annotated[Path | None, typer.Option(help="Write every attempt to this Parquet file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is no earlier trace or plot.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw what each host did over time: FILE.svg or FILE.png.")] = None,
    runs_dir: RunsDir = RUNS,
    json_: Json = False,
) -> None:
    """Simulate a fleet: how long would it take, who would do what, and what would another host bring?"""
    from scorer.jobs.places import check_picture
    from scorer.jobs.simulation import SimulateOptions, run_simulation
    from scorer.show import simulation_text

    told = SimulateOptions(
        fleet=fleet,
        from_job=from_job,
        runs_dir=runs_dir,
        add=tuple(add or ()),
        remove=tuple(remove or ()),
        rows=rows,
        seed=seed,
        outputs=_whole_numbers("--outputs", outputs) if outputs else None,
        median_tokens=median_tokens,
        sigma=sigma,
        noise=noise,
        models=tuple(dict.fromkeys(name for name in (models or "").split(",") if name)),
        trace=trace,
        force=force,
    )
    if plot is not None:
        check_picture(plot, force=force)
    found = run_simulation(told)
    if plot is not None:
        from scorer.report.timeline import write_timeline

        write_timeline(found, plot)
    if json_:
        print_json(found.as_json())
    else:
        print_text(simulation_text(found))


def _whole_numbers(option: str, text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and 0 < int(part) <= MOST_TOKENS for part in parts):
        raise UsageError(f"{option} {text}: write whole numbers from 1 with commas between them, such as 8,60,250")
    return tuple(int(part) for part in parts)
