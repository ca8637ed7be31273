"""How fast rows come in: of each host and of all, over the last minutes in which the host was there.

Only time in which a host was there counts, so a host's rate is what it does when it is up, and the rate of all is the
sum over those that are there now: it follows at once when one leaves or comes back. A host counts as there until it
has been away for GONE_AFTER_S, since most absences are a hiccup, and a rate that jumps at each of them helps nobody.
A host that does few rows is looked at over a longer time, until there are LEAST_ROWS of them to divide. Time in which
no rows could be taken at all (a full disk, a process that was stopped) is nobody's and does not count.

What is shown is the rate of the last five minutes, and an end that is near is reckoned with it. One that is far off is
reckoned with the last hour's, and with how much of its time each host is there at all: a laptop that sleeps at night
counts for two thirds by day, and is not given up at night, but the less, the longer it stays away (not at all after
twice its longest absence; a host that was never away before, at once). Of a host with hours it is known when it rests:
that is no absence, and the end is where the hosts' rates within their hours add up to what is left.
"""

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import time

from scorer.core.hours import Hours
from scorer.dispatch.eta import Backtest, Eta

RATE_WINDOW_S = 300.0
STEADY_WINDOW_S = 3600.0
# an end further off than this is reckoned with the steady rate
FAR_S = 1800.0
# time for which a new host is taken to have been there before
FAITH_S = 1800.0
LEAST_ROWS = 8
BUCKET_S = 5.0
GONE_AFTER_S = 30.0
NO_HOURS: Mapping[str, Hours] = {}
MIDNIGHT = time()
CLOSE = 1e-4


@dataclass(frozen=True, slots=True)
class Rate:
    """Rows, prompt tokens and output tokens per second."""

    rows_per_s: float = 0.0
    prompt_tps: float = 0.0
    output_tps: float = 0.0

    def __add__(self, other: "Rate") -> "Rate":
        return Rate(
            self.rows_per_s + other.rows_per_s,
            self.prompt_tps + other.prompt_tps,
            self.output_tps + other.output_tps,
        )


@dataclass(slots=True)
class _Sums:
    """What came in during some seconds."""

    seconds: float = 0.0
    rows: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0

    def add(self, other: "_Sums", sign: int = 1) -> None:
        self.seconds += sign * other.seconds
        self.rows += sign * other.rows
        self.prompt_tokens += sign * other.prompt_tokens
        self.output_tokens += sign * other.output_tokens


class _Window:
    """Counts of the last seconds of presence, in buckets: at least so many seconds, and longer for few rows."""

    def __init__(self, seconds: float) -> None:
        self._least_s = seconds
        self._buckets: deque[_Sums] = deque()
        self._all = _Sums()

    def add(self, counts: _Sums) -> None:
        if not self._buckets or self._buckets[-1].seconds >= BUCKET_S:
            self._buckets.append(_Sums())
        self._buckets[-1].add(counts)
        self._all.add(counts)

    def forget(self) -> None:
        """Let go of the oldest buckets that are not needed."""
        while len(self._buckets) > 1:
            oldest = self._buckets[0]
            kept_s, kept_rows = self._all.seconds - oldest.seconds, self._all.rows - oldest.rows
            enough = self._least_s if kept_rows >= LEAST_ROWS or not self._all.rows else STEADY_WINDOW_S
            if kept_s < enough:
                return
            self._all.add(self._buckets.popleft(), -1)

    def rate(self) -> Rate:
        span_s = max(self._all.seconds, BUCKET_S)
        return Rate(self._all.rows / span_s, self._all.prompt_tokens / span_s, self._all.output_tokens / span_s)


