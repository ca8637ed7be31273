"""The second `scorer run` of a job: its dataset is known, and not read whole again."""

import json
from pathlib import Path

import pytest
from simulation.world import SimHost, World

from scorer.errors import UsageError
from scorer.jobs.spec import read_spec, write_spec
from scorer.jobs.submit import RunOptions, draft, existing, reopened


@pytest.fixture
def finished(tmp_path: Path) -> World:
    world = World(tmp_path, [SimHost("a", 0.1)], rows=20)
    world.run()
    return world


@pytest.fixture
def lines(finished: World) -> Path:
    """A JSON Lines file of 10,000 rows, and a job on it that is finished as far as its folder says."""
    path = finished.folder / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": f"row {i} " + "x" * 1000}) + "\n" for i in range(10_000)))
    options = finished.options(dataset=str(path), job="lines")
    spec = draft(options).named(("judge:7b",), "lines", chosen=False)
    folder = finished.job.parent / "lines"
    folder.mkdir()
    write_spec(folder, spec)
    return path


def options(world: World, path: Path, **changes: object) -> RunOptions:
    return world.options(**{"dataset": str(path), "job": "lines", **changes})


def broken_between_the_samples(path: Path) -> None:
    """Break a line that no sampled block touches: whoever reads the whole file stumbles over it."""
    with path.open("r+b") as file:
        file.seek(100_000)
        file.write(b'" no JSON')


def test_the_same_command_does_not_read_the_whole_dataset_again(finished: World, lines: Path) -> None:
    broken_between_the_samples(lines)
    again = draft(options(finished, lines))
    assert again.dataset.rows == 10_000
    assert existing(again, options(finished, lines)) == finished.job.parent / "lines"


@pytest.mark.parametrize("changes", [{"job": "another"}, {"fresh": True}, {"models": ("other:1b",)}])
def test_another_command_reads_it(finished: World, lines: Path, changes: dict[str, object]) -> None:
    broken_between_the_samples(lines)
    with pytest.raises(UsageError, match="not JSON"):
        draft(options(finished, lines, **changes))


def test_a_dataset_that_changed_is_read_and_the_job_refused(finished: World, lines: Path) -> None:
    lines.write_text(lines.read_text() + '{"text": "one more"}\n')
    changed = draft(options(finished, lines))
    assert changed.dataset.rows == 10_001
    with pytest.raises(UsageError, match=r"dataset: the job has .* this run .* \(same place, other content\)"):
        existing(changed, options(finished, lines))


def test_a_job_found_by_its_usual_name_knows_its_dataset_too(finished: World, lines: Path) -> None:
    usual = draft(options(finished, lines)).named(("judge:7b",), None, chosen=False).name
    (finished.job.parent / "lines").rename(finished.job.parent / usual)
    broken_between_the_samples(lines)
    assert draft(options(finished, lines, job=None, models=("judge:7b",))).dataset.rows == 10_000
    assert draft(options(finished, lines, job=None, models=())).dataset.rows == 10_000


def test_a_dataset_in_another_place_is_what_the_job_has_from_then_on(finished: World, lines: Path) -> None:
    moved = lines.rename(lines.with_name("moved.jsonl"))
    drafted = reopened(finished.job.parent / "lines", str(moved), None)
    assert drafted.spec.dataset.source == str(moved)
    assert drafted.spec.dataset.fingerprint == read_spec(finished.job.parent / "lines").dataset.fingerprint


def test_another_dataset_under_the_jobs_name_is_not_taken_for_its_own(finished: World, lines: Path) -> None:
    other = lines.with_name("other.jsonl")
    other.write_text('{"text": "x"}\n')
    assert draft(options(finished, other)).dataset.rows == 1
