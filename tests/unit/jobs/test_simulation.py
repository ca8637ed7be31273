"""Fleets and rows of `scorer simulate`: from a file, and from what a job's results show."""

import os
import re
from dataclasses import replace
from pathlib import Path

import entries
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scorer.core.simulated import SimHost
from scorer.errors import UsageError
from scorer.jobs.folder import DATABASE
from scorer.jobs.simulation import SimulateOptions, run_simulation
from scorer.jobs.spec import DatasetSpec, JobSpec, TemplateSpec, write_spec
from scorer.queue import Queue, Reader
from scorer.show import simulation_text

FLEET = """
[[hosts]]
name = 'a'
prefill_tps = 400
decode_tps = 40
[[hosts]]
name = 'b'
prefill_tps = 80
decode_tps = 30
"""

SPEC = JobSpec(
    name="j",
    scorer_version="1",
    created_at="2026-01-01T00:00:00+00:00",
    models=("m",),
    dataset=DatasetSpec("/data/rows.parquet", "parquet", 40, "f" * 64, ""),
    template=TemplateSpec("t", "t.toml", "e" * 64, 'name = "t"'),
    columns={},
)


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    path = tmp_path / "fleet.toml"
    path.write_text(FLEET)
    return path


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A runs folder with the job `j`: 40 rows, of which 30 were scored by one host, one row after the other."""
    folder = tmp_path / "runs" / "j"
    folder.mkdir(parents=True)
    write_spec(folder, SPEC)
    queue = Queue.open(folder / DATABASE, 1000.0)
    queue.enqueue(["m"], 40, 1)
    now, done = 1000.0, []
    for row in range(30):
        prompt, output = 100 + 37 * row, (8, 60, 250)[row % 3]
        took_s = float(SimHost("p40", 400, 20, overhead_s=0.2).service_s(prompt, output))
        now += took_s
        done.append(entries.done(row, prompt_tokens=prompt, output_tokens=output, duration_s=took_s, finished_at=now))
    done.append(entries.done(30, prompt_tokens=None, output_tokens=None))
    queue.commit(done, now)
    queue.close()
    return folder.parent


def test_the_latest_results_with_token_counts_are_what_speeds_are_measured_from(runs: Path) -> None:
    reader = Reader.open(runs / "j" / DATABASE)
    found, two = reader.timings(100), reader.timings(3)
    reader.close()
    assert [timing.output_tokens for timing in found[:3]] == [250, 60, 8]
    assert (len(found), len(two)) == (30, 2), "one of the last three told no tokens"
    assert found[0].finished_at > found[1].finished_at
    assert {timing.host for timing in found} == {"p40"}


def test_a_jobs_hosts_are_as_fast_as_its_results_show_and_its_rows_as_long(runs: Path) -> None:
    found = run_simulation(SimulateOptions(from_job="j", runs_dir=runs))
    (host,) = found.hosts
    assert (host.name, host.slots) == ("p40", 1)
    assert host.prefill_tps == pytest.approx(400, rel=0.01)
    assert host.decode_tps == pytest.approx(20, rel=0.01)
    assert host.overhead_s == pytest.approx(0.2, rel=0.05)
    assert found.work.rows == 40
    assert found.work.median_tokens == pytest.approx(637, rel=0.02)
    assert set(found.work.output_tokens) >= {8, 60, 250}


def test_what_the_command_line_says_goes_before_what_the_job_shows(runs: Path) -> None:
    asked = SimulateOptions(
        from_job="j", runs_dir=runs, rows=20, outputs=(5,), median_tokens=50.0, sigma=0.1, noise=0.0, seed=4
    )
    work = run_simulation(asked).work
    assert (work.rows, work.output_tokens, work.median_tokens, work.sigma) == (20, (5,), 50.0, 0.1)
    assert (work.noise_cv, work.seed) == (0.0, 4)


def test_another_host_brings_what_it_can_do(runs: Path) -> None:
    alone = run_simulation(SimulateOptions(from_job="j", runs_dir=runs, rows=200))
    twice = SimulateOptions(
        from_job="j", runs_dir=runs, rows=200, add=("name=new,prefill_tps=400,decode_tps=20,overhead_s=0.2",)
    )
    assert run_simulation(twice).priced.makespan_s == pytest.approx(alone.priced.makespan_s / 2, rel=0.1)
    instead = replace(twice, remove=("p40",))
    assert [host.name for host in run_simulation(instead).hosts] == ["new"]


def test_a_job_without_results_tells_no_speeds(tmp_path: Path, runs: Path) -> None:
    folder = tmp_path / "runs" / "empty"
    folder.mkdir()
    write_spec(folder, SPEC)
    Queue.open(folder / DATABASE, 1.0).close()
    with pytest.raises(UsageError, match="too few results"):
        run_simulation(SimulateOptions(from_job="empty", runs_dir=runs))


def test_a_fleet_file_and_a_job_are_alternatives(fleet: Path, runs: Path) -> None:
    for options in (SimulateOptions(), SimulateOptions(fleet=fleet, from_job="j", runs_dir=runs)):
        with pytest.raises(UsageError, match="give either --fleet"):
            run_simulation(options)


def made_trace(fleet: Path, trace: Path, *, force: bool = False) -> None:
    run_simulation(SimulateOptions(fleet=fleet, rows=20, trace=trace, force=force))


def test_a_trace_replaces_a_trace_and_nothing_else_unasked(fleet: Path, tmp_path: Path) -> None:
    trace, dataset = tmp_path / "trace.parquet", tmp_path / "rows.parquet"
    made_trace(fleet, trace)
    before = trace.read_bytes()
    made_trace(fleet, trace)
    assert trace.read_bytes() == before
    for content in (pa.table({"text": ["a"], "row": [1]}), b"no Parquet"):
        if isinstance(content, bytes):
            dataset.write_bytes(content)
        else:
            pq.write_table(content, dataset)
        there = dataset.read_bytes()
        with pytest.raises(UsageError, match=r"is there already; .* --force"):
            made_trace(fleet, dataset)
        assert dataset.read_bytes() == there
    made_trace(fleet, dataset, force=True)
    assert dataset.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"fleet.toml", "trace.parquet", "rows.parquet"}


@pytest.mark.parametrize("force", [False, True])
def test_a_trace_is_written_into_no_jobs_folder_and_no_pipe(
    fleet: Path, runs: Path, tmp_path: Path, force: bool
) -> None:
    results = runs / "j" / "results"
    results.mkdir()
    (tmp_path / "link").symlink_to(results)
    for path in (runs / "j" / "t.parquet", results / "part-00000.parquet", tmp_path / "link" / "t.parquet"):
        with pytest.raises(UsageError, match="is in the folder of job j"):
            made_trace(fleet, path, force=force)
        assert not path.exists()
    os.mkfifo(tmp_path / "pipe.parquet")
    with pytest.raises(UsageError, match="is no file"):
        made_trace(fleet, tmp_path / "pipe.parquet", force=force)
    with pytest.raises(UsageError, match="is a folder"):
        made_trace(fleet, _folder(tmp_path / "d.parquet"), force=force)
    with pytest.raises(UsageError, match="there is no folder"):
        made_trace(fleet, tmp_path / "no" / "t.parquet", force=force)
    with pytest.raises(UsageError, match="File name too long"):
        made_trace(fleet, tmp_path / f"{'t' * 300}.parquet", force=force)


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_figures_and_text_agree(fleet: Path, tmp_path: Path) -> None:
    found = run_simulation(SimulateOptions(fleet=fleet, rows=150, trace=tmp_path / "t.parquet"))
    figures = found.as_json()
    assert figures["hosts"]["a"]["rows"] + figures["hosts"]["b"]["rows"] == 150
    assert 0.9 < figures["hosts"]["a"]["utilisation"] <= 1.0
    text = simulation_text(found)
    assert f"{figures['ratio']:.3f}" in text
    assert f"{figures['hosts']['a']['rows']} " in text
    assert (tmp_path / "t.parquet").is_file()
    with pytest.raises(UsageError, match=r"must end in \.parquet"):
        run_simulation(SimulateOptions(fleet=tmp_path / "no fleet", trace=tmp_path / "queue.sqlite"))
    with pytest.raises(UsageError, match="there is no folder"):
        run_simulation(SimulateOptions(fleet=fleet, rows=5, trace=tmp_path / "no" / "t.parquet"))


def test_short_simulations_are_told_in_tenths_of_seconds(fleet: Path) -> None:
    text = simulation_text(run_simulation(SimulateOptions(fleet=fleet, rows=1)))
    assert " slot time " in text
    assert " 0s" not in text
    assert re.search(r"no schedule takes less than \d+\.\ds", text)


def test_a_fleet_without_hosts_that_are_ever_there_has_no_figures_to_divide_by(tmp_path: Path) -> None:
    path = tmp_path / "gone.toml"
    path.write_text(FLEET.split("[[hosts]]\nname = 'b'")[0] + "events = [{at_s = 0, kind = 'dies'}]\n")
    found = run_simulation(SimulateOptions(fleet=path, rows=10))
    figures = found.as_json()
    assert (figures["unfinished"], figures["bound_s"], figures["ratio"]) == (10, None, None)
    assert "no schedule finishes them" in simulation_text(found)


def test_a_model_that_no_host_serves_is_named(fleet: Path) -> None:
    fleet.write_text(FLEET.replace("[[hosts]]\n", "[[hosts]]\nmodels = ['x']\n"))
    with pytest.raises(UsageError, match='no host serves the model "y"'):
        run_simulation(SimulateOptions(fleet=fleet, models=("x", "y")))
