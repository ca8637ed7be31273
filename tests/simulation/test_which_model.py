"""Whole runs in virtual time: which model a job has, which job is meant, and which package all hosts must have."""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import anyio
import httpx
import pytest
from invariants import check_invariants
from simulation.world import Faults, SimHost, Transport, World

from scorer.dispatch.lives import RECHECK_S
from scorer.errors import StoreError, UsageError
from scorer.jobs.folder import locked
from scorer.jobs.mend import retry
from scorer.jobs.spec import FILE, read_spec

TWO = ("judge:7b", "other:3b")


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
