"""The dispatcher: every free slot takes a row, every outcome becomes a fact, until nothing is left.

One coroutine a slot that has work, one a host that lives, one that commits, one that looks around each second. All
decisions are the fleet's and the core's; here they are only carried out.

Invariants: a row is in the window, in flight, in the ledger or on disk, and in no two of them; no row is taken while
commits cannot keep up; a slot's coroutine ends only when the fleet gives it nothing.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial

import anyio
from anyio.abc import TaskGroup

from scorer.config import HostConfig, HostsFile
from scorer.core.fleet import Fleet, Settled, Slot
from scorer.core.result import Counts, Died, Done, Entry, Tried
from scorer.core.score import figure_of
from scorer.core.task import Attempt, Blame, Dead, Failed, Outcome, Scored, Task, TaskKey
from scorer.core.window import Window
from scorer.dispatch.attempt import Sampling, attempt
from scorer.dispatch.edits import Edits
from scorer.dispatch.events import WELL, Event, HostProgress, Progress
from scorer.dispatch.feed import Feed
from scorer.dispatch.groups import one_reason
from scorer.dispatch.ledger import Ledger
from scorer.dispatch.lives import Life, LifeState, Lives
from scorer.dispatch.patience import Patience
from scorer.dispatch.seams import Seams
from scorer.dispatch.served import Served
from scorer.dispatch.tally import Tallies
from scorer.errors import DatasetUnreadable, StoreError
from scorer.hosts.base import Host

WINDOW = 512
WINDOW_CHARS = 64 << 20
CHUNK = 128
TICK_S = 1.0
GRACE_S = 5.0
WALL_JUMP_S = 5.0
# a loop that looks each second and has not for so long was stopped (SIGSTOP, a machine that swaps)
STOOD_STILL_S = 10.0


class Ending(StrEnum):
    """How a run ended without an error."""

    FINISHED = "finished"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Orders:
    """What the dispatcher is to do and how: how to ask by recipe, how long to hope, and where new hosts come from."""

    sampling: Mapping[str, Sampling]
    patience_s: float
    watch: Callable[[], HostsFile | None]
    make_host: Callable[[HostConfig], Host]


class Dispatcher:
    """Runs one job until it is finished, interrupted, or cannot go on."""

    def __init__(
        self,
        orders: Orders,
        fleet: Fleet,
        lives: Lives,
        feeds: Sequence[Feed],
        ledger: Ledger,
        seams: Seams,
    ) -> None:
        self._sampling = orders.sampling
        self._patience = Patience(orders.patience_s, fleet, lives)
        self._edits = Edits(orders.watch, orders.make_host, lives, seams.read)
        self._fleet = fleet
        self._lives = lives
        self._feeds = list(feeds)
        self._ledger = ledger
        self._seams = seams
        self._window = Window()
        self._scopes: dict[int, anyio.CancelScope] = {}
        self._wake = anyio.Event()
        self._stopping = False
        self._broken = False
        self._fleet_version = 0
        self._rewound_at: dict[str, int] = {}
        self._seen_changes = 0
        self.observe: Callable[[Event], None] = lambda _: None

    # -- from outside -------------------------------------------------------------------------------------------

    async def run(self, counts: Counts) -> Ending:
        """Work until done. Raises NoHostsLeft, StoreError or UsageError; all facts known by then are committed."""
        now = anyio.current_time()
        self._began = now
        self._counts = counts
        self._tallies = Tallies(now)
        self._wall_offset = self._seams.wall() - now
        self._counted = now
        self._lives.observe = self._edits.observe = self.observe
        self._lives.on_join = self._lives.on_gone = self._on_fleet_change
        self._ledger.on_commit, self._ledger.observe = self._on_commit, self.observe
        self._window.behind = {feed.model: feed.left for feed in self._feeds}
        self._fleet.attend(self._window)
        try:
            async with one_reason() as group:
                self._group = group
                for life in list(self._lives.by_name.values()):
                    group.start_soon(self._lives.run, life)
                group.start_soon(self._ledger.run)
                group.start_soon(self._look_around)
                await self._work(group)
                group.cancel_scope.cancel()
        except StoreError as error:
            # a dataset that cannot be read says nothing against the database
            self._broken = not isinstance(error, DatasetUnreadable)
            raise
        finally:
            # what could not be written must not be tried again
            if not self._broken:
                await self._close()
        return Ending.INTERRUPTED if self._stopping and self._counts.pending else Ending.FINISHED

    async def _close(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._ledger.close(lambda: not self._stopping)

    def stop(self, *, at_once: bool = False) -> None:
        """Take no more rows and end; `at_once` gives up what is in flight as well."""
        if not self._stopping:
            self._stopping = True
            self._grace_ends = anyio.current_time() + GRACE_S
        if at_once:
            self._grace_ends = anyio.current_time()
        self._wake.set()

    def progress(self) -> Progress:
        """Return where the run stands, for display."""
        now = anyio.current_time()
        self._count_time(now)
        counts = self._counts
        # rows that die take next to no time
        scored = counts.done / max(counts.done + counts.dead, 1) if counts.done else 1.0
        eta = None if self._ledger.paused else self._tallies.eta(counts.pending * scored)
        return Progress(
            total=counts.total,
            done=counts.done,
            dead=counts.dead,
            in_flight=self._fleet.in_flight(),
            elapsed_s=now - self._began,
            rows_per_s=self._tallies.rate().rows_per_s,
            eta_s=eta.guess_s if eta else None,
            paused=self._ledger.paused,
            hosts=tuple(self._host_progress(life, now) for life in self._lives.by_name.values()),
            eta_low_s=eta.low_s if eta else None,
            eta_high_s=eta.high_s if eta else None,
            gives_up_in_s=self._patience.left_s(now),
        )

    # -- the loop -------------------------------------------------------------------------------------------------

    async def _work(self, group: TaskGroup) -> None:
        while not self._finished():
            self._wake = anyio.Event()
            now = anyio.current_time()
            if self._stopping:
                if now >= self._grace_ends:
                    self._cancel_in_flight()
                # a request that cannot be called off at once tells when it ends; asking again and again does not help
                timeout = self._grace_ends - now if now < self._grace_ends else math.inf
            else:
                await self._refill()
                self._fill_all(group)
                self._put_aside()
                due = self._fleet.due(now)
                timeout = math.inf if due is None else due - now
            if self._can_read() and not self._stopping:
                continue
            with anyio.move_on_after(max(timeout, 0.0)):
                await self._wake.wait()

    def _finished(self) -> bool:
        if self._fleet.in_flight():
            return False
        if self._stopping:
            return True
        if len(self._ledger):
            # a full disk is waited for while the run still lives
            return False
        return not self._window and all(feed.exhausted and not feed.put_aside for feed in self._feeds)

    def _can_read(self) -> bool:
        room = self._window.chars < WINDOW_CHARS and not self._ledger.overloaded
        return room and any(self._wants(feed) for feed in self._feeds)

    def _wants(self, feed: Feed) -> bool:
        """Whether a model has less than its share of the window, so that none is crowded out by another."""
        if feed.exhausted:
            return False
        sharing = sum(not other.exhausted for other in self._feeds)
        return self._window.waiting(feed.model) < self._size() * 3 // 4 / sharing

    def _size(self) -> int:
        """The window grows with the slots: with as many slots as rows there would be no choice."""
        return max(WINDOW, 2 * self._fleet.slots())

    async def _refill(self) -> None:
        """Bring the window up to size, taking from each model's feed in turn."""
        for feed in self._feeds:
            # once for each host that joins or leaves for good: who can take a row may be another then
            if feed.put_aside and feed.exhausted and self._rewound_at.get(feed.model, 0) < self._fleet_version:
                self._rewound_at[feed.model] = self._fleet_version
                feed.rewind()
        while self._can_read() and not self._stopping:
            for feed in self._feeds:
                if self._wants(feed):
                    self._take_in(await feed.take(CHUNK, self._held()))
                    self._window.behind[feed.model] = feed.left
        self._window.last = all(feed.exhausted for feed in self._feeds)

    def _held(self) -> set[TaskKey]:
        return self._window.keys() | self._fleet.keys() | self._ledger.keys()

    def _take_in(self, items: Sequence[Task | Died]) -> None:
        for item in items:
            if isinstance(item, Died):
                self._add_dead(item)
            elif dead := self._fleet.hopeless(item.chars, self._sampling[item.recipe].num_predict):
                self._bury(item, dead)
            else:
                self._window.add(item)

    def _put_aside(self) -> None:
        """Make room when what waits fills the window and only absent hosts could take it."""
        if len(self._window) < self._size() // 2 or not self._fleet.free_hosts(anyio.current_time()):
            return
        for key in self._fleet.stuck(self._window):
            task = self._window.take(key)
            next(feed for feed in self._feeds if feed.model == task.key.model).put_aside = True

    def _fill_all(self, group: TaskGroup) -> None:
        for name in self._fleet.free_hosts(anyio.current_time()):
            while (taken := self._next(name)) is not None:
                group.start_soon(self._run_slot, *taken)

    def _next(self, name: str) -> tuple[Life, Slot, Served] | None:
        life = self._lives.by_name.get(name)
        if self._stopping or self._ledger.overloaded or life is None:
            return None
        slot = self._fleet.pick(name, self._window, anyio.current_time())
        if slot is None:
            return None
        life.in_flight += 1
        # from now on it can be cancelled, although its coroutine may not have begun
        self._scopes[slot.number] = anyio.CancelScope()
        return life, slot, life.served[slot.task.key.model]

    async def _run_slot(self, life: Life, slot: Slot, served: Served) -> None:
        """Work through one row after another for as long as the host gets any."""
        taken: tuple[Life, Slot, Served] | None = (life, slot, served)
        while taken is not None:
            life, slot, served = taken
            await self._run_row(life, slot, served)
            if life.retired and not life.in_flight:
                await life.close()
            taken = self._next(slot.host)
            if self._fleet.changes != self._seen_changes:
                # more than this one slot may be free
                self._seen_changes = self._fleet.changes
                self._fill_all(self._group)
            if taken is None or self._window.last or self._can_read():
                self._wake.set()

    async def _run_row(self, life: Life, slot: Slot, served: Served) -> None:
        with self._scopes[slot.number] as scope:
            ratio = self._fleet.ratio(slot.task.key.model)
            sampling = self._sampling[slot.task.recipe]
            outcome = await attempt(life, slot, served.frame, sampling, ratio, partial(self._unusable, life))
            if not served.exchanged:
                self._settle(life, slot, served, outcome)
        del self._scopes[slot.number]
        life.in_flight -= 1
        if scope.cancelled_caught or served.exchanged:
            # nobody is blamed, and an answer of which nobody knows who gave it is none
            task = self._fleet.abandon(slot)
            if task is not None:
                self._window.add(task, first=True)

    def _unusable(self, life: Life, reason: str) -> None:
        self._lives.down(life, reason, unusable=True)

    def _must_prove_itself(self, name: str) -> None:
        """Tell whoever goes by this name now that it gets no rows before it has answered again."""
        life = self._lives.by_name.get(name)
        if life is not None:
            self._lives.down(life, self._fleet.last_fault(name) or "")

    # -- what became of it ------------------------------------------------------------------------------------------

    def _settle(self, life: Life, slot: Slot, served: Served, outcome: Outcome) -> None:
        if isinstance(outcome, Failed):
            # it may have broken as this machine woke up, before anyone has looked
            self._mind_the_clock()
        if life.retired:
            outcome = _of_old(outcome)
        settled = self._fleet.release(slot, outcome, anyio.current_time())
        for loser in settled.losers:
            self._scopes[loser.number].cancel()
        for name in settled.put_aside:
            self._must_prove_itself(name)
        if isinstance(outcome, Failed):
            self._settle_failed(life, slot, served, outcome, settled)
        elif not settled.aside:
            self._record_score(life, served, settled.task, outcome)

    def _settle_failed(self, life: Life, slot: Slot, served: Served, outcome: Failed, settled: Settled) -> None:
        failed = outcome.attempt
        self.observe(_attempt_failed(slot, failed))
        if settled.unusable:
            self._lives.down(life, settled.unusable, unusable=True)
        elif self._fleet.is_open(slot.host):
            self._must_prove_itself(slot.host)
        if failed.sent:
            self._ledger.add(Tried(slot.task.key, settled.attempt or failed, self._seams.wall()))
        if settled.aside:
            return
        if settled.dead:
            served.answered += 1
            self._bury(settled.task, settled.dead, outcome, served)
        else:
            self._window.add(settled.task, first=True)

    def _record_score(self, life: Life, served: Served, task: Task, outcome: Scored) -> None:
        reply = outcome.reply
        served.answered += 1
        self._tallies.host(life.config.name).scored(reply.prompt_tokens, reply.output_tokens)
        self._patience.scored()
        words = self._sampling[task.recipe].words
        self._ledger.add(
            Done(
                key=task.key,
                fields=outcome.fields,
                score=figure_of(next(iter(outcome.fields.values())), words),
                kept=task.kept,
                completion=reply.text,
                digest=served.model.digest,
                host=life.config.name,
                attempts=task.tries + 1,
                prompt_tokens=reply.prompt_tokens,
                output_tokens=reply.output_tokens,
                duration_s=outcome.duration_s,
                finished_at=self._seams.wall(),
            )
        )

    def _bury(self, task: Task, dead: Dead, outcome: Failed | None = None, served: Served | None = None) -> None:
        self._add_dead(
            Died(
                key=task.key,
                error=f"{dead.kind}: {dead.message}",
                kind=str(dead.kind),
                kept=task.kept,
                completion=outcome.attempt.completion if outcome else None,
                digest=served.model.digest if served else None,
                host=outcome.attempt.host if outcome else None,
                attempts=task.tries,
                duration_s=outcome.duration_s if outcome else None,
                finished_at=self._seams.wall(),
            )
        )

    def _add_dead(self, died: Died) -> None:
        self._ledger.add(died)
        details: dict[str, object] = {"row": died.key.row, "model": died.key.model, "kind": died.kind}
        self.observe(Event("row_dead", f"row {died.key.row} is dead: {died.error}", "warning", details))

    def _on_commit(self, batch: Sequence[Entry]) -> None:
        done = sum(isinstance(entry, Done) for entry in batch)
        dead = sum(isinstance(entry, Died) for entry in batch)
        counts = self._counts
        self._counts = Counts(counts.pending - done - dead, counts.done + done, counts.dead + dead)
        self._wake.set()

    def _on_fleet_change(self, _name: str) -> None:
        self._fleet_version += 1
        self._wake.set()

    # -- what is looked at each second --------------------------------------------------------------------------------

    async def _look_around(self) -> None:
        while True:
            await anyio.sleep(TICK_S)
            self._mind_the_clock()
            self._lives.keep_hours()
            await self._edits.look(self._group)
            if not self._stopping:
                self._patience.check(self._window, anyio.current_time(), reading=self._reading())
            self._count_time(anyio.current_time())
            self._wake.set()

    def _mind_the_clock(self) -> None:
        """Requeue what was in flight when the wall clock ran ahead: this machine slept, the connections are dead.

        Each second is not enough: what breaks on waking fails at once, and nobody may be blamed for it. So no failed
        try is settled before this has been asked.
        """
        offset = self._seams.wall() - anyio.current_time()
        ahead, self._wall_offset = offset - self._wall_offset, offset
        if ahead > WALL_JUMP_S:
            text = f"the clock jumped {ahead:.0f} s ahead (suspended?): what was in flight is asked again"
            self.observe(Event("clock_jump", text, "warning", {"seconds": ahead}))
            self._fleet.away(anyio.current_time())
            self._cancel_in_flight()

    def _cancel_in_flight(self) -> None:
        for scope in self._scopes.values():
            scope.cancel()

    def _reading(self) -> bool:
        """Whether nothing waits only because it has not been read, or is being worked on."""
        return not self._window and (self._fleet.in_flight() > 0 or any(not feed.exhausted for feed in self._feeds))

    def _count_time(self, now: float) -> None:
        """Let rates know which hosts were there since they were last told, if they could do anything."""
        if self._ledger.paused or now - self._counted > STOOD_STILL_S:
            self._tallies.pass_over(now)
        self._counted = now
        up = [name for name, life in self._lives.by_name.items() if self._at_work(life, now)]
        self._tallies.look(now, up, self._lives.hours(), self._lives.local())

    def _at_work(self, life: Life, now: float) -> bool:
        view = self._fleet.view(life.config.name, now) if life.state is LifeState.UP else None
        return view is not None and view.state in WELL

    def _host_progress(self, life: Life, now: float) -> HostProgress:
        name = life.config.name
        view = self._fleet.view(name, now)
        tally = self._tallies.host(name)
        rate = tally.rate()
        prefill_tps, decode_tps = self._fleet.speed(name) or (None, None)
        up = view is not None and life.state is LifeState.UP
        return HostProgress(
            name=name,
            state=view.state if view and up else str(life.state),
            running=view.running if view else 0,
            limit=view.limit if view else 0,
            rows=tally.rows,
            rows_per_s=rate.rows_per_s,
            prompt_tps=rate.prompt_tps,
            output_tps=rate.output_tps,
            last_fault=(view.last_fault if view and up else None) or life.reason or None,
            prefill_tps=prefill_tps,
            decode_tps=decode_tps,
            row_s=view.typical_s if view else None,
        )


def _of_old(outcome: Outcome) -> Outcome:
    """Blame nobody for what fails at an address that is not the host's any more: another may go by its name now."""
    if isinstance(outcome, Scored) or outcome.attempt.blame is Blame.ROW:
        return outcome
    return replace(outcome, attempt=replace(outcome.attempt, blame=Blame.NOBODY))


def _attempt_failed(slot: Slot, failed: Attempt) -> Event:
    text = f"row {slot.task.key.row} on {slot.host}: {failed.kind}: {failed.message}"
    details: dict[str, object] = {"row": slot.task.key.row, "host": slot.host, "kind": str(failed.kind)}
    return Event("attempt_failed", text, "warning", details)
