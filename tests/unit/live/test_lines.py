import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.text import Text

from scorer.dispatch.events import Event, HostProgress, Progress
from scorer.jobs.board import Happened
from scorer.live.frame import frame
from scorer.live.lines import HostTable, Paper, event_line, job_lines, job_words, others_line, shown_hosts

NOW = 1_795_000_000.0
HOST = HostProgress("p40", "up", 4, 4, 12_345, 1.25, 2_345.6, 123.4, "drop: an old one", 1_600.0, 43.2, 2.5)
PROGRESS = Progress(700_000, 100_000, 12, 4, 3600.0, 1.25, 480_000.0, None, (HOST,), 400_000.0, 550_000.0)
HOSTILE = "\x1b[2J\x1b[10A\r\n\x9b5D\u202egnp.exe\u2066\u200b\x07 " + "漢字" * 40
STATES = ("up", "absent", "left out", "warming", "failing", "on trial", "busy", "resting")
WIDE = Paper(200, 50)
NARROW = Paper(80, 24)


def fleet(count: int) -> Progress:
    """So many hosts of all states, with long names and hostile faults; every eighth has scored more than the others."""
    hosts = tuple(
        replace(
            HOST,
            name=f"a-host-with-a-rather-long-name-{i}",
            state=STATES[i % len(STATES)],
            rows=9_999_999 if i % 8 == 0 else i,
            running=256,
            limit=256,
            last_fault=HOSTILE,
        )
        for i in range(count)
    )
    return replace(PROGRESS, hosts=hosts)


def plain(lines: list[Text]) -> list[str]:
    return [line.plain for line in lines]


def test_the_job_says_how_far_how_fast_how_long_still_and_how_sure() -> None:
    bar, words = plain(job_lines(PROGRESS, NARROW, NOW))
    assert bar.startswith(" 14.3% ━")
    assert bar.endswith("─  100,000 of 700,000 done, 12 dead")
    assert len(bar) <= 80
    assert words.startswith("1.2 rows/s, about 5d 13h left (4d 15h to 6d 8h), ends ")


def test_a_guess_without_a_range_says_that_it_is_one() -> None:
    words = plain(job_lines(replace(PROGRESS, eta_low_s=None, eta_high_s=None), NARROW, NOW))[1]
    assert "perhaps 5d 13h left" in words
    assert "not known yet" in plain(job_lines(replace(PROGRESS, eta_s=None), NARROW, NOW))[1]


@pytest.mark.parametrize("eta_s", [4e11, math.inf])
def test_an_end_that_no_calendar_has_does_not_end_the_display(eta_s: float) -> None:
    far = replace(PROGRESS, eta_s=eta_s, eta_low_s=400_000.0, eta_high_s=math.inf)
    words = plain(job_lines(far, NARROW, NOW))[1]
    assert words == "1.2 rows/s, about 100+ years left (4d 15h to 100+ years), ends in 100+ years"


def test_a_pause_and_a_run_without_hosts_are_said_instead_of_an_end() -> None:
    paused = plain(job_lines(replace(PROGRESS, paused="disk full\x1b[2J"), NARROW, NOW))
    assert paused[1] == "PAUSED: disk full [2J"
    away = replace(PROGRESS, hosts=(replace(HOST, state="absent"),))
    assert "no host is up" in plain(job_lines(away, NARROW, NOW))[1]


def test_not_all_done_is_never_a_hundred_per_cent() -> None:
    almost = replace(PROGRESS, total=1_000_000, done=999_999, dead=0)
    assert plain(job_lines(almost, NARROW, NOW))[0].startswith(" 99.9%")
    assert job_words(replace(almost, done=1_000_000)).startswith("100.0%")
    assert job_words(replace(almost, total=0, done=0)).startswith("100.0%")


def test_a_log_line_has_everything_in_words() -> None:
    line = job_words(replace(PROGRESS, hosts=(HOST, replace(HOST, state="absent"))))
    assert line == (
        " 14.3%  100,000 of 700,000 done, 12 dead  1.2 rows/s  about 5d 13h left (4d 15h to 6d 8h)  1 of 2 hosts up"
    )


def test_a_narrow_terminal_shows_the_figures_and_a_wide_one_what_the_scheduler_believes() -> None:
    narrow, wide = HostTable(PROGRESS, NARROW), HostTable(PROGRESS, WIDE)
    assert narrow.header().plain.split() == [
        *("host", "state", "slots", "rows", "share", "rows/s", "tok/s", "in", "out"),
    ]
    assert narrow.line(HOST).plain.split() == ["p40", "up", "4/4", "12,345", "100%", "1.25", "2,346", "123"]
    assert wide.line(HOST).plain.split()[-7:] == ["1,600", "43.2", "2.50s", "drop:", "an", "old", "one"]


def test_a_host_that_is_not_well_says_why_in_place_of_figures() -> None:
    sick = replace(HOST, state="absent", last_fault="Connection refused")
    assert HostTable(PROGRESS, NARROW).line(sick).plain.split(maxsplit=2) == ["p40", "absent", "Connection refused"]
    wide = HostTable(PROGRESS, WIDE).line(sick).plain
    assert "Connection refused" in wide
    assert " 1.25 " not in wide, "a host that is away has no rate now"


def test_rates_of_all_hosts_are_in_one_unit() -> None:
    slow = replace(HOST, rows_per_s=0.002)
    table = HostTable(replace(PROGRESS, hosts=(replace(HOST, rows_per_s=0.5), slow)), NARROW)
    assert "rows/min" in table.header().plain
    assert " 0.12 " in table.line(slow).plain


