"""Whole runs in virtual time: hosts that come, go, rest and change under a run."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest
from invariants import check_invariants
from simulation.told import kinds, marks
from simulation.world import EPOCH_S, MODEL, Faults, SimHost, World

from scorer.errors import NoHostsLeft, UsageError
from scorer.jobs.spec import read_spec, write_spec

LONG = "word " * 1000


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
    assert world.run().counts.done == 100
    assert kinds(world).count("mixed_allowed") == 2, "whoever goes on with it without the option is told"


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
