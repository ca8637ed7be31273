"""How many requests a host gets at once.

No endpoint tells how many requests an Ollama serves in parallel; beyond that number they queue inside it, unseen. So
the limit is climbed by measuring: work done per second (prompt tokens and, weighted, output tokens) with one number of
slots, then with another. A fixed limit (`slots` in hosts.toml) is never changed by measuring.

* **Climb**: double from 1, for as long as that brings a tenth more. A window ends as soon as the answer is beyond the
  noise, since twice as much is seen after a few rows. One doubling without gain may be bad luck and costs next to
  nothing; after two in a row, or a sure fall, the lowest number is taken that is nearly as good as the best one.
* **Probe**, for ever after: the present number, a quarter more, the present one again; or the same with a quarter
  less. What drifts meanwhile lies on both sides of the tried number. More is kept if it brings 3 % and more than the
  noise, less if it costs at most 2 %: where the curve is flat, the limit sinks. What was kept is tried further at once,
  what was not is tried the other way round, and when neither helped there is a long rest. The first probes after a
  climb try half, again and again, since a climb errs upwards.

Only time in which all slots were taken tells anything, and not the first rows after a change. A refusal (503, 429)
lowers the limit for a while; then a fixed one is whole again, and a climbed one probes from where it is.

Invariants: 1 <= value, and a climbed limit is at most MAX_LIMIT. A host that turns slower or faster, however much,
does not upset the limit: only one probe has the change in its middle, and that one costs a step at most.
"""

import math
import random
from dataclasses import dataclass
from enum import Enum

MAX_LIMIT = 256
OUTPUT_WEIGHT = 8.0

# gains are logarithms of ratios of rates
DOUBLING_GAIN = math.log(1.10)
NEARLY_AS_GOOD = math.log(1.15)
UP_GAIN = math.log(1.03)
DOWN_GAIN = math.log(0.98)
STEP = 0.25
FIRST_STEP = 0.5

CLIMB_S = 5.0
CLIMB_MAX_S = 120.0
LEAST_COMPLETIONS = 6
CLIMB_COMPLETIONS = 20
WINDOW_S = 30.0
WINDOW_MAX_S = 300.0
WINDOW_COMPLETIONS = 60
# times the limit: at both ends of a window as many rows are half done, which is noise too
WINDOW_GENERATIONS = 5

# how much the time of a row scatters about what its weight says (standard deviation over mean), and how many standard
# deviations end a window early
NOISE = 0.45
SURE = 1.5
SURE_FALL = 2.0

SHORT_REST_S = 20.0
REST_S = 300.0
JITTER = 0.2

BUSY_FACTOR = 0.7
BUSY_FREEZE_S = 60.0


def work(prompt_tokens: int | None, output_tokens: int | None) -> float:
    """Weigh a completion; a token written costs a host several times one read. At least 1, so that rows count."""
    return max(1.0, (prompt_tokens or 0) + OUTPUT_WEIGHT * (output_tokens or 0))


@dataclass(slots=True)
class _Window:
    """What one number of slots brought: completions, their work, and the seconds they took with all slots taken.

    The first `skip` completions began under another number and do not count; `since` is the last completion of any
    kind, from which the time of the next one counts.
    """

    skip: int
    since: float
    completions: int = 0
    work: float = 0.0
    seconds: float = 0.0

    def add(self, amount: float, now: float, *, saturated: bool) -> None:
        elapsed, self.since = now - self.since, now
        if self.skip > 0:
            self.skip -= 1
        elif saturated:
            self.completions += 1
            self.work += amount
            self.seconds += elapsed

    @property
    def pace(self) -> float:
        """The logarithm of work per second: differences are gains."""
        return math.log(self.work / self.seconds)

    def noise(self, other: "_Window") -> float:
        """Return the standard deviation of the gain of one window over another."""
        return NOISE * math.sqrt(1 / self.completions + 1 / other.completions)

    def joined(self, other: "_Window") -> "_Window":
        """Return both as one, so that the longer one counts more."""
        completions = self.completions + other.completions
        return _Window(0, other.since, completions, self.work + other.work, self.seconds + other.seconds)


class _Stage(Enum):
    """What the present window belongs to: the climb, the first part of a probe, or the comparison with it."""

    CLIMB = "climb"
    BEFORE = "before"
    TRIAL = "trial"


