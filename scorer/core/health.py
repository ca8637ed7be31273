"""When a host is left alone, and for how long: one circuit breaker a host.

closed --(5 faults in a row, or under 80 % success over 30 s with 5 requests or more, or one that proves it is down)-->
open --(back-off over, the server answers and has loaded the model)--> half-open --(one real row comes back)--> closed.
A fault while half-open opens it again with twice the back-off (5 s to 300 s, jittered, so that a room full of machines
that lost power is not asked all at once).

Invariant: only answers of the server close a breaker; time alone never does.
"""

import random
from collections import deque
from dataclasses import dataclass
from enum import StrEnum

MAX_CONSECUTIVE = 5
MIN_SUCCESS = 0.8
RATE_WINDOW_S = 30.0
BUCKET_S = 1.0
MIN_REQUESTS = 5
FIRST_BACKOFF_S = 5.0
MAX_BACKOFF_S = 300.0
# a host that is not there costs nothing to ask, and each second it is back without our knowing is lost
MAX_ABSENT_S = 30.0

GARBAGE_SAMPLE = 20
GARBAGE_MIN = 10
GARBAGE_SHARE = 0.5
SANE_SHARE = 0.2


class BreakerState(StrEnum):
    """Closed lets rows pass, open none, half-open exactly one at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(slots=True)
class _Tries:
    """How the tries of some BUCKET_S ended."""

    since: float
    good: int = 0
    failed: int = 0


class Breaker:
    """One host's circuit breaker. Times are seconds of the caller's monotonic clock."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._recent: deque[_Tries] = deque()
        self._consecutive = 0
        self._backoff_s = FIRST_BACKOFF_S
        self.state = BreakerState.CLOSED
        self.retry_at = 0.0

    def success(self, now: float) -> None:
        """Record an answer that shows the host at work."""
        self._consecutive = 0
        self._backoff_s = FIRST_BACKOFF_S
        self._note(now, ok=True)
        if self.state is BreakerState.HALF_OPEN:
            self.state = BreakerState.CLOSED
            self._recent.clear()

    def fault(self, now: float, *, certain: bool = False) -> None:
        """Record a fault; `certain` means it proves the host is down, so that one is enough."""
        self._consecutive += 1
        self._note(now, ok=False)
        if self.state is BreakerState.OPEN:
            return
        good, failed = sum(tries.good for tries in self._recent), sum(tries.failed for tries in self._recent)
        often = good + failed >= MIN_REQUESTS and good / (good + failed) < MIN_SUCCESS
        if certain or often or self._consecutive >= MAX_CONSECUTIVE or self.state is BreakerState.HALF_OPEN:
            self.open(now)

    def open(self, now: float, *, backoff_s: float | None = None) -> None:
        """Let nothing pass until the back-off is over (`backoff_s` instead of the growing one, if given)."""
        self.state = BreakerState.OPEN
        if backoff_s is None:
            backoff_s = self._backoff_s
            self._backoff_s = min(2 * self._backoff_s, MAX_BACKOFF_S)
        self.retry_at = now + backoff_s * self._rng.uniform(0.8, 1.2)

    def half_open(self) -> None:
        """Let one row through: the server answers again."""
        self.state = BreakerState.HALF_OPEN
        self._recent.clear()
        self._consecutive = 0

    def _note(self, now: float, *, ok: bool) -> None:
        if not self._recent or now - self._recent[-1].since >= BUCKET_S:
            # a bucket and not an entry a try: a fast host answers a hundred thousand times in the window
            self._recent.append(_Tries(now))
            while self._recent[0].since < now - RATE_WINDOW_S:
                self._recent.popleft()
        if ok:
            self._recent[-1].good += 1
        else:
            self._recent[-1].failed += 1


class Validity:
    """How many of a host's last completions were what the template asks for."""

    def __init__(self) -> None:
        self._last: deque[bool] = deque(maxlen=GARBAGE_SAMPLE)

    def note(self, *, valid: bool) -> None:
        """Record one completion."""
        self._last.append(valid)

    def clear(self) -> None:
        """Forget: the host starts anew."""
        self._last.clear()

    @property
    def invalid_share(self) -> float | None:
        """Share of invalid completions among the last, None while there are too few to say."""
        if len(self._last) < GARBAGE_MIN:
            return None
        return 1 - sum(self._last) / len(self._last)

    def garbage(self, others: list["Validity"]) -> bool:
        """Whether most of this host's completions are invalid while the others' are not, so that it is not the rows."""
        own = self.invalid_share
        shares = [share for other in others if (share := other.invalid_share) is not None]
        return own is not None and own > GARBAGE_SHARE and bool(shares) and min(shares) < SANE_SHARE
