"""The mutations: small changes that each break one promise, and what is needed to make one in a copy of the tree.

They are search-and-replace pairs and not diffs: a pair needs no line numbers and no lines around it, so it goes on
fitting while the code about it moves, and what it changes can be read in one glance. In exchange its text must be there
exactly once; a pair that fits nowhere, or twice, is an error and never a silent pass.

catalogue.toml holds them. `tests` are those that should notice, the quickest first.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("catalogue.toml")


class StaleMutationError(Exception):
    """The code has changed: the mutation has to be written anew."""


@dataclass(frozen=True, slots=True)
class Edit:
    """In `file`, relative to the tree, `before` is to become `after`."""

    file: str
    before: str
    after: str

    def made_in(self, text: str) -> str:
        """Return the changed text; StaleMutationError unless `before` is there exactly once."""
        found = text.count(self.before)
        if found != 1:
            raise StaleMutationError(f"{self.file} has this {found} times, not once:\n{self.before}")
        return text.replace(self.before, self.after)


@dataclass(frozen=True, slots=True)
class Mutation:
    """One broken promise: its name says what the code does instead."""

    name: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]

    def changed(self, tree: Path) -> dict[Path, str]:
        """Return the new text of each file that it changes."""
        texts: dict[Path, str] = {}
        for edit in self.edits:
            path = tree / edit.file
            before = texts[path] if path in texts else path.read_text(encoding="utf-8")
            texts[path] = edit.made_in(before)
        return texts


def load() -> list[Mutation]:
    """Read the catalogue."""
    document = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return [
        Mutation(
            name=table["name"],
            edits=tuple(Edit(**edit) for edit in table["edit"]),
            tests=tuple(table["tests"]),
        )
        for table in document["mutation"]
    ]
