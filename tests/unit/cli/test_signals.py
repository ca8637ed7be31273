"""Signals of a command that runs a job, in this process."""

import signal
from collections.abc import Iterator

import pytest

from scorer.cli.signals import unattended


@pytest.fixture(autouse=True)
def _handlers_are_put_back() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_closed_terminal_changes_nothing_and_the_handlers_are_as_before() -> None:
    heard: list[int] = []
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, lambda number, _frame: heard.append(number))
    with unattended():
        signal.raise_signal(signal.SIGHUP)
        assert not heard
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.raise_signal(number)
    assert heard == [signal.SIGHUP, signal.SIGTERM]


def test_sigterm_is_an_interrupt_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), unattended():
        signal.raise_signal(signal.SIGTERM)
    assert capsys.readouterr().err == "scorer: interrupted; the same command goes on from here\n"


def test_what_is_ignored_stays_ignored_for_children_too() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with unattended():
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