class Limit:
    """The number of slots of one host, `pinned` to a fixed one or climbed from 1.

    `rng` spreads the probes of a fleet over time.
    """

    def __init__(self, fixed: int | None, now: float, rng: random.Random) -> None:
        self.pinned = fixed
        self._rng = rng
        self._frozen_until = now
        self.value = fixed or 1
        self._begin(now)

    def restart(self, now: float) -> None:
        """Start from 1 again after the host was away; a fixed limit stays."""
        if self.pinned is None:
            self._begin(now)

    def completed(self, amount: float, now: float, *, saturated: bool) -> None:
        """Record a completion worth `amount` of work; only time in which all slots were taken tells anything."""
        if now < max(self._frozen_until, self._rest_until):
            self._window.since = now
            return
        if self.pinned is not None:
            self.value = self.pinned
            return
        if now - self._window.since > WINDOW_MAX_S:
            # the host had no rows or rested: not the time that a row takes
            self._set(self.value, now)
            return
        self._window.add(amount, now, saturated=saturated)
        if self._window.seconds <= 0:
            return
        if self._stage is _Stage.CLIMB:
            self._climb(now)
        else:
            self._probe(now)

    def busy(self, now: float) -> None:
        """The server said it has too much to do: fewer slots, and no measuring for a while."""
        if now < self._frozen_until:
            return
        self._frozen_until = now + BUSY_FREEZE_S
        if self.pinned is None and self.value == 1:
            # what refuses a single request refuses all of them: that says nothing about how many it serves
            self._begin(now)
            return
        self._direction, self._step, self._fruitless = 1, STEP, 0
        self._set(max(1, int(self.value * BUSY_FACTOR)), now)
        self._rest(now, BUSY_FREEZE_S)

    def _begin(self, now: float) -> None:
        self._stage = _Stage.CLIMB
        self._levels: dict[int, _Window] = {}
        self._trial: _Window | None = None
        self._without_gain = 0
        self._direction, self._step, self._fruitless = -1, FIRST_STEP, 0
        self._rest_until = now
        self._set(self.pinned or 1, now)

    # -- doubling -------------------------------------------------------------------------------------------------

    def _climb(self, now: float) -> None:
        window = self._window
        late = window.seconds >= CLIMB_MAX_S
        if not late and (window.completions < max(LEAST_COMPLETIONS, self.value) or window.seconds < CLIMB_S):
            return
        if self._levels:
            best = max(self._levels.values(), key=lambda level: level.pace)
            over, noise = window.pace - best.pace - DOUBLING_GAIN, window.noise(best)
            fell = over < -SURE_FALL * noise
            if not (late or fell or over > SURE * noise or window.completions >= CLIMB_COMPLETIONS):
                return
            self._without_gain = 2 if fell else self._without_gain + 1 if over < 0 else 0
        self._levels[self.value] = window
        if self._without_gain < 2 and self.value < MAX_LIMIT:
            self._set(min(2 * self.value, MAX_LIMIT), now)
            return
        enough = max(level.pace for level in self._levels.values()) - NEARLY_AS_GOOD
        self._set(min(slots for slots, level in self._levels.items() if level.pace >= enough), now)
        self._rest(now, SHORT_REST_S)

    # -- probing ----------------------------------------------------------------------------------------------------

    def _probe(self, now: float) -> None:
        """Go on with A-B-A when the present window is full; give the trial up, or take it, as soon as that is sure."""
        window, full = self._window, self._full()
        if self._stage is _Stage.BEFORE:
            if full:
                self._try(window, now)
            return
        if not full and (window.completions < max(LEAST_COMPLETIONS, self.value) or window.seconds < CLIMB_S):
            return
        after = self._trial is not None
        trial, usual = (self._trial, self._before.joined(window)) if self._trial else (window, self._before)
        gain, noise = trial.pace - usual.pace, trial.noise(usual)
        needed = UP_GAIN if self._direction > 0 else DOWN_GAIN
        if gain < needed - SURE * noise:
            self._reject(now)
        elif after and gain > needed + SURE * noise:
            self._keep(now)
        elif full and not after:
            self._trial = window
            self._set(self._usual, now)
        elif full:
            good = gain >= max(needed, noise) if self._direction > 0 else gain >= needed
            (self._keep if good else self._reject)(now)

    def _full(self) -> bool:
        """Whether the window is long enough for a difference of a few per cent."""
        window = self._window
        enough = window.completions >= max(WINDOW_COMPLETIONS, WINDOW_GENERATIONS * self.value)
        return (enough and window.seconds >= WINDOW_S) or window.seconds >= WINDOW_MAX_S

    def _try(self, before: _Window, now: float) -> None:
        self._before, self._usual = before, self.value
        step = max(1, int(self._step * self.value))
        self._tried = min(max(1, self.value + self._direction * step), MAX_LIMIT)
        if self._tried == self._usual:
            self._reject(now)
            return
        self._stage, self._trial = _Stage.TRIAL, None
        self._set(self._tried, now)

    def _keep(self, now: float) -> None:
        self._fruitless = 0
        self._set(self._tried, now)
        self._rest(now, SHORT_REST_S)

    def _reject(self, now: float) -> None:
        """Go back, and try the other direction; when both were in vain, rest."""
        self._set(self._usual, now)
        self._direction, self._step = -self._direction, STEP
        self._fruitless = (self._fruitless + 1) % 2
        long_s = REST_S * self._rng.uniform(1 - JITTER, 1 + JITTER)
        self._rest(now, SHORT_REST_S if self._fruitless else long_s)

    # -- both ---------------------------------------------------------------------------------------------------------

    def _rest(self, now: float, seconds: float) -> None:
        self._stage = _Stage.BEFORE
        self._rest_until = now + seconds

    def _set(self, value: int, now: float) -> None:
        self.value = value
        self._window = _Window(value, now)
