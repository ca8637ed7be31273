"""The life of one host, driven on a virtual clock without a dispatcher."""

import random
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import pytest
from virtual import EPOCH_S, virtually

from scorer.config import HostConfig
from scorer.core.fleet import Fleet
from scorer.core.task import Attempt, Blame, Failed, Reply, Task, TaskKey
from scorer.core.window import Window
from scorer.dispatch.events import Event
from scorer.dispatch.lives import IN_USE_S, LEFT_OUT_S, RECHECK_S, WARM_S, Life, LifeState, Lives
from scorer.dispatch.terms import Terms
from scorer.errors import FaultKind, HostFault, HostUnusable, UnclearFault
from scorer.hosts.base import Frame, HostInfo, Loaded, ModelInfo, Request
from scorer.locks import NO_CLAIMS, Claim, Claims, Holder, HostLocks

DIGEST = "ab" * 32
GOOD = HostInfo("0.32.0", (ModelInfo("m:7b", DIGEST),))
TERMS = Terms(("m:7b",), {"m:7b": DIGEST}, False, "system", {}, 4096)
GONE = HostFault(FaultKind.UNREACHABLE, "connection refused", sent=False)


@dataclass
class Moody:
    """A host whose answers a test can change at any time."""

    name: str = "a"
    mood: HostInfo | Exception = GOOD
    warmth: Loaded | Exception = field(default_factory=Loaded)
    load_s: float = 1.0
    probes: list[float] = field(default_factory=list)
    warmed: list[Frame] = field(default_factory=list)

    def hushed(self, text: str) -> str:
        return text

    async def alive(self) -> None: ...

    async def probe(self) -> HostInfo:
        self.probes.append(anyio.current_time())
        if isinstance(self.mood, Exception):
            raise self.mood
        return self.mood

    async def warm(self, frame: Frame) -> Loaded:
        self.warmed.append(frame)
        await anyio.sleep(self.load_s)
        if isinstance(self.warmth, Exception):
            raise self.warmth
        return self.warmth

    async def generate(self, request: Request) -> Reply:
        raise AssertionError("a life sends no rows")

    async def close(self) -> None: ...


@dataclass
class Stage:
    host: Moody
    life: Life
    lives: Lives
    fleet: Fleet
    events: list[Event]
    joined: list[str]

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def takes_rows(self) -> bool:
        return bool(self.fleet.free_hosts(anyio.current_time()))

    def fail(self) -> None:
        """Let a request show that the host is down."""
        window = Window()
        window.add(Task(TaskKey("m:7b", len(self.events) + 1000, 0), "u", 10))
        now = anyio.current_time()
        slot = self.fleet.pick("a", window, now)
        assert slot is not None
        attempt = Attempt("a", Blame.HOST, FaultKind.UNREACHABLE, "refused", sent=False)
        self.fleet.release(slot, Failed(attempt, 0.1), now)
        self.lives.down(self.life, "refused")


@asynccontextmanager
async def on_stage(
    host: Moody, *, run: bool = True, claims: Claims = NO_CLAIMS, terms: Terms = TERMS, **config: object
) -> AsyncIterator[Stage]:
    fleet = Fleet(random.Random(0))
    lives = Lives(terms, fleet, random.Random(0), lambda: EPOCH_S + anyio.current_time(), claims)
    life = Life(HostConfig(name="a", url="http://a.test:1", **config), host)  # type: ignore[arg-type]
    stage = Stage(host, life, lives, fleet, [], [])
    lives.observe, lives.on_join = stage.events.append, stage.joined.append
    lives.add(life)
    async with anyio.create_task_group() as group:
        if run:
            group.start_soon(lives.run, life)
        yield stage
        group.cancel_scope.cancel()


def staged(play: Callable[[Stage], object], host: Moody | None = None, **config: object) -> None:
    async def main() -> None:
        async with on_stage(host or Moody(), **config) as stage:
            await play(stage)  # type: ignore[misc]

    virtually(main)


