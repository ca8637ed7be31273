"""Whole runs of the real dispatcher in virtual time."""

from collections import Counter
from pathlib import Path

import anyio
import httpx
import pytest
from anyio.abc import TaskGroup
from invariants import check_invariants
from simulation.told import kinds, lost_over_a_sleep, marks
from simulation.world import Asked, Faults, SimHost, Transport, World, expected_score

from scorer.core.fleet import Fleet, Slot
from scorer.core.window import Window
from scorer.dispatch.loop import Dispatcher
from scorer.errors import NoHostsLeft, UsageError


def finished(world: World) -> list[dict[str, object]]:
    assert world.texts is not None
    answers = {
        i: {host.name: host.answers.get(text or "", []) for host in world.hosts} for i, text in enumerate(world.texts)
    }
    rows = check_invariants(world.job, expected=world.rows, answers=answers)
    for row in rows:
        if row["status"] == "done":
            assert row["score"] == expected_score(world.texts[row["row"]] or "")  # type: ignore[call-overload]
    return rows


def test_every_row_is_scored_once_and_shares_follow_speed(tmp_path: Path) -> None:
    hosts = [SimHost("fast", 0.5), SimHost("middle", 1.0), SimHost("slow", 2.0)]
    world = World(tmp_path, hosts, rows=900, slots=1)

    ended = world.run()

    assert ended.counts.done == 900
    finished(world)
    shares = world.shares()
    for name, share in {"fast": 4 / 7, "middle": 2 / 7, "slow": 1 / 7}.items():
        assert shares[name] == pytest.approx(share * 900, rel=0.15)
    assert sum(len(host.asked) for host in hosts) == 900
    assert all(host.most_running == 1 for host in hosts)


def test_the_same_command_again_asks_no_host(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("one")], rows=50, slots=1)
    world.run()
    before = world.trace()
    ended = world.run()
    assert world.trace() == before
    assert ended.counts.done == 50
    finished(world)


def test_the_same_seed_gives_the_same_trace(tmp_path: Path) -> None:
    def trace(folder: Path) -> list[tuple[str, float, str, str]]:
        hosts = [SimHost("a", 0.7, faults=Faults(drop=0.05, garbage=0.03)), SimHost("b", 1.1, faults=Faults(hang=0.02))]
        world = World(folder, hosts, rows=200, seed=7)
        world.run()
        return world.trace()

    assert trace(tmp_path / "first") == trace(tmp_path / "second")


def test_shares_follow_a_host_that_changes_speed(tmp_path: Path) -> None:
    changing = SimHost("changing", 0.5, faults=Faults(slow=((150.0, 1e9, 10.0),)))
    world = World(tmp_path, [changing, SimHost("steady", 1.0)], rows=900, slots=1)
    world.run()
    finished(world)
    after = {h.name: sum(a.at > 160 and a.ended == "answered" for a in h.asked) for h in world.hosts}
    assert after["changing"] / after["steady"] == pytest.approx(1 / 5, rel=0.25)


def test_a_fast_failing_host_wastes_few_requests_and_kills_no_row(tmp_path: Path) -> None:
    bad = SimHost("bad", faults=Faults(fails_fast=True))
    world = World(tmp_path, [bad, SimHost("good", 0.5), SimHost("other", 1.0)], rows=900)
    ended = world.run()
    assert ended.counts.dead == 0
    finished(world)
    assert len(bad.asked) < 100


def test_a_host_that_goes_down_and_comes_back_twice_loses_nothing(tmp_path: Path) -> None:
    flapping = SimHost("flapping", 0.3, faults=Faults(down=((20.0, 60.0), (120.0, 140.0))))
    world = World(tmp_path, [flapping, SimHost("good", 0.6)], rows=900)
    ended = world.run()
    assert ended.counts.dead == 0
    rows = finished(world)
    assert all(any(a.at > t for a in flapping.asked) for t in (60.0, 140.0)), "it was not asked again"
    assert max(row["attempts"] for row in rows) >= 2  # type: ignore[type-var]


def test_a_host_that_has_stood_its_trial_fills_all_its_slots_at_once(tmp_path: Path) -> None:
    host = SimHost("back", 10.0, slots=4, faults=Faults(down=((20.5, 60.0),)))
    world = World(tmp_path, [host, SimHost("other", 10.0, slots=4)], rows=1200, slots=4)
    world.run()
    finished(world)
    trial, *later = sorted(asked.at for asked in host.asked if asked.at >= 60)
    assert trial + 5 < later[0] == later[3] < later[4], "one slot after the other"


