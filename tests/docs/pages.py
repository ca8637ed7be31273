"""What the Markdown pages hold: blocks of code, commands, links and anchors, each with the line where it stands.

An HTML comment right before a block marks it: `<!-- output -->` says that it was printed by something, and
`<!-- not run: WHY -->` that its commands are real but cannot be run by a test. A fence of the language `text` is output
as well. Every other block without a language, or in a shell's, is for the console: its commands are run, and so are
programs.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urlsplit

import typer
from markdown_it import MarkdownIt
from markdown_it.token import Token
from typer.main import get_command

from scorer.cli import app

ROOT = Path(__file__).parents[2]
PATHS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples").glob("**/*.md")),
    *sorted((ROOT / "benchmarks").glob("**/*.md")),
]
CONSOLES = ("", "sh", "console")
PROGRAM = "python"
NOT_RUN = "not run: "
# typer brings a click of its own; this is what its parser raises about options, arguments and values
(REFUSED,) = typer.BadParameter.__bases__


@dataclass(frozen=True)
class Command:
    """One line of a console; `words` are what its shell would pass on, without the prompt and the comment."""

    place: str
    words: tuple[str, ...]

    @property
    def is_scorers(self) -> bool:
        """Whether scorer is called."""
        return self.words[0] == "scorer"


@dataclass(frozen=True)
class Block:
    """One block of code; `line` is that of its first line of text."""

    page: str
    line: int
    language: str
    text: str
    mark: str

    @property
    def place(self) -> str:
        """FILE:LINE."""
        return f"{self.page}:{self.line}"

    @property
    def is_console(self) -> bool:
        """Whether its lines are typed by somebody."""
        return self.language in CONSOLES and self.mark != "output"

    @property
    def is_run(self) -> bool:
        """Whether a test runs it: a console's lines, or a program."""
        return (self.is_console or self.language == PROGRAM) and not self.mark.startswith(NOT_RUN)

    @property
    def commands(self) -> list[Command]:
        """What a console's lines call; a backslash at the end of one joins it with the next."""
        found, line = [], self.line
        for joined in self.text.replace("\\\n", "\0").splitlines():
            place = f"{self.page}:{line}"
            line += 1 + joined.count("\0")
            try:
                words = shlex.split(joined.replace("\0", " ").strip().removeprefix("$ "), comments=True)
            except ValueError as error:
                raise ValueError(f"{place}: {error}") from error
            if words:
                found.append(Command(place, tuple(words)))
        return found


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path

    @property
    def name(self) -> str:
        """Its path in the repository."""
        return self.path.relative_to(ROOT).as_posix() if self.path.is_relative_to(ROOT) else self.path.name

    @cached_property
    def _tokens(self) -> list[Token]:
        return MarkdownIt("commonmark").enable("table").parse(self.path.read_text(encoding="utf-8"))

    @property
    def blocks(self) -> list[Block]:
        """All blocks of code, fenced or indented."""
        found, mark = [], ""
        for token in self._tokens:
            if token.type in ("fence", "code_block"):
                first = (token.map or [0])[0] + (2 if token.type == "fence" else 1)
                found.append(Block(self.name, first, token.info.strip(), token.content, mark))
            comment = re.fullmatch(r"<!-- (.*) -->\s*", token.content) if token.type == "html_block" else None
            mark = comment[1] if comment else ""
        return found

    @property
    def mentions(self) -> list[Command]:
        """The commands of scorer in running text; one without arguments is a command's name."""
        codes = [(place, token.content) for place, token in self._inline("code_inline")]
        return [Command(place, tuple(shlex.split(code))) for place, code in codes if code.startswith("scorer ")]

    @property
    def links(self) -> list[tuple[str, str]]:
        """FILE:LINE and target of each link and picture."""
        found = []
        for place, token in (*self._inline("link_open"), *self._inline("image")):
            found.append((place, str(token.attrGet("href") or token.attrGet("src"))))
        return found

    @property
    def anchors(self) -> set[str]:
        """What can stand behind `#` in a link to this page."""
        after = zip(self._tokens, self._tokens[1:], strict=False)
        return {_anchor(text.content) for token, text in after if token.type == "heading_open"}

    def block(self, language: str) -> str:
        """The text of its first block in a language."""
        return next(block.text for block in self.blocks if block.language == language)

    def broken(self, target: str) -> bool:
        """Whether a link from this page leads nowhere; addresses on the network are not asked."""
        parts = urlsplit(target)
        if parts.scheme:
            return False
        file = self.path.parent / unquote(parts.path) if parts.path else self.path
        return not file.exists() or bool(parts.fragment and unquote(parts.fragment) not in Page(file).anchors)

    def _inline(self, kind: str) -> Iterator[tuple[str, Token]]:
        line = 0
        for token in self._tokens:
            line = token.map[0] + 1 if token.map else line
            passed = 0
            for child in token.children or []:
                passed += child.type in ("softbreak", "hardbreak")
                if child.type == kind:
                    yield f"{self.name}:{line + passed}", child


PAGES = [Page(path) for path in PATHS]


def refusal(words: tuple[str, ...], *, may_be_a_name: bool = False) -> str:
    """What the real parser has against a command of scorer, which is not run; empty if nothing.

    JOB, MODEL, … and the like are values as any other. `may_be_a_name`: the arguments may be missing altogether.
    """
    name, command, rest = "scorer", get_command(app), [word.strip("[]…") or word for word in words[1:]]
    while commands := getattr(command, "commands", None):
        if not rest or rest == ["--help"]:
            return "" if may_be_a_name or rest else f"`{name}` needs a command"
        name, *rest = rest
        if name not in commands:
            return f"there is no command `{name}`"
        command = commands[name]
    if (may_be_a_name and not rest) or rest == ["--help"]:
        return ""
    try:
        command.make_context(name, rest)
    except REFUSED as error:
        return error.format_message()
    return ""


def _anchor(heading: str) -> str:
    """A heading's anchor as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