@pytest.mark.parametrize("width", [20, 40, 60, 79, 80, 99, 100, 129, 130, 200])
@pytest.mark.parametrize("hosts", [0, 1, 3, 60])
@pytest.mark.parametrize("height", [2, 5, 14, 24, 100])
def test_a_frame_fits_its_terminal_whatever_it_says(width: int, hosts: int, height: int) -> None:
    events = [Happened(NOW, Event("attempt_failed", HOSTILE, "warning"))] * 12
    for progress in (fleet(hosts), replace(fleet(hosts), paused=HOSTILE)):
        lines = frame(HOSTILE, progress, events, Paper(width, height), now=NOW)
        assert 1 <= len(lines) <= height - 1
        assert max(line.cell_len for line in lines) <= width
        assert all(line.plain.isprintable() for line in lines)


@pytest.mark.parametrize("paper", [NARROW, WIDE])
def test_the_columns_stand_still_while_the_figures_grow(paper: Paper) -> None:
    small = replace(HOST, running=0, limit=1, rows=0, rows_per_s=0.0, prompt_tps=0.0, output_tps=0.0, last_fault=None)
    big = replace(
        HOST, running=256, limit=256, rows=9_999_999, prompt_tps=99_999.0, output_tps=9_999.0, last_fault=None
    )
    progress = replace(PROGRESS, hosts=(small, big))
    assert cell_len(HostTable(progress, paper).line(small).plain) == cell_len(
        HostTable(progress, paper).line(big).plain
    )


def test_of_many_hosts_the_busiest_and_the_troubled_are_shown_in_their_order_and_the_rest_counted() -> None:
    hosts = [replace(HOST, name=f"h{i:02}", rows=i, state="up" if i % 10 else "absent") for i in range(60)]
    shown = shown_hosts(hosts, 17)
    assert [host.name for host in shown] == sorted(host.name for host in shown)
    assert [host.name for host in shown if not host.well] == [f"h{i:02}" for i in (0, 10, 20, 30, 40, 50)]
    assert [host.name for host in shown if host.well][-3:] == ["h57", "h58", "h59"]
    assert len(shown) == 17
    hidden = [host for host in hosts if host not in shown]
    assert others_line(hidden, NARROW).plain == "… and 43 more: 43 up"
    assert others_line([*hidden[:40], *(replace(HOST, state="absent"),) * 3], NARROW).plain == (
        "… and 43 more: 40 up, 3 down"
    )


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=40), st.integers(0, 50))
def test_exactly_as_many_hosts_are_shown_as_there_are_lines(kinds: list[tuple[int, bool]], most: int) -> None:
    hosts = [
        replace(HOST, name=str(i), rows=rows, state="up" if well else "absent") for i, (rows, well) in enumerate(kinds)
    ]
    shown = shown_hosts(hosts, most)
    assert len(shown) == min(most, len(hosts))
    assert len({host.name for host in shown}) == len(shown)


def test_when_all_are_troubled_all_lines_are_theirs() -> None:
    hosts = [replace(HOST, name=str(i), state="absent") for i in range(10)]
    assert len(shown_hosts(hosts, 6)) == 6


def test_the_frame_drops_events_first_and_keeps_the_jobs_lines() -> None:
    events = [Happened(NOW, Event("host_up", "something happened"))]
    low = plain(frame("job", fleet(60), events, Paper(80, 6), now=NOW))
    assert low[0].startswith("job: 15 of 60 hosts up")
    assert "of 700,000 done" in low[1]
    assert not [line for line in low if "something happened" in line]
    high = plain(frame("job", fleet(3), events, Paper(80, 24), now=NOW))
    assert "something happened" in high[-1]
    assert "more:" not in "".join(high)
    assert "more:" in plain(frame("job", fleet(60), events, NARROW, now=NOW))[-2]


def test_colour_is_only_of_the_kinds_that_show_on_any_ground() -> None:
    events = [Happened(NOW, Event("x", "y", level)) for level in ("info", "warning", "error")]
    lines = frame("job", replace(fleet(20), paused="disk"), events, WIDE, now=NOW)
    words = {word for line in lines for span in line.spans for word in str(span.style).split()}
    words |= {word for line in lines for word in str(line.style).split()}
    assert words <= {"bold", "dim", "not", "underline", "red", "magenta", "green"}


def test_an_old_terminal_gets_no_character_it_cannot_show() -> None:
    paper = Paper(80, 24, ascii_only=True)
    assert job_lines(PROGRESS, paper, NOW)[0].plain.isascii()
    assert others_line([HOST], paper).plain.isascii()


def test_an_event_has_its_time_and_one_line() -> None:
    line = event_line(Happened(NOW, Event("x", "two\nlines " + "long " * 40)), NARROW).plain
    assert line[2] == line[5] == ":"
    assert "two lines" in line
    assert len(line) <= 80
    assert line.endswith("…")


def test_troubled_hosts_take_no_more_than_half_of_the_lines_from_those_that_work() -> None:
    hosts = [replace(HOST, name=str(i), rows=i, state="up" if i < 20 else "absent") for i in range(60)]
    shown = shown_hosts(hosts, 10)
    assert [host.well for host in shown] == [True] * 5 + [False] * 5
    assert [host.name for host in shown if host.well] == ["15", "16", "17", "18", "19"]
