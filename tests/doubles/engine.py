"""Slots, loads and simulated time: the part of the double that makes a client wait.

Invariants: requests for a loaded model wait first come first served, without limit and without a byte; one load at a
time; a load whose client goes away is aborted; a slot is taken by one request at a time. A slot's timetable is kept in
simulated time, so that the event loop's lateness never adds up to a slower server.
"""

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from doubles.answers import TOKEN_CHARS
from doubles.calls import Call, LoadOptions, Refusal
from doubles.prompts import Prompt
from doubles.record import Log, Record
from doubles.spec import Model, Spec, is_era_b

BUSY_TEXT = "server busy, please try again.  maximum pending requests exceeded"


class Clock:
    """Simulated seconds since the start; must be made inside the event loop."""

    def __init__(self, scale: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._start = self._loop.time()
        self._scale = scale

    def now_s(self) -> float:
        """Simulated seconds so far."""
        return (self._loop.time() - self._start) * self._scale

    async def wait_until(self, at_s: float) -> None:
        """Wait until a simulated instant."""
        delay = (at_s - self.now_s()) / self._scale
        if delay > 0:
            await asyncio.sleep(delay)

    async def wait(self, seconds: float) -> None:
        """Wait for simulated seconds."""
        await self.wait_until(self.now_s() + seconds)


@dataclass(slots=True)
class Slot:
    """One sequence of a runner. `ready_s` is when the work given to it so far ends, `cached` its last prompt."""

    number: int
    ready_s: float = 0.0
    cached: str = ""


@dataclass(slots=True)
class Work:
    """A request's stay in a slot, in simulated seconds."""

    slot: Slot
    start_s: float
    overhead_s: float
    prefill_s: float
    decode_s: float
    cached_tokens: int = 0
    cut_s: float | None = None  # ended otherwise than planned, at this instant

    @property
    def first_token_s(self) -> float:
        """The instant at which decoding starts."""
        return self.start_s + self.overhead_s + self.prefill_s

    @property
    def end_s(self) -> float:
        """The instant at which the slot is done with it."""
        return self.cut_s if self.cut_s is not None else self.first_token_s + self.decode_s

    @property
    def duration_s(self) -> float:
        """Time in the slot."""
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True)
class Job:
    """What a slot is to do. `queued_s` is the simulated instant at which the request got in line."""

    prompt: Prompt
    output_tokens: int
    queued_s: float


