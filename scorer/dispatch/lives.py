"""The life of each host: absent, probed, admitted, warmed, taking rows, away again; for as long as the run goes on.

One coroutine a host. It never touches rows: it tells the fleet when the host joins and leaves, and the dispatcher tells
it (`down`) when requests have shown that the host must prove itself again.

Invariants: no row goes to a host before its version, models and digests were checked and the model was loaded with the
run's own options; none is made to load it outside its hours. The digest of a model that no host had at the start is
frozen before the first host that brings it takes rows. A host that is left out is looked at again slowly, an absent one
with growing back-off. Not even a question goes to a host that another run on this machine has claimed; a claim is kept
until the host is left out or retired, also while it is away.
"""

import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, time
from enum import StrEnum

import anyio

from scorer.config import HostConfig
from scorer.core.fleet import Fleet, Member
from scorer.core.health import FIRST_BACKOFF_S, MAX_ABSENT_S
from scorer.core.hours import Hours
from scorer.dispatch.events import Event
from scorer.dispatch.served import Look, Served, exchange
from scorer.dispatch.terms import Terms
from scorer.errors import DiskFull, Fault, FaultKind, HostFault, HostUnusable, UnclearFault, UsageError
from scorer.hosts.base import Host, HostInfo, ModelInfo
from scorer.locks import NO_CLAIMS, Claim, Claims, Holder

PROBE_S = 15.0
WARM_S = 1800.0
RECHECK_S = 60.0
LEFT_OUT_S = 60.0
IN_USE_S = 5.0


class LifeState(StrEnum):
    """Where a host stands, as people are told."""

    ABSENT = "absent"
    FAILING = "failing"
    WARMING = "warming"
    UP = "up"
    LEFT_OUT = "left out"
    IN_USE = "in use"
    RESTING = "resting"


async def _nowhere(_digests: Mapping[str, str]) -> None:
    """Keep no digests: there is no job to keep them in."""


def reason_of(fault: Fault | TimeoutError) -> str:
    """Say why a host could not be reached, in a few words."""
    if not isinstance(fault, Fault):
        return "no answer in time"
    return fault.message if fault.kind is FaultKind.UNREACHABLE else f"{fault.kind}: {fault.message}"


@dataclass(slots=True)
class Life:
    """One configured host during a run."""

    config: HostConfig
    host: Host
    state: LifeState = LifeState.ABSENT
    reason: str = "not asked yet"
    fault: Fault | None = None
    claim: Claim | None = None
    info: HostInfo | None = None
    served: dict[str, Served] = field(default_factory=dict)
    context: int | None = None
    slots: int | None = None
    version: str = ""
    loaded: str | None = None
    load_s: float | None = None
    in_flight: int = 0
    retired: bool = False
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    change: anyio.Event = field(default_factory=anyio.Event)

    def claimed(self, claims: Claims) -> bool:
        """Whether the host is this run's, now or already; the reason says whose it is otherwise."""
        if self.claim is None:
            taken = claims.take(self.config.url)
            if isinstance(taken, Holder):
                self.state, self.reason = LifeState.IN_USE, f"in use by {taken}"
                return False
            self.claim = taken
        return True

    def leave_out(self, fault: HostUnusable) -> None:
        """Note that the host may not be used as it is; another run may have it."""
        self.state, self.reason, self.fault = LifeState.LEFT_OUT, fault.message, fault
        self.let_go()

    def let_go(self) -> None:
        """Let other runs on this machine have the host."""
        if self.claim is not None:
            self.claim.release()
            self.claim = None

    async def close(self) -> None:
        """Close the connections and let other runs have the host."""
        try:
            await self.host.close()
        finally:
            self.let_go()

    def member(self, terms: Terms) -> Member:
        """Return what the fleet may know of this host: before it has answered, what its configuration says."""
        num_ctx = min(terms.num_ctx, self.config.max_context or terms.num_ctx)
        num_ctx = min(num_ctx, self.context or num_ctx)
        models = frozenset(self.served) or frozenset(terms.models)
        slots = self.config.slots or self.slots
        return Member(self.config.name, models, num_ctx, slots, self.config.min_deadline_s)


