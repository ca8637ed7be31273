"""Score rows from Python: `scorer.score` for plain programs, `scorer.open_job` for asyncio and trio.

    for result in scorer.score(rows, prompt="quality", hosts="hosts.toml"):
        print(result.row, result.score)

    async with scorer.open_job(rows, prompt="quality") as run:
        async for result in run:
            print(result.row, result.score)

It is the same durable job as `scorer run`'s, in the same folder: stopped at any moment, the same call goes on where it
was, and results that were there before come first. A result is handed out only after its commit, so what a program has
seen is never lost. The job runs in a thread with an event loop of its own, which leaves the process's signals and
settings alone; results are read from the job's database, so a slow consumer costs neither memory nor hosts.

Invariant: however the loop over the results is left (its end, break, an exception, Ctrl-C, cancellation), the job has
ended in order when control comes back: nothing in flight is charged to a row, and no thread stays behind. A program
that ends while it still holds results ends their job too.
"""

import asyncio
import operator
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from types import TracebackType
from typing import Self, SupportsFloat, SupportsIndex, TypedDict, Unpack

import anyio
import anyio.to_thread

from scorer.errors import UsageError
from scorer.jobs.in_thread import JobInThread
from scorer.jobs.look import Status, status
from scorer.jobs.results_since import Result
from scorer.jobs.submit import MOST_SAMPLES, PATIENCE_S, RunOptions
from scorer.jobs.written_rows import written_rows

__all__ = ["JobRun", "Options", "Result", "open_job", "score"]

Rows = Iterable[Mapping[str, object]] | Iterable[str]


class Options(TypedDict, total=False):
    """What `score` and `open_job` may be told; each is what `scorer run` has under the same name.

    `prompt`: a shipped template's name or a file ("quality"). `hosts`: a hosts file; left out, what `scorer run` would
    find. `models`: names, the hosts' default if empty. `columns`: template variable to column. `keep`: columns to have
    in each result. `job`: its name; left out, made of rows, template and model. `runs_dir`: where jobs live ("runs").
    `limit`: the first N rows only. `samples`: score each row so often. `patience_s`: how long to go on without hosts.
    """

    prompt: str
    hosts: str | PathLike[str] | None
    models: Sequence[str]
    columns: Mapping[str, str]
    keep: Sequence[str]
    job: str | None
    runs_dir: str | PathLike[str]
    limit: int | None
    samples: int
    patience_s: float


def score(data: str | PathLike[str] | Rows, **options: Unpack[Options]) -> Iterator[Result]:
    """Score a dataset (its path) or rows (mappings, or texts) and yield each result once it is stored for good.

    Results come in the order in which they were committed, those of earlier runs first, dead rows last. Ending the loop
    early ends the job in order, which takes the requests in flight up to five seconds. Raises UsageError, NoHostsLeft
    or StoreError, as `scorer run` would exit; UsageError at once inside a running event loop, which it would block.
    """
    if _in_event_loop():
        raise UsageError(
            "scorer.score would block the event loop that runs here; "
            "write `async with scorer.open_job(…) as run:` and in it `async for result in run:`"
        )
    return _scored(data, options)


def _scored(data: str | PathLike[str] | Rows, options: Options) -> Iterator[Result]:
    # here and not in the job's thread: the rows may be bound to this one, and Ctrl-C ends it in the midst of a row
    run_options = _run_options(data, options)
    job = JobInThread(lambda _: run_options)
    reader = threading.current_thread()
    try:
        job.begin()
        while not job.begun():
            pass
        while (results := job.more()) is not None:
            yield from results
            reader = threading.current_thread()
    finally:
        # the search for garbage may close this, on any thread: also on one of the job's, which are all daemons as its
        # first one is, and where waiting for the job would be waiting for oneself
        closer = threading.current_thread()
        job.end(wait=closer is reader or not closer.daemon)


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        trio = sys.modules.get("trio")
        return trio is not None and bool(trio.lowlevel.in_trio_run())
    return True


def open_job(data: str | PathLike[str] | Rows, **options: Unpack[Options]) -> "JobRun":
    """Return a job over a dataset (its path) or rows (mappings, or texts), to be entered with `async with`.

    Entering it finds every mistake that `scorer run` would, and waits until the rows are on their way.
    """
    return JobRun(data, options)


