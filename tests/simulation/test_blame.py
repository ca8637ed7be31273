"""Whole runs in virtual time: rows that hosts cannot do, and hosts that cannot do rows."""

import contextlib
import sqlite3
from pathlib import Path

import anyio
import httpx
import pytest
from invariants import check_invariants
from simulation.told import kinds, marks
from simulation.world import Asked, Faults, SimHost, Transport, World

from scorer.jobs.mend import retry
from scorer.queue import Queue

LONG = "word " * 1000


# -- rows that no host present can take ------------------------------------------------------------------------------


def test_rows_put_aside_for_an_absent_host_cost_nothing_while_another_comes_and_goes(tmp_path: Path) -> None:
    texts = [LONG if i % 2 else f"short {i}" for i in range(1200)]
    flapping = SimHost("small", 0.2, faults=Faults(down=((200.0, 230.0), (300.0, 330.0))))
    big = SimHost("big", 0.2, faults=Faults(down=((0.0, 700.0),)))
    world = World(tmp_path, [flapping, big], texts=texts, max_context={"small": 512})
    read = 0
    real = Queue.pending

    def pending(queue: Queue, *args: object) -> object:
        nonlocal read
        read += 1
        assert read < 200, "it reads the same rows over and over"
        return real(queue, *args)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Queue, "pending", pending)
        assert world.run().counts.done == 1200
    check_invariants(world.job, expected=1200)


def test_long_rows_that_only_a_resting_host_can_hold_do_not_keep_short_ones_from_others(tmp_path: Path) -> None:
    """It is 22:13 at the beginning; the big host may be used from 22:30 on."""
    texts = [LONG] * 600 + [f"short {i}" for i in range(300)]
    hosts = [SimHost("small", 0.2), SimHost("big", 0.1)]
    world = World(tmp_path, hosts, texts=texts, max_context={"small": 512})
    world.keys["big"] = 'hours = "22:30-23:30"\n'
    assert world.run().counts.done == 900
    check_invariants(world.job, expected=900)
    shorts = [a.at for a in hosts[0].asked if a.user.startswith("short")]
    assert len(shorts) > 250
    assert max(shorts) < 600, "they waited for the big host to wake"


def test_a_row_whose_larger_host_was_taken_out_of_the_file_is_dead_and_not_pending_for_ever(tmp_path: Path) -> None:
    small = SimHost("small", 0.5, faults=Faults(overflow_above_chars=4000))
    big = SimHost("big", 0.5, faults=Faults(down=((0.5, 1e9),)))
    texts = ["?" * 4500] + [f"short {i}" for i in range(140)]
    world = World(tmp_path, [small, big], texts=texts, max_context={"small": 1800})
    path = world.hosts_file()
    both = path.read_text()

    async def edit(world: World) -> None:
        await anyio.sleep(60)
        path.write_text(both.split('[[hosts]]\nname = "big"')[0])

    ended = world.run(events=edit)
    assert (ended.counts.done, ended.counts.dead) == (140, 1)
    rows = check_invariants(world.job, expected=141)
    assert str(rows[0]["error"]).startswith("context_overflow")
    assert small.asked[0].fault == "overflow", "it was not refused before the large host was taken out"


def test_an_overflow_on_one_host_is_answered_by_one_with_more_context(tmp_path: Path) -> None:
    small = SimHost("small", 0.5, faults=Faults(overflow_above_chars=4000))
    big = SimHost("big", 5.0)
    texts = [f"short {i}" for i in range(40)] + ["?" * 4500] * 3
    world = World(tmp_path, [small, big], texts=texts, max_context={"small": 1800})
    assert world.run().counts.done == 43
    rows = check_invariants(world.job, expected=43)
    assert {row["host"] for row in rows[40:]} == {"big"}


# -- blame -----------------------------------------------------------------------------------------------------------


def test_a_host_that_refuses_every_request_is_left_out_and_nothing_is_held_against_the_rows(tmp_path: Path) -> None:
    picky = SimHost("picky", 0.1, faults=Faults(bad_request=1.0))
    world = World(tmp_path, [picky, SimHost("good", 0.5)], rows=100)
    assert world.run().counts.done == 100
    assert "host_left_out" in kinds(world)
    assert len(picky.asked) <= 6
    assert {blame for blame, _ in marks(world)} == {"host"}
    check_invariants(world.job, expected=100)


