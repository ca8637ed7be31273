"""Commands about hosts: `hosts check`, `pull`, `warm`, `add`, `list`."""

import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from scorer.cli.common import EXIT_DEAD, EXIT_INTERRUPTED, Json, app, print_json, print_text, say
from scorer.errors import UsageError

if TYPE_CHECKING:
    from scorer.live.steps import JsonSteps, StepView

T = TypeVar("T")

EXIT_SOME_NOT = EXIT_DEAD
EXIT_USAGE = UsageError.exit_code

hosts_app = typer.Typer(help="Look at the hosts, fetch and load models there, add one.", no_args_is_help=True)
app.add_typer(hosts_app, name="hosts")

File = Annotated[
    Path | None, typer.Option("--hosts", help="hosts.toml; default ./hosts.toml, else what runs here.", metavar="FILE")
]
Names = Annotated[
    list[str] | None, typer.Option("--host", metavar="NAME", help="Only this host; may be given several times.")
]
Mixed = Annotated[
    bool, typer.Option("--allow-mixed-models", help="For a run that goes on though hosts have different digests.")
]
FILE = Path("hosts.toml")


@hosts_app.command()
def check(
    hosts: File = None,
    host: Names = None,
    model: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="The model a run would use; may be repeated.")
    ] = None,
    allow_mixed_models: Mixed = False,
    json_: Json = False,
) -> None:
    """Ask all hosts how they stand. Exit code 0: all can be used, 3: some cannot."""
    from scorer.jobs.hosts.check import check as look
    from scorer.jobs.hosts.opened import this_machine
    from scorer.jobs.submit import find_hosts
    from scorer.show.hosts import check_text

    file = find_hosts(hosts, Path.cwd())
    names = _unique(host)
    report = _run(lambda: look(file, _unique(model), names, this_machine(), allow_mixed=allow_mixed_models))
    code = EXIT_USAGE if report.question else _code(report.all_usable)
    if json_:
        print_json({"exit_code": code, **report.as_json()})
    else:
        print_text(check_text(report, _width()))
    if report.question:
        raise UsageError(report.question)
    raise typer.Exit(code)


@hosts_app.command()
def pull(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="MODEL", help="Default: the model of the hosts file.")
    ] = None,
    hosts: File = None,
    host: Names = None,
    json_: Json = False,
) -> None:
    """Fetch models on all Ollama hosts at once, and see that all have the same afterwards. Exit codes as for check."""
    from scorer.jobs.hosts.opened import this_machine
    from scorer.jobs.hosts.pull import pull as fetch
    from scorer.jobs.submit import find_hosts
    from scorer.show.hosts import check_text

    file = find_hosts(hosts, Path.cwd())
    view, events = _steps(json_)

    def work() -> Coroutine[Any, Any, Any]:
        return fetch(file, _unique(models), _unique(host), view.step, this_machine())

    try:
        with view:
            pulled = _run(work)
    except KeyboardInterrupt:
        _interrupted("stopped: what was fetched stays there, and the same command goes on from it")
    code = _code(pulled.all_usable)
    if events is not None:
        outcome = {"failed": pulled.failed, "skipped": pulled.skipped}
        events.event("summary", {"exit_code": code, **outcome, **pulled.report.as_json()})
    else:
        print_text(check_text(pulled.report, _width()))
    raise typer.Exit(code)


@hosts_app.command()
def warm(
    hosts: File = None,
    host: Names = None,
    model: Annotated[str | None, typer.Option(help="The model; default as a run would choose it.")] = None,
    prompt: Annotated[str, typer.Option(help="The template of the run: its context is what is loaded.")] = "quality",
    num_ctx: Annotated[int | None, typer.Option(min=256, help="A context of N tokens, not the template's.")] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that one host may take.")] = 1800.0,
    allow_mixed_models: Mixed = False,
    json_: Json = False,
) -> None:
    """Load the model on all hosts exactly as a run would, and say how it sits there. Exit codes as for check."""
    from scorer import templates
    from scorer.jobs.hosts.opened import this_machine
    from scorer.jobs.hosts.warm import Wish
    from scorer.jobs.hosts.warm import warm as load
    from scorer.jobs.submit import find_hosts
    from scorer.show.hosts import warm_text

    wish = Wish(model, templates.load(prompt), num_ctx, timeout, allow_mixed_models)
    file = find_hosts(hosts, Path.cwd())
    view, events = _steps(json_)

    def work() -> Coroutine[Any, Any, Any]:
        return load(file, wish, _unique(host), view.step, this_machine())

    try:
        with view:
            found = _run(work)
    except KeyboardInterrupt:
        _interrupted("stopped: hosts that were still loading have given it up")
    code = _code(bool(found) and all(one.usable for one in found))
    if events is not None:
        events.event("summary", {"exit_code": code, "hosts": [one.as_json() for one in found]})
    else:
        print_text(warm_text(found, _width()))
    raise typer.Exit(code)


