"""The command line: parse, call, exit code. What a command does is written where it is done, not here.

Heavy packages are imported by the commands that need them, so that `--help` and mistakes answer at once.
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from scorer import __version__
from scorer.errors import ScorerError, UsageError

if TYPE_CHECKING:
    from types import TracebackType

    from scorer.jobs.run import Ended, View

EXIT_DEAD = 3
EXIT_INTERRUPTED = 130

app = typer.Typer(
    help="Score millions of rows with language models on the machines you already own.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
prompts = typer.Typer(help="The templates that ship with scorer, and what they make of a row.", no_args_is_help=True)
app.add_typer(prompts, name="prompts")

RunsDir = Annotated[Path, typer.Option("--runs-dir", help="Folder that holds the jobs.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout; people's text goes to stderr.")]
JobArgument = Annotated[str | None, typer.Argument(help="The job's name; the latest if left out.", show_default=False)]
RUNS = Path("runs")


def main() -> None:
    """Run the command line; every error that scorer raises on purpose becomes a line or two and an exit code."""
    try:
        app()
    except ScorerError as error:
        _say(f"scorer: {error}")
        sys.exit(error.exit_code)
    finally:
        # not before, since typer sets a hook of its own
        sys.excepthook = _say_bug


def _say_bug(kind: type[BaseException], error: BaseException, traceback: "TracebackType | None") -> None:
    """Show a bug: one line where a log has the traceback, else all of it."""
    notes: list[str] = getattr(error, "__notes__", [])
    if not notes:
        sys.__excepthook__(kind, error, traceback)
    _say(f"scorer: this is a bug ({kind.__name__}: {error}); {'; '.join(notes) or 'please report it'}")


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _print(text: str) -> None:
    typer.echo(text)


def _print_json(value: object) -> None:
    _print(json.dumps(value, indent=2, default=str, ensure_ascii=False))


def _show_version(value: bool) -> None:
    if value:
        _print(f"scorer {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of scorer itself."""


def _pairs(columns: list[str]) -> dict[str, str]:
    mapping: dict[str, str] = {}
    for pair in columns:
        variable, found, column = pair.partition("=")
        if not (found and variable and column):
            raise UsageError(f"--column {pair}: write it as --column VARIABLE=COLUMN")
        mapping[variable] = column
    return mapping


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
        columns=_pairs(column or []),
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
        _say(summary(status, interrupted=code == EXIT_INTERRUPTED))
    raise typer.Exit(code)


def _code(ended: "Ended") -> int:
    if ended.ending == "interrupted":
        return EXIT_INTERRUPTED
    return EXIT_DEAD if ended.counts.dead else 0


@app.command()
def jobs(runs_dir: RunsDir = RUNS, json_: Json = False) -> None:
    """List the jobs in the runs folder: state, progress, last activity."""
    from scorer.jobs.look import all_jobs
    from scorer.show import jobs_table

    found, unreadable = all_jobs(runs_dir)
    for line in unreadable:
        _say(f"scorer: {line}")
    if json_:
        _print_json({"jobs": [status.as_json() for status in found]})
    else:
        _print(jobs_table(found) or f"no jobs in {runs_dir}")


@app.command()
def status(job: JobArgument = None, runs_dir: RunsDir = RUNS, json_: Json = False) -> None:
    """Show a job's progress, hosts, scores and dead rows; during a run and after."""
    from scorer.jobs.look import named_or_latest
    from scorer.jobs.look import status as look
    from scorer.show import report

    found = look(named_or_latest(runs_dir, job))
    if json_:
        _print_json(found.as_json())
    else:
        _print(report(found))


@app.command()
def retry(
    job: Annotated[str, typer.Argument(help="The job's name.")],
    kind: Annotated[str | None, typer.Option(help="Only rows that died of this, as `scorer status` names it.")] = None,
    num_ctx: Annotated[int | None, typer.Option(min=256, help="From now on, a context of N tokens.")] = None,
    num_predict: Annotated[int | None, typer.Option(min=1, help="From now on, at most N tokens an answer.")] = None,
    runs_dir: RunsDir = RUNS,
    json_: Json = False,
) -> None:
    """Put dead rows back to pending; `scorer resume` then tries them again."""
    from scorer.jobs.folder import find_job
    from scorer.jobs.mend import retry as revive
    from scorer.show import runs_option

    revived = revive(find_job(runs_dir, job), kind=kind, num_ctx=num_ctx, num_predict=num_predict)
    if json_:
        _print_json({"job": job, "revived": revived})
    else:
        rows = "1 row is" if revived == 1 else f"{revived:,} rows are"
        _print(f"{rows} pending again; go on with: scorer resume {job}{runs_option(runs_dir)}")


