"""The catalogue of mutations fits the code as it is: trying them all takes minutes, finding out here a moment."""

import re
from pathlib import Path

import pytest
from mutations.catalogue import Edit, Mutation, StaleMutationError, load

TREE = Path(__file__).resolve().parents[2]
MUTATIONS = load()


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[mutation.name for mutation in MUTATIONS])
def test_a_mutation_still_applies_and_what_it_makes_is_python(mutation: Mutation) -> None:
    for path, text in mutation.changed(TREE).items():
        assert text != path.read_text(encoding="utf-8")
        compile(text, str(path), "exec")


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[mutation.name for mutation in MUTATIONS])
def test_the_tests_that_it_names_are_there(mutation: Mutation) -> None:
    assert mutation.tests
    for test in mutation.tests:
        file, _, name = test.partition("::")
        text = (TREE / file).read_text(encoding="utf-8")
        assert not name or re.search(rf"def {re.escape(name)}\(", text), test


def test_there_are_enough_of_them_and_each_has_a_name_of_its_own() -> None:
    names = [mutation.name for mutation in MUTATIONS]
    assert len(names) == len(set(names)) >= 20


@pytest.mark.parametrize("text", ["nothing of it", "one and one"])
def test_what_fits_nowhere_or_twice_is_an_error(text: str) -> None:
    with pytest.raises(StaleMutationError):
        Edit("file.py", "one", "two").made_in(text)