class Lives:
    """All hosts of a run."""

    def __init__(
        self,
        terms: Terms,
        fleet: Fleet,
        rng: random.Random,
        wall: Callable[[], float],
        claims: Claims = NO_CLAIMS,
    ) -> None:
        self.terms = terms
        self._claims = claims
        self.by_name: dict[str, Life] = {}
        self.observe: Callable[[Event], None] = lambda _: None
        self.on_join: Callable[[str], None] = lambda _: None
        self.on_gone: Callable[[str], None] = lambda _: None
        self.freeze: Callable[[Mapping[str, str]], Awaitable[None]] = _nowhere
        self._agreeing = anyio.Lock()
        self._fleet = fleet
        self._resting: set[str] = set()
        self._rng = rng
        self._wall = wall

    # -- told by the dispatcher -----------------------------------------------------------------------------------

    def add(self, life: Life) -> None:
        """Configure a host; `run` follows it from then on."""
        self.by_name[life.config.name] = life
        self._configure()

    def retire(self, name: str) -> Life:
        """Take a host out of the run: it gets no more rows; what is running there may still end."""
        life = self.by_name.pop(name)
        life.retired = True
        life.scope.cancel()
        self._fleet.leave(name)
        self._configure()
        self.on_gone(name)
        return life

    def down(self, life: Life, reason: str, *, unusable: bool = False) -> None:
        """Note that a request has shown the host to be down, or not to be usable at all."""
        if life.retired or life.state is LifeState.LEFT_OUT:
            return
        if unusable:
            self._leave_out(life, reason)
        else:
            if (life.state, life.reason) != (LifeState.FAILING, reason):
                # all that was in flight fails at once: once is enough
                text = f"{life.config.name} fails ({reason}): it must answer again before it gets more rows"
                self.observe(Event("host_down", text, "warning", {"host": life.config.name, "reason": reason}))
            life.state, life.reason = LifeState.FAILING, reason
        life.change.set()

    def all_left_out(self) -> bool:
        """Whether no host is usable and none can be hoped for."""
        return all(life.state is LifeState.LEFT_OUT for life in self.by_name.values())

    def reasons(self) -> list[str]:
        """Return one line a host that says why it is not up."""
        if not self.by_name:
            return ["the hosts file has no host that is switched on"]
        return [f"{n}: {life.reason}" for n, life in self.by_name.items() if life.state is not LifeState.UP]

    def keep_hours(self) -> None:
        """Let hosts rest outside their hours (local time)."""
        for name, life in self.by_name.items():
            # without hours too: an edit may have taken them away while the host rested
            awake = self._awake(life)
            self._fleet.accept(name, accepting=awake)
            if not awake:
                self._resting.add(name)
            elif name in self._resting:
                self._resting.remove(name)
                if life.config.hours is not None:
                    # it may have let go of the model meanwhile: it is warmed up before it gets rows
                    self._fleet.leave(name)
                    life.change.set()
                self.on_join(name)

    def waits_for_hours(self) -> bool:
        """Whether a host that is well rests only because of its hours: then it is known when work goes on."""
        well = (LifeState.UP, LifeState.RESTING)
        return any(self.by_name[name].state in well for name in self._resting if name in self.by_name)

    def local(self) -> time:
        """Return the local time of day, which is the one that hours mean."""
        return datetime.fromtimestamp(self._wall()).astimezone().time()

    def hours(self) -> dict[str, Hours]:
        """Return the hours of those hosts that have any."""
        return {name: life.config.hours for name, life in self.by_name.items() if life.config.hours is not None}

    def _awake(self, life: Life) -> bool:
        return life.config.hours is None or life.config.hours.covers(self.local())

    # -- the life itself ------------------------------------------------------------------------------------------

    async def run(self, life: Life) -> None:
        """Follow one host until it is retired."""
        backoff_s = FIRST_BACKOFF_S
        with life.scope:
            while True:
                if await self._bring_up(life):
                    backoff_s = FIRST_BACKOFF_S
                    await self._stay_up(life)
                    wait_s = max(0.0, self._retry_at(life) - anyio.current_time())
                elif life.state is LifeState.LEFT_OUT:
                    wait_s = LEFT_OUT_S
                elif life.state is LifeState.IN_USE:
                    wait_s = IN_USE_S
                elif life.state is LifeState.RESTING:
                    await self._sleep_in(life)
                    wait_s = 0.0
                else:
                    wait_s = backoff_s * self._rng.uniform(0.8, 1.2)
                    backoff_s = min(2 * backoff_s, MAX_ABSENT_S)
                await anyio.sleep(wait_s)

    async def _bring_up(self, life: Life) -> bool:
        if not self._claim(life):
            return False
        try:
            if life.info is None:
                life.info = await self._look_at(life)
            info = life.info
            life.version = info.version
            self._take_on(life, self.terms.serves(life.config, info))
            if life.config.hours is not None and not self._awake(life):
                self._rest(life, life.config.hours)
                return False
            await self._warm(life)
            # not before: a host that cannot load a model must not decide which one the job takes
            await self._agree(life, info)
        except HostUnusable as fault:
            self._leave_out(life, fault.message)
            life.let_go()
            return False
        except (HostFault, UnclearFault, TimeoutError) as fault:
            self._absent(life, fault)
            return False
        except DiskFull as error:
            # what the job is to remember cannot be written now; hosts that need nothing written go on
            self._absent(life, HostFault(FaultKind.UNREACHABLE, str(error), sent=False))
            return False
        finally:
            # next time everything is asked anew
            life.info = None
        life.change = anyio.Event()
        self._configure()
        self._fleet.join(life.member(self.terms), anyio.current_time(), loaded=life.loaded, load_s=life.load_s)
        if life.state is not LifeState.UP:
            life.state, life.reason = LifeState.UP, ""
            self.observe(Event("host_up", f"{life.config.name} is up", details={"host": life.config.name}))
        self.keep_hours()
        self.on_join(life.config.name)
        return True

    async def _agree(self, life: Life, info: HostInfo) -> None:
        """Hold the host to the digests of the others; whoever brings a model first decides for all which it has."""
        # one at a time: of two that come at once with different digests the second is refused
        async with self._agreeing:
            found = self.terms.serves(life.config, info)
            if unheard_of := self.terms.unheard_of(found):
                # what may be on the disk must be in force
                with anyio.CancelScope(shield=True):
                    await self.freeze(unheard_of)
                self.terms = replace(self.terms, digests={**self.terms.digests, **unheard_of})

    def _take_on(self, life: Life, found: Mapping[str, ModelInfo]) -> None:
        """Note what the host serves from now on; what is in flight keeps what it was asked under."""
        if life.served.keys() - found.keys():
            # it gets no more rows of a model that has gone, also not while it is warmed up
            self._fleet.leave(life.config.name)
        life.served = {name: self._served(life, name, model) for name, model in found.items()}

    def _served(self, life: Life, name: str, model: ModelInfo) -> Served:
        served, frame = life.served.get(name), self.terms.frame(life.config, model)
        if served is None or served.exchanged:
            began = Look(self._wall())
            return Served(model, frame, began, began)
        # the same one, so that a look to come is about what is in flight as well
        served.model, served.frame = model, frame
        return served

    async def _look_at(self, life: Life) -> HostInfo:
        """Ask what the host serves; a model that was exchanged is told of, and gets no more rows as it was."""
        for served in life.served.values():
            served.look(self._wall())
        with anyio.fail_after(PROBE_S):
            info = await life.host.probe()
        for name, served in life.served.items():
            now_serves = self.terms.find(name, life.config, info)
            if now_serves is not None and served.found(now_serves):
                self._fleet.leave(life.config.name)
                self.observe(exchange(life.config.name, name, served, now_serves, self._wall()))
        return info

    def _claim(self, life: Life) -> bool:
        before = life.state, life.reason
        try:
            if life.claimed(self._claims):
                return True
        except UsageError as error:
            # the disk of the locks may be full for a while; others hold their hosts, and the run goes on
            reason = str(error).splitlines()[0]
            self._absent(life, HostFault(FaultKind.UNREACHABLE, reason, sent=False))
            return False
        if (life.state, life.reason) != before:
            details: dict[str, object] = {"host": life.config.name, "reason": life.reason}
            self.observe(Event("host_in_use", f"{life.config.name} is {life.reason}", "warning", details))
        return False

    async def _warm(self, life: Life) -> None:
        """Load the model; with several, the one to begin with, the others come as they are needed."""
        if life.state is not LifeState.UP:
            life.state, life.reason = LifeState.WARMING, "loading the model"
        life.loaded = self._fleet.settle_on(life.member(self.terms))
        frame, began = life.served[life.loaded].frame, anyio.current_time()
        with anyio.fail_after(WARM_S):
            loaded = await life.host.warm(frame)
        life.load_s = anyio.current_time() - began
        if loaded.context is not None and loaded.context < frame.num_ctx and loaded.context != life.context:
            name = life.config.name
            text = f"{name} holds a context of {loaded.context} tokens, not {frame.num_ctx}"
            self.observe(Event("host_context", text, "warning", {"host": name, "context": loaded.context}))
        # a server that says how many requests it serves at once need not be sounded out
        life.context, life.slots = loaded.context, loaded.slots

    def _rest(self, life: Life, hours: Hours) -> None:
        """Note that the host is well, and leave it alone: its owner may need its memory until its hours begin."""
        life.change = anyio.Event()
        reason = f"rests until {hours.start:%H:%M}"
        if life.state is not LifeState.RESTING:
            details: dict[str, object] = {"host": life.config.name, "until": f"{hours.start:%H:%M}"}
            self.observe(Event("host_resting", f"{life.config.name} {reason}", details=details))
        life.state, life.reason = LifeState.RESTING, reason
        self._resting.add(life.config.name)
        self._configure()

    async def _sleep_in(self, life: Life) -> None:
        """Wait for the host's hours, and now and then look whether it is still there."""
        with anyio.move_on_after(RECHECK_S):
            await life.change.wait()

    async def _stay_up(self, life: Life) -> None:
        """Return when the host must be brought up again: its requests failed, or what it serves has changed."""
        while True:
            with anyio.move_on_after(RECHECK_S):
                await life.change.wait()
                return
            try:
                info = await self._look_at(life)
                now_serves = self.terms.serves(life.config, info)
            except HostUnusable as fault:
                self._leave_out(life, fault.message)
                return
            except (HostFault, UnclearFault, TimeoutError):
                # a busy server may be slow to answer; requests will tell whether it is down
                continue
            if now_serves != {name: served.model for name, served in life.served.items()}:
                return
            if info.version != life.version:
                # it was restarted, so it has forgotten what was loaded; its first rows show what it can do now
                text = f"{life.config.name} is now version {info.version}, not {life.version}; the model is the same"
                details: dict[str, object] = {"host": life.config.name, "version": info.version}
                self.observe(Event("host_version", text, "warning", details))
                return

    def _retry_at(self, life: Life) -> float:
        if life.state is LifeState.LEFT_OUT:
            return anyio.current_time() + LEFT_OUT_S
        return self._fleet.retry_at(life.config.name) if self._fleet.is_open(life.config.name) else 0.0

    def _absent(self, life: Life, fault: Fault | TimeoutError) -> None:
        reason = reason_of(fault)
        if life.state is not LifeState.ABSENT or life.reason != reason:
            text = f"{life.config.name} is away: {reason}"
            self.observe(Event("host_away", text, "warning", {"host": life.config.name, "reason": reason}))
        life.state, life.reason = LifeState.ABSENT, reason
        self._fleet.leave(life.config.name)

    def _leave_out(self, life: Life, reason: str) -> None:
        before = life.state
        if before is not LifeState.LEFT_OUT or life.reason != reason:
            text = f"{life.config.name} is left out: {reason}"
            self.observe(Event("host_left_out", text, "warning", {"host": life.config.name, "reason": reason}))
        life.state, life.reason = LifeState.LEFT_OUT, reason
        self._fleet.leave(life.config.name)
        self._configure()
        if before is not LifeState.LEFT_OUT:
            self.on_gone(life.config.name)

    def _configure(self) -> None:
        usable = [life for life in self.by_name.values() if life.state is not LifeState.LEFT_OUT]
        self._fleet.configure(life.member(self.terms) for life in usable)
