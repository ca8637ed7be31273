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
ended in order when control comes back: nothing in flight is charged to a row, and no thread stays behind.
"""

import asyncio
import signal
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from os import PathLike, fspath
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypedDict, Unpack

import anyio
import anyio.to_thread

from scorer.dispatch.events import Event, Progress
from scorer.errors import UsageError
from scorer.jobs.look import Status, status
from scorer.jobs.results_since import Result, ResultsSince
from scorer.jobs.run import start
from scorer.jobs.submit import PATIENCE_S, RunOptions, draft
from scorer.jobs.written_rows import written_rows

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectSendStream

__all__ = ["JobRun", "Options", "Result", "open_job", "score"]

POLL_S = 0.2
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
    job = _Job(data, options)
    try:
        job.begin()
        while not job.begun():
            pass
        while (results := job.more()) is not None:
            yield from results
    finally:
        job.end()


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
    """A job that runs while its `async with` lasts. Iterate over it for its results, each once it is stored.

    Results come in the order in which they were committed, those of earlier runs first, dead rows last.
    """

    def __init__(self, data: str | PathLike[str] | Rows, options: Options) -> None:
        self._job = _Job(data, options)
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
            results = await anyio.to_thread.run_sync(self._job.more)
            if results is None:
                raise StopAsyncIteration
            self._waiting.extend(results)
        return self._waiting.popleft()

    @property
    def folder(self) -> Path:
        """The job's folder; its results are in `results` there, as Parquet."""
        return self._job.folder

    async def status(self) -> Status:
        """Return how the job stands, as `scorer status` tells it."""
        return await anyio.to_thread.run_sync(status, self.folder)

    async def _end(self) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._job.end)


class _Job:
    """A run of a job in a thread of its own. All calls block, each for a bounded time; one caller at a time."""

    def __init__(self, data: str | PathLike[str] | Rows, options: Options) -> None:
        self._data = data
        self._options = options
        self._orders = _Orders()
        self._view = _View()
        self._thread: threading.Thread | None = None
        self._over = threading.Event()
        self._error: BaseException | None = None
        self._results: ResultsSince | None = None

    @property
    def folder(self) -> Path:
        if self._view.folder is None:
            raise UsageError("the job has not begun: enter it with `async with`")
        return self._view.folder

    def begin(self) -> None:
        """Start the thread."""
        if self._thread is not None:
            raise UsageError("a job is entered once: call scorer.open_job again to go on with it")
        self._thread = threading.Thread(target=self._run, name="scorer-job", daemon=True)
        self._thread.start()

    def begun(self) -> bool:
        """Whether rows are on their way; waits a moment for it. Raises the reason if they will never be."""
        if self._view.started.wait(POLL_S):
            return True
        if self._over.is_set() and self._error is not None:
            raise self._error
        return self._over.is_set()

    def more(self) -> list[Result] | None:
        """Return results that were not returned before; none at all if none come in a moment; None after the last.

        Raises what ended the job before its time, once what was committed before has been handed out.
        """
        # asked first: what is committed after the look below must not be missed
        over = self._over.is_set()
        if self._results is None:
            self._results = ResultsSince(self.folder)
        if found := self._results.scored():
            return found
        if not over:
            self._over.wait(POLL_S)
            return []
        if self._error is not None:
            raise self._error
        return self._results.dead() or None

    def end(self) -> None:
        """Let the job end in order if it still runs; at once if this is interrupted."""
        if self._thread is not None:
            self._orders.stop()
            try:
                self._over.wait()
            except KeyboardInterrupt:
                self._orders.stop()
                raise
            finally:
                self._thread.join()
        if self._results is not None:
            self._results.close()
            self._results = None

    def _run(self) -> None:
        try:
            options = _run_options(self._data, self._options)
            start(draft(options), options, self._view, self._orders)
        except KeyboardInterrupt:
            pass  # stopped before its first row, by our own order
        except BaseException as error:  # noqa: BLE001 - a thread has nobody else to tell; the consumer raises it
            self._error = error
        finally:
            self._over.set()


class _View:
    """Notes where the job is, and when its rows are on their way."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.started = threading.Event()

    def event(self, event: Event) -> None:
        if event.kind == "job":
            self.folder = Path(str(event.details["folder"]))
        if event.kind in ("started", "finished_before"):
            self.started.set()

    async def watch(self, progress: Callable[[], Progress]) -> None:
        await anyio.sleep_forever()


class _Orders:
    """Orders to stop for a job in another thread, in place of the process's signals."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._send: MemoryObjectSendStream[int] | None = None

    @contextmanager
    def __call__(self) -> Iterator[AsyncIterator[int]]:
        send, receive = anyio.create_memory_object_stream[int](8)
        with send, receive:
            with self._lock:
                self._loop, self._send = asyncio.get_running_loop(), send
                for _ in range(self._given):
                    send.send_nowait(signal.SIGINT)
            try:
                yield receive
            finally:
                with self._lock:
                    self._loop = None

    def stop(self) -> None:
        """Order it to stop: in order the first time, at once the second."""
        with self._lock:
            self._given += 1
            if self._loop is not None and self._send is not None:
                self._loop.call_soon_threadsafe(self._pass_on, self._send)

    @staticmethod
    def _pass_on(send: "MemoryObjectSendStream[int]") -> None:
        # the run may be over meanwhile, or be told so often that it listens no more
        with suppress(anyio.WouldBlock, anyio.BrokenResourceError, anyio.ClosedResourceError):
            send.send_nowait(signal.SIGINT)


def _run_options(data: str | PathLike[str] | Rows, options: Options) -> RunOptions:
    runs_dir = Path(options.get("runs_dir", "runs"))
    hosts = options.get("hosts")
    models = options.get("models", ())
    keep = options.get("keep", ())
    for name, value in (("models", models), ("keep", keep)):
        if isinstance(value, str):
            raise UsageError(f"{name} is a list of names, such as {name}=[{value!r}]")
    dataset = fspath(data) if isinstance(data, str | PathLike) else str(written_rows(data, runs_dir))
    return RunOptions(
        dataset=dataset,
        hosts=Path(hosts) if hosts is not None else None,
        prompt=options.get("prompt", "quality"),
        models=tuple(dict.fromkeys(models)),
        columns=dict(options.get("columns", {})),
        keep=tuple(dict.fromkeys(keep)),
        job=options.get("job"),
        runs_dir=runs_dir,
        limit=options.get("limit"),
        samples=options.get("samples", 1),
        patience_s=options.get("patience_s", PATIENCE_S),
    )
