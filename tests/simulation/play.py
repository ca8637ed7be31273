"""Play a schedule with the real dispatcher on the virtual clock, and check everything that must hold.

A job that is interrupted or crashes is gone on with by the same command, as a user would, until it is finished. After
each life the folder is looked at: what is committed stays, and no committed row is ever asked again.
"""

import os
import random
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import anyio
from invariants import check_invariants
from simulation.schedule import LONGEST_CHARS, OTHER_DIGEST, Happening, Schedule
from simulation.told import lost_over_a_sleep
from simulation.world import World, expected_score
from virtual import inline

from scorer import failpoints, publish
from scorer.core.result import Done
from scorer.dispatch import ledger, loop
from scorer.dispatch.events import Event
from scorer.dispatch.loop import Ending
from scorer.errors import DiskFull, StoreError

MOST_LIVES = 6
PART_AGE_S = 4.0
TIMES_TOO_LONG = 20.0
ALWAYS_S = 1200.0
SUSPENDED_S = 3600.0
MIB = 1 << 20


class Crashed(StoreError):
    """The end of a simulated process: nothing is written after it."""


class TooLong(AssertionError):
    """A job that does not end although one host is well."""


class Store:
    """How blocking calls are run, with the troubles of a disk; counts which ones really came about."""

    def __init__(self, happenings: list[Happening], rng: random.Random, found: Counter[str]) -> None:
        self._happenings = {happening.kind: happening for happening in happenings}
        self._rng = rng
        self._found = found
        self._committed: list[Done] = []

    async def __call__(self, func: Callable[..., object], *args: object) -> object:
        """Run a call, or fail as the disk would."""
        name = getattr(func, "__name__", getattr(getattr(func, "func", None), "__name__", ""))
        writes = name in ("commit", "publish")
        if writes and self._is_on("slow_disk"):
            self._found["slow disk"] += 1
            await anyio.sleep(self._rng.uniform(0.1, 2.0))
        if writes and self._is_on("disk_full"):
            self._found["disk full"] += 1
            raise DiskFull("no room left on the simulated disk")
        if self._has_begun("crash_disk"):
            raise Crashed("the disk fails")
        if name == "commit":
            args = (self._with_duplicates(args[0]), *args[1:])
        return await inline(func, *args)

    def _with_duplicates(self, batch: object) -> list[object]:
        """Slip in other answers for rows that are done: the first one counts."""
        entries = list(batch)  # type: ignore[call-overload]
        new = [entry for entry in entries if isinstance(entry, Done)]
        if self._is_on("duplicates"):
            again = self._rng.sample(self._committed, min(3, len(self._committed))) + new[:1]
            self._found["duplicate reply"] += len(again)
            entries += [entry._replace(completion="a forged second answer") for entry in again]
        self._committed += new
        return entries

    def _has_begun(self, kind: str) -> bool:
        happening = self._happenings.get(kind)
        return happening is not None and anyio.current_time() >= happening.at_s

    def _is_on(self, kind: str) -> bool:
        happening = self._happenings.get(kind)
        return happening is not None and 0 <= anyio.current_time() - happening.at_s < happening.for_s