class JobRun:
    """A job that runs while its `async with` lasts. Iterate over it in there for its results, each once it is stored.

    Results come in the order in which they were committed, those of earlier runs first, dead rows last. UsageError
    afterwards: what was not read then is not there, and nothing should look as if it were all.
    """

    def __init__(self, data: str | PathLike[str] | Rows, options: Options) -> None:
        self._job = JobInThread(lambda check: _run_options(data, options, check))
        self._reading = threading.Lock()
        self._waiting: deque[Result] = deque()

    async def __aenter__(self) -> Self:
        self._job.begin()
        try:
            while not await anyio.to_thread.run_sync(self._job.begun):
                pass
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._end()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Result:
        while not self._waiting:
            if not await anyio.to_thread.run_sync(self._read):
                raise StopAsyncIteration
        return self._waiting.popleft()

    @property
    def folder(self) -> Path:
        """The job's folder; its results are in `results` there, as Parquet."""
        return self._job.folder

    async def status(self) -> Status:
        """Return how the job stands, as `scorer status` tells it."""
        return await anyio.to_thread.run_sync(status, self.folder)

    def _read(self) -> bool:
        """Put results that come now where the next call finds them; whether there may be more.

        asyncio cancels the call that waits for this, as its time limits do, but not this: it goes on, and what it has
        read is kept; whoever is next waits until it is through.
        """
        with self._reading:
            if not self._waiting:
                results = self._job.more()
                if results is None:
                    return False
                self._waiting.extend(results)
            return True

    async def _end(self) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._end_job)

    def _end_job(self) -> None:
        with self._reading:
            self._job.end()
            self._waiting.clear()


def _run_options(
    data: str | PathLike[str] | Rows, options: Options, check: Callable[[], None] = lambda: None
) -> RunOptions:
    runs_dir = Path(options.get("runs_dir", "runs"))
    hosts = options.get("hosts")
    models = options.get("models", ())
    keep = options.get("keep", ())
    limit = options.get("limit")
    job = options.get("job")
    for name, value in (("models", models), ("keep", keep)):
        if isinstance(value, str):
            raise UsageError(f"{name} is a list of names, such as {name}=[{value!r}]")
        if other := next((item for item in value if not isinstance(item, str)), None):
            raise UsageError(f"{name} is a list of names, and {other!r} is none")
    if not isinstance(job, str | None):
        raise UsageError(f"job={job!r}: give the job's name as a text; runs_dir says in which folder it is")
    told = RunOptions(
        dataset="",
        hosts=Path(hosts) if hosts is not None else None,
        prompt=options.get("prompt", "quality"),
        models=tuple(dict.fromkeys(models)),
        columns=dict(options.get("columns", {})),
        keep=tuple(dict.fromkeys(keep)),
        job=job,
        runs_dir=runs_dir,
        limit=None if limit is None else _whole("limit", limit),
        samples=_whole("samples", options.get("samples", 1), most=MOST_SAMPLES),
        patience_s=_seconds("patience_s", options.get("patience_s", PATIENCE_S)),
    )
    # after every look at the options: rows may be many, and come from where they come but once
    dataset = fspath(data) if isinstance(data, str | PathLike) else str(written_rows(data, runs_dir, check))
    return replace(told, dataset=dataset)


def _whole(name: str, value: object, most: int | None = None) -> int:
    """Return a whole number of any type that is one, such as NumPy's; UsageError if it is none, or out of bounds."""
    bounds = "from 1 on" if most is None else f"from 1 to {most}"
    if isinstance(value, SupportsIndex) and not isinstance(value, bool):
        number = operator.index(value)
        if number >= 1 and (most is None or number <= most):
            return number
    raise UsageError(f"{name}={value!r}: give a whole number {bounds}")


def _seconds(name: str, value: object) -> float:
    if isinstance(value, SupportsFloat) and not isinstance(value, bool) and float(value) >= 0:
        return float(value)
    raise UsageError(f"{name}={value!r}: give a number of seconds, 0 or more")
