import json
import os
import platform
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from simulation.world import World
from virtual import virtual_seams, virtually

from scorer.dispatch.events import Event, HostProgress, Progress
from scorer.jobs.board import EVERY_S, FILE, KEPT_EVENTS, STALE_S, Board, Posting, live_posting, read_posting

HOST = HostProgress("p40", "up", 2, 4, 300, 0.4, 40.0, 4.0, None, 1600.0, 43.2, 2.5)
PROGRESS = Progress(1000, 390, 10, 4, 800.0, 0.5, 1200.0, None, (HOST,), 900.0, 2400.0)


def posted(folder: Path, *, ended: str | None = None, seconds: float = 1.0, events: int = 0) -> Posting | None:
    """Let a board post for a while, and read it."""

    async def main() -> None:
        board = Board(folder, virtual_seams())
        for number in range(events):
            board.event(Event("host_up", f"event {number}", details={"what": object()}))
        with anyio.move_on_after(seconds):
            await board.watch(lambda: PROGRESS)
        if ended is not None:
            await board.close(PROGRESS, ended)

    virtually(main)
    return read_posting(folder)


def test_what_is_posted_is_read_as_it_was(tmp_path: Path) -> None:
    posting = posted(tmp_path, events=KEPT_EVENTS + 5)
    assert posting is not None
    assert posting.progress == PROGRESS
    assert (posting.pid, posting.ended, posting.machine) == (os.getpid(), None, platform.node())
    assert [one.event.text for one in posting.events] == [f"event {i}" for i in range(5, KEPT_EVENTS + 5)]
    assert [path.name for path in tmp_path.iterdir()] == [FILE], "nothing is left beside it"


def test_it_is_posted_again_and_again(tmp_path: Path) -> None:
    early, late = posted(tmp_path), posted(tmp_path, seconds=10 * EVERY_S)
    assert early is not None
    assert late is not None
    assert late.at - early.at >= 8 * EVERY_S


def test_only_the_posting_of_a_living_process_counts_and_only_while_it_is_fresh(tmp_path: Path) -> None:
    posting = posted(tmp_path)
    assert posting is not None
    assert live_posting(tmp_path, posting.at + 1) == posting
    assert live_posting(tmp_path, posting.at + STALE_S + 1) is None
    assert live_posting(tmp_path, posting.at - STALE_S - 1) is None, "a clock that was put back shows nothing for ever"
    text = (tmp_path / FILE).read_text()
    (tmp_path / FILE).write_text(text.replace(f'"pid":{os.getpid()}', '"pid":4194305'))
    assert live_posting(tmp_path, posting.at) is None
    (tmp_path / FILE).write_text(json.dumps(json.loads((tmp_path / FILE).read_text()) | {"machine": "another"}))
    assert live_posting(tmp_path, posting.at) is not None, "whose processes nobody here knows"


def test_a_run_that_has_ended_says_so_and_is_no_longer_live(tmp_path: Path) -> None:
    posting = posted(tmp_path, ended="finished")
    assert posting is not None
    assert posting.ended == "finished"
    assert live_posting(tmp_path, posting.at) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}', '{"format": 99, "at": 1}', "\x00\xff"])
def test_what_is_no_posting_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert read_posting(tmp_path) is None
    assert read_posting(tmp_path / "nowhere") is None


def test_a_posting_of_a_later_format_is_not_guessed_at_but_more_fields_do_no_harm(tmp_path: Path) -> None:
    posted(tmp_path)
    found = json.loads((tmp_path / FILE).read_text())
    found["progress"]["hosts"][0]["mood"] = "good"
    (tmp_path / FILE).write_text(json.dumps(found))
    assert read_posting(tmp_path) is not None
    (tmp_path / FILE).write_text(json.dumps(found | {"format": 2}))
    assert read_posting(tmp_path) is None


def test_a_board_that_cannot_be_written_is_told_of_once_and_stops_nothing(tmp_path: Path) -> None:
    told: list[Event] = []

    async def main() -> None:
        board = Board(tmp_path / "gone", virtual_seams())
        board.complain = told.append
        with anyio.move_on_after(60):
            await board.watch(lambda: PROGRESS)
        await board.close(PROGRESS, "finished")

    virtually(main)
    assert [event.kind for event in told] == ["board_broken"]
    assert "No such file" in told[0].text


def test_an_event_that_no_file_can_hold_stops_nothing_either(tmp_path: Path) -> None:
    told: list[Event] = []

    async def main() -> None:
        board = Board(tmp_path, virtual_seams())
        board.complain = told.append
        board.event(Event("job", "job one in r\udce9uns"))
        with anyio.move_on_after(60):
            await board.watch(lambda: PROGRESS)

    virtually(main)
    assert [event.kind for event in told] == ["board_broken"]


def test_a_run_posts_what_it_believes_and_how_it_ended(world: World) -> None:
    seen: list[Posting] = []

    async def look(world: World) -> None:
        while True:
            await anyio.sleep(1)
            posting = read_posting(world.job)
            if posting is not None:
                seen.append(posting)

    world.run(events=look)
    posting = read_posting(world.job)
    assert posting is not None
    assert posting.ended == "finished"
    assert (posting.progress.done, posting.progress.dead) == (18, 2)
    assert {host.name: host.rows for host in posting.progress.hosts} == world.shares()
    assert all(host.prefill_tps and host.decode_tps and host.row_s for host in posting.progress.hosts)
    assert [one.event.kind for one in posting.events][-1] != "job"
    assert len({one.at for one in seen}) > 2
    assert {one.ended for one in seen} <= {None, "finished"}


def test_a_run_that_stops_early_says_so(interrupted: World) -> None:
    posting = read_posting(interrupted.job)
    assert posting is not None
    assert posting.ended == "stopped"
    assert replace(posting, ended=None) != posting