class Play:
    """One job from its first command to its end."""

    def __init__(self, schedule: Schedule, folder: Path) -> None:
        self._schedule = schedule
        self._found: Counter[str] = Counter()
        self.world = World(
            folder,
            schedule.hosts,
            texts=schedule.texts,
            seed=schedule.seed,
            slots=schedule.slots,
            min_deadline_s=schedule.deadline_s,
        )
        self._committed: dict[int, str | None] = {}
        self._asked: set[int] = set()
        self._row_of = {text: row for row, text in enumerate(schedule.texts)}

    def to_the_end(self) -> Counter[str]:
        """Go on until the job is finished, check it, and return how often what went wrong."""
        happenings = self._schedule.happenings
        with _small_sizes(self._schedule):
            for _ in range(MOST_LIVES):
                if self._live(happenings):
                    break
                happenings = []
                self._found["resumed"] += 1
            else:
                raise AssertionError(f"not finished after {MOST_LIVES} lives")
        self._check_end()
        return self._count()

    # -- one life ---------------------------------------------------------------------------------------------------

    def _live(self, happenings: list[Happening]) -> bool:
        """Run the command once; True if the job is finished."""
        world = self.world
        before = [len(host.asked) for host in world.hosts]
        world.store = Store(happenings, random.Random(self._schedule.seed), self._found)
        self._write_hosts(happenings)
        place = next((h.place for h in happenings if h.kind == "crash_point"), "")
        with _crash_at(place), _ignored_signal():
            finished = self._run(happenings)
        world.wall_ahead_s += world.virtual_s
        world.free_bytes = 1 << 40
        self._look(before)
        return finished

    def _run(self, happenings: list[Happening]) -> bool:
        try:
            ended = self.world.run(events=lambda _: self._disturb(happenings))
        except Crashed as crash:
            self._found[f"crash: {crash}"] += 1
            return False
        except DiskFull:
            # who is told to stop does not wait for room
            assert any(event.kind == "stopping" for event in self.world.view.events)
            self._found["stopped while the disk was full"] += 1
            return False
        return ended.ending is Ending.FINISHED

    def _write_hosts(self, happenings: list[Happening]) -> None:
        hosts, keys = self.world.hosts, self.world.keys
        keys.clear()
        if any(happening.kind == "join" for happening in happenings):
            keys[hosts[-1].name] = "enabled = false\n"
        if not happenings:
            # another model that is there from the start is refused: the user takes it out
            keys.update((h.name, "enabled = false\n") for h in hosts if h.digest == OTHER_DIGEST)

    async def _disturb(self, happenings: list[Happening]) -> None:
        async with anyio.create_task_group() as group:
            for happening in happenings:
                if happening.kind in DISTURBANCES:
                    group.start_soon(DISTURBANCES[happening.kind], self.world, happening)
            await anyio.sleep(ALWAYS_S + TIMES_TOO_LONG * self._schedule.span_s)
            raise TooLong(f"a job of about {self._schedule.span_s:.0f} s has not ended")

    def _look(self, before: list[int]) -> None:
        """What must hold after each life."""
        asked = [a for host, begin in zip(self.world.hosts, before, strict=True) for a in host.asked[begin:]]
        rows = {self._row_of[a.user] for a in asked}
        again = rows & self._committed.keys()
        assert not again, f"rows {sorted(again)} were committed and asked again"
        self._check_repeats(rows)
        now = _stored(self.world.job)
        assert self._committed.items() <= now.items(), "a committed row is gone or has changed"
        self._committed = now
        self._answered = {self._row_of[a.user] for a in asked if a.ended in ("answered", "late")} - now.keys()
        self._asked |= rows

    def _check_repeats(self, rows: set[int]) -> None:
        """A resume asks again what was in flight and at most one batch of what was answered."""
        lost = rows & getattr(self, "_answered", set())
        full = sum(h.kind in ("disk_full", "slow_disk") for h in self._schedule.happenings)
        batch = ledger.MAX_ENTRIES if full else ledger.COMMIT_ENTRIES + sum(h.most_running for h in self.world.hosts)
        assert len(lost) <= batch, f"{len(lost)} answered rows were asked again"
        self._found["row asked again after a crash"] += len(lost)

    # -- the end ----------------------------------------------------------------------------------------------------

    def _check_end(self) -> None:
        world, texts = self.world, self._schedule.texts
        answers = {
            row: {host.name: host.answers.get(text or "", []) for host in world.hosts} for row, text in enumerate(texts)
        }
        rows = check_invariants(world.job, expected=len(texts), answers=answers)
        charged, left = _charges(world.job), _in_service_at_deaths(world.view.events)
        for row in rows:
            text = texts[row["row"]]  # type: ignore[call-overload]
            if row["status"] == "done":
                assert row["score"] == expected_score(text or "")
                assert row["model_digest"] != OTHER_DIGEST
            else:
                number = int(str(row["row"]))
                self._check_death(row, text, charged.get(number, set()), left.get(number, set()))
        assert world.copies.most <= 2, f"{world.copies.most} copies of a row ran at once"
        if world.slots is not None:
            assert all(host.most_running <= world.slots for host in world.hosts), "more in flight than allowed"
        well = world.hosts[0]
        ours = {"broken"} if any(happening.breaks for happening in self._schedule.happenings) else set()
        assert not {a.ended for a in well.asked} - {"answered", "overflow", "cancelled"} - ours
        blamed, put_aside = lost_over_a_sleep(world)
        assert blamed <= {"nobody"}, f"what this machine slept over was held against {blamed}"
        assert not put_aside, "what this machine slept over was held against hosts"

    def _check_death(self, row: dict[str, object], text: str | None, hosts: set[str], left: set[str]) -> None:
        """`hosts` are those charged with it, `left` those that took rows when it died."""
        kind = str(row["error"]).split(":")[0]
        self._found[f"dead: {kind}"] += 1
        if not (text or "").strip():
            assert kind == "empty_prompt"
            assert self._row_of[text] not in self._asked or not text
        elif kind == "context_overflow":
            assert len(text or "") > LONGEST_CHARS, "one host's word is enough, but it was not true"
        else:
            alone = len(hosts) == 1
            assert not (alone and left - hosts), f"row {row['row']} died of {hosts}, and of {left} not: {row['error']}"
            self._found["died of the only host that took rows"] += alone

    def _count(self) -> Counter[str]:
        for host in self.world.hosts:
            for asked in host.asked:
                self._found[f"request: {asked.ended}"] += 1
            self._found["host: slower for a while"] += bool(host.faults.slow)
            self._found["host: down for a while"] += len([end for _, end in host.faults.down if end < 1e9])
            self._found["host: gone for good"] += any(end == 1e9 for _, end in host.faults.down)
            self._found["host: another model"] += host.digest == OTHER_DIGEST
            self._found["host: model exchanged"] += host.exchange is not None
        for event in self.world.view.events:
            if event.kind in TOLD:
                self._found[f"told: {event.kind}"] += 1
        return self._found


