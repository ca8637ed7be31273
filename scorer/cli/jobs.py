"""Commands that look at jobs and mend them: `jobs`, `status`, `retry`, `verify`."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from scorer.cli.common import (
    EXIT_DEAD,
    RUNS,
    JobArgument,
    Json,
    NamedJob,
    RunsDir,
    app,
    print_json,
    print_line,
    print_now,
    print_text,
    say,
)
from scorer.cli.completion import fault_kinds


@app.command()
def jobs(runs_dir: RunsDir = RUNS, json_: Json = False) -> None:
    """List the jobs in the runs folder: state, progress, last activity."""
    from scorer.jobs.look import all_jobs
    from scorer.show import jobs_table

    found, unreadable = all_jobs(runs_dir)
    for line in unreadable:
        say(f"scorer: {line}")
    if json_:
        print_json({"jobs": [status.as_json() for status in found]})
    else:
        print_text(jobs_table(found) or f"no jobs in {runs_dir}")


@app.command()
def status(
    job: JobArgument = None,
    runs_dir: RunsDir = RUNS,
    watch: Annotated[bool, typer.Option("--watch", help="Go on showing it; q ends the watching, not the run.")] = False,
    json_: Json = False,
) -> None:
    """Show a job's progress, hosts, scores and dead rows; during a run and after."""
    from scorer.jobs.look import named_or_latest
    from scorer.jobs.look import status as look
    from scorer.show import report

    folder = named_or_latest(runs_dir, job)
    if watch:
        _watch(folder, json_)
        return
    found = look(folder)
    if json_:
        print_json(found.as_json())
    else:
        print_text(report(found))


def _watch(folder: Path, json_wanted: bool) -> None:
    from rich.console import Console

    from scorer.live import watch

    console = Console(highlight=False)
    if json_wanted:
        watch.watch_plainly(
            folder, lambda posting, words: print_line(watch.as_json(posting, words)), watch.JSON_EVERY_S
        )
    elif sys.stdout.isatty() and not console.is_dumb_terminal:
        watch.watch_terminal(folder, console)
    else:
        watch.watch_plainly(
            folder, lambda posting, words: print_now(watch.plain_words(posting, words)), watch.LINE_EVERY_S
        )


@app.command()
def retry(
    job: NamedJob,
    kind: Annotated[
        str | None,
        typer.Option(help="Only rows that died of this, as `scorer status` names it.", autocompletion=fault_kinds),
    ] = None,
    num_ctx: Annotated[int | None, typer.Option(min=256, help="From now on, a context of N tokens.")] = None,
    num_predict: Annotated[int | None, typer.Option(min=1, help="From now on, at most N tokens an answer.")] = None,
    runs_dir: RunsDir = RUNS,
    json_: Json = False,
) -> None:
    """Put dead rows back to pending; `scorer resume` then tries them again."""
    from scorer.jobs.folder import find_job
    from scorer.jobs.mend import retry as revive
    from scorer.show import runs_option

    revived = revive(find_job(runs_dir, job), kind=kind, num_ctx=num_ctx, num_predict=num_predict, tell=say)
    if json_:
        print_json({"job": job, "revived": revived})
    else:
        rows = "1 row is" if revived == 1 else f"{revived:,} rows are"
        print_text(f"{rows} pending again; go on with: scorer resume {job}{runs_option(runs_dir)}")


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
        listing = [asdict(finding) for finding in findings]
        print_json({"job": folder.name, "verdict": verdict, "findings": listing})
    else:
        for finding in findings:
            print_text(f"{'repaired' if finding.repaired else 'DAMAGED'}: {finding.problem}\n  {finding.explanation}")
        print_text(f"{folder.name}: {verdict}")
    raise typer.Exit(EXIT_DEAD if damaged else 0)
