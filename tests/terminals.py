"""`scorer` in a real terminal: a pseudo-terminal whose other end is read, typed into, resized and closed by a test."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

TIMEOUT_S = 120.0
# makes the terminal the session's own, so that Ctrl-C, its size and its end reach the command
OWN = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"


class Terminal:
    """One process in its own session, with a terminal of its own."""

    def __init__(self, keyboard: int, process: "subprocess.Popen[bytes]") -> None:
        self._keyboard = keyboard
        self.process = process
        self.seen = ""

    def wait_for(self, *words: str) -> str:
        """Wait until all words have been printed since the last wait that succeeded; return what was."""
        deadline_s = time.monotonic() + TIMEOUT_S
        while not all(word in self.seen for word in words):
            if not self._read(deadline_s - time.monotonic()):
                raise AssertionError(f"{words} never came; the terminal got:\n{self.seen}")
        seen, self.seen = self.seen, ""
        return seen

    def wait_for_end(self) -> tuple[int, str]:
        """Wait for the end of the process; return its exit code and what it printed since the last wait."""
        while self._read(TIMEOUT_S):
            pass
        return self.process.wait(TIMEOUT_S), self.seen

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._keyboard, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        """Change the size, as dragging the window's corner does."""
        fcntl.ioctl(self._keyboard, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def close(self) -> None:
        """Close the terminal, as closing its window does."""
        if self._keyboard >= 0:
            os.close(self._keyboard)
        self._keyboard = -1

    def _read(self, timeout_s: float) -> bool:
        ready, _, _ = select.select([self._keyboard], [], [], max(timeout_s, 0.0))
        try:
            text = os.read(self._keyboard, 1 << 16) if ready else b""
        except OSError:
            # nobody holds the other end any more
            text = b""
        self.seen += text.decode("utf-8", "replace")
        return bool(text)


@contextmanager
def terminal(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], *, columns: int = 80, lines: int = 24
) -> Iterator[Terminal]:
    """Run a command in a terminal of this size; it is killed on leaving if it still runs."""
    keyboard, screen = pty.openpty()
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    settings = {"TERM": "xterm-256color", **environment}
    process = subprocess.Popen(
        [sys.executable, "-c", OWN, *command],
        cwd=folder,
        env=settings,
        stdin=screen,
        stdout=screen,
        stderr=screen,
        start_new_session=True,
    )
    os.close(screen)
    opened = Terminal(keyboard, process)
    try:
        yield opened
    finally:
        opened.close()
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()