def test_a_host_takes_rows_only_when_its_model_is_loaded_with_the_runs_options() -> None:
    async def play(stage: Stage) -> None:
        await anyio.sleep(5)
        assert stage.life.state is LifeState.WARMING
        assert not stage.takes_rows()
        await anyio.sleep(10)
        assert stage.takes_rows()
        assert stage.host.warmed == [Frame("m:7b", "system", {}, 2048)]
        assert (stage.kinds(), stage.joined) == (["host_up"], ["a"])
        assert stage.lives.reasons() == []

    staged(play, Moody(load_s=10.0), max_context=2048)


def test_an_absent_host_is_asked_again_and_again_with_growing_pauses_and_told_of_once() -> None:
    async def play(stage: Stage) -> None:
        await anyio.sleep(3600)
        gaps = [b - a for a, b in zip(stage.host.probes, stage.host.probes[1:], strict=False)]
        assert gaps[0] == pytest.approx(5, rel=0.2)
        assert all(gap == pytest.approx(30, rel=0.21) for gap in gaps[4:])
        assert stage.kinds() == ["host_away"]
        assert stage.lives.reasons() == ["a: connection refused"]
        stage.host.mood = GOOD
        await anyio.sleep(40)
        assert stage.takes_rows()

    staged(play, Moody(mood=GONE))


def test_another_reason_for_being_away_is_news() -> None:
    async def play(stage: Stage) -> None:
        await anyio.sleep(30)
        stage.host.mood = UnclearFault(FaultKind.SERVER_ERROR, "HTTP 500")
        await anyio.sleep(60)
        assert [event.text for event in stage.events] == [
            "a is away: connection refused",
            "a is away: server_error: HTTP 500",
        ]

    staged(play, Moody(mood=GONE))


def test_a_load_that_takes_longer_than_its_deadline_is_given_up() -> None:
    async def play(stage: Stage) -> None:
        await anyio.sleep(WARM_S + 1)
        assert stage.life.reason == "no answer in time"
        assert not stage.takes_rows()

    staged(play, Moody(load_s=1e6))


@pytest.mark.parametrize(
    ("mood", "words"),
    [
        (HostUnusable(FaultKind.TOO_OLD, "version 0.12.0"), "version 0.12.0"),
        (HostInfo("0.32.0", ()), "it has no model at all"),
        (HostInfo("0.32.0", (ModelInfo("m:7b", "cd" * 32),)), "digest cdcdcdcdcdcd, the job's is abababababab"),
        (HostInfo("0.32.0", (ModelInfo("m:7b", DIGEST, remote=True),)), "runs in a cloud"),
    ],
)
def test_a_host_that_may_not_be_used_is_left_out_and_looked_at_again_slowly(
    mood: HostInfo | Exception, words: str
) -> None:
    async def play(stage: Stage) -> None:
        await anyio.sleep(10 * LEFT_OUT_S + 1)
        assert stage.life.state is LifeState.LEFT_OUT
        assert words in stage.life.reason
        assert stage.lives.all_left_out()
        assert len(stage.host.probes) == 11
        assert stage.kinds() == ["host_left_out"], "it was told more than once"
        stage.host.mood = GOOD
        await anyio.sleep(LEFT_OUT_S + 2)
        assert stage.takes_rows()
        assert not stage.lives.all_left_out()

    staged(play, Moody(mood=mood))


def test_a_host_whose_requests_fail_must_answer_and_load_again_before_it_is_tried() -> None:
    async def play(stage: Stage) -> None:
        await anyio.sleep(10)
        stage.host.mood = GONE
        stage.fail()
        assert stage.kinds() == ["host_up", "host_down"]
        await anyio.sleep(60)
        assert not stage.takes_rows()
        stage.host.mood = GOOD
        await anyio.sleep(40)
        assert stage.takes_rows()
        assert len(stage.host.warmed) == 2
        assert stage.kinds()[-1] == "host_up"

    staged(play)