@app.command()
def verify(job: JobArgument = None, runs_dir: RunsDir = RUNS, json_: Json = False) -> None:
    """Check a job's database and parts, and rebuild what can be rebuilt."""
    from scorer.jobs.look import named_or_latest
    from scorer.jobs.mend import verify as check

    folder = named_or_latest(runs_dir, job)
    findings = check(folder)
    damaged = any(not finding.repaired for finding in findings)
    verdict = "damaged" if damaged else ("repaired" if findings else "sound")
    if json_:
        listing = [{"problem": finding.problem, "repaired": finding.repaired} for finding in findings]
        _print_json({"job": folder.name, "verdict": verdict, "findings": listing})
    else:
        for finding in findings:
            _print(f"{'repaired' if finding.repaired else 'DAMAGED'}: {finding.problem}")
        _print(f"{folder.name}: {verdict}")
    raise typer.Exit(EXIT_DEAD if damaged else 0)


@app.command()
def simulate(
    fleet: Annotated[Path | None, typer.Option(help="A fleet file, such as examples/fleets/home.toml.")] = None,
    from_job: Annotated[str | None, typer.Option(help="The hosts of a job, as fast as its results show.")] = None,
    add: Annotated[
        list[str] | None, typer.Option(help="One more host: name=…,prefill_tps=…,decode_tps=… (tokens/s).")
    ] = None,
    remove: Annotated[list[str] | None, typer.Option(help="Without this host.")] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="How many; default 5,000, or the job's.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same result.")] = 0,
    outputs: Annotated[str | None, typer.Option(help="Output tokens: one of 8,60,250; default 60.")] = None,
    median_tokens: Annotated[float | None, typer.Option(min=1, help="Median of the prompts; default 400.")] = None,
    sigma: Annotated[float | None, typer.Option(min=0, max=5, help="Sigma of their logarithm; default 1.")] = None,
    noise: Annotated[float, typer.Option(min=0, max=2, help="Coefficient of variation of the service time.")] = 0.3,
    models: Annotated[str | None, typer.Option(help="Models of the rows, as the fleet file names them: a,b.")] = None,
    trace: Annotated[Path | None, typer.Option(help="Write every attempt to this Parquet file.")] = None,
    runs_dir: RunsDir = RUNS,
    json_: Json = False,
) -> None:
    """Simulate a fleet: how long would it take, who would do what, and what would another host bring?"""
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
    )
    found = run_simulation(told)
    if json_:
        _print_json(found.as_json())
    else:
        _print(simulation_text(found))


def _whole_numbers(option: str, text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and 0 < int(part) <= 1_000_000 for part in parts):
        raise UsageError(f"{option} {text}: write whole numbers from 1 with commas between them, such as 8,60,250")
    return tuple(int(part) for part in parts)


@prompts.command("list")
def list_prompts(json_: Json = False) -> None:
    """List the shipped templates."""
    from scorer import templates
    from scorer.show import prompts_table

    shipped = templates.shipped()
    if json_:
        _print_json([{"name": t.name, "variables": sorted(t.variables), "source": t.source} for t in shipped])
    else:
        _print(prompts_table(shipped))


@prompts.command("show")
def show_prompt(name: Annotated[str, typer.Argument(help="A shipped template's name, or a file.")]) -> None:
    """Print a template's file, to read or to copy and change."""
    from scorer import templates

    _print(templates.load(name).text.rstrip())


@prompts.command("preview")
def preview_prompt(
    dataset: Annotated[str, typer.Argument(help="A Parquet or JSONL file.")],
    prompt: Annotated[str, typer.Option(help="A shipped template's name, or a template file.")] = "quality",
    row: Annotated[int, typer.Option(min=0, help="Which row, counted from 0.")] = 0,
    column: Annotated[list[str] | None, typer.Option(help="Fill a template variable: VARIABLE=COLUMN.")] = None,
    json_: Json = False,
) -> None:
    """Print exactly what will be sent for one row, with an estimate of its tokens."""
    from scorer.jobs.preview import preview
    from scorer.show import preview_text

    found = preview(dataset, prompt, row, _pairs(column or []))
    if json_:
        _print_json(found)
    else:
        _print(preview_text(found))
