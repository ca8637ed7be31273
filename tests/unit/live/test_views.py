import io
import json
import threading
from collections.abc import Callable
from dataclasses import replace

import anyio
import pytest
from rich.console import Console
from virtual import virtually

from scorer.dispatch.events import Event, HostProgress, Progress
from scorer.live import JsonView, PlainView, TerminalView, scribe, tape
from scorer.live.scribe import AtOnce, Beside
from scorer.live.tape import at_once

HOST = HostProgress("p40", "up", 4, 4, 12_345, 1.25, 2_345.6, 123.4, None)
PROGRESS = Progress(700_000, 100_000, 12, 4, 3600.0, 1.25, 480_000.0, None, (HOST,))


class Terminal(io.StringIO):
    """What was written to a terminal that may be closed."""

    closed_by_user = False

    def write(self, text: str) -> int:
        if self.closed_by_user:
            raise OSError(5, "Input/output error")
        return super().write(text)

    def fresh(self) -> str:
        """What was written since it was asked the last time."""
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        return text


def a_console(terminal: Terminal, **options: object) -> Console:
    settings = {"width": 80, "height": 24, "force_terminal": True, "color_system": None} | options
    return Console(file=terminal, **settings)  # type: ignore[arg-type]


def watching(view: TerminalView, then: Callable[[], object], progress: Progress = PROGRESS) -> list[object]:
    """Let a view watch, do something meanwhile, and let it go on for a moment; return what doing it returned."""
    said: list[object] = []

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(view.watch, lambda: progress)
            await anyio.sleep(0.1)
            said.append(then())
            await anyio.sleep(0.5)
            group.cancel_scope.cancel()

    virtually(main)
    return said


def test_the_picture_stays_in_place_and_is_gone_in_the_end() -> None:
    terminal = Terminal()
    view = TerminalView(a_console(terminal), AtOnce)
    view.event(Event("job", "never shown", details={"job": "my-job"}))
    watching(view, terminal.fresh)
    second = terminal.getvalue()
    assert "never shown" not in second
    assert "my-job: 1 of 1 hosts up" in second
    assert second.startswith("\r\x1b[2K\x1b[1A"), "it goes up to draw again"
    assert second.rstrip("\x1b[?25h").endswith("\x1b[2K"), "nothing is left on the screen"


def test_what_matters_is_kept_above_with_its_time_and_the_rest_passes_below() -> None:
    terminal = Terminal()
    view = TerminalView(a_console(terminal), AtOnce)

    def happen() -> None:
        terminal.fresh()
        view.event(Event("attempt_failed", "row 17 failed", "warning"))
        view.event(Event("host_up", "p40 is up"))

    view.event(Event("row_dead", "row 1 is dead", "warning"))
    assert "row 1 is dead" in terminal.getvalue(), "nothing is drawn yet, so it is printed"
    watching(view, happen)
    lines = terminal.getvalue().split("\n")
    assert [line for line in lines if "p40 is up" in line]
    assert max(i for i, line in enumerate(lines) if "row 17 failed" in line) > max(
        i for i, line in enumerate(lines) if "of 700,000 done" in line
    )


def test_text_of_strangers_moves_no_cursor() -> None:
    hostile = "bad\x1b[2J\x1b]0;title\x07\r\x9b1A\u202edlrow"
    terminal, log = Terminal(), io.StringIO()
    view = TerminalView(a_console(terminal), AtOnce)
    view.event(Event("host_away", hostile, "warning"))
    PlainView(log, at_once).event(Event("host_away", hostile, "warning"))
    for text in (terminal.getvalue(), log.getvalue()):
        assert "bad [2J" in text
        assert all(char.isprintable() or char == "\n" for char in text)


def test_when_the_terminal_changes_its_size_the_screen_is_drawn_anew_to_fit() -> None:
    terminal = Terminal()
    console = a_console(terminal)

    def shrink() -> None:
        terminal.fresh()
        console.size = (40, 10)  # type: ignore[assignment]

    watching(TerminalView(console, AtOnce), shrink)
    text = terminal.getvalue()
    assert "\x1b[2J" in text
    drawn = text.split("\x1b[H")[-1].split("\x1b[?25l")[-1].split("\r")[0]
    assert max(map(len, drawn.split("\n"))) <= 40


def test_a_closed_terminal_silences_the_view_and_disturbs_nobody() -> None:
    terminal = Terminal()
    view = TerminalView(a_console(terminal), AtOnce)

    def close() -> None:
        terminal.closed_by_user = True

    watching(view, close)
    view.event(Event("host_up", "p40 is up"))
    for other in (PlainView(terminal, at_once), JsonView(terminal, at_once)):
        other.event(Event("host_up", "p40 is up"))
        other.event(Event("host_up", "p40 is up"))