@pytest.mark.parametrize("seed", range(20))
def test_mixed_faults_leave_every_row_once_and_right(tmp_path: Path, seed: int) -> None:
    flaky = Faults(hang=0.02, drop=0.02, error_500=0.02, garbage=0.02, done_false=0.02, busy=0.01, html_502=0.01)
    hosts = [
        SimHost("flaky", 0.5, faults=flaky),
        SimHost("bad", faults=Faults(fails_fast=True)),
        SimHost("flapping", 0.4, faults=Faults(down=((10.0, 30.0), (60.0, 90.0)))),
        SimHost("good", 1.0),
    ]
    world = World(tmp_path, hosts, rows=300, seed=seed, min_deadline_s=30.0)
    ended = world.run()
    assert (ended.counts.done, ended.counts.dead) == (300, 0)
    finished(world)
    assert len(hosts[1].asked) < 100
    assert world.faults()["answered"] >= 300


def test_a_row_that_is_always_cut_is_dead_and_never_stored(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", faults=Faults(cut=1.0))], rows=5)
    ended = world.run()
    assert ended.counts.dead == 5
    rows = finished(world)
    assert {str(row["error"]).split(":")[0] for row in rows} == {"cut_output"}
    assert {row["attempts"] for row in rows} == {3}
    asked = [a.body["options"]["num_predict"] for a in world.hosts[0].asked]  # type: ignore[index]
    assert set(asked) == {32, 64, 128}


def test_a_silently_truncated_prompt_is_dead_and_never_stored(tmp_path: Path) -> None:
    texts = ["word " * 3000, "short"]
    world = World(tmp_path, [SimHost("a", faults=Faults(truncate=1.0))], texts=texts)
    world.run()
    rows = finished(world)
    assert str(rows[0]["error"]).startswith("context_overflow")


def test_empty_rows_are_dead_and_never_sent(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a")], texts=["one", "", None, "  \n", "two"])
    ended = world.run()
    assert (ended.counts.done, ended.counts.dead) == (2, 3)
    rows = finished(world)
    assert [str(row["error"]).split(":")[0] for row in rows[1:4]] == ["empty_prompt"] * 3
    assert sorted(a.user for a in world.hosts[0].asked) == ["one", "two"]


def test_when_no_host_is_usable_for_longer_than_the_patience_the_run_can_be_resumed(tmp_path: Path) -> None:
    host = SimHost("a", 1.0, faults=Faults(down=((30.0, 1e9),)))
    world = World(tmp_path, [host], rows=100, patience_s=600.0)
    with pytest.raises(NoHostsLeft):
        world.run()
    assert 600 <= world.virtual_s < 700
    check_invariants(world.job)
    host.faults = Faults()
    assert world.run().counts.done == 100
    finished(world)


def test_no_host_at_the_first_start_is_refused_after_three_tries(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", faults=Faults(down=((0.0, 1e9),)))], rows=10)
    with pytest.raises(UsageError, match="no host can be reached") as error:
        world.run()
    assert "a cannot be reached: " in str(error.value)
    assert not world.job.exists()


def test_mixed_digests_are_refused_with_the_list(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a"), SimHost("b", digest="cd" * 32)], rows=10)
    with pytest.raises(UsageError, match="digests differ") as error:
        world.run()
    assert "a: abababababab" in str(error.value)
    assert "b: cdcdcdcdcdcd" in str(error.value)
    assert world.run(allow_mixed_models=True).counts.done == 10
    assert {row["model_digest"] for row in finished(world)} == {"ab" * 32, "cd" * 32}


def test_an_old_server_and_one_without_the_model_are_left_out(tmp_path: Path) -> None:
    hosts = [SimHost("old", version="0.12.5"), SimHost("bare", models=("other:1b",)), SimHost("good")]
    world = World(tmp_path, hosts, rows=20)
    assert world.run().counts.done == 20
    assert world.shares() == {"old": 0, "bare": 0, "good": 20}
    told = " ".join(event.text for event in world.view.events)
    assert "0.12.5" in told
    assert "lacks the model" in told
    finished(world)


def test_a_late_joiner_with_another_digest_is_left_out(tmp_path: Path) -> None:
    late = SimHost("late", digest="cd" * 32, faults=Faults(down=((0.0, 40.0),)))
    world = World(tmp_path, [SimHost("early", 1.0), late], rows=200)
    assert world.run().counts.done == 200
    assert world.shares()["late"] == 0
    assert any(event.kind == "host_left_out" for event in world.view.events)
    finished(world)


def test_a_host_that_appears_during_the_run_takes_rows(tmp_path: Path) -> None:
    late = SimHost("late", 0.5, faults=Faults(down=((0.0, 40.0),)))
    world = World(tmp_path, [SimHost("early", 1.0), late], rows=300)
    world.run()
    assert world.shares()["late"] > 50
    finished(world)


def test_long_rows_wait_for_the_absent_host_that_can_hold_them(tmp_path: Path) -> None:
    texts = ["word " * 1000 if i % 2 else f"short {i}" for i in range(1200)]
    big = SimHost("big", 0.2, faults=Faults(down=((0.0, 700.0),)))
    world = World(tmp_path, [SimHost("small", 0.2), big], texts=texts, max_context={"small": 512})
    assert world.run().counts.done == 1200
    rows = finished(world)
    assert {row["host"] for row in rows[1::2]} == {"big"}
    assert sum(row["host"] == "small" for row in rows[0::2]) > 500


def test_a_suspended_machine_blames_nobody(tmp_path: Path) -> None:
    """Every connection breaks as it wakes up, whether the clocks are looked at just then or a second later."""
    for between_two_looks_s in (0.0, 0.3, 0.9):
        world = World(tmp_path / str(between_two_looks_s), [SimHost("a", 5.0), SimHost("b", 5.0)], rows=60, slots=2)
        for host in world.hosts:
            host.slots = 2

        async def suspend(world: World, later_s: float = between_two_looks_s) -> None:
            await anyio.sleep(50 + later_s)
            world.suspend(3600.0)

        assert world.run(events=suspend).counts.done == 60
        assert world.faults()["broken"] == 4
        assert Counter(kinds(world))["clock_jump"] == 1
        assert "host_down" not in kinds(world)
        assert set(marks(world)) <= {("nobody", "dropped")}
        finished(world)


def test_a_machine_that_wakes_up_off_the_network_blames_no_row(tmp_path: Path) -> None:
    """Rows so long that the same ones are in flight at one sleep after the other."""
    naps = [50.5 + 200 * number for number in range(10)]
    gone = Faults(down=tuple((nap, nap + 3.0) for nap in naps))
    world = World(tmp_path, [SimHost(n, 100.0, 2, faults=gone) for n in "abc"], rows=60, slots=2, patience_s=1e5)

    async def suspend(world: World) -> None:
        for nap in naps:
            await anyio.sleep(nap - anyio.current_time())
            world.suspend(3600.0)

    ended = world.run(events=suspend)
    assert (ended.counts.done, ended.counts.dead) == (60, 0)
    assert world.faults()["broken"] > 20
    assert lost_over_a_sleep(world) == ({"nobody"}, [])
    assert {blame for blame, _ in marks(world)} == {"nobody"}
    finished(world)


@pytest.mark.parametrize("set_by_s", [3600.0, -3600.0])
def test_a_wall_clock_that_is_set_blames_nobody_and_loses_nothing(tmp_path: Path, set_by_s: float) -> None:
    hosts = [SimHost("a", 2.0, faults=Faults(drop=0.05)), SimHost("b", 5.0)]
    world = World(tmp_path, hosts, rows=100, slots=1)

    async def set_clock(world: World) -> None:
        await anyio.sleep(50.5)
        world.wall_ahead_s += set_by_s

    assert world.run(events=set_clock).counts.done == 100
    assert Counter(kinds(world))["clock_jump"] == (set_by_s > 0)
    faults = world.faults()
    assert faults["cancelled"] == (2 if set_by_s > 0 else 0), "what was in flight"
    assert faults["answered"] == 100
    assert len(marks(world)) == faults["drop"]
    finished(world)


def test_a_full_disk_pauses_the_run_and_it_goes_on_by_itself(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", 1.0)], rows=100)
    asked_while_full: list[int] = []

    async def fill(world: World) -> None:
        await anyio.sleep(20)
        world.free_bytes = 1 << 20
        await anyio.sleep(20)
        asked_while_full.append(len(world.hosts[0].asked))
        await anyio.sleep(200)
        asked_while_full.append(len(world.hosts[0].asked))
        world.free_bytes = 1 << 40

    assert world.run(events=fill).counts.done == 100
    assert asked_while_full[0] == asked_while_full[1]
    assert {"disk_full", "disk_ok"} <= {event.kind for event in world.view.events}
    finished(world)


def test_an_edit_of_the_hosts_file_before_the_first_row_takes_effect(tmp_path: Path) -> None:
    """Reading a large dataset takes minutes, in which somebody may switch a host on."""
    world = World(tmp_path, [SimHost("a", 1.0), SimHost("b", 1.0)], rows=50)
    world.keys["b"] = "enabled = false\n"

    async def edit(world: World) -> None:
        world.keys.clear()
        world.hosts_file()

    assert world.run(events=edit).counts.done == 50
    assert world.shares()["b"] > 10
    finished(world)


def test_an_edit_of_the_hosts_file_takes_effect_and_a_broken_one_does_not(tmp_path: Path) -> None:
    hosts = [SimHost("a", 1.0), SimHost("b", 1.0)]
    world = World(tmp_path, hosts, rows=300)
    path = world.hosts_file()
    both = path.read_text()

    async def edit(world: World) -> None:
        await anyio.sleep(30)
        path.write_text("[[hosts]\nbroken")
        await anyio.sleep(10)
        path.write_text(both.split('[[hosts]]\nname = "b"')[0])
        await anyio.sleep(5)
        asked = len(hosts[1].asked)
        await anyio.sleep(60)
        assert len(hosts[1].asked) == asked
        path.write_text(both)

    assert world.run(events=edit).counts.done == 300
    kinds = [event.kind for event in world.view.events]
    assert kinds.count("hosts_file_broken") == 1
    assert "host_removed" in kinds
    assert "host_added" in kinds
    assert any(a.at > 110 for a in hosts[1].asked)
    finished(world)


def test_a_pilot_grows_into_the_whole_job(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", 0.1)], rows=500)
    assert world.run(limit=20).counts.done == 20
    assert world.run(sample=30).counts.done > 30
    assert world.run().counts.done == 500
    finished(world)
    assert len(world.hosts[0].asked) == 500


def test_samples_are_tasks_of_their_own(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", 0.1)], rows=20)
    assert world.run(samples=3).counts.done == 60
    rows = check_invariants(world.job, expected=60)
    assert [row["sample"] for row in rows[:4]] == [0, 1, 2, 0]


def test_slots_double_while_throughput_grows(tmp_path: Path) -> None:
    host = SimHost("batching", 2.0, slots=8)
    world = World(tmp_path, [host], rows=3000)
    world.run()
    finished(world)
    # two doublings without gain end the climb
    assert 8 <= host.most_running <= 32


def test_a_fixed_number_of_slots_is_never_exceeded(tmp_path: Path) -> None:
    host = SimHost("fixed", 1.0, slots=8)
    world = World(tmp_path, [host], rows=200, slots=3)
    world.run()
    assert host.most_running == 3
    finished(world)


def test_the_last_row_of_a_stalled_host_gets_a_second_copy_and_the_loser_is_cancelled(tmp_path: Path) -> None:
    stalled = SimHost("stalled", 1.0, faults=Faults(slow=((20.0, 1e9, 500.0),)))
    world = World(tmp_path, [SimHost("steady", 1.0), stalled], rows=60, slots=1, min_deadline_s=2000.0)
    assert world.run().counts.done == 60
    rows = finished(world)
    assert stalled.asked[-1].ended == "cancelled"
    assert world.virtual_s < 300, "the run waited for the copy that had lost"
    won = [row for row in rows if world.texts and world.texts[row["row"]] == stalled.asked[-1].user]  # type: ignore[call-overload]
    assert [row["host"] for row in won] == ["steady"]


@pytest.mark.parametrize("seed", range(8))
def test_a_second_copy_that_has_lost_before_it_could_begin_is_cancelled_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """The stalled host answers in the very moment in which its row is given to a host that rests as well.

    That copy has not had its first turn then. A host that works goes on with a copy in a coroutine that has begun,
    so it is kept from taking one.
    """
    real_pick, real_answer, real_fill = Fleet.pick, Transport._answer, Dispatcher._fill_all
    stalled = SimHost("stalled", 1.0)
    given: dict[str, anyio.Event] = {}
    filling = False

    async def answer(transport: Transport, request: httpx.Request, asked: Asked) -> httpx.Response:
        if transport._host is not stalled:
            return await real_answer(transport, request, asked)
        given[asked.user] = anyio.Event()
        await given[asked.user].wait()
        return transport._said(asked, 1.0)

    def fill(dispatcher: Dispatcher, group: TaskGroup) -> None:
        nonlocal filling
        filling = True
        real_fill(dispatcher, group)
        filling = False

    def pick(fleet: Fleet, name: str, window: Window, now: float) -> Slot | None:
        if not window and not filling:
            return None
        slot = real_pick(fleet, name, window, now)
        if slot is not None and slot.task.user in given:
            given[slot.task.user].set()
        return slot

    monkeypatch.setattr(Transport, "_answer", answer)
    monkeypatch.setattr(Fleet, "pick", pick)
    monkeypatch.setattr(Dispatcher, "_fill_all", fill)
    world = World(tmp_path, [SimHost("steady", 1.0), stalled], rows=20, slots=1, min_deadline_s=2e3, seed=seed)
    assert world.run().counts.done == 20
    rows = finished(world)
    assert [row["host"] for row in rows].count("stalled") == 1
    copies = [a for a in world.hosts[0].asked if a.user in given]
    assert {a.ended for a in copies} <= {"cancelled"}, "the copy that had lost was answered"
    assert world.virtual_s < 60
