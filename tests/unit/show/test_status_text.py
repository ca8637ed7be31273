from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from scorer import templates
from scorer.core.result import Counts, DeadKind, HostTotals
from scorer.core.task import TaskKey
from scorer.dispatch.events import HostProgress, Progress
from scorer.jobs.board import Posting
from scorer.jobs.look import Status
from scorer.jobs.spec import DatasetSpec, JobSpec, Selection, TemplateSpec
from scorer.show import jobs_table, prompts_table, report, summary

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
    dead=[DeadKind("deadline", 10, TaskKey("m:7b", 42, 0), "deadline: " + "no\x1b[2J answer " * 40)],
)
BELIEVED = Posting(
    1_700_000_000.0,
    1,
    "here",
    Progress(
        *(1000, 390, 10, 4, 800.0, 0.5, 1200.0, None),
        (
            HostProgress("p40", "up", 2, 4, 300, 0.4, 40.0, 4.0, None, 1600.0, 43.2, 2.5),
            HostProgress("mac", "absent", 0, 1, 90, 0.1, 10.0, 1.0, "refused\x1b[1A"),
        ),
    ),
)


def test_a_report_says_how_far_how_fast_and_what_went_wrong() -> None:
    text = report(STATUS)
    assert "job: running, 40.0%" in text
    assert "390 done, 10 dead, 600 to do; all rows" in text
    assert "30.0 rows/min over the last 5 min, perhaps 20m left; it is too early to say how sure that is" in text
    assert [line.split()[:4] for line in text.splitlines() if line.startswith(("p40", "mac"))] == [
        ["p40", "300", "76.9%", "120"],
        ["mac", "90", "23.1%", "0"],
    ]
    assert "scores: mean 6.44" in text
    assert "deadline: 10, such as row 42: no [2J answer no" in text
    assert max(map(len, text.splitlines())) < 160
    assert "\x1b" not in text


def test_a_report_gives_the_range_of_the_end() -> None:
    text = report(replace(STATUS, eta_low_s=900.0, eta_high_s=2400.0))
    assert "about 20m left (four times in five between 15m and 40m)" in text
    assert "time left not known yet" in report(replace(STATUS, eta_s=None))
    assert "left" not in report(replace(STATUS, state="interrupted"))


def test_a_report_of_a_run_that_goes_on_says_what_the_scheduler_believes() -> None:
    lines = report(replace(STATUS, posting=BELIEVED)).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("now "))
    assert lines[at].split() == [
        "now",
        "state",
        "slots",
        "reads",
        "tok/s",
        "writes",
        "tok/s",
        "typical",
        "row",
        "last",
        "fault",
    ]
    assert lines[at + 1].split() == ["p40", "up", "2/4", "1,600", "43.2", "2.5", "s"]
    assert lines[at + 2].split() == ["mac", "absent", "0/1", "?", "?", "?", "refused", "[1A"]


def believing(**changes: object) -> Status:
    return replace(STATUS, posting=replace(BELIEVED, progress=replace(BELIEVED.progress, **changes)))  # type: ignore[arg-type]


def test_a_run_that_is_paused_says_why_and_promises_no_end() -> None:
    paused = replace(believing(paused="only 0.94 GB\x1b[2J free, 1.07 GB wanted"), state="paused", eta_s=None)
    lines = report(paused).splitlines()
    assert lines[0] == "job: paused, 40.0%"
    assert lines[4] == "  PAUSED: only 0.94 GB [2J free, 1.07 GB wanted"
    assert not any("left" in line or "rows/" in line for line in lines)
    assert " paused " in jobs_table([paused])
    assert paused.as_json()["paused"] == "only 0.94 GB\x1b[2J free, 1.07 GB wanted"


def test_a_run_without_a_host_says_so_and_until_when() -> None:
    waiting = replace(believing(gives_up_in_s=720.0), eta_s=None)
    assert "  no host can take a row now: it waits and gives up in 12m" in report(waiting).splitlines()
    assert "not known yet" not in report(waiting)
    assert " running, no host " in jobs_table([waiting])
    assert waiting.as_json()["gives_up_in_s"] == 720.0


