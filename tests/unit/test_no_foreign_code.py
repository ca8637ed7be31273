"""What no module of the package may do: run what came with data."""

import ast
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import scorer

PACKAGE = Path(scorer.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
UNPACKERS = frozenset({"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"})
RUNNERS = frozenset({"eval", "exec", "__import__"})
# the user's own command, from the user's own command line
SHELLS = frozenset({"jobs/on_finish.py"})


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_unpacks_or_runs_what_it_has_read(module: Path) -> None:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    assert not UNPACKERS.intersection(imported(tree))
    assert not RUNNERS.intersection(call.func.id for call in calls(tree) if isinstance(call.func, ast.Name))
    words = {keyword.arg: keyword.value for call in calls(tree) for keyword in call.keywords}
    assert not {"allow_pickle", "trust_remote_code"}.intersection(words)
    if str(module.relative_to(PACKAGE)) not in SHELLS:
        assert "shell" not in words


def test_the_library_of_datasets_runs_no_code_of_theirs() -> None:
    """Since version 4 it cannot any more."""
    (wanted,) = (r for r in map(Requirement, requires("scorer") or ()) if r.name == "datasets")
    assert wanted.specifier.contains("4.0.0")
    assert not wanted.specifier.contains("3.9.9")