@hosts_app.command()
def add(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    url: Annotated[str, typer.Argument(help="Such as http://192.168.1.10:11434; not for --api embedded.")] = "",
    hosts: Annotated[Path, typer.Option("--hosts", help="The file; it is made if it is not there.")] = FILE,
    api: Annotated[str, typer.Option(help="ollama, openai, petals or embedded.")] = "ollama",
    model: Annotated[str | None, typer.Option(help="This host's own name for the model.")] = None,
    slots: Annotated[int | None, typer.Option(help="How many rows at once; default: found out.")] = None,
    hours: Annotated[str | None, typer.Option(help='When it takes rows, such as "22:00-08:00".')] = None,
    max_context: Annotated[int | None, typer.Option(help="Longer rows go elsewhere.")] = None,
    token_env: Annotated[str | None, typer.Option(help="The variable that holds its token.")] = None,
    gguf: Annotated[str | None, typer.Option(help="The model's file, for --api embedded.")] = None,
    json_: Json = False,
) -> None:
    """Add a host to the hosts file, whose comments and order stay, and try it at once. A host may be off now."""
    from scorer.jobs.hosts.add import add as write
    from scorer.jobs.hosts.add import completed
    from scorer.jobs.hosts.check import check as look
    from scorer.jobs.hosts.opened import this_machine
    from scorer.show.hosts import check_text

    keys: dict[str, object] = {"name": name, "url": completed(url, api), "api": api, "model": model, "slots": slots}
    keys |= {"hours": hours, "max_context": max_context, "token_env": token_env, "gguf": gguf}
    unsaid = {"url": "", "api": "ollama"}
    given = {key: value for key, value in keys.items() if value is not None and unsaid.get(key) != value}
    file = write(hosts, given)
    say(f"{hosts}: added {name} ({given.get('url', api)}); {_count(len(file.hosts))} in all")
    report = _run(lambda: look(file, (), (name,), this_machine()))
    if json_:
        print_json({"file": str(hosts), **report.as_json()})
    else:
        print_text(check_text(report, _width()))


@hosts_app.command("list")
def list_(hosts: File = None, json_: Json = False) -> None:
    """List the hosts of the hosts file and which run uses them; asks none of them."""
    from dataclasses import asdict

    from scorer.jobs.hosts.opened import this_machine
    from scorer.jobs.submit import find_hosts
    from scorer.locks import holder_of
    from scorer.show.hosts import list_text

    file = find_hosts(hosts, Path.cwd())
    locks = this_machine().locks
    if json_:
        listed = [
            {**asdict(one), "hours": str(one.hours) if one.hours else None, "used_by": holder_of(locks, one.url)}
            for one in file.hosts
        ]
        print_json({"file": file.path, "hosts": listed})
    else:
        print_text(list_text(file.hosts, lambda url: holder_of(locks, url)))


def _run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    import anyio

    return anyio.run(work)


def _count(hosts: int) -> str:
    return "1 host" if hosts == 1 else f"{hosts} hosts"


def _unique(values: list[str] | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values or ()))


def _code(all_usable: bool) -> int:
    return 0 if all_usable else EXIT_SOME_NOT


def _interrupted(text: str) -> NoReturn:
    say(text)
    raise typer.Exit(EXIT_INTERRUPTED)


def _width() -> int | None:
    """Return the columns of the terminal, None where the text goes elsewhere and may be as wide as it likes."""
    from shutil import get_terminal_size

    return get_terminal_size().columns if sys.stdout.isatty() else None


def _steps(json_wanted: bool) -> "tuple[StepView, JsonSteps | None]":
    """Return where the steps are shown, and where the summary goes if that is JSON too."""
    from rich.console import Console

    from scorer.live import apart
    from scorer.live.steps import JsonSteps, PlainSteps, TerminalSteps

    if json_wanted:
        events = JsonSteps(apart(sys.stdout))
        return events, events
    if sys.stderr.isatty():
        return TerminalSteps(Console(stderr=True, highlight=False)), None
    return PlainSteps(apart(sys.stderr)), None