def test_a_request_can_show_that_a_host_is_not_fit_for_the_run() -> None:
    async def play(stage: Stage) -> None:
        await anyio.sleep(10)
        stage.lives.down(stage.life, "refused our schema", unusable=True)
        stage.lives.down(stage.life, "late news")
        assert not stage.takes_rows()
        assert stage.kinds() == ["host_up", "host_left_out"]
        assert stage.lives.reasons() == ["a: refused our schema"]
        await anyio.sleep(LEFT_OUT_S / 2)
        assert not stage.takes_rows()
        await anyio.sleep(LEFT_OUT_S)
        assert stage.takes_rows()

    staged(play)


def test_a_healthy_host_is_looked_at_now_and_then_and_a_slow_answer_is_no_reason_to_leave() -> None:
    async def play(stage: Stage) -> None:
        await anyio.sleep(10)
        stage.host.mood = GONE
        await anyio.sleep(5 * RECHECK_S)
        assert len(stage.host.probes) == 6
        assert stage.takes_rows()
        stage.host.mood = HostUnusable(FaultKind.TOO_OLD, "downgraded")
        await anyio.sleep(RECHECK_S)
        assert not stage.takes_rows()
        assert stage.life.state is LifeState.LEFT_OUT

    staged(play)


def test_a_host_whose_models_have_changed_is_brought_up_again() -> None:
    async def play(stage: Stage) -> None:
        await anyio.sleep(10)
        stage.host.mood = HostInfo("0.32.0", (ModelInfo("m:7b", DIGEST, max_context=8192),))
        await anyio.sleep(2 * RECHECK_S)
        assert len(stage.host.warmed) == 2
        assert stage.takes_rows()
        assert stage.kinds() == ["host_up"]

    staged(play)


def test_a_host_whose_model_is_exchanged_gets_no_rows_until_the_new_one_is_loaded_where_mixing_is_allowed() -> None:
    async def play(stage: Stage) -> None:
        await anyio.sleep(40)
        before = stage.life.served["m:7b"]
        stage.host.mood = HostInfo("0.32.0", (ModelInfo("m:7b", "cd" * 32),))
        await anyio.sleep(RECHECK_S)
        assert not stage.takes_rows()
        assert stage.kinds() == ["host_up", "model_exchanged"]
        await anyio.sleep(30)
        assert stage.takes_rows()
        now = stage.life.served["m:7b"]
        assert before.exchanged
        assert (now.exchanged, now.model.digest) == (False, "cd" * 32)
        await anyio.sleep(10 * RECHECK_S)
        assert stage.kinds() == ["host_up", "model_exchanged"], "it was told more than once"

    staged(play, Moody(load_s=30.0), terms=replace(TERMS, allow_mixed=True))


def test_a_host_that_has_lost_one_of_its_models_gets_no_rows_until_it_is_warmed_up_with_the_others() -> None:
    both = HostInfo("0.32.0", (ModelInfo("m:7b", DIGEST), ModelInfo("n:3b", DIGEST)))

    async def play(stage: Stage) -> None:
        await anyio.sleep(40)
        assert stage.takes_rows()
        stage.host.mood = GOOD
        await anyio.sleep(RECHECK_S)
        assert not stage.takes_rows()
        await anyio.sleep(30)
        assert stage.takes_rows()
        assert stage.life.served.keys() == {"m:7b"}

    terms = replace(TERMS, models=("m:7b", "n:3b"), digests={"m:7b": DIGEST, "n:3b": DIGEST})
    staged(play, Moody(mood=both, load_s=30.0), terms=terms)


def test_a_smaller_context_than_asked_for_is_told_and_respected() -> None:
    async def play(stage: Stage) -> None:
        await anyio.sleep(10)
        assert "host_context" in stage.kinds()
        assert stage.life.member(stage.lives.terms).num_ctx == 1024

    staged(play, Moody(warmth=Loaded(context=1024)))


