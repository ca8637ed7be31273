"""Whole runs in virtual time for what happens rarely: long absences, edits, interruptions."""

import contextlib
import errno
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import httpx
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from invariants import check_invariants
from simulation.world import EPOCH_S, MODEL, Asked, Faults, SimHost, Transport, World

from scorer.dispatch.lives import RECHECK_S
from scorer.dispatch.loop import Ending
from scorer.errors import DatasetChanged, NoHostsLeft, StoreError, UsageError
from scorer.jobs.folder import locked
from scorer.jobs.mend import retry
from scorer.jobs.spec import FILE, read_spec, write_spec
from scorer.queue import Queue

LONG = "word " * 1000
TWO = ("judge:7b", "other:3b")


@pytest.fixture(autouse=True)
def _in_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hours are local time."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def kinds(world: World) -> list[str]:
    return [event.kind for event in world.view.events]


def marks(world: World) -> list[tuple[str, str]]:
    """Blame and kind of every failed try that the database holds against a row."""
    with contextlib.closing(sqlite3.connect(f"file:{world.job / 'queue.sqlite'}?mode=ro", uri=True)) as db:
        return db.execute("SELECT blame, kind FROM attempt").fetchall()


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


# -- hosts that come, go and change ----------------------------------------------------------------------------------


def test_a_host_outside_its_hours_takes_nothing(tmp_path: Path) -> None:
    """It is 22:13 at the beginning."""
    hosts = [SimHost("day", 0.5), SimHost("night", 0.5)]
    world = World(tmp_path, hosts, rows=100)
    world.keys["day"] = 'hours = "08:00-22:00"\n'
    world.keys["night"] = 'hours = "22:00-08:00"\n'
    assert world.run().counts.done == 100
    assert world.shares() == {"day": 0, "night": 100}


def test_a_run_waits_for_the_hours_of_its_only_host_however_long_the_night(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("day", 0.5)], rows=20, patience_s=600.0)
    world.keys["day"] = 'hours = "23:30-22:00"\n'
    assert world.run().counts.done == 20
    assert world.virtual_s > 3600
    assert world.hosts[0].loads == 1
    check_invariants(world.job, expected=20)


def test_a_resting_host_whose_hours_are_taken_out_of_the_file_wakes_up(tmp_path: Path) -> None:
    hosts = [SimHost("good", 1.0), SimHost("resting", 0.5)]
    world = World(tmp_path, hosts, rows=300)
    world.keys["resting"] = 'hours = "08:00-22:00"\n'

    async def edit(world: World) -> None:
        await anyio.sleep(30)
        assert not hosts[1].asked
        world.keys.clear()
        world.hosts_file()

    assert world.run(events=edit).counts.done == 300
    assert world.shares()["resting"] > 100


def test_a_host_switched_off_in_the_file_finishes_what_it_has_and_takes_no_more(tmp_path: Path) -> None:
    hosts = [SimHost("a", 20.0), SimHost("b", 20.0)]
    world = World(tmp_path, hosts, rows=30, slots=1)
    path = world.hosts_file()

    async def edit(world: World) -> None:
        await anyio.sleep(30)
        world.keys["b"] = "enabled = false\n"
        world.hosts_file()

    assert world.run(events=edit).counts.done == 30
    assert {a.ended for a in hosts[1].asked} == {"answered"}
    assert all(a.at < 35 for a in hosts[1].asked)
    assert path.is_file()
    check_invariants(world.job, expected=30)


def test_rows_that_waited_for_a_larger_host_are_read_again_when_it_is_taken_out(tmp_path: Path) -> None:
    texts = [LONG if row % 2 else f"short {row}" for row in range(1200)]
    big = SimHost("big", 0.1, faults=Faults(down=((0.0, 1e9),)))
    world = World(tmp_path, [SimHost("small", 0.1), big], texts=texts, max_context={"small": 512})

    async def edit(world: World) -> None:
        await anyio.sleep(300)
        world.keys["big"] = "enabled = false\n"
        world.hosts_file()

    counts = world.run(events=edit).counts
    assert (counts.pending, counts.done, counts.dead) == (0, 600, 600), "now the only host's own count decides"