@pytest.mark.parametrize("setting", ["NO_COLOR", "colour"])
def test_no_color_is_honoured(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if setting == "NO_COLOR":
        monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    view = TerminalView(a_console(terminal, color_system="auto"), AtOnce)
    watching(view, lambda: view.event(Event("host_away", "p40 is away", "warning")))
    assert ("32m" in terminal.getvalue()) is (setting == "colour")
    assert ("35m" in terminal.getvalue()) is (setting == "colour")


def test_a_plain_log_has_events_and_a_line_a_minute_but_not_every_failed_try() -> None:
    stream = io.StringIO()
    view = PlainView(stream, at_once)
    view.event(Event("job", "for programs", details={"job": "my-job"}))
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
    view = JsonView(stream, at_once)
    view.event(Event("host_up", "two\nlines", details={"host": "p40", "what": object}))

    async def main() -> None:
        with anyio.move_on_after(11):
            await view.watch(lambda: replace(PROGRESS, eta_low_s=1.0))

    virtually(main)
    first, *rest = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert (first["event"], first["level"], first["text"], first["host"]) == ("host_up", "info", "two\nlines", "p40")
    assert [line["event"] for line in rest] == ["progress"] * 3
    assert (rest[0]["done"], rest[0]["hosts"][0]["name"], rest[0]["eta_low_s"]) == (100_000, "p40", 1.0)


class Stuck(Terminal):
    """A terminal that takes nothing until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.waits, self.released = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        self.waits.set()
        assert self.released.wait(60)
        return super().write(text)


class Slow(Terminal):
    """A pipe whose reader does something before it takes the next piece."""

    each: Callable[[], object]

    def write(self, text: str) -> int:
        self.each()
        return super().write(text)


def test_a_terminal_that_takes_nothing_does_not_keep_the_run_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scribe, "PATIENCE_S", 0.0)
    terminal, looks = Stuck(), []
    view = TerminalView(a_console(terminal))

    def progress() -> Progress:
        looks.append(1)
        return PROGRESS

    async def main() -> None:
        with anyio.move_on_after(600):
            await view.watch(progress)

    virtually(main)
    assert len(looks) > 1000
    assert terminal.waits.is_set()
    terminal.released.set()


@pytest.mark.parametrize("kind", [PlainView, JsonView])
def test_a_pipe_that_nobody_reads_keeps_nobody_waiting_and_later_it_is_told_what_was_lost(
    kind: type[PlainView | JsonView], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tape, "MOST_WAITING", 3)
    pipe = Stuck()
    view = kind(pipe)
    view.event(Event("host_up", "line 0 is being written"))
    assert pipe.waits.wait(60)
    for i in range(1, 7):
        view.event(Event("host_up", f"line {i}"))
    pipe.released.set()
    assert view.close(), "somebody reads it after all"
    view.event(Event("on_finish_failed", "the last word"))
    first, lost, *lines, last = pipe.getvalue().splitlines()
    assert "line 0" in first
    assert "3 lines were lost" in lost or json.loads(lost)["lines"] == 3
    assert ["line 4" in lines[0], "line 5" in lines[1], "line 6" in lines[2]] == [True] * 3
    assert "the last word" in last


def test_a_reader_that_takes_nothing_is_given_up_in_the_end_and_a_slow_one_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scribe, "PATIENCE_S", 0.0)
    monkeypatch.setattr(tape, "READER_S", 0.05)
    pipe = Stuck()
    view = PlainView(pipe)
    view.event(Event("host_up", "never read"))
    assert not view.close()
    view.event(Event("host_up", "nobody hears it, and nobody waits"))
    pipe.released.set()

    slow, released = Slow(), threading.Event()
    slow.each = lambda: released.wait(0.03)
    monkeypatch.setattr(tape, "READER_S", 0.5)
    view = PlainView(slow)
    for i in range(10):
        view.event(Event("host_up", f"line {i}"))
    assert view.close(), "every line took a moment, and all of them longer than it waits for one"
    assert len(slow.getvalue().splitlines()) == 10


def test_what_is_asked_of_the_scribe_is_done_in_order_and_only_the_last_picture_is_drawn() -> None:
    done: list[str] = []
    hold, begun = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        hold.wait(60)

    beside = Beside()
    beside.write(wait)
    assert begun.wait(60)
    beside.draw(lambda: done.append("old picture"))
    beside.write(lambda: done.append("line"))
    beside.draw(lambda: done.append("picture"))
    hold.set()
    beside.finish()
    assert done == ["line", "picture"]
    assert not beside.gone


def test_a_bug_in_drawing_is_not_hidden_in_its_thread_and_a_closed_terminal_is_no_bug() -> None:
    beside = Beside()
    beside.draw(lambda: int("no number"))
    with pytest.raises(ValueError, match="no number"):
        beside.finish()
    beside = Beside()
    beside.write(lambda: Terminal.write(closed, "x") and None)
    beside.finish()
    assert beside.gone


closed = Terminal()
closed.closed_by_user = True
