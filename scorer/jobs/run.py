"""Run a job: from a draft to an ending.

Order matters and is always the same: lock, database, hosts, rows. A job with nothing left to do stops after the second.
"""

import gc
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import anyio
import pyarrow as pa

from scorer.config import HostConfig, HostsFile, load_hosts, read_token, signature_of
from scorer.core.fleet import Fleet
from scorer.core.result import Counts
from scorer.dispatch.events import Event, Progress
from scorer.dispatch.feed import Feed, Source
from scorer.dispatch.groups import one_reason
from scorer.dispatch.ledger import Ledger
from scorer.dispatch.lives import Life, Lives
from scorer.dispatch.loop import Dispatcher, Ending, Orders
from scorer.dispatch.rollcall import admit, call, common_model, configs_of
from scorer.dispatch.seams import Seams, production
from scorer.dispatch.terms import Terms
from scorer.errors import DiskFull, UsageError
from scorer.hosts.base import Host
from scorer.hosts.factory import make_host
from scorer.jobs.asking import answer_schema, recipes_of, thawed
from scorer.jobs.board import Board
from scorer.jobs.folder import (
    DATABASE,
    RESULTS,
    check_database,
    find_job,
    is_job,
    locked,
    make_folder,
    move_aside,
)
from scorer.jobs.forecast import forecast
from scorer.jobs.log import JobLog
from scorer.jobs.look import latest_unfinished
from scorer.jobs.spec import HostRecord, JobSpec, read_spec, schema_of, write_spec
from scorer.jobs.submit import PATIENCE_S, Draft, RunOptions, draft, existing, grown, reopened, selected_rows
from scorer.locks import NO_CLAIMS, Claims, HostLocks, state_folder
from scorer.publish import Publisher
from scorer.queue import Queue

# objects made between two looks for garbage in cycles: Python's own 700 takes an eighth of all CPU time here
COLLECT_EVERY = 10_000


class View(Protocol):
    """Where a run is shown: it is told what happens and may ask how things stand."""

    def event(self, event: Event) -> None:
        """Take note of something that happened."""

    async def watch(self, progress: Callable[[], Progress]) -> None:
        """Show the progress until cancelled."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended, and where its results are."""

    folder: Path
    ending: Ending
    counts: Counts


@dataclass(frozen=True, slots=True)
class Switches:
    """What may differ from one run of a job to the next."""

    patience_s: float = PATIENCE_S
    allow_mixed_models: bool = False
    share_hosts: bool = False


Signals = Callable[[], AbstractContextManager[AsyncIterator[int]]]
"""Where orders to end come from: signal numbers, while the context lasts."""


@contextmanager
def process_signals() -> Iterator[AsyncIterator[int]]:
    """Yield those signals that the process is sent which concern a run; the main thread alone may ask."""
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)}
    try:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            yield signals
    finally:
        # asyncio leaves the default behind, with which either ends what comes after the last row without a word
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The seams of a whole run: tests bring a virtual clock and other transports, production the real ones."""

    seams: Seams
    make_host: Callable[[HostConfig], Host]
    claims: Claims = NO_CLAIMS
    signals: Signals = process_signals


def run(options: RunOptions, view: View) -> Ended:
    """Start the job that the options mean, or go on with it."""
    return start(draft(options), options, view)


def start(drafted: Draft, options: RunOptions, view: View, signals: Signals = process_signals) -> Ended:
    """Start the job that was drafted, or go on with it if it exists; of the options, only those of the run count.

    With `signals` of its own it leaves the process's alone, and the process as it is: it may run in any thread.
    """
    if signals is process_signals:
        _tune_process()
    for note in drafted.notes:
        view.event(Event("choice", note))
    folder = existing(drafted, options)
    if folder is not None and options.fresh:
        view.event(_moved_aside(folder))
        folder = None
    switches = Switches(options.patience_s, options.allow_mixed_models, options.share_hosts)
    return _in_loop(_Run(drafted, folder, switches, view, options), switches, signals)


def resume(
    runs_dir: Path,
    job: str | None,
    hosts: Path | None,
    dataset: str | None,
    view: View,
    switches: Switches = Switches(),
) -> Ended:
    """Go on with a job from what its folder froze: the latest unfinished one if none is named.

    Mixed models stay allowed in a job in which they once were.
    """
    _tune_process()
    folder = find_job(runs_dir, job) if job else latest_unfinished(runs_dir, _telling(view))
    drafted = reopened(folder, dataset, hosts)
    return _in_loop(_Run(drafted, folder, switches, view, None), switches)


def _moved_aside(folder: Path) -> Event:
    """Move a job's folder aside; UsageError while a process works in it."""
    with locked(folder):
        pass
    return Event("moved_aside", f"the old job is now {move_aside(folder)}")


