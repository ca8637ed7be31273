import io
import json
from dataclasses import replace

import anyio
import pytest
from rich.console import Console
from virtual import virtually

from scorer.dispatch.events import Event, HostProgress, Progress
from scorer.live import JsonView, PlainView, TerminalView, host_line, job_line

HOST = HostProgress("p40", "up", 4, 4, 12_345, 1.25, 2_345.6, 123.4, None)
PROGRESS = Progress(700_000, 100_000, 12, 4, 3600.0, 1.25, 480_000.0, None, (HOST,))


def fleet(count: int) -> Progress:
    states = ["up", "absent", "left out", "warming", "failing", "on trial", "busy", "resting"]
    hosts = tuple(
        replace(
            HOST,
            name=f"a-host-with-a-rather-long-name-{i}",
            state=states[i % len(states)],
            running=256,
            limit=256,
            rows=9_999_999,
            last_fault="connection refused " * 10,
        )
        for i in range(count)
    )
    return replace(PROGRESS, hosts=hosts, paused="only 0.52 GB free in /very/long/path/" + "x" * 80)


def drawn(progress: Progress, *, width: int = 80, height: int = 100, events: int = 0) -> list[str]:
    """The lines of one frame, as the terminal gets them, without colours."""
    console = Console(width=width, height=height, force_terminal=True, file=io.StringIO(), color_system=None)
    view = TerminalView(console)
    frames: list[str] = []

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(view.watch, lambda: progress)
            await anyio.sleep(0.1)
            for number in range(events):
                view.event(Event("attempt_failed", f"row {number} failed: " + "because " * 30, "warning"))
            console.file.seek(0)
            console.file.truncate()
            await anyio.sleep(0.5)
            frames.append(console.file.getvalue())  # type: ignore[attr-defined]
            group.cancel_scope.cancel()

    virtually(main)
    text = frames[0].split("\x1b[2K")[-1]
    return text.split("\n")


@pytest.mark.parametrize(("hosts", "events"), [(1, 0), (60, 0), (60, 10)])
def test_no_line_is_wider_than_the_terminal_and_no_host_takes_two(hosts: int, events: int) -> None:
    lines = drawn(fleet(hosts), events=events)
    assert max(map(len, lines)) <= 80
    assert len(lines) == hosts + 1 + min(events, 4)


def test_a_fault_of_several_lines_is_shown_in_one() -> None:
    sick = replace(HOST, state="absent", last_fault="no\nanswer\r\n\x1b[2Jin time")
    lines = drawn(replace(PROGRESS, hosts=(sick, HOST)))
    assert len(lines) == 3
    assert not any("\x1b" in line for line in lines)


def test_in_a_low_terminal_the_jobs_own_line_stays_in_sight() -> None:
    lines = drawn(fleet(60), height=24)
    assert len(lines) <= 24
    assert "of 700,000 done" in lines[0]


def test_the_jobs_line_says_how_far_how_fast_and_how_long_still() -> None:
    assert job_line(PROGRESS) == " 14.3%  100,000 of 700,000 done, 12 dead  1.2 rows/s  5d 13h left"
    assert "PAUSED: disk" in job_line(replace(PROGRESS, paused="disk"))
    assert "? left" in job_line(replace(PROGRESS, eta_s=None, dead=0))
    assert job_line(replace(PROGRESS, total=0, done=0, dead=0)).startswith("100.0%")


def test_a_hosts_line_says_what_it_does_or_why_it_does_not() -> None:
    assert host_line(HOST) == "p40            up        4/4 slots   12,345 rows  1.2 rows/s  2,346 in 123 out tok/s"
    assert host_line(replace(HOST, state="absent", last_fault="refused")).endswith("absent    refused")
    assert "slots" in host_line(replace(HOST, state="resting"))
    assert "slots" in host_line(replace(HOST, state="up", last_fault="an old one"))


def test_what_matters_is_printed_above_the_live_lines_and_the_rest_passes() -> None:
    console = Console(width=80, force_terminal=True, file=io.StringIO(), color_system=None)
    view = TerminalView(console)
    view.event(Event("row_dead", "row 1 is dead", "warning"))
    view.event(Event("host_up", "p40 is up"))
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert "row 1 is dead" in written
    assert "p40 is up" in written


def test_a_plain_log_has_events_and_a_line_a_minute_but_not_every_failed_try() -> None:
    stream = io.StringIO()
    view = PlainView(stream)
    view.event(Event("host_up", "p40 is up"))
    view.event(Event("attempt_failed", "row 1 failed", "warning"))

    async def main() -> None:
        with anyio.move_on_after(185):
            await view.watch(lambda: PROGRESS)

    virtually(main)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 4
    assert lines[0].endswith("  p40 is up")
    assert all("of 700,000 done" in line for line in lines[1:])


def test_for_programs_every_line_is_one_json_object() -> None:
    stream = io.StringIO()
    view = JsonView(stream)
    view.event(Event("host_up", "two\nlines", details={"host": "p40", "what": object}))

    async def main() -> None:
        with anyio.move_on_after(11):
            await view.watch(lambda: PROGRESS)

    virtually(main)
    first, *rest = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert (first["event"], first["level"], first["text"], first["host"]) == ("host_up", "info", "two\nlines", "p40")
    assert [line["event"] for line in rest] == ["progress"] * 3
    assert (rest[0]["done"], rest[0]["hosts"][0]["name"]) == (100_000, "p40")
