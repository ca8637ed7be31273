"""A job that runs in a thread of another program: begun, followed by its results, and ended in order by a call.

The thread has an event loop of its own and leaves the process's signals and settings alone. Results are read from the
job's database, so that whoever is slow to take them holds up nothing.

Invariants: calls block for a bounded time (`end` as long as the requests in flight or the program's next row take), one
caller at a time; after `end` no thread is left, and no program ends before its jobs have.
"""

import asyncio
import atexit
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from scorer.dispatch.events import Event, Progress
from scorer.errors import UsageError
from scorer.jobs.results_since import Result, ResultsSince
from scorer.jobs.run import start
from scorer.jobs.submit import RunOptions, draft

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectSendStream

POLL_S = 0.2


class JobInThread:
    """A run of a job in a thread of its own.

    `options` is called there, since it may take long to write rows; what it is given it calls at each row, which raises
    KeyboardInterrupt once the job was ordered to stop.
    """

    def __init__(self, options: Callable[[Callable[[], None]], RunOptions]) -> None:
        self._options = options
        self._orders = _Orders()
        self._view = _View()
        self._thread: threading.Thread | None = None
        self._over = threading.Event()
        self._error: BaseException | None = None
        self._results: ResultsSince | None = None
        self._ended = False

    @property
    def folder(self) -> Path:
        """The job's folder; UsageError as long as it is not known."""
        if self._view.folder is None:
            raise UsageError("the job has not begun: enter it with `async with`")
        return self._view.folder

    def begin(self) -> None:
        """Start the thread."""
        if self._thread is not None:
            raise UsageError("a job is entered once: call scorer.open_job again to go on with it")
        self._thread = threading.Thread(target=self._run, name="scorer-job", daemon=True)
        self._thread.start()
        # later a thread that is still at work is frozen where it is: the job would be torn off, and `end` wait for ever
        atexit.register(self.end)

    def begun(self) -> bool:
        """Whether rows are on their way; waits a moment for it. Raises the reason if they will never be."""
        if self._view.started.wait(POLL_S):
            return True
        if self._over.is_set() and self._error is not None:
            raise self._error
        return self._over.is_set()

    def more(self) -> list[Result] | None:
        """Return results that were not returned before; none at all if none come in a moment; None after the last.

        Raises what ended the job before its time, once what was committed before has been handed out; UsageError after
        `end`.
        """
        if self._ended:
            raise UsageError("the job has ended: read its results inside its `async with`, or open it once more")
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

    def end(self, *, wait: bool = True) -> None:
        """Let the job end in order if it still runs; at once if this is interrupted.

        A thread that the job may need must not wait for it; then the exit of the program does.
        """
        # in a process that was forked off, the thread is not there
        if self._thread is not None and self._thread.is_alive():
            self._orders.stop()
            if wait:
                self._wait(self._thread)
        if wait:
            atexit.unregister(self.end)
        self._ended = True
        if self._results is not None:
            self._results.close()
            self._results = None

    def _wait(self, thread: threading.Thread) -> None:
        try:
            self._over.wait()
        except KeyboardInterrupt:
            self._orders.stop()
            raise
        finally:
            thread.join()

    def _run(self) -> None:
        try:
            options = self._options(self._orders.check)
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
        # entered again where the search for garbage finds the job's results while the lock is held
        self._lock = threading.RLock()
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

    def check(self) -> None:
        """Raise KeyboardInterrupt if it was ordered to stop: for what comes before the event loop."""
        if self._given:
            raise KeyboardInterrupt

    @staticmethod
    def _pass_on(send: "MemoryObjectSendStream[int]") -> None:
        # the run may be over meanwhile, or be told so often that it listens no more
        with suppress(anyio.WouldBlock, anyio.BrokenResourceError, anyio.ClosedResourceError):
            send.send_nowait(signal.SIGINT)