def _telling(view: View) -> Callable[[str], None]:
    return lambda line: view.event(Event("job_unreadable", line, "warning"))


def _tune_process() -> None:
    """Settings of the whole process, each for a measured gain (docs/benchmarks.md)."""
    gc.set_threshold(COLLECT_EVERY)
    # Arrow's own allocator keeps more of what is free for reuse: 12 MB
    pa.set_memory_pool(pa.system_memory_pool())


def _in_loop(work: "_Run", switches: Switches, signals: Signals = process_signals) -> Ended:
    async def main() -> Ended:
        locks = HostLocks(state_folder(os.environ), share=switches.share_hosts)
        return await work.go(Surroundings(production(), _host_maker(os.environ), locks, signals))

    return anyio.run(main)


def _host_maker(environ: "os._Environ[str]") -> Callable[[HostConfig], Host]:
    return lambda config: make_host(config, token=read_token(config, environ))


class _Run:
    """One run of one job."""

    def __init__(
        self, drafted: Draft, folder: Path | None, switches: Switches, view: View, options: RunOptions | None
    ) -> None:
        self._drafted = drafted
        self._folder = folder
        self._switches = switches
        self._view = view
        self._options = options
        self._stop: Callable[[bool], None] = lambda _: None
        self._log: logging.Logger | None = None
        self._board: Board | None = None

    async def go(self, around: Surroundings) -> Ended:
        """Do everything; raises UsageError, StoreError, NoHostsLeft or KeyboardInterrupt."""
        self._around = around
        ended: Ended | None = None
        interrupted = False

        async with one_reason() as group:

            def stop_before_start(_: bool) -> None:
                nonlocal interrupted
                interrupted = True
                group.cancel_scope.cancel()

            self._stop = stop_before_start
            group.start_soon(self._mind_signals)
            async with AsyncExitStack() as stack:
                ended = await self._stages(stack)
            group.cancel_scope.cancel()
        if ended is None or interrupted:
            raise KeyboardInterrupt
        return ended

    async def _mind_signals(self) -> None:
        """First Ctrl-C or SIGTERM: end in order; second: at once. A closed terminal does not stop a run."""
        asked = False
        with self._around.signals() as signals:
            async for number in signals:
                if number == signal.SIGHUP:
                    self._event(Event("terminal_closed", "the terminal was closed: going on"))
                    continue
                if not asked:
                    text = "stopping: a few seconds for what is in flight (once more to stop at once)"
                    self._event(Event("stopping", text))
                self._stop(asked)
                asked = True

    async def _stages(self, stack: AsyncExitStack) -> Ended:
        folder, queue = self._folder, None
        if folder is not None:
            queue = self._open(stack, folder)
            if not queue.counts().pending:
                return self._finished(folder, queue)
        claims = self._around.claims
        stack.callback(claims.close)
        claims.name(folder.name if folder is not None else self._likely_name())
        lives = self._make_lives(stack)
        answers = await call(lives, claims, first_start=_is_new(self._drafted.spec))
        spec = self._with_models(answers.present)
        if folder is None and (folder := self._found(spec)) is not None:
            queue = self._open(stack, folder)
            if not queue.counts().pending:
                return self._finished(folder, queue)
            spec = self._drafted.spec
        claims.name(folder.name if folder is not None else spec.name)
        terms = self._terms(spec)
        digests = admit(answers, terms)
        if _is_new(spec) and not any(life.info for life in answers.present):
            raise answers.refusal()
        spec = spec.met(digests, _records(answers.present))
        terms = replace(terms, digests=spec.digests)
        if folder is None or queue is None:
            folder, queue = self._create(stack, spec)
            if not queue.counts().pending:
                return self._finished(folder, queue)
        for line in answers.lines():
            self._event(Event("host_missing", line, "warning"))
        write_spec(folder, spec)
        return await self._dispatch(folder, spec, queue, lives, terms)

    # -- the folder -------------------------------------------------------------------------------------------------

    def _open(self, stack: AsyncExitStack, folder: Path) -> Queue:
        check_database(folder)
        stack.enter_context(locked(folder))
        return self._enter(stack, folder)

    def _enter(self, stack: AsyncExitStack, folder: Path) -> Queue:
        """Read what the job froze, add what this command asks for, and open its queue. The lock is held."""
        self._log = stack.enter_context(JobLog(folder))
        where = {"job": folder.name, "folder": str(folder)}
        self._event(Event("job", f"job {folder.name} in {folder}", details={**where}))
        spec = read_spec(folder)
        asked = self._drafted.spec
        spec = replace(
            spec,
            selection=grown(spec.selection, asked.selection),
            hosts_file=asked.hosts_file or spec.hosts_file,
            allow_mixed_models=self._switches.allow_mixed_models or spec.allow_mixed_models,
            dataset=asked.dataset,
        )
        # a retry may have given the rows more room than the file asks for
        self._drafted = replace(self._drafted, spec=spec, template=thawed(spec.template, folder))
        self._switches = replace(self._switches, allow_mixed_models=spec.allow_mixed_models)
        if spec.allow_mixed_models:
            # said once, it holds for the job: whoever goes on with it may not remember
            text = "this job allows different packages of a model (--allow-mixed-models): model_digest tells rows apart"
            self._event(Event("mixed_allowed", text, "warning"))
        write_spec(folder, spec)
        queue = Queue.open(folder / DATABASE, self._around.seams.wall())
        stack.callback(queue.close)
        queue.enqueue(spec.models, selected_rows(self._drafted.dataset, spec.selection), spec.samples)
        return queue

    def _create(self, stack: AsyncExitStack, spec: JobSpec) -> tuple[Path, Queue]:
        if self._options is None:
            raise AssertionError("a resumed job has a folder")
        folder = self._options.runs_dir / spec.name
        try:
            make_folder(folder)
        except OSError as error:
            raise UsageError(f"cannot make the job's folder {folder}: {error.strerror}") from None
        stack.enter_context(locked(folder))
        if is_job(folder):
            raise UsageError(f"another command has just made job {spec.name}: give this one once more to go on with it")
        write_spec(folder, spec)
        return folder, self._enter(stack, folder)

    def _finished(self, folder: Path, queue: Queue) -> Ended:
        publisher = self._publisher(folder, queue, self._drafted.spec)
        publisher.recover()
        publisher.finish()
        self._event(Event("finished_before", f"job {folder.name} has nothing left to do: no host was asked"))
        return Ended(folder, Ending.FINISHED, queue.counts())

    def _publisher(self, folder: Path, queue: Queue, spec: JobSpec) -> Publisher:
        return Publisher(queue, folder, schema_of(spec, self._drafted.template))

    # -- the hosts --------------------------------------------------------------------------------------------------

    def _make_lives(self, stack: AsyncExitStack) -> list[Life]:
        lives = [Life(config, self._around.make_host(config)) for config in configs_of(self._drafted.hosts.hosts)]
        for life in lives:
            stack.push_async_callback(life.close)
        return lives

    def _likely_name(self) -> str:
        """Return the job's name as far as it is known before the hosts were asked for their models."""
        job = self._options.job if self._options is not None else None
        return self._drafted.named(self._drafted.spec.models, job, chosen=False).name

    def _with_models(self, present: Sequence[Life]) -> JobSpec:
        spec = self._drafted.spec
        if self._folder is not None or self._options is None:
            return spec
        models = spec.models or (common_model(present),)
        return self._drafted.named(models, self._options.job, chosen=not spec.models)

    def _found(self, spec: JobSpec) -> Path | None:
        """Return the folder of the job that is meant, now that its models are known: it may have been made with them.

        None if it is new, or made anew with --fresh.
        """
        if self._options is None or self._drafted.spec.models:
            return None
        folder = existing(replace(self._drafted, spec=spec), replace(self._options, job=spec.name))
        if folder is not None and self._options.fresh:
            self._event(_moved_aside(folder))
            return None
        return folder

    def _terms(self, spec: JobSpec) -> Terms:
        template = self._drafted.template
        return Terms(
            models=spec.models,
            digests=spec.digests,
            allow_mixed=self._switches.allow_mixed_models,
            system=template.system,
            schema=answer_schema(template),
            num_ctx=template.options.num_ctx,
            think=template.options.think,
        )

    # -- the rows ---------------------------------------------------------------------------------------------------

    async def _dispatch(self, folder: Path, spec: JobSpec, queue: Queue, members: list[Life], terms: Terms) -> Ended:
        seams = self._around.seams
        publisher = self._publisher(folder, queue, spec)
        publisher.recover()
        fleet = Fleet(seams.rng, proven=queue.hosts_that_scored())
        lives = Lives(terms, fleet, seams.rng, seams.wall, self._around.claims)
        for life in members:
            lives.add(life)
        lives.freeze = lambda digests: seams.store(_freeze, folder, digests)
        source = Source(self._drafted.dataset, self._drafted.template, spec.columns, spec.keep)
        feeds = [Feed(model, queue, source, seams) for model in spec.models]
        ledger = Ledger(queue, publisher, folder, seams, self._switches.patience_s)
        watch = _Watch(self._drafted.hosts)
        orders = Orders(recipes_of(self._drafted.template), self._switches.patience_s, watch, self._around.make_host)
        dispatcher = Dispatcher(orders, fleet, lives, feeds, ledger, seams)
        dispatcher.observe = self._event
        self._stop = lambda at_once: dispatcher.stop(at_once=at_once)
        self._board = board = Board(folder, seams)
        board.complain = self._event
        self._announce(folder, spec, queue.counts())
        how = "stopped"
        try:
            async with one_reason() as group:
                group.start_soon(self._view.watch, dispatcher.progress)
                group.start_soon(board.watch, dispatcher.progress)
                how = ending = await dispatcher.run(queue.counts())
                group.cancel_scope.cancel()
        except DiskFull as error:
            # a run that goes on waits for room; this one was told to stop
            raise DiskFull(_left_behind(str(error), folder, dispatcher.progress(), len(ledger.keys()))) from error
        finally:
            await board.close(dispatcher.progress(), how)
        counts = queue.counts()
        self._event(Event("ended", f"{ending}: {counts.done} done, {counts.dead} dead, {counts.pending} left"))
        for life in lives.by_name.values():
            await life.close()
        return Ended(folder, ending, counts)

    def _announce(self, folder: Path, spec: JobSpec, counts: Counts) -> None:
        if not counts.done:
            for line in forecast(self._drafted.dataset, self._drafted.template, spec.columns, counts.total):
                self._event(Event("forecast", line))
        known = f", {counts.done:,} done before" if counts.done else ""
        rows = f"{counts.pending:,} of {counts.total:,} to do{known} ({spec.selection})"
        self._event(Event("started", f"job {folder.name}: {rows}; results in {folder / RESULTS}"))

    def _event(self, event: Event) -> None:
        if self._log is not None:
            level = {"info": 20, "warning": 30, "error": 40}[event.level]
            self._log.log(level, event.text, extra={"kind": event.kind, "details": event.details})
        if self._board is not None:
            self._board.event(event)
        self._view.event(event)


