"""Every command with --json: stdout is one JSON value and nothing else, or one object a line where a job runs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from doubles.ollama import OllamaDouble, Spec
from running import JUDGE, TEMPLATE, Desk, texts
from typer.testing import CliRunner

from scorer.cli import app

HOSTILE = "\x1b[2J\u202eevil\x9b1A"

# in an order in which each has something to do
ONE_VALUE = {
    "prompts list": (),
    "prompts show": ("quality",),
    "prompts preview": ("rows.parquet", "--prompt", "judge.toml", "--row", "1"),
    "hosts list": (),
    "hosts check": (),
    "hosts add": ("another", "http://127.0.0.1:9"),
    "jobs": (),
    "status": ("judged",),
    "verify": ("judged",),
    "export": ("judged", "-o", "out.jsonl"),
    "report": ("judged", "-o", "out.html"),
    "calibrate": ("judged", "--labels", "labels.csv"),
    "retry": ("judged",),
    "simulate": ("--from-job", "judged", "--rows", "50"),
}
EVENTS = {
    "run": JUDGE[1:],
    "hosts warm": (),
    "hosts pull": (),
    "resume": ("judged",),
}
# need jobs of another kind: tests of their own
ELSEWHERE = "bench "


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - typer's own click
    """All commands by the words that call them."""
    if not hasattr(command, "commands"):
        yield " ".join(path), command
        return
    for name, below in command.commands.items():
        yield from commands(below, (*path, name))


ALL = dict(commands(typer.main.get_command(app)))


def strict(text: str) -> Any:  # noqa: ANN401 - any JSON value
    """JSON as the standard has it: no NaN, no Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A dataset with an empty and a hostile row, labels for it, and one host."""
    made = Desk(tmp_path)
    made.write("judge.toml", TEMPLATE)
    made.write("labels.csv", "row,label\n" + "".join(f"{i},{1 + i % 9}\n" for i in range(12)))
    made.dataset([*texts(11), HOSTILE, ""])
    monkeypatch.chdir(tmp_path)
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    with OllamaDouble(Spec()) as double:
        made.hosts({"only": double.url})
        yield made


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_command_has_the_option(name: str) -> None:
    assert "--json" in {option for parameter in ALL[name].params for option in parameter.opts}


def test_every_command_is_tried_here_or_said_to_be_tried_elsewhere() -> None:
    here = {name for name in ALL if not name.startswith(ELSEWHERE)}
    assert here == ONE_VALUE.keys() | EVENTS.keys()


def test_stdout_is_json_and_nothing_else_whatever_the_command(desk: Desk) -> None:
    first = [("run", EVENTS["run"]), *ONE_VALUE.items()]
    for name, arguments in [*first, *((name, EVENTS[name]) for name in EVENTS if name != "run")]:
        said = CliRunner().invoke(app, [*name.split(), *arguments, "--json"], catch_exceptions=False)
        assert said.exit_code in {0, 3}, f"{name}: {said.output}"
        if name in EVENTS:
            events = [strict(line) for line in said.stdout.splitlines()]
            assert events, name
            assert all(isinstance(event, dict) and "event" in event for event in events), name
            assert events[-1]["event"] == "summary", name
        else:
            assert isinstance(strict(said.stdout), dict | list), name
        assert not set(said.stdout) & set(HOSTILE) - set("[2Jevil1A"), f"{name} prints what moves a cursor"


@pytest.mark.parametrize("arguments", [("status", "nothing"), ("run", "nothing"), ("export", "nothing", "-o", "x.csv")])
def test_a_mistake_leaves_stdout_empty(desk: Desk, arguments: tuple[str, ...]) -> None:
    said = desk.scorer(*arguments, "--json", code=2)
    assert said.out == ""
    assert said.err
