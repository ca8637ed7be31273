"""Signals of a command that runs a job, before the job minds them itself and after.

Invariants: child processes get the system's own behaviour, which they would not if a signal were ignored here (an
ignored one is inherited, a handler is not); afterwards all handlers are as they were; what whoever started us ignores,
as `nohup` does, stays ignored.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from scorer.cli.common import say


@contextmanager
def unattended() -> Iterator[None]:
    """Let a closed terminal stop nothing, and make of SIGTERM what Ctrl-C is: an end in order, with a word about it."""
    before = {number: signal.getsignal(number) for number in _HANDLERS}
    try:
        for number, handler in _HANDLERS.items():
            if before[number] is not signal.SIG_IGN:
                signal.signal(number, handler)
        # foreign code in the middle of a read need not know of it
        signal.siginterrupt(signal.SIGHUP, False)
        yield
    except KeyboardInterrupt:
        say("scorer: interrupted; the same command goes on from here")
        raise
    finally:
        for number, earlier in before.items():
            # None: the handler was not Python's, so it cannot be put back
            signal.signal(number, signal.SIG_DFL if earlier is None else earlier)


def _go_on(_number: int, _frame: FrameType | None) -> None:
    pass


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


_HANDLERS = {signal.SIGHUP: _go_on, signal.SIGTERM: _interrupt}