def _is_new(spec: JobSpec) -> bool:
    """Whether the job has met no host yet; digests alone do not tell, where they are mixed none is frozen."""
    return not (spec.digests or spec.hosts)


def _freeze(folder: Path, digests: Mapping[str, str]) -> None:
    """Add to job.toml the digests of models that no host had when the run began."""
    write_spec(folder, read_spec(folder).met({**digests}, {}))


def _left_behind(problem: str, folder: Path, last: Progress, uncommitted: int) -> str:
    """Say what a run keeps and what it loses that ends while the disk is full."""
    to_do = last.total - last.done - last.dead
    lines = [problem, f"What was committed is safe: {last.done:,} done, {last.dead:,} dead, {to_do:,} to do"]
    if uncommitted:
        lines.append(f"Rows whose answers were only in memory, and that will be asked again: {uncommitted:,}")
    return "\n".join([*lines, f"Make room, then: scorer resume {folder.name}"])


def _records(present: Sequence[Life]) -> dict[str, HostRecord]:
    return {
        life.config.name: HostRecord(
            life.config.url,
            life.info.version,
            {model.name: model.digest for model in life.info.models if model.digest},
        )
        for life in present
        if life.info is not None
    }


class _Watch:
    """Looks whether the hosts file has changed since it was last read, the first time before the run began."""

    def __init__(self, hosts: HostsFile) -> None:
        self._path = Path(hosts.path) if hosts.path else None
        self._seen = hosts.signature

    def __call__(self) -> HostsFile | None:
        """Return the file's new content, None if it is as it was; UsageError, once, if it is broken or gone."""
        if self._path is None or (signature := signature_of(self._path)) == self._seen:
            return None
        self._seen = signature
        return load_hosts(self._path)
