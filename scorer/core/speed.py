"""How fast each host reads, writes and answers, learned from what its own replies report.

Service time of a row in one slot of a host:

    t(h, i) = overhead_h + prompt_tokens_i * prefill_s_h + output_tokens * decode_s_h

per (host, model), as things are under the present number of slots. A prefix cache shows up as a lower prefill time and
so is learned too. Seconds per token are running means of logarithms with weight max(1/(n+1), 0.03): robust to a reply
ten times too slow, and over a tenfold change of speed within some thirty replies.

Servers that report no durations (most OpenAI-style ones) give wall time only; it is shared out between reading and
writing as if a written token took as long as `DECODE_WEIGHT` read ones.
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from scorer.core.estimate import LogMean
from scorer.core.task import Reply

DECODE_WEIGHT = 8.0
MIN_OVERHEAD_S = 1e-3
RECENT = 500
RESORT_EVERY = 16

Floats = npt.NDArray[np.float64]


@dataclass(slots=True)
class Speed:
    """What one host has shown with one model: seconds per prompt token, per output token, and the rest of the time."""

    prefill_s: LogMean = field(default_factory=LogMean)
    decode_s: LogMean = field(default_factory=LogMean)
    overhead_s: LogMean = field(default_factory=LogMean)
    load_s: float = 0.0

    @property
    def known(self) -> bool:
        """Whether there was a reply to learn from."""
        return self.prefill_s.count > 0

    def learn(self, reply: Reply, duration_s: float) -> None:
        """Take in one reply; `duration_s` is the wall time from request to answer."""
        prompt, output = reply.prompt_tokens or 0, reply.output_tokens or 0
        if not prompt or not output:
            return
        prefill_s, decode_s = reply.prefill_s, reply.decode_s
        if prefill_s is None or decode_s is None:
            share = duration_s / (prompt + DECODE_WEIGHT * output)
            prefill_s, decode_s = share * prompt, share * DECODE_WEIGHT * output
        self.prefill_s.add(prefill_s / prompt)
        self.decode_s.add(decode_s / output)
        rest_s = duration_s - prefill_s - decode_s - (reply.load_s or 0.0)
        self.overhead_s.add(max(rest_s, MIN_OVERHEAD_S))

    def times(self, output_tokens: float) -> tuple[float, float]:
        """Return the seconds a row takes whatever its length, and those that each prompt token adds."""
        fixed_s = (self.overhead_s.value or 0.0) + output_tokens * (self.decode_s.value or 0.0)
        return fixed_s, self.prefill_s.value or 0.0


class Outputs:
    """Output tokens of a model under the run's template: the running mean of the last replies."""

    def __init__(self) -> None:
        self._last: deque[int] = deque(maxlen=RECENT)
        self._sum = 0

    def learn(self, tokens: int | None) -> None:
        """Take in one reply's count."""
        if tokens is None:
            return
        if len(self._last) == RECENT:
            self._sum -= self._last[0]
        self._last.append(tokens)
        self._sum += tokens

    @property
    def mean(self) -> float:
        """The mean; 1 before anything is known, when all hosts are equally unknown."""
        return self._sum / len(self._last) if self._last else 1.0


class Overruns:
    """How long rows take compared with what was expected of them: actual ÷ expected of the last 500 rows.

    From it comes what is left of a row that already runs longer than expected, without knowing its output length.
    """

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=RECENT)
        self._sorted: Floats = np.empty(0)
        self._sums: Floats = np.zeros(1)
        self._stale = 0

    def learn(self, expected_s: float, actual_s: float) -> None:
        """Take in one completed row."""
        if expected_s > 0:
            self._last.append(actual_s / expected_s)
            self._stale += 1

    def residuals_s(self, expected_s: Floats, elapsed_s: Floats) -> Floats:
        """Return the mean time left of each row, E[actual | actual > elapsed] - elapsed.

        A row that takes longer than any of the last 500 did is expected to take as long again, and so is one of which
        nothing was expected (0).
        """
        self._sort()
        known = expected_s > 0
        at = elapsed_s / np.where(known, expected_s, 1.0)
        begin = np.searchsorted(self._sorted, at, side="right")
        longer = self._sorted.size - begin
        mean = self._sums[begin] / np.maximum(longer, 1)
        beyond = np.where(known, np.maximum(expected_s - elapsed_s, elapsed_s), elapsed_s)
        residuals: Floats = np.where(known & (longer > 0), expected_s * (mean - at), beyond)
        return residuals

    def _sort(self) -> None:
        if self._stale >= RESORT_EVERY or (self._stale and not self._sorted.size):
            self._sorted, self._stale = np.sort(np.fromiter(self._last, float)), 0
            self._sums = np.append(np.cumsum(self._sorted[::-1])[::-1], 0.0)