def test_a_job_that_has_done_nothing_yet_is_reported_without_tables() -> None:
    new = replace(STATUS, state="new", counts=Counts(0, 0, 0), hosts=[], scores={}, dead=[])
    assert report(new).startswith("job: new, 100.0%")
    assert len(report(new).splitlines()) == 4


def test_not_all_done_is_not_a_hundred_per_cent() -> None:
    assert "job: running, 99.9%" in report(replace(STATUS, counts=Counts(1, 999_999, 0)))


def test_a_summary_says_what_to_do_next() -> None:
    stopped = summary(STATUS, ending="interrupted")
    assert "job: interrupted: 390 done, 10 dead, 600 to do" in stopped
    assert stopped.endswith("go on with: scorer resume job")
    dead = summary(replace(STATUS, folder=Path("my runs/job"), counts=Counts(0, 990, 10)), ending="finished")
    assert "scorer retry job --runs-dir 'my runs'; then: scorer resume job --runs-dir 'my runs'" in dead
    assert "scorer export job -o job.parquet --join --runs-dir 'my runs'" in dead
    empty = [DeadKind(kind, 5, TaskKey("m:7b", 1, 0), kind) for kind in ("empty_prompt", "render_failed")]
    lasting = replace(STATUS, counts=Counts(0, 990, 10), dead=empty)
    told = summary(lasting, ending="finished")
    assert "no other try helps these dead rows" in told
    assert "scorer retry job" in told
    assert "scorer retry job" in summary(replace(lasting, dead=[*empty, *STATUS.dead]), ending="finished")
    fine = summary(replace(STATUS, counts=Counts(0, 1000, 0), dead=[]), ending="finished")
    assert "retry" not in fine
    assert fine.splitlines()[-1].split(": ")[1].strip() == "scorer report job -o job.html"
    nothing = summary(replace(STATUS, counts=Counts(0, 0, 10)), ending="finished")
    assert "export" not in nothing


def test_a_benchmark_is_not_summed_up_by_a_mean_over_suites_and_models() -> None:
    suites = replace(STATUS, spec=replace(SPEC, template=TemplateSpec("b", "b", "f", "", "suites")))
    for counts, commands in ((Counts(0, 1000, 0), ["export", "bench"]), (Counts(600, 390, 10), ["resume", "bench"])):
        lines = summary(replace(suites, counts=counts), ending="whatever").splitlines()
        assert [line.split("scorer ")[1].split()[0] for line in lines[-2:]] == commands
        assert lines[-1] == "accuracy: scorer bench report job"
        assert not any("mean 6.44" in line for line in lines)
    assert "mean 6.44" not in report(suites)
    assert "mean 6.44" in summary(STATUS, ending="whatever")


def test_a_pilot_is_extrapolated_in_the_words_one_would_use() -> None:
    pilot = replace(
        STATUS,
        spec=replace(SPEC, selection=Selection("limit", 100)),
        counts=Counts(0, 100, 0),
        whole_tasks=700_000,
        whole_s=14.2 * 86_400,
    )
    assert "all 700,000: about 14 days on these hosts" in summary(pilot, ending="finished")
    assert "all 700,000: about 14 days on these hosts" in report(pilot)
    assert "on these hosts" not in summary(replace(pilot, whole_s=None), ending="finished")


def test_jobs_are_one_line_each_with_what_is_left_of_those_that_run() -> None:
    lines = jobs_table([STATUS, replace(STATUS, eta_s=None)]).splitlines()
    assert len(lines) == 3
    assert " 20m " in lines[1]
    assert " 20m " not in lines[2]


@pytest.mark.parametrize("name", ["quality", "code-quality"])
def test_templates_are_listed_with_what_they_need_and_give(name: str) -> None:
    listed = prompts_table([templates.load(name)])
    assert "score (integer)" in listed
    assert listed.splitlines()[1].startswith(name)
