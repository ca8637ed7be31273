"""What every command of the command line shares: the app itself, common options, and how words and codes leave it."""

import errno
import io
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scorer import __version__
from scorer.cli.completion import hosts_files, job_names, template_names
from scorer.core.utf8 import check_utf8
from scorer.errors import ScorerError, StoreError, UsageError

if TYPE_CHECKING:
    from types import TracebackType

EXIT_BUG = 1
EXIT_USAGE = 2
EXIT_DEAD = 3
EXIT_INTERRUPTED = 130

app = typer.Typer(
    help="Score millions of rows with language models on the machines you already own.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Dataset = Annotated[
    str,
    typer.Argument(
        help="A Parquet, JSONL, CSV or Arrow file, a folder or glob of them, or hf://name[:config][/split]."
    ),
]
RunsDir = Annotated[Path, typer.Option("--runs-dir", help="Folder that holds the jobs.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout; people's text goes to stderr.")]
JobArgument = Annotated[
    str | None,
    typer.Argument(help="The job's name; the latest if left out.", show_default=False, autocompletion=job_names),
]
NamedJob = Annotated[str, typer.Argument(help="The job's name.", autocompletion=job_names)]
Prompt = Annotated[
    str, typer.Option(help="A shipped template's name, or a template file.", autocompletion=template_names)
]
HostsOption = Annotated[
    Path | None,
    typer.Option(help="hosts.toml; default ./hosts.toml, else what runs here.", autocompletion=hosts_files),
]
RUNS = Path("runs")
SHOWN_CHARS = 100


def main() -> None:
    """Run the command line; every error that scorer raises on purpose becomes a line or two and an exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a terminal without Unicode gets a question mark rather than an error
        sys.stdout.reconfigure(errors="replace")
    try:
        for argument in sys.argv[1:]:
            check_utf8(argument, "the argument")
        app()
    except ScorerError as error:
        say(f"scorer: {error}")
        sys.exit(error.exit_code)
    except OSError as error:
        # every name that scorer gives a file is short, so it is one that was typed, whatever it stands for
        if error.errno != errno.ENAMETOOLONG:
            raise
        say(f"scorer: {str(error.filename)[:SHOWN_CHARS]}…: {error.strerror}")
        sys.exit(EXIT_USAGE)
    finally:
        # not before, since typer sets a hook of its own
        sys.excepthook = _say_bug


def _say_bug(kind: type[BaseException], error: BaseException, traceback: "TracebackType | None") -> None:
    """Show a bug: one line where a log has the traceback, else all of it."""
    notes: list[str] = getattr(error, "__notes__", [])
    if not notes:
        sys.__excepthook__(kind, error, traceback)
    say(f"scorer: this is a bug ({kind.__name__}: {error}); {'; '.join(notes) or 'please report it'}")


def say(text: str) -> None:
    """Tell a person something: on stderr, without what could upset a terminal; nothing if it was closed."""
    with suppress(OSError):
        typer.echo(_harmless(text), err=True)


def print_text(text: str) -> None:
    """Print what was asked for: on stdout; a terminal gets it without what could upset it, a file to the letter.

    Nothing if nobody reads any more, as at the end of `| head`; StoreError if it cannot be written.
    """
    try:
        print_now(text)
    except BrokenPipeError:
        return
    except OSError as error:
        raise StoreError(f"cannot write to standard output: {error.strerror}") from None


def print_now(text: str) -> None:
    """Print as `print_text` does, but with OSError if nobody reads any more: for those who would go on printing."""
    try:
        typer.echo(_harmless(text) if sys.stdout.isatty() else text)
    except OSError:
        _leave_stdout()
        raise


def _leave_stdout() -> None:
    """Let the rest lead nowhere: Python would try to write it once more as it ends, and complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def print_json(value: object) -> None:
    """Print what was asked for as JSON: on stdout. What could upset a terminal is escaped, which means the same."""
    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    text = json.dumps(value, indent=2, default=str, ensure_ascii=not unicode)
    print_text("".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text))


def print_line(value: object) -> None:
    """Print one JSON object on one line of stdout, at once; OSError if nobody listens any more."""
    print_now(json.dumps(value, default=str))


def _harmless(text: str) -> str:
    if text.isascii() and text.isprintable():
        # the usual case, without loading what knows better
        return text
    from scorer.show.words import harmless

    return harmless(text)


def _show_version(value: bool) -> None:
    if value:
        print_text(f"scorer {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of scorer itself."""


def pairs(columns: list[str]) -> dict[str, str]:
    """Return what `--column` said as a mapping from template variable to column; UsageError if it said it wrongly."""
    mapping: dict[str, str] = {}
    for pair in columns:
        variable, found, column = pair.partition("=")
        if not (found and variable and column):
            raise UsageError(f"--column {pair}: write it as --column VARIABLE=COLUMN")
        mapping[variable] = column
    return mapping
