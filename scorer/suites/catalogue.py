"""Find suites by what a command names: a shipped suite, one of its subsets, or a file of one's own."""

from pathlib import Path
from typing import NamedTuple

from scorer.config import read_text
from scorer.core.checked import nearest, quoted
from scorer.errors import UsageError
from scorer.suites.form import Suite, loads
from scorer.templates import prompts_folder

FOLDER = "bench"
PLACES = "{subset}"


class Part(NamedTuple):
    """A suite, or one subset of a suite that has several; `name` is what results call it."""

    suite: Suite
    subset: str = ""

    @property
    def name(self) -> str:
        """The suite's name, with the subset's behind it."""
        return f"{self.suite.name}/{self.subset}" if self.subset else self.suite.name

    @property
    def data(self) -> str:
        """Where its rows are: `hf://…`, or a path as the file has it."""
        return self.suite.data.replace(PLACES, self.subset)

    @property
    def examples(self) -> str:
        """Where its worked examples are, "" if among its rows."""
        return self.suite.examples.replace(PLACES, self.subset)

    @property
    def words(self) -> object:
        """What the suite file says of the subset."""
        return self.suite.subsets.get(self.subset, [])


def shipped() -> list[Suite]:
    """Load every suite in the folder, by name; a user's own file there is one of them."""
    return [_load_file(path) for path in sorted(_folder().glob("*.toml"))]


def find(wanted: str) -> list[Part]:
    """Return what a command means: NAME, NAME/SUBSET or a .toml file; UsageError with the nearest name.

    A suite with subsets means all of them, unless one is named.
    """
    if wanted.endswith(".toml"):
        return _parts(_load_file(Path(wanted)))
    name, _, subset = wanted.partition("/")
    path = _folder() / f"{name}.toml"
    if not path.is_file():
        known = sorted(path.stem for path in _folder().glob("*.toml"))
        raise UsageError(
            f"no suite {quoted(wanted)}; {nearest(name, known)}\nA file of your own is named by its path: my-suite.toml"
        )
    suite = _load_file(path)
    if not subset:
        return _parts(suite)
    if subset not in suite.subsets:
        known = sorted(suite.subsets)
        hint = nearest(subset, known) if known else f"{name} has none"
        raise UsageError(f"suite {name} has no subset {quoted(subset)}; {hint}")
    return [Part(suite, subset)]


def _parts(suite: Suite) -> list[Part]:
    return [Part(suite, subset) for subset in suite.subsets] or [Part(suite)]


def _folder() -> Path:
    return prompts_folder() / FOLDER


def _load_file(path: Path) -> Suite:
    suite = loads(read_text(path, "suite"), str(path))
    if path.parent == _folder() and suite.name != path.stem:
        raise UsageError(f"{path}: name is {quoted(suite.name)} but the file is {path.name}; make them the same")
    return suite
