import contextlib
import json
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from made_jobs import MadeJob, texts
from other_user import as_nobody, open_folder
from pydantic_core import to_json
from simulation.world import EPOCH_S, Faults, SimHost, World

from scorer.database import Database
from scorer.errors import Damaged, NoHostsLeft, StoreError, UsageError
from scorer.jobs.board import FILE as BOARD
from scorer.jobs.board import read_posting
from scorer.jobs.folder import DATABASE, LOCK, find_job, locked
from scorer.jobs.look import Status, all_jobs, latest_unfinished, named_or_latest, status
from scorer.jobs.mend import verify
from scorer.jobs.spec import FILE, read_spec, write_spec
from scorer.show import jobs_table, report, summary


def test_a_finished_job_is_told_with_everything_that_happened(world: World) -> None:
    world.run()
    found = status(world.job)
    assert (found.counts.done, found.counts.dead, found.counts.pending) == (18, 2, 0)
    assert found.state == "finished, some rows dead"
    assert {host.host: host.rows for host in found.hosts} == {k: v for k, v in world.shares().items() if v}
    assert sum(sum(counts.values()) for counts in found.scores.values()) == 18
    assert [(kind.kind, kind.count, kind.example.row) for kind in found.dead] == [("empty_prompt", 2, 0)]
    assert (found.rows_per_s, found.eta_s) == (0.0, None)
    text = report(found)
    assert "sim: finished, some rows dead, 100.0%" in text
    assert "18 done, 2 dead, 0 to do; all rows" in text
    assert "empty_prompt: 2, such as row 0: nothing in column text" in text
    assert f"scorer report sim -o sim.html --runs-dir {world.job.parent}" in summary(found, ending="finished")
    assert "no other try helps these dead rows" in summary(found, ending="finished"), "without a text they stay"


def test_the_status_is_plain_json(world: World) -> None:
    world.run()
    found = json.loads(json.dumps(status(world.job).as_json()))
    assert (found["total"], found["done"], found["dead"]) == (20, 18, 2)
    assert sum(found["scores"].values()) == 18
    assert found["dead_by_kind"]["empty_prompt"]["rows"] == 2
    assert sum(host["rows"] for host in found["hosts"].values()) == 18
    assert all(sum(host["scores"].values()) == host["rows"] for host in found["hosts"].values())


def test_scores_that_are_nearly_alike_stay_apart_in_the_json(interrupted: World) -> None:
    scores = Counter({8.0: 3, 0.5: 1, 0.1234561: 5, 0.1234562: 7, 1234567.0: 2, 1234568.0: 1, -0.25: 1})
    found = replace(status(interrupted.job), scores={"a": scores}).as_json()["scores"]
    assert isinstance(found, dict)
    assert {float(score): count for score, count in found.items()} == scores
    assert list(found) == ["-0.25", "0.1234561", "0.1234562", "0.5", "8", "1234567", "1234568"]


VERDICT = """
name = "verdict"
system = "Which is better?"
user = "{{ text }}"
[output.score]
type = "choice"
values = ["worse", "better"]
"""


def test_scores_that_are_words_are_counted_by_them(tmp_path: Path) -> None:
    verdicts = {"score": "worse"}, {"score": "better"}
    made = MadeJob(table=texts(30), template=VERDICT, says=lambda key, _: verdicts[key.row % 3 > 0])
    found = status(made.write(tmp_path))
    plain = found.as_json()
    assert plain["scores"] == {"worse": 10, "better": 20}
    hosts = plain["hosts"]
    assert isinstance(hosts, dict)
    assert sum((Counter(host["scores"]) for host in hosts.values()), Counter()) == plain["scores"]
    assert "scores: most often better" in report(found)


def test_yes_and_no_are_counted_by_their_names(tmp_path: Path) -> None:
    template = VERDICT.replace('"choice"', '"boolean"').replace('values = ["worse", "better"]', "")
    made = MadeJob(table=texts(30), template=template, says=lambda key, _: {"score": key.row % 3 > 0})
    assert status(made.write(tmp_path)).as_json()["scores"] == {"false": 10, "true": 20}


def test_a_job_whose_words_an_older_scorer_did_not_count_says_so(tmp_path: Path) -> None:
    job = MadeJob(table=texts(30), template=VERDICT, says=lambda *_: {"score": "worse"}).write(tmp_path)
    with closing(sqlite3.connect(job / DATABASE)) as database, database:
        database.execute("UPDATE result SET score = NULL")
        database.execute("DELETE FROM score_tally")
    assert "an older scorer did not count them" in report(status(job))
    assert verify(job) == []