def test_a_job_with_mixed_models_waits_for_its_hosts_when_it_goes_on(tmp_path: Path) -> None:
    hosts = [SimHost("a", 1.0), SimHost("b", 1.0, digest="cd" * 32)]
    world = World(tmp_path, hosts, rows=100)
    world.run(allow_mixed_models=True, limit=20)
    for host in hosts:
        host.faults = Faults(down=((0.0, 60.0),))
    assert world.run(allow_mixed_models=True).counts.done == 100


def test_a_job_goes_on_under_the_name_that_its_folder_has_now(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", 1.0)], rows=40)
    world.run(limit=10)
    write_spec(world.job, replace(read_spec(world.job), name="before it was moved"))
    world.view.events.clear()
    assert world.run().counts.done == 40
    assert [event.text.split(":")[0] for event in world.view.events if event.kind == "started"] == ["job sim"]


def test_what_still_fails_at_an_old_address_is_not_held_against_the_new_one(tmp_path: Path) -> None:
    moved = SimHost("moved", 1.0, slots=8, faults=Faults(hang=1.0))
    world = World(tmp_path, [moved], rows=200, slots=8, min_deadline_s=30.0, patience_s=300.0)

    async def edit(world: World) -> None:
        await anyio.sleep(10)
        # its new address answers; what was asked at the old one runs into its deadline
        moved.faults = Faults()
        world.keys["moved"] = "max_context = 2048\n"
        world.hosts_file()

    assert world.run(events=edit).counts.done == 200
    assert "host_down" not in kinds(world)
    assert set(marks(world)) == {("nobody", "deadline")}
    check_invariants(world.job, expected=200)


def test_with_every_host_switched_off_the_run_waits_as_long_as_the_patience(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", 1.0)], rows=200, patience_s=120.0)

    async def edit(world: World) -> None:
        await anyio.sleep(30)
        world.keys["a"] = "enabled = false\n"
        world.hosts_file()

    with pytest.raises(NoHostsLeft, match="no host that is switched on"):
        world.run(events=edit)
    world.keys.clear()
    assert world.run().counts.done == 200
    check_invariants(world.job, expected=200)


def test_a_host_whose_model_is_exchanged_during_the_run_is_left_out(tmp_path: Path) -> None:
    changing = SimHost("changing", 0.5)
    world = World(tmp_path, [changing, SimHost("good", 0.5)], rows=600)

    async def exchange(world: World) -> None:
        await anyio.sleep(20)
        changing.digest = "cd" * 32

    assert world.run(events=exchange).counts.done == 600
    assert all(a.at < 90 for a in changing.asked)
    assert "host_left_out" in kinds(world)
    assert {row["model_digest"] for row in check_invariants(world.job, expected=600)} == {"ab" * 32}


@pytest.mark.parametrize("mixed", [False, True])
def test_rows_that_an_exchanged_model_may_have_answered_are_told_of_and_those_in_flight_are_asked_again(
    tmp_path: Path, mixed: bool
) -> None:
    changing = SimHost("changing", 3.0, exchange=(65.0, "cd" * 32))
    world = World(tmp_path, [SimHost("good", 1.0), changing], rows=400, slots=1)
    assert world.run(allow_mixed_models=mixed).counts.done == 400
    (told,) = [event for event in world.view.events if event.kind == "model_exchanged"]
    assert told.level == "warning"
    since, until = (datetime.fromisoformat(str(told.details[key])) for key in ("since", "until"))
    rows = check_invariants(world.job, expected=400)
    there = [row for row in rows if row["host"] == "changing"]
    assert {row["model_digest"] for row in there} == ({"ab" * 32, "cd" * 32} if mixed else {"ab" * 32})
    doubtful = [row for row in there if since < row["finished_at"] <= until]  # type: ignore[operator]
    assert len(doubtful) == told.details["rows"] > 10
    assert told.text.startswith(
        f"changing has another judge:7b now (digest cdcdcdcdcdcd, not abababababab): {len(doubtful)} "
    )
    for row in there:
        asked_at = row["finished_at"] - timedelta(seconds=row["duration_s"])  # type: ignore[operator, arg-type]
        if row["model_digest"] == "ab" * 32:
            assert asked_at < datetime.fromtimestamp(EPOCH_S + 65, UTC) or row in doubtful, "nothing was said of it"
            assert row["finished_at"] <= until, "it was in flight when the change was found"  # type: ignore[operator]
        else:
            assert asked_at > until
    texts = world.texts or []
    (again,) = [row for row in rows if sum(a.user == texts[row["row"]] for h in world.hosts for a in h.asked) > 1]  # type: ignore[call-overload]
    assert again["attempts"] == 2
    assert marks(world) == [], "it was held against the row"


def test_an_exchange_of_a_model_while_its_host_was_away_is_told_of_once_it_is_back(tmp_path: Path) -> None:
    changing = SimHost("changing", 1.0, exchange=(40.0, "cd" * 32), faults=Faults(down=((45.0, 90.0),)))
    world = World(tmp_path, [SimHost("good", 1.0), changing], rows=400, slots=1)
    assert world.run().counts.done == 400
    told = [event for event in world.view.events if event.kind in ("model_exchanged", "host_left_out")]
    assert [event.kind for event in told] == ["model_exchanged", "host_left_out"]
    assert told[0].details["rows"] == sum(row["host"] == "changing" for row in check_invariants(world.job))


def test_a_host_whose_model_was_exchanged_between_two_runs_is_left_out(tmp_path: Path) -> None:
    changed, good = SimHost("changed", 0.5), SimHost("good", 0.5)
    world = World(tmp_path, [changed, good], rows=60)
    world.run(limit=20)
    asked = len(changed.asked)
    changed.digest = "cd" * 32
    assert world.run().counts.done == 60
    assert len(changed.asked) == asked
    (told,) = [event.text for event in world.view.events if event.kind == "host_missing"]
    assert told == f"changed is left out: its {MODEL} has digest cdcdcdcdcdcd, the job's is abababababab"
    assert "host_left_out" not in kinds(world), "it is told once"
    check_invariants(world.job, expected=60)


def test_a_host_with_another_model_does_not_end_a_job_whose_hosts_are_still_starting(tmp_path: Path) -> None:
    good, changed = SimHost("good", 0.5), SimHost("changed", 0.5)
    world = World(tmp_path, [good], rows=60)
    world.run(limit=20)
    good.faults, changed.digest = Faults(down=((0.0, 120.0),)), "cd" * 32
    world.hosts.append(changed)
    assert world.run().counts.done == 60
    assert not changed.asked


def test_a_host_that_is_upgraded_during_the_run_comes_back(tmp_path: Path) -> None:
    late = SimHost("late", 0.5, version="0.12.0")
    world = World(tmp_path, [SimHost("good", 0.5), late], rows=600)

    async def upgrade(world: World) -> None:
        await anyio.sleep(20)
        late.version = "0.32.0"

    assert world.run(events=upgrade).counts.done == 600
    assert world.shares()["late"] > 50


def test_a_host_that_changes_its_version_is_told_of_and_warmed_up_again(tmp_path: Path) -> None:
    changing = SimHost("changing", 0.5)
    world = World(tmp_path, [changing, SimHost("good", 0.5)], rows=600)

    async def restart(world: World) -> None:
        await anyio.sleep(20)
        changing.version, changing.loaded = "0.34.1", False

    assert world.run(events=restart).counts.done == 600
    (told,) = [event for event in world.view.events if event.kind == "host_version"]
    assert told.text == "changing is now version 0.34.1, not 0.32.0; the model is the same"
    assert max(a.at for a in changing.asked) > 100, "it goes on"


def test_when_no_host_may_be_used_at_all_the_run_ends_at_once(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", version="0.12.0"), SimHost("b", models=())], rows=10)
    with pytest.raises(UsageError, match="no host may be used") as error:
        world.run()
    assert "0.12.0" in str(error.value)
    assert "lacks the model" in str(error.value)


def test_hosts_that_all_refuse_our_requests_end_the_run_with_their_words(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", 0.1, faults=Faults(bad_request=1.0))], rows=10)
    with pytest.raises(UsageError, match="does not like it"):
        world.run()


# -- the model -------------------------------------------------------------------------------------------------------


def test_the_one_model_that_all_hosts_share_is_chosen_and_the_job_found_again_without_asking(tmp_path: Path) -> None:
    hosts = [SimHost("a", 0.1, models=("judge:7b", "other:1b")), SimHost("b", 0.1, models=("judge:7b",))]
    world = World(tmp_path, hosts, rows=20)
    folder = world.run(models=(), job=None).folder
    before = world.trace()
    assert folder.name == "rows-sim-judge-7b"
    assert world.run(models=(), job=None).folder == folder
    assert world.run(job=None).folder == folder, "the same job with its model named"
    assert world.trace() == before
    check_invariants(folder, expected=20)


def test_a_job_whose_model_was_named_is_gone_on_with_as_it_was_frozen_when_the_hosts_choose_it(tmp_path: Path) -> None:
    texts = ["short", "long " * 100]
    world = World(tmp_path, [SimHost("a", 0.1, faults=Faults(overflow_above_chars=100))], texts=texts)
    folder = world.run(job=None).folder
    retry(folder, kind=None, num_ctx=4096, num_predict=None)
    assert world.run(models=(), job=None).folder == folder
    assert "num_ctx = 4096" in read_spec(folder).template.text, "what the retry gave is not taken back"
    check_invariants(folder, expected=2)


def edit_the_rubric(world: World) -> None:
    template = world.folder / "sim.toml"
    template.write_text(template.read_text().replace("Judge", "Judge strictly"))


def test_another_template_is_another_job_also_when_the_hosts_choose_the_model(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", 0.1)], rows=20)
    folder = world.run(job=None).folder
    frozen = (folder / FILE).read_bytes()
    edit_the_rubric(world)
    with pytest.raises(UsageError, match="is another one:\n  template"):
        world.run(models=(), job=None)
    with locked(folder), pytest.raises(UsageError, match="in use by process"):
        world.run(models=(), job=None, fresh=True)
    assert (folder / FILE).read_bytes() == frozen
    assert world.run(models=(), job=None, fresh=True).folder == folder
    assert (folder.with_name(f"{folder.name}.1") / FILE).read_bytes() == frozen
    assert "Judge strictly" in read_spec(folder).template.text
    assert len(world.hosts[0].asked) == 40
    for job in (folder, folder.with_name(f"{folder.name}.1")):
        check_invariants(job, expected=20)


def test_a_job_with_a_name_of_its_own_is_not_meant_by_a_command_without_one(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", 0.1)], rows=20)
    named = world.run(models=(), job="pilot").folder
    default = world.run(models=(), job=None).folder
    assert (named.name, default.name) == ("pilot", "rows-sim-judge-7b")
    default.rename(default.with_name(f"{default.name}.1"))
    assert world.run(models=(), job=None).folder == default, "nor is one that was moved aside"
    assert len(world.hosts[0].asked) == 60


def test_of_two_commands_that_make_the_same_job_at_once_one_makes_it(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", 0.1)], rows=20)
    other = world.run(job="other").folder

    async def overtake(world: World) -> None:
        shutil.copytree(other, world.job)

    with pytest.raises(UsageError, match="another command has just made job sim"):
        world.run(events=overtake)
    assert (world.job / FILE).read_bytes() == (other / FILE).read_bytes()


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [(("x:1b", "y:1b"), ("x:1b", "y:1b"), "they share 2: x:1b, y:1b"), (("x:1b",), (), "no model is on every host")],
)
def test_without_one_common_model_the_user_must_choose(
    tmp_path: Path, first: tuple[str, ...], second: tuple[str, ...], words: str
) -> None:
    world = World(tmp_path, [SimHost("a", models=first), SimHost("b", models=second)], rows=5)
    with pytest.raises(UsageError, match=words) as error:
        world.run(models=(), job=None)
    assert "--model" in str(error.value)


@pytest.mark.parametrize("gone", ["judge:7b", "other:3b"])
def test_a_model_removed_from_a_host_leaves_the_rows_in_flight_there_and_the_other_model_alone(
    tmp_path: Path, gone: str
) -> None:
    losing = SimHost("losing", 1.0, models=TWO)
    world = World(tmp_path, [losing, SimHost("keeping", 1.0, models=TWO)], rows=300, slots=1)

    async def remove(_: World) -> None:
        await anyio.sleep(40)
        losing.models = tuple(model for model in TWO if model != gone)

    assert world.run(events=remove, models=TWO).counts.done == 600
    rows = check_invariants(world.job, expected=600)
    assert {row["model_digest"] for row in rows} == {"ab" * 32}
    later = {a.body["model"] for a in losing.asked if a.at > 40 + RECHECK_S}
    assert later == {*TWO} - {gone}


def bringing_it_later(tmp_path: Path) -> World:
    """Two hosts come with a model that no host had at the start, and it is not the same."""
    late = {"models": ("other:3b",), "faults": Faults(down=((0.0, 20.0),))}
    b, c = (SimHost(name, 0.2, digest=digit * 64, **late) for name, digit in (("b", "1"), ("c", "2")))  # type: ignore[arg-type]
    return World(tmp_path, [SimHost("early", 0.2), b, c], rows=200, slots=1)


def digests_of(world: World, model: str) -> set[object]:
    return {row["model_digest"] for row in check_invariants(world.job) if row["model"] == model}


def test_the_first_host_that_brings_a_model_decides_which_digest_all_others_must_have(tmp_path: Path) -> None:
    world = bringing_it_later(tmp_path)
    assert world.run(models=TWO).counts.done == 400
    (digest,) = digests_of(world, "other:3b")
    assert read_spec(world.job).digests == {"judge:7b": "ab" * 32, "other:3b": digest}
    (told,) = [event.text for event in world.view.events if event.kind == "host_left_out"]
    assert f"the job's is {str(digest)[:12]}" in told


def test_a_host_that_cannot_load_a_model_does_not_decide_which_digest_all_others_must_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, real = bringing_it_later(tmp_path), Transport._chat
    _, broken, good = world.hosts
    good.faults = Faults(down=((0.0, 100.0),))

    async def chat(transport: Transport, request: httpx.Request, body: dict[str, object]) -> httpx.Response:
        if transport._host is broken:
            return httpx.Response(500, json={"error": "unable to load model: invalid file magic"})
        return await real(transport, request, body)

    monkeypatch.setattr(Transport, "_chat", chat)
    assert world.run(models=TWO).counts.done == 400
    assert digests_of(world, "other:3b") == {good.digest}


@pytest.mark.parametrize(("number", "ends"), [(errno.ENOSPC, False), (errno.EIO, True)])
def test_a_digest_that_a_full_disk_cannot_take_keeps_its_host_away_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, ends: bool
) -> None:
    world, real = bringing_it_later(tmp_path), Path.replace
    failed = 0

    def replace(path: Path, target: Path) -> Path:
        nonlocal failed
        if path.name == f"{FILE}.tmp" and 10 < anyio.current_time() < 60:
            failed += 1
            raise OSError(number, "it cannot be written")
        return real(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    if ends:
        with pytest.raises(StoreError, match="it cannot be written"):
            world.run(models=TWO)
    else:
        assert world.run(models=TWO).counts.done == 400
        assert any("is away: cannot write" in event.text for event in world.view.events)
    assert failed


def test_a_model_brought_later_may_be_mixed_where_that_is_allowed(tmp_path: Path) -> None:
    world = bringing_it_later(tmp_path)
    assert world.run(models=TWO, allow_mixed_models=True).counts.done == 400
    assert digests_of(world, "other:3b") == {"11" * 32, "22" * 32}


def test_the_digest_of_a_model_brought_later_is_on_the_disk_before_any_row_of_it_is_asked(tmp_path: Path) -> None:
    world = bringing_it_later(tmp_path)
    _, b, c = world.hosts

    async def until_it_is_written(func: Callable[..., object], *args: object) -> object:
        await anyio.lowlevel.checkpoint()
        done = func(*args)
        if "other:3b" in read_spec(world.job).digests:
            raise RuntimeError("the power fails")
        return done

    world.store = until_it_is_written  # type: ignore[assignment]
    with pytest.raises(RuntimeError, match="the power fails"):
        world.run(models=TWO)
    assert not b.asked
    assert not c.asked
    frozen = read_spec(world.job).digests["other:3b"]
    world.store = None
    # the host whose digest it is does not come back
    (other,) = (host for host in (b, c) if host.digest != frozen)
    world.hosts.remove(b if other is c else c)
    other.faults = Faults()
    with pytest.raises(UsageError, match="do not have the same other:3b"):
        world.run(models=TWO)
    other.digest = frozen
    assert world.run(models=TWO).counts.done == 400
    assert digests_of(world, "other:3b") == {frozen}


# -- interruptions ---------------------------------------------------------------------------------------------------


def test_an_interrupt_lets_what_is_in_flight_finish_and_the_next_run_goes_on(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", 2.0)], rows=100, slots=2)

    async def interrupt(_: World) -> None:
        await anyio.sleep(31)
        signal.raise_signal(signal.SIGINT)

    ended = world.run(events=interrupt)
    assert ended.ending is Ending.INTERRUPTED
    assert 0 < ended.counts.done < 100
    assert {a.ended for a in world.hosts[0].asked} == {"answered"}
    check_invariants(world.job)
    assert world.run().counts.done == 100
    assert len(world.hosts[0].asked) == 100, "something was asked twice"
    check_invariants(world.job, expected=100)


def test_slow_requests_are_given_up_after_a_few_seconds_and_at_once_on_the_second_interrupt(tmp_path: Path) -> None:
    for times, most_s in ((1, 6.5), (2, 1.5)):
        world = World(tmp_path / str(times), [SimHost("a", 60.0)], rows=10, slots=2)

        async def interrupt(_: World, times: int = times) -> None:
            await anyio.sleep(30)
            for _i in range(times):
                signal.raise_signal(signal.SIGTERM)
                await anyio.sleep(0.1)

        assert world.run(events=interrupt).ending is Ending.INTERRUPTED
        assert world.virtual_s < 30 + most_s
        assert kinds(world).count("stopping") == 1
        check_invariants(world.job)
        assert world.run().counts.done == 10
        rows = check_invariants(world.job, expected=10)
        assert all(row["attempts"] == 1 for row in rows), "shutting down spends no attempt"


def test_a_request_that_cannot_be_called_off_is_waited_for_at_rest(tmp_path: Path) -> None:
    """Asking it again and again to end would keep a processor busy, and stop the virtual clock."""
    world = World(tmp_path, [SimHost("a", 1.0, faults=Faults(late=1.0, late_s=200.0))], rows=10, slots=2)

    async def interrupt(_: World) -> None:
        await anyio.sleep(5)
        signal.raise_signal(signal.SIGINT)

    assert world.run(events=interrupt).ending is Ending.INTERRUPTED
    assert 10 < world.virtual_s < 500
    check_invariants(world.job)


def test_a_closed_terminal_does_not_stop_a_run(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", 1.0)], rows=50)

    async def close(_: World) -> None:
        await anyio.sleep(10)
        signal.raise_signal(signal.SIGHUP)

    assert world.run(events=close).counts.done == 50
    assert "terminal_closed" in kinds(world)


def test_an_interrupt_before_the_first_host_has_answered_leaves_no_job(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", faults=Faults(down=((0.0, 1e9),)))], rows=50)

    async def interrupt(_: World) -> None:
        await anyio.sleep(0.5)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        world.run(events=interrupt)
    assert not world.job.exists()


# -- a dataset that is written to ------------------------------------------------------------------------------------


def write_rows(path: Path, texts: list[str]) -> None:
    """Write a dataset in place: whoever has the file open reads the new content."""
    table = pa.table({"text": texts})
    sink = pa.BufferOutputStream()
    if path.suffix == ".parquet":
        pq.write_table(table, sink, row_group_size=100)
        content = sink.getvalue().to_pybytes()
    elif path.suffix == ".arrow":
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, 100)
        content = sink.getvalue().to_pybytes()
    else:
        content = "".join(f'{{"text":"{text}"}}\n' for text in texts).encode()
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.arrow", "in/rows.parquet"])
def test_no_row_is_sent_with_what_was_written_to_the_dataset_during_the_run(tmp_path: Path, name: str) -> None:
    host = SimHost("a", 0.1, slots=4)
    texts = [f"row {i} {'x' * 200}" for i in range(1200)]
    world = World(tmp_path, [host], texts=texts, slots=4)  # type: ignore[arg-type]
    source = tmp_path / name
    source.parent.mkdir(exist_ok=True)
    write_rows(source, texts)

    async def edit(_: World) -> None:
        await anyio.sleep(3)
        write_rows(source, [text.replace("row", "ROW") for text in texts])

    with pytest.raises(DatasetChanged, match=r"changed while in use.* `scorer resume` goes on") as raised:
        world.run(events=edit, dataset=str(source))
    assert raised.value.exit_code == 4
    assert len(host.asked) > 100
    assert {asked.user[:3] for asked in host.asked} == {"row"}
    assert len(check_invariants(world.job)) == len(host.answers)

    write_rows(source, texts)
    assert world.run(dataset=str(source)).counts.done == 1200
    check_invariants(world.job, expected=1200)
    assert {asked.user[:3] for asked in host.asked} == {"row"}


def test_a_dataset_that_is_touched_or_deleted_while_it_is_open_stops_no_run(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", 0.05, slots=4)], rows=1000, slots=4)

    async def touch(_: World) -> None:
        await anyio.sleep(2)
        os.utime(tmp_path / "rows.parquet")
        await anyio.sleep(2)
        (tmp_path / "rows.parquet").unlink()

    assert world.run(events=touch).counts.done == 1000
    check_invariants(world.job, expected=1000)


def test_a_file_of_the_dataset_that_is_gone_ends_the_run_in_order(tmp_path: Path) -> None:
    host = SimHost("a", 0.05, slots=4)
    texts = [f"row {i} {'x' * 200}" for i in range(1000)]
    world = World(tmp_path, [host], texts=texts, slots=4)  # type: ignore[arg-type]
    source = tmp_path / "in"
    source.mkdir()
    write_rows(source / "1.parquet", texts[:700])
    write_rows(source / "2.parquet", texts[700:])

    async def remove(_: World) -> None:
        await anyio.sleep(2)
        (source / "2.parquet").unlink()

    with pytest.raises(DatasetChanged, match=r"2\.parquet is gone"):
        world.run(events=remove, dataset=str(source))
    write_rows(source / "2.parquet", texts[700:])
    assert world.run(dataset=str(source)).counts.done == 1000
    check_invariants(world.job, expected=1000)
