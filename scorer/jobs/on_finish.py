"""`--on-finish`: a command of the user's, run when a run has ended, however it ended.

It is told by environment variables what has happened. Its own failure is reported and changes nothing: neither the job
nor scorer's exit code depends on it. It never writes to scorer's stdout, which may be JSON.
"""

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scorer.core.result import Counts
from scorer.dispatch.events import Event, Progress
from scorer.jobs.folder import RESULTS

if TYPE_CHECKING:
    from scorer.jobs.run import View

# by exit code: how people and scripts call it
STATES: Mapping[int, str] = {0: "finished", 3: "dead", 4: "stopped", 130: "interrupted"}
BUG = "failed"
STDERR = 2


@dataclass(frozen=True, slots=True)
class Finish:
    """How a run ended: its job's folder, the exit code, and the counts where the database could still be read."""

    folder: Path
    exit_code: int
    counts: Counts | None

    @property
    def environment(self) -> dict[str, str]:
        """The variables that tell the command about it."""
        told = {
            "SCORER_JOB": self.folder.name,
            "SCORER_FOLDER": str(self.folder.absolute()),
            "SCORER_RESULTS": str((self.folder / RESULTS).absolute()),
            "SCORER_STATE": STATES.get(self.exit_code, BUG),
            "SCORER_EXIT_CODE": str(self.exit_code),
        }
        if self.counts is not None:
            told["SCORER_TOTAL"] = str(self.counts.total)
            told |= {f"SCORER_{name.upper()}": str(getattr(self.counts, name)) for name in ("done", "dead", "pending")}
        return told


def run_command(command: str, finish: Finish) -> str | None:
    """Run the command in a shell and wait for it; return what went wrong with it, None if nothing did."""
    try:
        ended = subprocess.run(
            command,
            shell=True,
            env={**os.environ, **finish.environment},
            stdin=subprocess.DEVNULL,
            stdout=STDERR,
            check=False,
        )
    except (OSError, ValueError) as error:
        return f"cannot be started: {error}"
    if ended.returncode < 0:
        return f"was ended by signal {-ended.returncode}"
    return f"ended with exit code {ended.returncode}" if ended.returncode else None


class Noting:
    """A view that shows what another one shows and remembers which job it was about, and whether that had begun."""

    def __init__(self, view: "View") -> None:
        self._view = view
        self.folder: Path | None = None
        self.started = False

    def event(self, event: Event) -> None:
        """Pass it on."""
        if event.kind == "job":
            self.folder = Path(str(event.details["folder"]))
        self.started |= event.kind == "started"
        self._view.event(event)

    async def watch(self, progress: Callable[[], Progress]) -> None:
        """Let the other view watch."""
        await self._view.watch(progress)
