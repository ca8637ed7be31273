import os
from typing import NoReturn

import pytest

from scorer import failpoints
from scorer.failpoints import CRASH_STATUS, arm, failpoint


class Ended(Exception):
    pass


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(status: int) -> NoReturn:
        raise Ended(status)

    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setattr(failpoints, "_armed", "")
    monkeypatch.setattr(failpoints, "_passes_left", 0)


@pytest.mark.usefixtures("ends")
def test_an_unarmed_place_does_nothing() -> None:
    failpoint("part-fixed")
    arm("part-written")
    failpoint("part-fixed")


@pytest.mark.usefixtures("ends")
def test_an_armed_place_ends_the_process_at_its_turn_and_not_before() -> None:
    arm("part-fixed:3")
    failpoint("part-fixed")
    failpoint("part-fixed")
    with pytest.raises(Ended) as ended:
        failpoint("part-fixed")
    assert ended.value.args == (CRASH_STATUS,)


@pytest.mark.usefixtures("ends")
def test_without_a_turn_it_is_the_first() -> None:
    arm("part-fixed")
    with pytest.raises(Ended):
        failpoint("part-fixed")
