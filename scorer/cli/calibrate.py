"""`scorer calibrate`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from scorer.cli.common import RUNS, Json, NamedJob, RunsDir, app, print_json, print_text, say


class By(StrEnum):
    """What to tell apart besides models."""

    HOST = "host"


@app.command()
def calibrate(
    job: NamedJob,
    labels: Annotated[Path, typer.Option(help="Labels by people: a CSV, JSON Lines or Parquet file.")],
    label: Annotated[str | None, typer.Option(help="The column of labels; found by its name if left out.")] = None,
    on: Annotated[str | None, typer.Option(help="The column that joins labels to rows; default `row`.")] = None,
    field: Annotated[str, typer.Option(help="Which field of the scores to compare.")] = "score",
    good: Annotated[
        float | None, typer.Option(help="Labels from here on count as good; default the upper half of their range.")
    ] = None,
    by: Annotated[By | None, typer.Option(help="Also tell hosts apart.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also draw a picture: .png or .svg.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is no earlier picture.")] = False,
    runs_dir: RunsDir = RUNS,
    json_: Json = False,
) -> None:
    """Compare a job's scores with labels by people: agreement, confusion, and the best threshold."""
    from scorer.bench.calibrate import CalibrateOptions, calibration_text
    from scorer.bench.calibrate import calibrate as compare_with_labels
    from scorer.bench.calibrate_plot import calibration_picture
    from scorer.jobs.folder import find_job
    from scorer.jobs.places import check_picture_of
    from scorer.jobs.spec import read_spec
    from scorer.pictures import write_picture

    folder = find_job(runs_dir, job)
    if output is not None:
        check_picture_of(output, folder, read_spec(folder), force=force)
    options = CalibrateOptions(labels=labels, label=label, on=on, field=field, good=good, by_host=by is By.HOST)
    found = compare_with_labels(folder, options)
    if output is not None:
        write_picture(calibration_picture(found), output)
    if json_:
        print_json(found.as_json() | {"picture": str(output) if output else None})
        return
    print_text(calibration_text(found))
    if output is not None:
        say(f"\npicture: {output}")
