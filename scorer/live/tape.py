"""Lines for a log or a pipe, one after the other, without ever keeping the run waiting.

Whoever reads a pipe may stop reading: a pager, a program that hangs, a log shipper whose network is gone. A thread does
the writing (scribe.py), so that only the thread waits then. At the end, when nothing else waits, the reader gets time
for what is left, as long as it takes something at least every READER_S.

Invariants: lines come whole and in order; of those for which there is no reader the last MOST_WAITING are kept, and as
soon as it reads again it is told how many were lost.
"""

import io
from collections.abc import Callable
from functools import partial
from typing import TextIO, cast

from scorer.live.scribe import AtOnce, Beside, Scribe

MOST_WAITING = 10_000
READER_S = 60.0

Begin = Callable[[Callable[[int], None]], Scribe]


def beside(tell_lost: Callable[[int], None]) -> Scribe:
    """Begin a thread that writes, and that tells how many lines it had to leave out."""
    return Beside(MOST_WAITING, tell_lost)


def at_once(_: Callable[[int], None]) -> Scribe:
    """Write in the caller's own thread, in tests."""
    return AtOnce()


class Tape:
    """Lines on a stream. `lost` words a line about lines that were lost."""

    def __init__(self, stream: TextIO, lost: Callable[[int], str], begin: Begin = beside) -> None:
        self._stream = stream
        self._lost = lost
        self._begin = begin
        self._scribe: Scribe | None = None

    @property
    def gone(self) -> bool:
        """Whether nobody reads any more."""
        return self._scribe is not None and self._scribe.gone

    def say(self, line: str) -> None:
        """Write a line in its turn."""
        if self._scribe is None:
            self._scribe = self._begin(lambda count: self._write(self._lost(count)))
        self._scribe.write(partial(self._write, line))

    def close(self) -> None:
        """Wait until all was read; a reader that takes nothing for READER_S gets nothing any more."""
        if self._scribe is not None:
            self._scribe.finish(READER_S)
            after = AtOnce()
            after.gone = self._scribe.gone
            self._scribe = after

    def _write(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


def apart(stream: TextIO | None) -> TextIO:
    """Return a second stream to where a standard one leads; None, which Python has for a closed one, leads nowhere.

    Python flushes the standard ones when it ends, and gives up in confusion if a thread still waits in one.
    """
    if stream is None:
        return cast("TextIO", _Nowhere())
    try:
        return open(stream.fileno(), "w", encoding=stream.encoding, errors=stream.errors, closefd=False)
    except io.UnsupportedOperation:
        # not a file of the system: nobody else reads it
        return stream


class _Nowhere(io.TextIOBase):
    def write(self, text: str) -> int:
        return len(text)
