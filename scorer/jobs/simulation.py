"""`scorer simulate`: the scheduler on a fleet that is described in a file, or as a real job has shown it.

Nothing is sent anywhere. The fleet is a file's, or a job's hosts with the speeds that its results tell; then hosts are
added and removed, and the same rows go through it under every policy.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from scorer.core.checked import quoted
from scorer.core.measured import measured_fleet
from scorer.core.result import Timing
from scorer.core.simulate import POLICIES, Policy, Result, SimHost, Try, Work, simulate
from scorer.errors import UsageError
from scorer.fleets import load_fleet, with_host, without_host
from scorer.jobs.folder import DATABASE, find_job
from scorer.jobs.places import check_outside, write_whole
from scorer.jobs.spec import read_spec
from scorer.queue import Reader

TIMINGS = 20_000
DEFAULT_ROWS = 5000
OUTPUT_QUANTILES = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateOptions:
    """What the command line asks for. None: what the job has shown, or the usual value where there is no job."""

    fleet: Path | None = None
    from_job: str | None = None
    runs_dir: Path = Path("runs")
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    rows: int | None = None
    seed: int = 0
    outputs: tuple[int, ...] | None = None
    median_tokens: float | None = None
    sigma: float | None = None
    noise: float = 0.3
    models: tuple[str, ...] = ()
    trace: Path | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class Simulated:
    """A fleet, the rows that went through it, and how each policy fared."""

    hosts: tuple[SimHost, ...]
    work: Work
    results: dict[Policy, Result]

    @property
    def priced(self) -> Result:
        """The scheduler's own result."""
        return self.results["priced"]

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON values; what has no finite value is null. Any: figures, names and tables of them."""
        baselines = {name: self._figures(result) for name, result in self.results.items() if name != "priced"}
        return {**asdict(self.work), **self._figures(self.priced), "baselines": baselines}

    def utilisation(self, result: Result, host: SimHost) -> float:
        """Return the share of a host's slots x makespan that requests took."""
        return result.hosts[host.name].busy_s / (host.slots * result.makespan_s) if result.makespan_s else 0.0

    def _figures(self, result: Result) -> dict[str, Any]:
        hosts = {
            h.name: asdict(result.hosts[h.name]) | {"utilisation": self.utilisation(result, h)} for h in self.hosts
        }
        return {
            "makespan_s": result.makespan_s,
            "bound_s": result.bound_s if math.isfinite(result.bound_s) else None,
            "ratio": result.ratio if math.isfinite(result.bound_s) else None,
            "tail_s": result.tail_s,
            "duplicated": result.duplicated,
            "wasted": result.wasted,
            "dead": result.dead,
            "unfinished": result.unfinished,
            "hosts": hosts,
        }


def run_simulation(options: SimulateOptions) -> Simulated:
    """Simulate every policy on the fleet; UsageError if there is none, or the trace cannot be written."""
    if options.trace is not None:
        check_trace(options.trace, force=options.force)
    hosts, work = _given(options)
    for text in options.add:
        hosts = with_host(hosts, text)
    for name in options.remove:
        hosts = without_host(hosts, name)
    _check_models(hosts, work)
    results = {policy: simulate(hosts, work, policy) for policy in POLICIES}
    if options.trace is not None:
        write_trace(options.trace, results["priced"].tries)
    return Simulated(hosts, work, results)


def check_trace(path: Path, *, force: bool) -> None:
    """Raise UsageError if a trace may not be written there; only an earlier trace is replaced without `force`."""
    if path.suffix.lower() != ".parquet":
        raise UsageError(f"{path}: a trace is a Parquet file, so its name must end in .parquet")
    check_outside(path, force=force or _is_trace(path))


def write_trace(path: Path, tries: Sequence[Try]) -> None:
    """Write every attempt, in the order in which they ended, one a row; times in virtual seconds."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: [getattr(one, name) for one in tries] for name in Try.__slots__}
    write_whole(path, lambda unfinished: pq.write_table(pa.table(columns), unfinished), "--trace")


def _is_trace(path: Path) -> bool:
    """Whether a file is a trace, which nothing else has the columns of."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # nobody may ever write into a pipe, so that reading one would last for ever
        return path.is_file() and pq.read_schema(path).names == list(Try.__slots__)
    except (OSError, pa.ArrowException):
        # what cannot be read is somebody else's
        return False


def _given(options: SimulateOptions) -> tuple[tuple[SimHost, ...], Work]:
    told = Work(
        rows=options.rows or DEFAULT_ROWS,
        seed=options.seed,
        noise_cv=options.noise,
        models=options.models or Work(0).models,
    )
    match options.fleet, options.from_job:
        case Path() as path, None:
            hosts = load_fleet(path)
        case None, str() as job:
            hosts, told = _of_job(options.runs_dir, job, told, rows=options.rows)
        case _:
            raise UsageError("give either --fleet FILE, such as examples/fleets/home.toml, or --from-job JOB")
    if options.outputs is not None:
        told = replace(told, output_tokens=options.outputs)
    if options.median_tokens is not None:
        told = replace(told, median_tokens=options.median_tokens)
    if options.sigma is not None:
        told = replace(told, sigma=options.sigma)
    return hosts, told


def _of_job(runs_dir: Path, name: str, work: Work, *, rows: int | None) -> tuple[tuple[SimHost, ...], Work]:
    """Return the hosts that a job's latest results show, and rows like its own: as many, as long."""
    folder = find_job(runs_dir, name)
    # nothing of it is needed, but a newer scorer's figures may mean something else
    read_spec(folder)
    reader = Reader.open(folder / DATABASE)
    try:
        timings, total = reader.timings(TIMINGS), reader.counts().total
    finally:
        reader.close()
    hosts = measured_fleet(timings)
    if not hosts:
        raise UsageError(f"job {quoted(name)} has too few results with token counts to tell how fast its hosts are")
    return hosts, _like(timings, replace(work, rows=rows or total))


def _like(timings: Sequence[Timing], work: Work) -> Work:
    lengths = np.log([timing.prompt_tokens for timing in timings])
    quantiles = np.quantile([timing.output_tokens for timing in timings], np.linspace(0, 1, OUTPUT_QUANTILES))
    return replace(
        work,
        median_tokens=float(np.exp(np.median(lengths))),
        sigma=float(lengths.std()),
        output_tokens=tuple(round(tokens) for tokens in quantiles),
    )


def _check_models(hosts: Sequence[SimHost], work: Work) -> None:
    for model in work.models:
        if not any(host.serves(model) for host in hosts):
            raise UsageError(f"no host serves the model {quoted(model)}; the fleet file's `models` say who serves what")