def refusers(world: World) -> dict[str, list[str]]:
    """The hosts that called each text's request bad, by their own record."""
    found: dict[str, list[str]] = {}
    for host in world.hosts:
        for asked in host.asked:
            if asked.fault == "bad_request":
                found.setdefault(asked.user, []).append(host.name)
    return found


def test_rows_that_one_host_calls_bad_requests_without_a_reason_are_scored_by_another(tmp_path: Path) -> None:
    picky = SimHost("picky", 0.5, faults=Faults(bad_request=0.2))
    world = World(tmp_path, [picky, SimHost("good", 0.5)], rows=200)
    ended = world.run()
    assert (ended.counts.done, ended.counts.dead) == (200, 0)
    assert len(refusers(world)) > 10
    assert all(hosts == ["picky"] for hosts in refusers(world).values()), "it was asked the same twice"
    rows = check_invariants(world.job, expected=200)
    texts = world.texts or []
    assert {row["host"] for row in rows if texts[row["row"]] in refusers(world)} == {"good"}  # type: ignore[call-overload]


def test_rows_that_two_hosts_call_bad_requests_are_dead_and_asked_no_third_time(tmp_path: Path) -> None:
    hosts = [SimHost(name, 0.5, faults=Faults(bad_request=0.3)) for name in "abc"]
    world = World(tmp_path, hosts, rows=200)
    ended = world.run()
    twice = {text for text, names in refusers(world).items() if len(names) == 2}
    assert ended.counts.dead == len(twice) > 5
    assert max(len(set(names)) for names in refusers(world).values()) == 2
    rows = check_invariants(world.job, expected=200)
    texts = world.texts or []
    dead = {texts[row["row"]]: str(row["error"]) for row in rows if row["status"] == "dead"}  # type: ignore[call-overload]
    assert dead.keys() == twice
    assert all(error == "bad_request: HTTP 400: this server does not like it" for error in dead.values())


def test_a_row_that_the_only_host_calls_a_bad_request_is_dead_at_once(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("only", 0.5, faults=Faults(bad_request=0.2))], rows=100, seed=1)
    ended = world.run()
    assert ended.counts.dead == len(refusers(world)) > 10
    assert {len(names) for names in refusers(world).values()} == {1}
    check_invariants(world.job, expected=100)


