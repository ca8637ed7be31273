"""`scorer simulate` as its users type it: fleets from a file and from a real job, figures, traces and mistakes."""

import math
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from doubles.ollama import OllamaDouble, Spec
from running import TEMPLATE, Desk, texts

FLEETS = Path(__file__).parents[2] / "examples" / "fleets"
POLICIES = {"first_come", "round_robin", "static"}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A folder with the fleet files."""
    shutil.copytree(FLEETS, tmp_path / "fleets")
    return Desk(tmp_path)


def test_figures_of_a_fleet_beside_other_ways_of_giving_out_the_rows(desk: Desk) -> None:
    found = desk.scorer("simulate", "--fleet", "fleets/home.toml", "--rows", "400", "--seed", "1", "--json").json
    assert found["ratio"] == pytest.approx(found["makespan_s"] / found["bound_s"])
    assert set(found["baselines"]) == POLICIES
    for figures in (found, *found["baselines"].values()):
        assert {"makespan_s", "bound_s", "ratio", "tail_s", "duplicated", "hosts"} <= figures.keys()
        assert sum(host["rows"] for host in figures["hosts"].values()) == 400
        assert all(0 < host["utilisation"] <= 1.0001 for host in figures["hosts"].values())
        assert figures["bound_s"] == found["bound_s"]
        assert figures["makespan_s"] >= found["makespan_s"]
    said = desk.scorer("simulate", "--fleet", "fleets/home.toml", "--rows", "400", "--seed", "1").out
    assert "400 rows, seed 1: no schedule takes less than" in said
    for word in ("scorer", "p40", *POLICIES):
        assert f"\n{word} " in said


def test_the_trace_holds_every_attempt_and_the_same_seed_gives_the_same(desk: Desk) -> None:
    command = ("simulate", "--fleet", "fleets/home-events.toml", "--rows", "300", "--outputs", "8,60,250", "--json")
    found = desk.scorer(*command, "--trace", "a.parquet").json
    desk.scorer(*command, "--trace", "b.parquet")
    one, other = (pq.read_table(desk.folder / name) for name in ("a.parquet", "b.parquet"))
    assert one.equals(other)
    assert one.column_names == ["row", "host", "start_s", "end_s", "prompt_tokens", "output_tokens", "won"]
    rows = one.to_pylist()
    assert sorted(row["row"] for row in rows if row["won"]) == list(range(300))
    assert max(row["end_s"] for row in rows) == found["makespan_s"]
    assert {row["output_tokens"] for row in rows} == {8, 60, 250}


def test_hosts_are_added_and_removed(desk: Desk) -> None:
    command = ("simulate", "--fleet", "fleets/home.toml", "--rows", "300", "--json")
    less = desk.scorer(*command, "--remove", "p40").json
    more = desk.scorer(*command, "--add", "name=new,prefill_tps=2000,decode_tps=80").json
    assert set(less["hosts"]) == {"macbook-anna", "macbook-ben"}
    assert "new" in more["hosts"]
    assert less["bound_s"] > 2 * more["bound_s"]


def test_rows_are_as_the_options_describe_them(desk: Desk) -> None:
    short = ("simulate", "--fleet", "fleets/home.toml", "--rows", "100", "--median-tokens", "50", "--sigma", "0")
    found = desk.scorer(*short, "--noise", "0", "--outputs", "1", "--trace", "t.parquet", "--json").json
    rows = pq.read_table(desk.folder / "t.parquet").to_pylist()
    assert {(row["prompt_tokens"], row["output_tokens"]) for row in rows} == {(50, 1)}
    assert (found["noise_cv"], found["models"]) == (0.0, ["model"])


def test_a_job_tells_how_fast_its_hosts_are_and_what_another_would_bring(desk: Desk) -> None:
    desk.write("judge.toml", TEMPLATE)
    desk.dataset(texts(60))
    with OllamaDouble(Spec()) as one, OllamaDouble(Spec()) as two:
        desk.hosts({"one": one.url, "two": two.url})
        desk.judge()
    command = ("simulate", "--from-job", "judged", "--json")
    found = desk.scorer(*command).json
    assert set(found["hosts"]) == {"one", "two"}
    assert found["rows"] == 60
    more = desk.scorer(*command, "--rows", "200", "--remove", "two").json
    assert (more["rows"], set(more["hosts"])) == (200, {"one"})
    assert math.isfinite(more["ratio"])


def test_a_job_with_too_few_results_says_so(desk: Desk) -> None:
    desk.write("judge.toml", TEMPLATE)
    desk.dataset(texts(3))
    with OllamaDouble(Spec()) as one:
        desk.hosts({"one": one.url})
        desk.judge()
    said = desk.scorer("simulate", "--from-job", "judged", code=2)
    assert 'job "judged" has too few results' in said.err


def test_a_fleet_that_cannot_finish_says_how_many_rows_it_never_scores(desk: Desk) -> None:
    desk.write(
        "dying.toml",
        '[[hosts]]\nname = "a"\nprefill_tps = 100\ndecode_tps = 10\nevents = [{ at_s = 60, kind = "dies" }]\n',
    )
    said = desk.scorer("simulate", "--fleet", "dying.toml", "--rows", "100")
    assert "rows never" in said.out
    found = desk.scorer("simulate", "--fleet", "dying.toml", "--rows", "100", "--json").json
    assert found["unfinished"] > 50
    assert (found["bound_s"], found["ratio"]) == (None, None)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "give either --fleet FILE"),
        (("--fleet", "fleets/home.toml", "--from-job", "x"), "give either --fleet FILE"),
        (("--fleet", "none.toml"), "cannot read the fleet file none.toml"),
        (("--fleet", "fleets/home.toml", "--outputs", "8,x"), "write whole numbers"),
        (("--fleet", "fleets/home.toml", "--median-tokens", "inf"), "--median-tokens"),
        (("--fleet", "fleets/home.toml", "--median-tokens", "1e300"), "--median-tokens"),
        (("--fleet", "fleets/home.toml", "--remove", "p4"), 'there is no such host; did you mean "p40"?'),
        (("--fleet", "fleets/home.toml", "--rows", "10", "--trace", "no/t.parquet"), "there is no folder no"),
        (("--fleet", "one.toml", "--models", "a,b"), 'no host serves the model "b"'),
        (("--from-job", "none"), "none"),
    ],
)
def test_mistakes_are_told(desk: Desk, arguments: tuple[str, ...], complaint: str) -> None:
    desk.write("one.toml", '[[hosts]]\nname = "a"\nprefill_tps = 1\ndecode_tps = 1\nmodels = ["a"]\n')
    assert complaint in desk.scorer("simulate", *arguments, code=2).err