class Tally:
    """One host's counts over the time in which it was there."""

    def __init__(self) -> None:
        self.rows = 0
        self.last_there = float("-inf")
        self._known_s = self._there_s = self._away_s = self._longest_away_s = 0.0
        self._recent = _Window(RATE_WINDOW_S)
        self._steady = _Window(STEADY_WINDOW_S)

    def scored(self, prompt_tokens: int | None, output_tokens: int | None) -> None:
        """Count one scored row."""
        self.rows += 1
        self._add(_Sums(0.0, 1, prompt_tokens or 0, output_tokens or 0))

    def pass_time(self, seconds: float, *, there: bool) -> None:
        """Count time in which the host was there, or was not."""
        if not there and not self._there_s:
            # what was never there yet cannot be away
            return
        self._known_s += seconds
        if not there:
            self._away_s += seconds
            return
        self._longest_away_s = max(self._longest_away_s, self._away_s)
        self._away_s = 0.0
        self._there_s += seconds
        self._add(_Sums(seconds))
        self._recent.forget()
        self._steady.forget()

    def rate(self) -> Rate:
        """Return the mean rates over the last minutes; nothing is known of the first moments."""
        return self._recent.rate()

    def expected_rate(self) -> float:
        """Return the rows per second to be expected in the long run, present or not."""
        presence = (self._there_s + FAITH_S) / (self._known_s + FAITH_S)
        if self._away_s:
            hope_s = 2 * self._longest_away_s
            presence *= max(0.0, 1 - self._away_s / hope_s) if hope_s else 0.0
        return self._steady.rate().rows_per_s * presence

    def _add(self, counts: _Sums) -> None:
        self._recent.add(counts)
        self._steady.add(counts)


class Tallies:
    """All hosts' counts, and what they say about the end. Times are monotonic seconds."""

    def __init__(self, now: float) -> None:
        self._hosts: dict[str, Tally] = {}
        self._there: frozenset[str] = frozenset()
        self._looked = now
        self._idle_s = 0.0
        self._near, self._far = Backtest(), Backtest()
        self._hours: Mapping[str, Hours] = NO_HOURS
        self._local = MIDNIGHT

    def host(self, name: str) -> Tally:
        """Return a host's counts, empty ones for a new host."""
        return self._hosts.setdefault(name, Tally())

    def look(
        self, now: float, up: Collection[str], hours: Mapping[str, Hours] = NO_HOURS, local: time = MIDNIGHT
    ) -> None:
        """Take note of which hosts are up; call it about once a second. `local`: the time of day that `hours` mean."""
        self._hours, self._local = hours, local
        for name, tally in self._hosts.items():
            if name in self._there or self._may_work(name):
                tally.pass_time(now - self._looked, there=name in self._there)
        self._looked = now
        for name in up:
            self.host(name).last_there = now
        self._there = frozenset(n for n, tally in self._hosts.items() if now - tally.last_there <= GONE_AFTER_S)
        if rows := sum(tally.rows for tally in self._hosts.values()):
            worked = now - self._idle_s
            self._near.note(worked, rows, self.rate().rows_per_s)
            self._far.note(
                worked, rows, sum(t.expected_rate() for name, t in self._hosts.items() if self._may_work(name))
            )

    def pass_over(self, now: float) -> None:
        """Leave the time since the last look out of everything."""
        self._idle_s += now - self._looked
        self._looked = now

    def rate(self) -> Rate:
        """Return the rate of all hosts that are there."""
        return sum((self._hosts[name].rate() for name in self._there), Rate())

    def eta(self, left: float) -> Eta | None:
        """Return when so many rows will have been scored; None while no rate is known."""
        far_s = self._far_s(left)
        if far_s is not None and far_s > FAR_S:
            return self._far.eta(left, left / far_s)
        return self._near.eta(left, self.rate().rows_per_s)

    def _may_work(self, name: str) -> bool:
        hours = self._hours.get(name)
        return hours is None or hours.covers(self._local)

    def _far_s(self, left: float) -> float | None:
        """Return after how many seconds the expected rates add up to so many rows; None while none is known."""
        rates = {name: rate for name, tally in self._hosts.items() if (rate := tally.expected_rate()) > 0}
        if not rates:
            return None
        timed = [(rate, self._hours[name]) for name, rate in rates.items() if name in self._hours]
        steady = sum(rate for name, rate in rates.items() if name not in self._hours)
        if not timed:
            return left / steady

        def done(ahead_s: float) -> float:
            return steady * ahead_s + sum(rate * hours.covered_s(self._local, ahead_s) for rate, hours in timed)

        low_s, high_s = 0.0, left / sum(rates.values())
        while done(high_s) < left * (1 - CLOSE):
            low_s, high_s = high_s, 2 * high_s
        while high_s - low_s > CLOSE * high_s:
            middle_s = (low_s + high_s) / 2
            low_s, high_s = (middle_s, high_s) if done(middle_s) < left else (low_s, middle_s)
        return high_s