class Runner:
    """A loaded model."""

    def __init__(self, model: Model, options: LoadOptions, num_ctx: int, slots: int) -> None:
        self.model = model
        self.options = options
        self.num_ctx = num_ctx
        self.keep_alive_s = math.inf
        self.idle_since_s = 0.0
        self.users = 0
        self.idle = asyncio.Event()
        self.idle.set()
        self.slots = slots
        self._free = [Slot(number) for number in range(slots)]
        self._queue: deque[asyncio.Future[Slot]] = deque()

    @property
    def busy(self) -> int:
        """Slots in use."""
        return self.slots - len(self._free)

    @property
    def expires_s(self) -> float:
        """The simulated instant at which it will be unloaded if nobody asks again."""
        return math.inf if self.users else self.idle_since_s + self.keep_alive_s

    def enter(self) -> None:
        """One more request relies on this runner."""
        self.users += 1
        self.idle.clear()

    def leave(self, now_s: float) -> None:
        """One less."""
        self.users -= 1
        if not self.users:
            self.idle_since_s = now_s
            self.idle.set()

    async def take(self, text: str) -> Slot:
        """Take the free slot that remembers most of this prompt, or wait in line for one."""
        if self._free:
            slot = max(self._free, key=lambda slot: (common_prefix(slot.cached, text), -slot.number))
            self._free.remove(slot)
            return slot
        turn: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(turn.result())
            raise

    def give_back(self, slot: Slot) -> None:
        """Hand a slot to the first in line."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(slot)
                return
        self._free.append(slot)


@dataclass(slots=True)
class Engine:
    """All runners of one server. `version` and `speed` may be changed while it runs: later work sees it."""

    spec: Spec
    clock: Clock
    log: Log
    version: str
    speed: float = 1.0
    load_error: str = ""
    runners: dict[str, Runner] = field(default_factory=dict)
    _pending: int = 0
    _loading: asyncio.Lock = field(default_factory=asyncio.Lock)

    def loaded(self) -> list[Runner]:
        """The runners in memory now; those whose time is up are let go first."""
        now_s = self.clock.now_s()
        self.runners = {name: runner for name, runner in self.runners.items() if runner.expires_s > now_s}
        return list(self.runners.values())

    def forget(self) -> None:
        """Unload everything at once, as a restart does."""
        self.runners = {}

    def unload(self, model: Model) -> None:
        """Unload a model once it is idle."""
        if runner := self.runners.get(model.full_name):
            runner.keep_alive_s = 0.0

    @asynccontextmanager
    async def runner(self, call: Call, record: Record) -> AsyncIterator[Runner]:
        """A runner with the call's load options: the loaded one at once, or after a load, or 503 if too many wait."""
        runner = self._fitting(call)
        if runner is None:
            if self._pending > self.spec.max_queue:
                raise Refusal(503, BUSY_TEXT)
            self._pending += 1
            try:
                async with self._loading:
                    runner = self._fitting(call) or await self._load(call, record)
                    runner.enter()
            finally:
                self._pending -= 1
        else:
            runner.enter()
        if call.keep_alive_s is not None:
            runner.keep_alive_s = call.keep_alive_s
        try:
            yield runner
        finally:
            runner.leave(self.clock.now_s())

    def _fitting(self, call: Call) -> Runner | None:
        self.loaded()
        runner = self.runners.get(call.model.full_name)
        return runner if runner is not None and call.load.fits(runner.options) else None

    async def _load(self, call: Call, record: Record) -> Runner:
        name = call.model.full_name
        while old := self.runners.get(name) or self._to_evict():
            await old.idle.wait()
            if old.idle.is_set():
                record.load = "reload" if old.model.full_name == name else record.load
                self.runners.pop(old.model.full_name, None)
        kind = record.load or "load"
        record.load = "loading"
        self.log.touch()
        try:
            await self.clock.wait(self.spec.load_s)
        except asyncio.CancelledError:
            record.load = "aborted"
            raise
        if self.load_error:
            record.load = "failed"
            raise Refusal(500, self.load_error)
        record.load = kind
        num_ctx = call.load.num_ctx or self.spec.default_num_ctx
        runner = Runner(call.model, call.load, num_ctx, self.spec.slots)
        runner.keep_alive_s = self.spec.default_keep_alive_s
        runner.idle_since_s = self.clock.now_s()
        self.runners[name] = runner
        return runner

    def _to_evict(self) -> Runner | None:
        loaded = self.loaded()
        if len(loaded) < self.spec.max_loaded:
            return None
        return min(loaded, key=lambda runner: (runner.users > 0, runner.keep_alive_s))

    @contextmanager
    def work(self, runner: Runner, slot: Slot, job: Job) -> Iterator[Work]:
        """Use a slot that was taken. Cut short (the client has gone), it stays blocked until its era notices."""
        spec, prompt = self.spec, job.prompt
        cached = common_prefix(slot.cached, prompt.text) // TOKEN_CHARS if spec.prefix_cache else 0
        cached = min(cached, prompt.tokens - 1)
        factor = (1 + spec.contention * (runner.busy - 1)) / self.speed
        work = Work(
            slot=slot,
            start_s=max(slot.ready_s, job.queued_s),
            overhead_s=factor * spec.overhead_s,
            prefill_s=factor * (prompt.tokens - cached) / spec.prefill_tps,
            decode_s=factor * job.output_tokens / spec.decode_tps,
            cached_tokens=cached,
        )
        slot.cached = prompt.text
        try:
            yield work
        except asyncio.CancelledError:
            slot.ready_s = self._noticed_s(work)
            raise
        else:
            slot.ready_s = work.end_s
        finally:
            runner.give_back(slot)

    def _noticed_s(self, work: Work) -> float:
        """When a slot whose client has just gone is free: after the prefill (A), at the next look (B)."""
        now_s = self.clock.now_s()
        if not is_era_b(self.version):
            return max(now_s, work.first_token_s)
        poll_s = self.spec.cancel_poll_s
        if not poll_s:
            return now_s
        next_look_s = work.start_s + math.ceil((now_s - work.start_s) / poll_s) * poll_s
        return min(next_look_s, max(work.end_s, now_s))


def common_prefix(a: str, b: str) -> int:
    """Length of the longest common prefix, in characters."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a.startswith(b[:middle]):
            low = middle
        else:
            high = middle - 1
    return low
