"""Rates of the last minutes, for display: rows and tokens per second of each host and of all."""

from collections import deque
from dataclasses import dataclass

RATE_WINDOW_S = 300.0
BUCKET_S = 5.0


@dataclass(slots=True)
class _Bucket:
    start: float
    rows: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Rate:
    """Rows, prompt tokens and output tokens per second."""

    rows_per_s: float
    prompt_tps: float
    output_tps: float


class Tally:
    """Counts in buckets of a few seconds, forgotten after the rate window. Times are monotonic seconds."""

    def __init__(self, now: float) -> None:
        self._begin = now
        self._buckets: deque[_Bucket] = deque()
        self.rows = 0

    def add(self, now: float, prompt_tokens: int | None, output_tokens: int | None) -> None:
        """Count one scored row."""
        if not self._buckets or now - self._buckets[-1].start >= BUCKET_S:
            self._buckets.append(_Bucket(now))
        bucket = self._buckets[-1]
        bucket.rows += 1
        bucket.prompt_tokens += prompt_tokens or 0
        bucket.output_tokens += output_tokens or 0
        self.rows += 1

    def rate(self, now: float) -> Rate:
        """Return the mean rates over the window, or since the beginning if that is shorter."""
        while self._buckets and self._buckets[0].start < now - RATE_WINDOW_S:
            self._buckets.popleft()
        span = max(min(now - self._begin, RATE_WINDOW_S), 1e-9)
        return Rate(
            sum(b.rows for b in self._buckets) / span,
            sum(b.prompt_tokens for b in self._buckets) / span,
            sum(b.output_tokens for b in self._buckets) / span,
        )