TOLD = ("clock_jump", "disk_full", "disk_ok", "host_down", "host_left_out", "host_removed", "host_added", "stopping")


def _in_service_at_deaths(events: Iterable[Event]) -> dict[int, set[str]]:
    """Return for each row that died which hosts took rows just then, by what the run said."""
    up: set[str] = set()
    found: dict[int, set[str]] = {}
    for event in events:
        host = str(event.details.get("host"))
        if event.kind == "started":
            up.clear()
        elif event.kind == "host_up":
            up.add(host)
        elif event.kind in ("host_down", "host_left_out", "host_removed", "host_resting"):
            up.discard(host)
        elif event.kind == "row_dead":
            found[int(str(event.details["row"]))] = set(up)
    return found


# -- what happens to the run itself ----------------------------------------------------------------------------------


async def _suspend(world: World, happening: Happening) -> None:
    """The wall clock is an hour ahead when the machine wakes up, and it reaches only one host at once."""
    for after_s in (happening.at_s, *happening.again_s):
        await anyio.sleep(after_s)
        world.suspend(SUSPENDED_S, breaks=happening.breaks)
        now = anyio.current_time()
        for host in world.hosts[1:]:
            host.faults.down = (*host.faults.down, (now, now + 1.0))


async def _little_space(world: World, happening: Happening) -> None:
    await anyio.sleep(happening.at_s)
    world.free_bytes = MIB
    await anyio.sleep(happening.for_s)
    world.free_bytes = 1 << 40


async def _interrupt(_: World, happening: Happening) -> None:
    await anyio.sleep(happening.at_s)
    signal.raise_signal(signal.SIGTERM)
    if happening.for_s > happening.at_s:
        await anyio.sleep(1.0)
        signal.raise_signal(signal.SIGTERM)


async def _join(world: World, happening: Happening) -> None:
    await anyio.sleep(happening.at_s)
    world.keys.clear()
    world.hosts_file()


async def _leave(world: World, happening: Happening) -> None:
    """A host is taken out of the file, and comes back."""
    await anyio.sleep(happening.at_s)
    name = world.hosts[1].name
    world.keys[name] = "enabled = false\n"
    world.hosts_file()
    await anyio.sleep(happening.for_s)
    world.keys.pop(name, None)
    world.hosts_file()


DISTURBANCES = {
    "suspend": _suspend,
    "disk_full": _little_space,
    "interrupt": _interrupt,
    "join": _join,
    "leave": _leave,
}


# -- seams ------------------------------------------------------------------------------------------------------------


@contextmanager
def _small_sizes(schedule: Schedule) -> Iterator[None]:
    """Parts and the window as small as the schedule says, so that a short job has many of them."""
    wanted = [
        (publish, "PART_ROWS", schedule.part_rows),
        (publish, "PART_AGE_S", PART_AGE_S),
        (loop, "WINDOW", schedule.window),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in wanted]
    for module, name, value in wanted:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


@contextmanager
def _crash_at(place: str) -> Iterator[None]:
    """Let a failpoint end the simulated process instead of this one."""

    def end(_: int) -> NoReturn:
        raise Crashed(f"process ends at {place.partition(':')[0]}")

    failpoints.arm(place)
    failpoints.os = SimpleNamespace(_exit=end)  # type: ignore[assignment]
    try:
        yield
    finally:
        failpoints.os = os
        failpoints.arm("")


@contextmanager
def _ignored_signal() -> Iterator[None]:
    """A signal that comes just after the run has ended must not end the campaign."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stored(job: Path) -> dict[int, str | None]:
    with closing(sqlite3.connect(f"file:{job / 'queue.sqlite'}?mode=ro", uri=True)) as db:
        return dict(db.execute("SELECT row, completion FROM result UNION ALL SELECT row, completion FROM dead"))


def _charges(job: Path) -> dict[int, set[str]]:
    """The hosts whose failed tries are held against each row; of tries that blame nobody none may be."""
    held: dict[int, set[str]] = {}
    with closing(sqlite3.connect(f"file:{job / 'queue.sqlite'}?mode=ro", uri=True)) as db:
        charged = "blame IN ('row', 'unclear') OR (blame = 'host' AND downed)"
        for row, host in db.execute(f"SELECT row, host FROM attempt WHERE {charged}"):
            held.setdefault(row, set()).add(host)
    return held