def test_a_host_outside_its_hours_rests_and_is_announced_when_it_wakes() -> None:
    """EPOCH_S is 22:13 in Greenwich; hours are local, so the test asks for both halves of the day."""

    async def play(stage: Stage) -> None:
        await anyio.sleep(10)
        assert stage.takes_rows()
        stage.joined.clear()
        states = []
        for _ in range(24):
            await anyio.sleep(3600)
            stage.lives.keep_hours()
            states.append(stage.takes_rows())
        assert 9 <= states.count(True) <= 15
        assert stage.joined == ["a"]

    from datetime import datetime, time

    from scorer.core.hours import Hours

    begin = datetime.fromtimestamp(EPOCH_S).astimezone().hour
    staged(play, hours=Hours(time(begin), time((begin + 12) % 24)))


def test_a_host_that_is_retired_takes_no_more_rows_and_is_followed_no_more() -> None:
    async def play(stage: Stage) -> None:
        await anyio.sleep(10)
        assert stage.lives.retire("a") is stage.life
        assert not stage.takes_rows()
        stage.lives.down(stage.life, "too late")
        probes = len(stage.host.probes)
        await anyio.sleep(1000)
        assert len(stage.host.probes) == probes
        assert stage.kinds() == ["host_up"]

    staged(play)


class Book:
    """Where digests are frozen: it takes its time."""

    def __init__(self) -> None:
        self.written: list[dict[str, str]] = []

    async def write(self, digests: Mapping[str, str]) -> None:
        await anyio.sleep(5.0)
        self.written.append(dict(digests))


def test_of_two_hosts_that_bring_a_new_model_at_once_with_different_digests_one_is_left_out() -> None:
    book, other = Book(), "cd" * 32

    async def play(stage: Stage) -> None:
        stage.lives.freeze = book.write
        second = Life(
            HostConfig(name="b", url="http://b.test:1"), Moody("b", HostInfo("1", (ModelInfo("m:7b", other),)))
        )
        stage.lives.add(second)
        async with anyio.create_task_group() as group:
            group.start_soon(stage.lives.run, stage.life)
            group.start_soon(stage.lives.run, second)
            await anyio.sleep(4.0)
            assert not stage.takes_rows(), "rows may be stored before the digest is"
            await anyio.sleep(20.0)
            group.cancel_scope.cancel()
        assert len(book.written) == 1
        assert book.written[0] == stage.lives.terms.digests
        assert {life.state for life in (stage.life, second)} == {LifeState.UP, LifeState.LEFT_OUT}

    staged(play, terms=replace(TERMS, digests={}), run=False)


def test_a_digest_that_was_being_frozen_when_its_host_was_retired_is_in_force() -> None:
    book = Book()

    async def play(stage: Stage) -> None:
        stage.lives.freeze = book.write
        async with anyio.create_task_group() as group:
            group.start_soon(stage.lives.run, stage.life)
            await anyio.sleep(2.0)
            stage.lives.retire("a")
        assert book.written == [{"m:7b": DIGEST}] == [stage.lives.terms.digests]

    staged(play, terms=replace(TERMS, digests={}), run=False)


@dataclass
class Shared:
    """Claims to a host that another run may have."""

    holder: str = "big"
    taken: int = 0
    released: int = 0

    def take(self, url: str) -> Claim | Holder:
        if self.holder:
            return Holder(self.holder, 7, "desk")
        self.taken += 1
        return self

    def release(self) -> None:
        self.released += 1

    def name(self, job: str) -> None: ...

    def close(self) -> None: ...


def test_a_host_of_another_run_is_told_of_once_never_asked_and_taken_in_when_that_run_ends() -> None:
    claims = Shared()

    async def play(stage: Stage) -> None:
        await anyio.sleep(3600)
        assert stage.host.probes == []
        assert stage.kinds() == ["host_in_use"]
        assert stage.events[0].text == "a is in use by job big (process 7 on desk)"
        assert not stage.lives.all_left_out(), "it can be hoped for"
        assert stage.lives.reasons() == ["a: in use by job big (process 7 on desk)"]
        claims.holder = "next"
        await anyio.sleep(IN_USE_S + 1)
        assert stage.kinds() == ["host_in_use", "host_in_use"], "another holder is news"
        claims.holder = ""
        await anyio.sleep(IN_USE_S + 2)
        assert stage.takes_rows()
        assert claims.taken == 1

    staged(play, claims=claims)


