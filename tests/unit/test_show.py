from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer import templates
from scorer.core.result import Counts, DeadKind, HostTotals
from scorer.core.task import TaskKey
from scorer.jobs.look import Status
from scorer.jobs.spec import DatasetSpec, JobSpec, Selection, TemplateSpec
from scorer.show import duration, jobs_table, prompts_table, rate, report, summary, table

SPEC = JobSpec(
    "job",
    "1",
    "2026",
    ("m:7b",),
    DatasetSpec("rows.parquet", "parquet", 1000, "f", ""),
    TemplateSpec("t", "t", "f", ""),
    {},
)
STATUS = Status(
    folder=Path("runs/job"),
    spec=SPEC,
    state="running",
    counts=Counts(600, 390, 10),
    rows_per_s=0.5,
    eta_s=1200.0,
    elapsed_s=800.0,
    last_activity=1_700_000_000.0,
    hosts=[HostTotals("p40", 300, 30_000, 3_000, 600.0, 0.0), HostTotals("mac", 90, 9_000, 900, 900.0, 0.0)],
    recent={"p40": 120},
    scores={"p40": Counter({7.0: 200, 3.0: 100}), "mac": Counter({9.0: 90})},
    dead=[DeadKind("deadline", 10, TaskKey("m:7b", 42, 0), "deadline: " + "no answer " * 40)],
)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "?"),
        (0, "0s"),
        (59.4, "59s"),
        (60, "1m"),
        (3599, "59m"),
        (3600, "1h00"),
        (47 * 3600 + 59 * 60, "47h59"),
        (48 * 3600, "2d 0h"),
        (350 * 3600, "14d 14h"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


@given(st.floats(0, 1e9))
def test_a_duration_never_says_sixty_of_anything(seconds: float) -> None:
    assert duration(seconds) not in ("60s", "60m")
    assert "h60" not in duration(seconds)


@pytest.mark.parametrize(
    ("rows_per_s", "words"),
    [
        (0, "0.0 rows/s"),
        (1234.5, "1,234.5 rows/s"),
        (1, "1.0 rows/s"),
        (0.5, "30.0 rows/min"),
        (0.01, "36.0 rows/h"),
    ],
)
def test_rates_are_in_the_unit_that_is_easiest_to_think_of(rows_per_s: float, words: str) -> None:
    assert rate(rows_per_s) == words


def test_a_table_sets_numbers_to_the_right_and_words_to_the_left() -> None:
    assert table(("host", "rows"), [("a", 1), ("long name", 12_345)]).splitlines() == [
        "host         rows",
        "a               1",
        "long name  12,345",
    ]
    assert table(("x", "y"), []) == "x  y"
    assert table(("s",), [(1.25,), (1000.0,)]).splitlines() == ["      s", "    1.2", "1,000.0"]


def test_a_report_says_how_far_how_fast_and_what_went_wrong() -> None:
    text = report(STATUS)
    assert "job: running, 40.0%" in text
    assert "390 done, 10 dead, 600 to do; all rows" in text
    assert "30.0 rows/min, about 20m left" in text
    assert [line.split()[:4] for line in text.splitlines() if line.startswith(("p40", "mac"))] == [
        ["p40", "300", "77%", "120"],
        ["mac", "90", "23%", "0"],
    ]
    assert "scores: mean 6.44" in text
    assert "mac: mean 9.00 of 90" in text
    assert "deadline: 10, such as row 42" in text
    assert max(map(len, text.splitlines())) < 160


def test_the_bars_of_the_scores_are_in_proportion_and_many_scores_are_only_a_range() -> None:
    bars = {line.split()[0]: line.count("█") for line in report(STATUS).splitlines() if "█" in line}
    assert bars == {"3": 15, "7": 30, "9": 14}
    many = replace(STATUS, scores={"p40": Counter({i / 100: 1 for i in range(100)})})
    assert "from 0 to 0.99" in report(many)
    assert "█" not in report(many)


def test_a_job_that_has_done_nothing_yet_is_reported_without_tables() -> None:
    new = replace(STATUS, state="new", counts=Counts(0, 0, 0), hosts=[], scores={}, dead=[])
    assert report(new).startswith("job: new, 100.0%")
    assert len(report(new).splitlines()) == 4


def test_a_summary_says_what_to_do_next() -> None:
    stopped = summary(STATUS, interrupted=True)
    assert "job: interrupted: 390 done, 10 dead, 600 to do" in stopped
    assert stopped.endswith("go on with: scorer resume job")
    ended = summary(replace(STATUS, folder=Path("elsewhere/job")), interrupted=False)
    assert "scorer retry job --runs-dir elsewhere" in ended
    fine = summary(replace(STATUS, counts=Counts(0, 1000, 0)), interrupted=False)
    assert fine.endswith("results: runs/job/results")


def test_only_a_pilot_is_extrapolated() -> None:
    pilot = replace(STATUS, spec=replace(SPEC, selection=Selection("limit", 100)), counts=Counts(0, 100, 0))
    assert "all 1,000 rows would take about 2h13" in summary(pilot, interrupted=False)
    assert "would take" not in summary(STATUS, interrupted=False)
    nothing = replace(pilot, counts=Counts(100, 0, 0))
    assert "would take" not in summary(nothing, interrupted=False)
    whole = replace(pilot, counts=Counts(0, 1000, 0))
    assert "would take" not in summary(whole, interrupted=False)


def test_jobs_are_one_line_each() -> None:
    assert len(jobs_table([STATUS, STATUS]).splitlines()) == 3


def test_templates_are_listed_with_what_they_need_and_give() -> None:
    listed = prompts_table([templates.load("quality")])
    assert "score (integer)" in listed
    assert listed.splitlines()[1].startswith("quality") or "quality" in listed