@pytest.fixture
def bad_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every host calls the request for a text that begins with BAD a bad one."""
    real = Transport._answer

    async def answer(transport: Transport, request: httpx.Request, asked: Asked) -> httpx.Response:
        asked.fault = "bad_request" if asked.user.startswith("BAD") else asked.fault
        return await real(transport, request, asked)

    monkeypatch.setattr(Transport, "_answer", answer)


@pytest.mark.usefixtures("bad_rows")
@pytest.mark.parametrize("slots", [None, 1, 4])
@pytest.mark.parametrize("bad", [1, 2])
def test_bad_rows_that_come_first_do_not_condemn_the_only_host(tmp_path: Path, bad: int, slots: int | None) -> None:
    texts = [*(f"BAD {row}" for row in range(bad)), *(f"text {row}" for row in range(30))]
    world = World(tmp_path, [SimHost("only", 1.0, slots=slots or 2)], texts=texts, slots=slots)
    counts = world.run().counts
    assert (counts.done, counts.dead) == (30, bad)
    assert max(len(names) for names in refusers(world).values()) == 2
    check_invariants(world.job, expected=30 + bad)


@pytest.mark.usefixtures("bad_rows")
@pytest.mark.parametrize("names", ["a", "abc"])
def test_dead_rows_that_nobody_takes_are_dead_again_after_a_retry(tmp_path: Path, names: str) -> None:
    texts = [f"{'BAD' if row % 6 == 5 else 'text'} {row}" for row in range(36)]
    world = World(tmp_path, [SimHost(name, 1.0) for name in names], texts=texts)
    assert world.run().counts.dead == 6
    assert retry(world.job, kind=None, num_ctx=None, num_predict=None)
    counts = world.run().counts
    assert (counts.done, counts.dead) == (30, 6)
    assert "host_left_out" not in kinds(world)
    check_invariants(world.job, expected=36)


def test_what_a_suspended_machine_broke_is_held_against_no_row_even_after_a_restart(tmp_path: Path) -> None:
    gone = Faults(down=((50.0, 58.0),))
    hosts = [SimHost(name, 5.0, faults=gone) for name in "abcd"]
    world = World(tmp_path, hosts, rows=150)
    ended = world.run()
    assert (ended.counts.done, ended.counts.dead) == (150, 0)
    assert {blame for blame, _ in marks(world)} <= {"host", "nobody"}
    check_invariants(world.job, expected=150)


def test_a_garbage_host_is_put_aside_and_no_row_dies_of_it(tmp_path: Path) -> None:
    bad = SimHost("bad", 0.2, faults=Faults(garbage=1.0))
    world = World(tmp_path, [bad, SimHost("good", 0.5), SimHost("other", 0.5)], rows=400)
    ended = world.run()
    assert (ended.counts.done, ended.counts.dead) == (400, 0)
    assert len(bad.asked) < 60
    check_invariants(world.job, expected=400)


def test_rows_that_no_host_can_do_make_no_host_look_insane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each bad row of the fast host is tried by the slow ones next, so of what they get most is bad."""
    texts = [f"{'hopeless' if row % 16 == 0 else 'text'} {row}" for row in range(1600)]
    hosts = [SimHost("fast", 0.1, slots=4), SimHost("slow", 1.0), SimHost("slower", 2.0)]
    world, real = World(tmp_path, hosts, texts=texts), Transport._said

    def said(transport: Transport, asked: Asked, took: float) -> httpx.Response:
        asked.fault = "garbage" if asked.user.startswith("hopeless") else asked.fault
        return real(transport, asked, took)

    monkeypatch.setattr(Transport, "_said", said)
    counts = world.run().counts
    assert (counts.done, counts.dead) == (1500, 100)
    assert "host_down" not in kinds(world)
    charged: dict[int, set[str]] = {}
    with contextlib.closing(sqlite3.connect(f"file:{world.job / 'queue.sqlite'}?mode=ro", uri=True)) as db:
        for row, host in db.execute("SELECT row, host FROM attempt"):
            charged.setdefault(row, set()).add(host)
    assert min(len(by) for by in charged.values()) >= 2, "a row died of one host alone"


def test_when_every_answer_everywhere_is_garbage_the_rows_die_and_the_hosts_stay(tmp_path: Path) -> None:
    hosts = [SimHost(name, 0.2, faults=Faults(garbage=1.0)) for name in "ab"]
    world = World(tmp_path, hosts, rows=60)
    ended = world.run()
    assert (ended.counts.done, ended.counts.dead) == (0, 60)
    rows = check_invariants(world.job, expected=60)
    assert {str(row["error"]).split(":")[0] for row in rows} == {"invalid_output"}
    assert {row["attempts"] for row in rows} == {3}
    assert "host_down" not in kinds(world)


def test_retried_requests_differ_from_those_that_failed(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", 0.2, faults=Faults(garbage=1.0))], rows=1)
    world.run()
    options = [a.body["options"] for a in world.hosts[0].asked]
    assert [o["seed"] for o in options] == [0, 1, 2]  # type: ignore[index]
    assert [o["temperature"] for o in options] == [0.0, 0.1, 0.2]  # type: ignore[index]


def test_a_busy_host_loses_no_row_and_gets_a_rest(tmp_path: Path) -> None:
    busy = SimHost("busy", 0.2, faults=Faults(busy=1.0))
    world = World(tmp_path, [busy, SimHost("good", 0.5)], rows=300)
    ended = world.run()
    assert (ended.counts.done, ended.counts.dead) == (300, 0)
    assert len(busy.asked) < 15
    assert {blame for blame, _ in marks(world)} == {"host"}
    check_invariants(world.job, expected=300)


def test_a_host_that_is_busy_now_and_then_keeps_its_slots(tmp_path: Path) -> None:
    """One refusal in a hundred must not leave a host of eight slots with one for the rest of a week."""
    host = SimHost("a", 1.0, slots=8, faults=Faults(busy=0.01))
    world = World(tmp_path, [host], rows=2000, slots=8)
    world.run()
    assert world.virtual_s < 2 * 2000 / 8
