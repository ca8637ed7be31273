"""When the rows will be done, and how far that guess may be off.

The guess: rows left ÷ the present rate, which counts only hosts that are there (tally.py), so a host that leaves or
comes changes it within half a minute.

The range around it is a *backtest*: every few seconds the rate that was believed is written down, and later compared
with what really came in over the time that followed. If the rate believed at t was r, and R rows a second came in
between t and t + h, that guess was wrong by log(R / r). The guess for what is left is as wrong as those were for an `h`
as long as what is left, or for a third of the run so far if that is shorter: nothing has been seen of longer times. So
hosts that come and go, a throttling laptop, long rows after short ones and a slow start are all in it, in the measure
in which this run has shown them, and nothing is assumed about their kind.

What it means: four in five of the guesses so far were no further off, so four times in five the run ends within the
range if it goes on as it went. While only a few separate times `h` have been seen the range is wider, by Student's t;
while it would be wider than a factor of three there is none, and the guess is only a guess. What never happened before
is not in it: a host that leaves for good, a power cut. `tests/unit/dispatch/test_eta.py` checks in simulated runs how
often the range holds.

Memory is bounded: with MOST notes every second one is forgotten, and from then on they are taken half as often.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

FIRST_STEP_S = 10.0
MOST = 128
LEAST_NOTES = 6
HELD = 0.8
# two-sided 80 % of Student's t by degrees of freedom from 1, and of the normal distribution
STUDENT = (3.08, 1.89, 1.64, 1.53, 1.48, 1.44, 1.41, 1.40, 1.38, 1.37)
NORMAL = 1.28
# beyond a factor of three a range says nothing that helps: the guess is then told without one
MOST_OFF = math.log(3.0)


class Note(NamedTuple):
    """What was known at a time: rows that had come in by then, and the rate that was believed, in rows a second."""

    at: float
    rows: int
    rate: float


@dataclass(frozen=True, slots=True)
class Eta:
    """Seconds until the last row, and the range that holds four times in five; None while it is too early to say."""

    guess_s: float
    low_s: float | None = None
    high_s: float | None = None


class Backtest:
    """Notes of what was believed, and how wrong it was. Times are monotonic seconds, never going back."""

    def __init__(self) -> None:
        self._notes: list[Note] = []
        self._step_s = FIRST_STEP_S

    def note(self, at: float, rows: int, rate: float) -> None:
        """Write down the rate believed now; call it as often as you like, from the moment that rows come in."""
        if self._notes and at - self._notes[-1].at < self._step_s:
            return
        self._notes.append(Note(at, rows, rate))
        if len(self._notes) >= MOST:
            self._notes = self._notes[::2]
            self._step_s *= 2

    def eta(self, left: float, rate: float) -> Eta | None:
        """Return the guess for so many rows at this rate (rows a second), with its range; None without a rate."""
        if rate <= 0:
            return None
        guess_s = left / rate
        off = self._off(guess_s)
        if off is None or off > MOST_OFF:
            return Eta(guess_s)
        return Eta(guess_s, guess_s * math.exp(-off), guess_s * math.exp(off))

    def _off(self, ahead_s: float) -> float | None:
        """Return the logarithm of the factor by which a guess so far ahead may be off; None while too new."""
        notes = self._notes
        if len(notes) < LEAST_NOTES:
            return None
        lag = max(1, min(round(ahead_s / self._step_s), len(notes) // 3))
        wrong = [_wrong(then, later) for then, later in zip(notes, notes[lag:], strict=False) if then.rate > 0]
        if not wrong:
            return None
        spans = max(1, len(notes) // lag - 1)
        wrong.sort()
        return few(spans) * wrong[math.ceil(HELD * len(wrong)) - 1]


def _wrong(then: Note, later: Note) -> float:
    """Return by how much a belief was wrong; half a row stands for none, whose logarithm there is not."""
    came = max(later.rows - then.rows, 0.5) / (later.at - then.at)
    return abs(math.log(came / then.rate))


def few(spans: int) -> float:
    """Return the factor by which a range must be wider when so few separate spans of time were seen."""
    return STUDENT[spans - 1] / NORMAL if spans <= len(STUDENT) else 1.0