def test_a_job_whose_template_was_damaged_still_has_a_status(tmp_path: Path) -> None:
    job = MadeJob(table=texts(30), template=VERDICT, says=lambda *_: {"score": "worse"}).write(tmp_path)
    spec = read_spec(job)
    write_spec(job, replace(spec, template=replace(spec.template, text="name = 7")))
    assert status(job).counts.done == 30


def test_rows_of_several_pilots_are_not_said_to_be_those_of_the_last(world: World) -> None:
    world.run(limit=10)
    assert status(world.job).selection == "the first 10 rows"
    world.run(sample=10)
    world.run(limit=3)
    found = status(world.job)
    assert 10 < found.counts.total < 20
    assert found.selection == f"{found.counts.total} rows of several pilots, the last one for the first 3 rows"
    assert found.as_json()["selection"] == found.selection
    assert found.selection in report(found)
    world.run()
    assert status(world.job).selection == "all rows"


def test_a_job_that_stopped_is_interrupted_and_one_that_lives_has_a_rate(interrupted: World) -> None:
    found = status(interrupted.job)
    assert found.state == "interrupted"
    assert "go on with: scorer resume sim" in summary(found, ending="interrupted")
    with locked(interrupted.job):
        running = status(interrupted.job, found.last_activity)
        assert running.state == "running"
        assert running.rows_per_s > 0
        assert running.eta_s == pytest.approx(running.counts.pending / running.rows_per_s)
        assert "left" in report(running)
        late = status(interrupted.job, time.time())
        assert (late.rows_per_s, late.eta_s) == (0.0, None)


def seen_during(world: World, at: float) -> Status:
    """Run a job to whatever end, and return its status as others see it after so many seconds."""
    seen: list[Status] = []

    async def look(_: World) -> None:
        await anyio.sleep(at)
        seen.append(status(world.job, EPOCH_S + anyio.current_time()))

    with contextlib.suppress(StoreError, NoHostsLeft):
        world.run(events=look)
    return seen[0]


