"""The engine's process as its parent sees it. All calls block, each for a bounded time: run them off the event loop."""

import contextlib
import json
import selectors
import subprocess
import sys
from typing import IO, TYPE_CHECKING, cast

from scorer.hosts.engine import Settings

if TYPE_CHECKING:
    from io import BufferedReader

STOP_TIMEOUT_S = 5.0
MAX_REPORT_BYTES = 1 << 16


class Child:
    """A started engine. It ends when `stop` is called or when this process does."""

    def __init__(self, settings: Settings) -> None:
        self._report = bytearray()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "scorer.hosts.engine"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Ctrl-C in the terminal is for us: the engine is needed while rows in flight are finished
            start_new_session=True,
        )
        self._stdin = cast("IO[bytes]", self._process.stdin)
        self._stdout = cast("BufferedReader", self._process.stdout)
        # the process may be gone already; wait_report will say so
        with contextlib.suppress(BrokenPipeError):
            self._stdin.write(json.dumps(settings).encode() + b"\n")
            self._stdin.flush()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def running(self) -> bool:
        """Whether the process lives. Does not block."""
        return self._process.poll() is None

    def wait_report(self, timeout_s: float) -> dict[str, object] | None:
        """Return what the engine reports, once it does: its port or an error; None if it has not yet.

        An engine that ends without a report counts as one that reports an error.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdout, selectors.EVENT_READ)
            if not selector.select(timeout_s):
                return None
        piece = self._stdout.read1(MAX_REPORT_BYTES)
        self._report += piece
        if not piece:
            self.stop()
            return {"error": f"the engine's process ended at once (exit status {self._process.returncode})"}
        return _parsed(self._report) if self._report.endswith(b"\n") else None

    def stop(self) -> None:
        """End the process, politely at first, and forget it."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stdout.close()


def _parsed(report: bytearray) -> dict[str, object]:
    try:
        value = json.loads(report)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"error": "the engine reported nonsense"}
