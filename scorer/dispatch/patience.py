"""When a run gives up: nothing that waits could be taken by a usable host, and that for longer than its user will wait.

Hosts that rest because of their hours are always waited for: it is known when they come back. Hosts that may never be
used are not, unless one has scored a row before. Times are monotonic seconds.
"""

from scorer.core.fleet import Fleet
from scorer.core.window import Window
from scorer.dispatch.lives import Lives
from scorer.errors import NoHostsLeft, UsageError


class Patience:
    """Counts the time without hope, and raises when it is `patience_s`."""

    def __init__(self, patience_s: float, fleet: Fleet, lives: Lives) -> None:
        self._patience_s = patience_s
        self._fleet = fleet
        self._lives = lives
        self._scored_any = False
        self._hopeless_since: float | None = None

    def scored(self) -> None:
        """Note that a row was scored."""
        self._scored_any = True
        self._hopeless_since = None

    def left_s(self, now: float) -> float | None:
        """Return in how many seconds the run gives up if nothing changes; None while there is hope."""
        if self._hopeless_since is None:
            return None
        return max(0.0, self._patience_s - (now - self._hopeless_since))

    def check(self, window: Window, now: float, *, reading: bool) -> None:
        """Look whether there is hope. `reading`: the window is empty only because rows are yet to be read or to end.

        Raises NoHostsLeft when patience is over, UsageError at once when no host may be used and none ever was.
        """
        if self._lives.waits_for_hours() or self._can_go_on(window, reading=reading):
            self._hopeless_since = None
            return
        if self._lives.by_name and self._lives.all_left_out() and not self._scored_any:
            raise UsageError("no host may be used:\n  " + "\n  ".join(self._lives.reasons()))
        if self._hopeless_since is None:
            self._hopeless_since = now
        if now - self._hopeless_since > self._patience_s:
            why = "; ".join(self._lives.reasons()) or "no host present can take the rows that are left"
            raise NoHostsLeft(
                f"no host could take a row for {self._patience_s:.0f} s ({why}). "
                "Nothing is lost: `scorer resume` goes on from here."
            )

    def _can_go_on(self, window: Window, *, reading: bool) -> bool:
        return self._fleet.can_go_on(window) or (self._fleet.any_usable() and reading)
