"""`scorer bench run`: suites x models x questions as one job, which goes on like any other.

What is new here ends before the first request: the suites are read, their questions written into the job's folder, and
from then on it is a job whose dataset is that file. The same command again means the same job and reads no data; what
has changed is refused with the differences.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import anyio

from scorer import __version__, inputs
from scorer.bench.prepare import all_cases, asked_suite, files_by_suite, write_cases
from scorer.config import HostsFile
from scorer.dispatch.events import Event
from scorer.errors import UsageError
from scorer.inputs import Dataset
from scorer.jobs.asking import thawed
from scorer.jobs.folder import RESULTS, default_name, is_in_the_way, is_job, locked, move_aside
from scorer.jobs.hosts.opened import this_machine
from scorer.jobs.hosts.pull import pull
from scorer.jobs.hosts.steps import Step
from scorer.jobs.look import counts_of
from scorer.jobs.run import Ended, View, start
from scorer.jobs.spec import JobSpec, TemplateSpec, frozen_types, read_spec
from scorer.jobs.submit import PATIENCE_S, Draft, RunOptions, find_hosts, found_again, frozen_dataset
from scorer.suites import battery as batteries
from scorer.suites.battery import KEPT_COLUMNS, KIND, NAME_COLUMN, PROMPT_COLUMN, Battery, Terms
from scorer.suites.catalogue import find

COLUMNS = {NAME_COLUMN: NAME_COLUMN, PROMPT_COLUMN: PROMPT_COLUMN}


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """What `scorer bench run` was told. None: the suites' own, or all rows."""

    suites: tuple[str, ...]
    models: tuple[str, ...] = ()
    hosts: Path | None = None
    data: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    limit: int | None = None
    shots: int | None = None
    samples: int = 1
    temperature: float | None = None
    pull: bool = False
    job: str | None = None
    runs_dir: Path = Path("runs")
    patience_s: float = PATIENCE_S
    allow_mixed_models: bool = False
    fresh: bool = False
    share_hosts: bool = False


def run(options: BenchOptions, view: View) -> Ended:
    """Start the benchmark job that the options mean, or go on with it."""
    hosts = find_hosts(options.hosts, Path.cwd())
    models = options.models or ((hosts.default_model,) if hosts.default_model else ())
    if not models:
        raise UsageError(
            'which model? --model NAME, once for each, or model = "NAME" under [defaults] in the hosts file'
        )
    told = RunOptions(
        dataset="",
        job=options.job,
        runs_dir=options.runs_dir,
        models=models,
        samples=options.samples,
        patience_s=options.patience_s,
        allow_mixed_models=options.allow_mixed_models,
        share_hosts=options.share_hosts,
    )
    asked = asked_battery(options)
    name = told.job or default_name("bench", asked.name, models)
    folder = options.runs_dir / name
    if options.fresh and is_in_the_way(folder):
        with locked(folder):
            pass
        view.event(Event("moved_aside", f"the old job is now {move_aside(folder)}"))
    there = is_job(folder)
    dataset, notes = _reopened(folder, asked) if there else _prepared(folder, asked)
    told = replace(told, dataset=dataset.source, job=name)
    drafted = Draft(_spec(asked, dataset, told, hosts), dataset, asked, hosts, notes)
    try:
        counts = counts_of(folder) if there else None
        if options.pull and (counts is None or counts.pending):
            _pull(hosts, models, view)
        return start(drafted, told, view)
    finally:
        if not is_in_the_way(folder):
            # no host would take it: without a job the questions are of no use to anyone
            _take_back(Path(dataset.source))


def _take_back(cases: Path) -> None:
    """Remove what was made for a job that did not come about; what stays must not hide why it did not."""
    with suppress(OSError):
        cases.unlink(missing_ok=True)
    for folder in (cases.parent / RESULTS, cases.parent):
        with suppress(OSError):
            folder.rmdir()


def asked_battery(options: BenchOptions) -> Battery:
    """Return the suites that the options mean; UsageError for whatever is wrong with them."""
    parts = [part for wanted in dict.fromkeys(options.suites) for part in find(wanted)]
    data = files_by_suite(options.data, parts, "--data")
    examples = files_by_suite(options.examples, parts, "--examples")
    terms = Terms(limit=options.limit, sampling=options.samples > 1, temperature=options.temperature)
    return batteries.battery([asked_suite(part, options.shots, data, examples) for part in parts], terms)


def _prepared(folder: Path, asked: Battery) -> tuple[Dataset, tuple[str, ...]]:
    cases, notes = all_cases(asked.suites, asked.terms.limit)
    return inputs.open_dataset(str(write_cases(folder, cases))), tuple(notes)


def _reopened(folder: Path, asked: Battery) -> tuple[Dataset, tuple[str, ...]]:
    """Open the questions that a job has frozen; UsageError if the same command would ask others now."""
    spec = read_spec(folder)
    if spec.template.kind != KIND:
        raise UsageError(f"job {folder.name} exists and is no benchmark: give this one another name with --job")
    there = thawed(spec.template, folder)
    if isinstance(there, Battery) and (differences := there.differences(asked)):
        raise UsageError(
            f"job {folder.name} exists and is another one:\n  "
            + "\n  ".join(differences)
            + "\nGive this one another name with --job, or begin anew with --fresh (the old folder is kept)"
        )
    return found_again(folder.name, spec.dataset, None), ()


def _spec(asked: Battery, dataset: Dataset, told: RunOptions, hosts: HostsFile) -> JobSpec:
    kept = {name: dataset.schema.field(name).type for name in KEPT_COLUMNS}
    return JobSpec(
        name="",
        scorer_version=__version__,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        models=told.models,
        dataset=frozen_dataset(dataset),
        template=TemplateSpec(asked.name, asked.source, asked.fingerprint, asked.text, KIND),
        columns=COLUMNS,
        keep=KEPT_COLUMNS,
        kept_schema=frozen_types(kept),
        samples=told.samples,
        hosts_file=str(Path(hosts.path).resolve()) if hosts.path else None,
        allow_mixed_models=told.allow_mixed_models,
    )


def _pull(hosts: HostsFile, models: tuple[str, ...], view: View) -> None:
    """Fetch the models where they are missing; a host on which that fails does without."""

    def tell(step: Step) -> None:
        if step.state != "working":
            text = f"{step.host}: {step.model} {step.text}".replace("  ", " ")
            view.event(Event("pull", text, "warning" if step.state == "failed" else "info"))

    view.event(Event("pull", f"fetching {', '.join(models)} where it is missing"))
    anyio.run(pull, hosts, models, (), tell, this_machine())
