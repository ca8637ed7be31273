"""Runs and watching in real terminals: what is typed, resized and closed, and what the run makes of it."""

import json
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from doubles.ollama import OllamaDouble, Spec
from running import JUDGE, TEMPLATE, Desk, finished, texts, wait_for
from terminals import Terminal, terminal

SLOW_S = 1.5
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# rich's own: where the cursor is, what is erased, and how letters look
ALLOWED = re.compile(r"\x1b\[(\?25[lh]|[0-9;]*[mABCDHKJ])")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A folder with the small template and sixty rows, one of them empty."""
    made = Desk(tmp_path)
    made.write("judge.toml", TEMPLATE)
    made.dataset([*texts(60), ""])
    return made


@pytest.fixture
def double(desk: Desk) -> Iterator[OllamaDouble]:
    """The only host: half a minute for all rows, unless it is told to hurry."""
    with OllamaDouble(
        Spec(overhead_s=SLOW_S, fault_for=lambda number, _: "garbage" if number == 2 else None)
    ) as serving:
        desk.hosts({"only": serving.url})
        yield serving


def run_in(desk: Desk, *arguments: str, **changes: str) -> AbstractContextManager[Terminal]:
    """The run, in a terminal of 80 columns and 24 lines."""
    return terminal(desk.command(*JUDGE, *arguments), desk.folder, desk.environment() | changes)


def test_a_run_in_a_terminal_is_drawn_in_place_and_ends_with_what_to_do_next(desk: Desk, double: OllamaDouble) -> None:
    with run_in(desk) as screen:
        seen = screen.wait_for("judged: 1 of 1 hosts up", "of 61 done", "share")
        screen.type("\x03")
        code, rest = screen.wait_for_end()
    assert code == 130
    assert "go on with: scorer resume judged" in rest
    assert "\x1b[?25h" in rest, "the cursor is back"
    assert not ESCAPES.sub("", ALLOWED.sub("", seen + rest)).count("\x1b")


def test_a_run_is_watched_from_another_terminal_over_its_end_and_its_next_run(desk: Desk, double: OllamaDouble) -> None:
    watching = desk.command("status", "judged", "--watch")
    with run_in(desk) as run:
        run.wait_for("of 61 done")
        with terminal(watching, desk.folder, desk.environment(), columns=200, lines=50) as watcher:
            seen = watcher.wait_for("q ends the watching, not the run", "read t/s", "of 61 done", "only")
            assert max(map(len, ESCAPES.sub("", seen).splitlines())) <= 200
            watcher.resize(60, 12)
            watcher.wait_for("\x1b[2J", "of 61 done")
            run.type("\x03")
            assert run.wait_for_end()[0] == 130
            watcher.wait_for("waiting for it to go on: scorer resume judged")
            with terminal(desk.command("resume"), desk.folder, desk.environment()) as again:
                watcher.wait_for("of 61 done")
                watcher.type("q")
                assert watcher.wait_for_end()[0] == 0
                assert again.process.poll() is None, "the run did not mind"
                double.set_speed(50)
                assert again.wait_for_end()[0] == 3
    desk.check([*texts(60), ""], {"only": double})


def test_closing_the_terminals_ends_the_watching_and_not_the_run(desk: Desk, double: OllamaDouble) -> None:
    with run_in(desk) as run:
        run.wait_for("of 61 done")
        with terminal(desk.command("status", "--watch"), desk.folder, desk.environment()) as watcher:
            watcher.wait_for("of 61 done")
            watcher.close()
            assert watcher.process.wait(60) != 0
        run.close()
        double.set_speed(50)
        assert run.process.wait(60) == 3
    desk.check([*texts(60), ""], {"only": double})
    kinds = [json.loads(line)["kind"] for line in (desk.job / "scorer.log").read_text().splitlines()]
    assert "terminal_closed" in kinds
    assert "ended" in kinds


def test_a_dumb_terminal_gets_plain_lines(desk: Desk, double: OllamaDouble) -> None:
    with run_in(desk, "--limit", "3", TERM="dumb") as screen:
        code, seen = screen.wait_for_end()
    assert code == 0
    assert "\x1b" not in seen
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  only is up", seen)


def test_watching_without_a_terminal_is_a_line_now_and_then_and_json_if_asked(desk: Desk, double: OllamaDouble) -> None:
    with desk.started(*JUDGE) as process:
        wait_for(process, double, lambda one: len(one.generations) >= 3)
        for options, said in ((("--watch",), "of 61 done"), (("--watch", "--json"), '"event": "progress"')):
            with desk.started("status", *options) as watcher:
                assert watcher.stdout is not None
                line = watcher.stdout.readline()
                assert said in line
                watcher.send_signal(2)
                assert watcher.wait(60) == 0
        double.set_speed(50)
        finished(process, 3)
    # what a closed pipe does to it
    with desk.started("status", "--watch", "--json") as watcher:
        assert watcher.stdout is not None
        assert json.loads(watcher.stdout.readline())["event"] == "standing"


def test_the_command_that_was_wished_for_is_run_when_the_run_ends(desk: Desk, double: OllamaDouble) -> None:
    tell = 'echo "$SCORER_JOB $SCORER_STATE $SCORER_EXIT_CODE $SCORER_DONE/$SCORER_TOTAL" >> told; exit 9'
    said = desk.judge("--limit", "2", "--on-finish", tell)
    assert "the --on-finish command ended with exit code 9" in said.err
    double.go_down()
    desk.judge("--patience", "0", "--on-finish", tell, code=4)
    double.come_back()
    with desk.started(*JUDGE, "--on-finish", tell, "--json") as process:
        wait_for(process, double, lambda one: len(one.generations) >= 5)
        process.send_signal(2)
        events = finished(process, 130).events
    assert [event["event"] for event in events[-2:]] == ["summary", "on_finish_failed"]
    double.set_speed(50)
    desk.scorer("resume", "--on-finish", tell, code=3)
    desk.scorer("run", "nowhere.parquet", "--on-finish", tell, code=2)
    told = (desk.folder / "told").read_text().splitlines()
    assert [line.split()[:3] for line in told] == [
        ["judged", "finished", "0"],
        ["judged", "stopped", "4"],
        ["judged", "interrupted", "130"],
        ["judged", "dead", "3"],
    ]
    assert told[0].split()[3] == "2/2"
    assert told[3].split()[3] == "60/61"