def test_a_host_that_cannot_be_claimed_for_want_of_room_is_away_until_there_is_some(tmp_path: Path) -> None:
    locks = HostLocks(tmp_path / "hosts", "job")

    async def play(stage: Stage) -> None:
        await anyio.sleep(10)
        assert stage.life.state is LifeState.LEFT_OUT
        stage.host.mood = GOOD
        # a file where the folder was: nothing can be written below it
        shutil.rmtree(tmp_path / "hosts")
        (tmp_path / "hosts").touch()
        await anyio.sleep(300)
        assert stage.life.state is LifeState.ABSENT
        assert stage.kinds() == ["host_left_out", "host_away"], "it is told once"
        (reason,) = stage.lives.reasons()
        assert "cannot note in" in reason
        assert not stage.lives.all_left_out(), "it can be hoped for"
        (tmp_path / "hosts").unlink()
        await anyio.sleep(60)
        assert stage.takes_rows()

    staged(play, Moody(mood=HostUnusable(FaultKind.TOO_OLD, "0.1")), claims=locks)
    locks.close()


def test_a_host_stays_claimed_while_it_is_away_and_is_let_go_when_it_is_left_out() -> None:
    claims = Shared(holder="")

    async def play(stage: Stage) -> None:
        await anyio.sleep(600)
        assert (claims.taken, claims.released) == (1, 0)
        stage.host.mood = HostUnusable(FaultKind.TOO_OLD, "0.1")
        await anyio.sleep(600)
        assert stage.life.state is LifeState.LEFT_OUT
        assert claims.taken == claims.released > 1, "each look takes it and gives it back"
        stage.host.mood = GOOD
        await anyio.sleep(LEFT_OUT_S + 5)
        assert stage.takes_rows()
        assert claims.taken == claims.released + 1
        await stage.life.close()
        assert claims.taken == claims.released

    staged(play, Moody(mood=GONE), claims=claims)


def test_a_long_list_of_models_is_not_told_whole() -> None:
    many = HostInfo("0.32.0", tuple(ModelInfo(f"m{i}", DIGEST) for i in range(30)))
    terms = Terms(("wanted",), {}, False, "system", {}, 4096)
    with pytest.raises(HostUnusable, match=r"it has m0, m1, m10, m11, m12, m13 and 24 more\)"):
        terms.serves(HostConfig(name="a", url="http://a.test:1"), many)


def test_a_host_is_not_made_to_load_a_model_outside_its_hours_and_is_up_soon_after_they_begin() -> None:
    async def play(stage: Stage) -> None:
        async def look_around() -> None:
            while True:
                stage.lives.keep_hours()
                await anyio.sleep(1)

        async with anyio.create_task_group() as group:
            group.start_soon(look_around)
            await anyio.sleep(40 * 60)
            assert stage.host.warmed == []
            assert stage.life.state is LifeState.RESTING
            assert stage.lives.reasons() == ["a: rests until 23:00"]
            assert stage.lives.waits_for_hours()
            assert len(stage.host.probes) > 30, "it is known whether it is there"
            await anyio.sleep(10 * 60)
            assert stage.takes_rows()
            assert len(stage.host.warmed) == 1
            group.cancel_scope.cancel()

    from datetime import time

    from scorer.core.hours import Hours

    # it is 22:13 at the beginning
    staged(play, hours=Hours(time(23), time(8)))


def test_who_is_away_outside_its_hours_is_away_and_not_resting() -> None:
    async def play(stage: Stage) -> None:
        await anyio.sleep(600)
        assert stage.life.state is LifeState.ABSENT
        assert not stage.lives.waits_for_hours()

    from datetime import time

    from scorer.core.hours import Hours

    staged(play, Moody(mood=GONE), hours=Hours(time(23), time(8)))
