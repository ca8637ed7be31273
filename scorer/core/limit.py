"""How many requests a host gets at once.

No endpoint tells how many requests an Ollama serves in parallel; beyond that number they queue inside it, unseen. So
the limit is climbed by measuring: work done per second (prompt tokens and, weighted, output tokens) in a window, at 1,
2, 4 … slots, for as long as doubling brings at least a tenth more. A fixed limit (`slots` in hosts.toml) is never
changed by measuring.

A refusal (503, 429) lowers the limit for a while; then a fixed one is whole again and a climbed one climbs on.

Invariants: 1 <= value, and a climbed limit is at most MAX_LIMIT.
"""

MAX_LIMIT = 256
MIN_GAIN = 1.1
WINDOW_S = 30.0
WINDOW_COMPLETIONS = 60
WINDOW_MAX_S = 300.0
BUSY_FACTOR = 0.7
BUSY_FREEZE_S = 60.0
OUTPUT_WEIGHT = 8.0


def work(prompt_tokens: int | None, output_tokens: int | None) -> float:
    """Weigh a completion; a token written costs a host several times one read. At least 1, so that rows count."""
    return max(1.0, (prompt_tokens or 0) + OUTPUT_WEIGHT * (output_tokens or 0))


class Limit:
    """The number of slots of one host, fixed or climbed from 1."""

    def __init__(self, fixed: int | None, now: float) -> None:
        self._fixed = fixed
        self._settled = fixed is not None
        self._base: tuple[int, float] | None = None
        self._frozen_until = now
        self._since = now
        self._seen = 0
        self._work = 0.0
        self.value = fixed or 1

    def restart(self, now: float) -> None:
        """Start from 1 again after the host was away; a fixed limit stays."""
        if self._fixed is None:
            self.value, self._settled, self._base = 1, False, None
            self._begin(now)

    def completed(self, amount: float, now: float, *, saturated: bool) -> None:
        """Record a completion worth `amount` of work; only time in which all slots were taken tells anything."""
        if now < self._frozen_until:
            return
        if self._fixed is not None:
            self.value = self._fixed
        if self._settled:
            return
        if not saturated:
            self._begin(now)
            return
        self._seen += 1
        if self._seen <= self.value:
            # the first completions after a change were started under the old limit
            self._since = now
            return
        self._work += amount
        elapsed = now - self._since
        enough = elapsed >= WINDOW_S and self._seen >= max(WINDOW_COMPLETIONS, 3 * self.value)
        if enough or elapsed >= WINDOW_MAX_S:
            self._judge(self._work / elapsed, now)

    def busy(self, now: float) -> None:
        """The server said it has too much to do: fewer slots, and no climbing for a while."""
        if now < self._frozen_until:
            return
        self.value = max(1, int(self.value * BUSY_FACTOR))
        self._settled, self._base = self._fixed is not None, None
        self._frozen_until = now + BUSY_FREEZE_S
        self._begin(now)

    def _judge(self, rate: float, now: float) -> None:
        if self._base is not None and rate < MIN_GAIN * self._base[1]:
            self.value, self._settled = self._base[0], True
            return
        self._base = (self.value, rate)
        if self.value >= MAX_LIMIT:
            self._settled = True
            return
        self.value = min(2 * self.value, MAX_LIMIT)
        self._begin(now)

    def _begin(self, now: float) -> None:
        self._since = now
        self._seen = 0
        self._work = 0.0