def test_a_run_that_waits_for_room_on_the_disk_is_paused_to_others_too(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", 0.1)], rows=2000, patience_s=60.0)
    world.free_bytes = 1 << 20
    found = seen_during(world, 30.0)
    assert found.state == "paused"
    assert "GB free" in str(found.paused)
    assert (found.rows_per_s, found.eta_s) == (0.0, None)


def test_a_run_whose_hosts_are_all_down_tells_others_when_it_gives_up(tmp_path: Path) -> None:
    down = Faults(down=((20.0, 5000.0),))
    found = seen_during(World(tmp_path, [SimHost("a", 0.1, faults=down)], rows=2000, patience_s=600.0), 200.0)
    assert found.state == "running"
    assert found.gives_up_in_s == pytest.approx(600 - 180, abs=30)
    assert found.eta_s is None


def test_a_pilot_tells_what_the_whole_would_take(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", 1.0)], rows=1000)
    world.run(limit=50)
    found = status(world.job)
    assert found.state == "finished"
    assert found.whole_tasks == 1000
    # a second a row, whatever loading the model took
    assert found.whole_s == pytest.approx(1000, rel=0.1)
    assert "all 1,000: about 17 minutes on these hosts" in summary(found, ending="finished")
    assert "all 1,000: about 17 minutes on these hosts" in report(found)
    world.run()
    assert status(world.job).whole_s is None
    assert "on these hosts" not in report(status(world.job))


def test_a_host_that_counts_no_tokens_makes_the_whole_seem_no_longer(tmp_path: Path) -> None:
    hosts = [SimHost("a", 4.0), SimHost("quiet", 1.0, counts_tokens=False)]
    world = World(tmp_path, hosts, rows=2000, slots=1)
    world.run(limit=200)
    # one scores a row in four seconds and the other four: 1.25 a second together
    assert status(world.job).whole_s == pytest.approx(1600, rel=0.1)


def test_the_latest_job_is_meant_when_none_is_named(world: World) -> None:
    runs = world.job.parent
    with pytest.raises(UsageError, match="no jobs in"):
        named_or_latest(runs, None)
    world.run()
    assert named_or_latest(runs, None) == named_or_latest(runs, "sim") == world.job


def test_a_job_that_cannot_be_read_does_not_hide_the_others(world: World) -> None:
    world.run()
    for name, content in (("broken", b"name ="), ("unstarted", (world.job / FILE).read_bytes())):
        (world.job.parent / name).mkdir()
        (world.job.parent / name / FILE).write_bytes(content)
    found, unreadable = all_jobs(world.job.parent)
    assert [one.folder.name for one in found] == ["sim"]
    assert sorted(line.split(":")[0] for line in unreadable) == ["broken", "unstarted"]
    assert "sim  finished, some rows dead  100.0%" in jobs_table(found)
    assert jobs_table([]) == ""


DAMAGES = {
    "a text that is none": "UPDATE dead SET error = cast(x'7b22ff' AS TEXT)",
    "a table that is gone": "DROP TABLE score_tally",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_job_whose_database_was_damaged_is_listed_as_such_beside_the_others(world: World, damage: str) -> None:
    world.run()
    shutil.copytree(world.job, broken := world.job.with_name("broken"))
    with closing(sqlite3.connect(broken / DATABASE)) as database, database:
        database.execute(DAMAGES[damage])
    with pytest.raises(Damaged, match="damaged"):
        status(broken)
    found, told = all_jobs(broken.parent)
    assert {one.folder.name: one.state for one in found} == {"sim": "finished, some rows dead", "broken": "damaged"}
    (line,) = told
    assert line.startswith("broken: ")


@contextlib.contextmanager
def being_read(job: Path) -> Iterator[None]:
    with closing(Database.open_to_read(job / DATABASE)) as database, database.read():
        yield


@pytest.mark.parametrize("private", [".", "results"])
def test_a_job_that_may_not_be_looked_into_is_passed_over_in_a_line(private: str) -> None:
    with open_folder() as folder:
        made = World(folder, [SimHost("a", 0.1)], rows=10)
        made.run()
        runs = made.job.parent
        shutil.copytree(made.job, own := runs / "own")
        # as in a run, so that nobody who only reads has to write beside it
        with being_read(made.job), being_read(own):
            for lock in runs.glob(f"*/{LOCK}"):
                lock.chmod(0o444)
            assert [one.state for one in all_jobs(runs)[0]] == ["finished", "finished"]
            (own / private).chmod(0o000)
            with as_nobody():
                found, told = all_jobs(runs)
                with pytest.raises(UsageError, match="Permission denied"):
                    status(find_job(runs, "own"))
                with pytest.raises(UsageError, match="no unfinished job"):
                    latest_unfinished(runs)
            (own / private).chmod(0o755)
        assert [(one.folder.name, one.state) for one in found] == [("sim", "finished")]
        (line,) = told
        assert line.startswith("own: cannot read ")
        assert line.endswith(": Permission denied")


def test_another_users_job_that_has_ended_is_looked_at_though_nothing_may_be_written_there() -> None:
    with open_folder() as folder:
        made = World(folder, [SimHost("a", 0.1)], rows=10)
        made.run()
        for place in (made.job, made.job / LOCK):
            place.chmod(place.stat().st_mode & 0o555)
        names = sorted(path.name for path in made.job.iterdir())
        with as_nobody():
            (found,), told = all_jobs(made.job.parent)
            assert (found.state, found.counts.done, told) == ("finished", 10, [])
            assert status(made.job).counts.done == 10
        assert sorted(path.name for path in made.job.iterdir()) == names
        made.job.chmod(0o755)


def test_a_resumed_run_has_the_rate_of_its_own_time_from_the_first_minute(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", 1.0)], rows=400)
    world.run(limit=50)
    first = status(world.job).last_activity
    world.wall_ahead_s = 100.0

    async def look(world: World) -> None:
        # past the pilot's rows, well within the five minutes over which rates are taken
        await anyio.sleep(100)
        (world.job / BOARD).unlink()
        found = status(world.job, EPOCH_S + world.wall_ahead_s + anyio.current_time())
        rates.append((found.state, found.rows_per_s))

    rates: list[tuple[str, float]] = []
    world.run(events=look)
    assert status(world.job).last_activity > first
    ((state, rate),) = rates
    assert state == "running"
    assert rate == pytest.approx(1.0, rel=0.1)


def test_a_finished_job_that_is_run_again_was_last_active_when_it_last_did_something(world: World) -> None:
    world.run()
    before = status(world.job).last_activity
    world.wall_ahead_s = 86_400.0
    world.run()
    assert status(world.job).last_activity == before


def test_what_a_run_believes_is_in_its_status_while_it_lives(world: World) -> None:
    world.run()
    posting = read_posting(world.job)
    assert posting is not None
    assert status(world.job, posting.at).posting is None, "it has ended"
    (world.job / BOARD).write_bytes(to_json(replace(posting, ended=None)))
    with locked(world.job):
        found = status(world.job, posting.at)
        assert found.posting == replace(posting, ended=None)
        assert found.rows_per_s == posting.progress.rows_per_s
        run = json.loads(json.dumps(found.as_json()))["run"]
        assert run["progress"]["hosts"][0]["prefill_tps"] > 0
    assert status(world.job, posting.at).posting is None, "nobody runs it"


def test_the_listing_is_in_the_order_of_the_last_activity(world: World) -> None:
    world.run()
    late = World(world.folder, [SimHost("a", 0.5)], rows=5, wall_ahead_s=1e6)
    late.run(job="late")
    (world.job / FILE).touch()
    assert [one.folder.name for one in all_jobs(world.job.parent)[0]] == ["sim", "late"]
