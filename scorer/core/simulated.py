"""What a simulation is made of: hosts with their true speeds, what happens to them, and rows with their true lengths.

Nothing here decides anything. The scheduler never sees these figures: it learns from replies like the real one.

A host that `dies` resets its connections and refuses new ones; one that `sleeps` falls silent, as a laptop does whose
lid was closed; `fails_fast` answers every request with an error at once; `garbage` takes its time and then answers what
the template does not ask for. `slows` divides the speed by `factor`, for rows in flight too. `joins`: it was not there
before. All but `joins` end at `until_s`, if that is given.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from scorer.core.task import Task, TaskKey

CHARS_PER_TOKEN = 4.0
KNOWN_WITHIN = 0.15

EventKind = Literal["dies", "joins", "slows", "sleeps", "fails_fast", "garbage"]
AWAY: tuple[EventKind, ...] = ("dies", "sleeps")
USELESS: tuple[EventKind, ...] = ("dies", "sleeps", "fails_fast", "garbage")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SimEvent:
    """Something that happens to a host. `factor`: how much slower; `until_s`: when it is over, never if None."""

    at_s: float
    kind: EventKind
    factor: float = 1.0
    until_s: float | None = None

    def holds(self, now: float) -> bool:
        """Whether it is in force now."""
        return self.at_s <= now < (math.inf if self.until_s is None else self.until_s)


@dataclass(frozen=True, slots=True)
class SimHost:
    """A host of a fleet file. Speeds are per slot, in tokens a second; `climb`: the scheduler is not told `slots`.

    No `models`: it serves all. `load_s`: what loading a model takes, at the first row and whenever the model changes.
    """

    name: str
    prefill_tps: float
    decode_tps: float
    overhead_s: float = 0.05
    slots: int = 1
    max_context: int | None = None
    models: tuple[str, ...] = ()
    load_s: float = 0.0
    climb: bool = False
    events: tuple[SimEvent, ...] = ()

    def service_s(self, prompt_tokens: float | Floats, output_tokens: float) -> float | Floats:
        """Return the seconds rows take in one slot, noise, loads and events aside."""
        return self.overhead_s + prompt_tokens / self.prefill_tps + output_tokens / self.decode_tps

    def serves(self, model: str) -> bool:
        """Whether it has the model."""
        return not self.models or model in self.models

    def doing(self, kind: EventKind, now: float) -> SimEvent | None:
        """Return the event of a kind that is in force now."""
        return next((event for event in self.events if event.kind == kind and event.holds(now)), None)

    def away(self, now: float) -> bool:
        """Whether requests do not get through: it has died, sleeps, or has not joined yet."""
        absent = any(event.kind == "joins" and now < event.at_s for event in self.events)
        return absent or any(self.doing(kind, now) for kind in AWAY)

    def useful(self, now: float) -> bool:
        """Whether scores come from it now."""
        return not self.away(now) and not any(self.doing(kind, now) for kind in USELESS)

    def slower(self, now: float) -> float:
        """Return by how much all is slower now than its speeds say."""
        return math.prod(event.factor for event in self.events if event.kind == "slows" and event.holds(now))

    def edges(self) -> list[float]:
        """Return the moments at which something changes, in order."""
        moments = {event.at_s for event in self.events} | {e.until_s for e in self.events if e.until_s is not None}
        return sorted(moments)

    def end_s(self, start: float, service_s: float) -> float:
        """Return when a row is done that takes so long at full speed, however the speed changes on the way."""
        now, left = start, service_s
        for edge in self.edges():
            if edge > now:
                slower = self.slower(now)
                if left * slower <= edge - now:
                    break
                left -= (edge - now) / slower
                now = edge
        return now + left * self.slower(now)


@dataclass(frozen=True, slots=True)
class Work:
    """The rows of a simulation: how many, prompts lognormal with a median and sigma, outputs one of `output_tokens`.

    Each model has an equal share of the rows, with those of the first model first.
    """

    rows: int
    seed: int = 0
    median_tokens: float = 400.0
    sigma: float = 1.0
    output_tokens: tuple[int, ...] = (60,)
    noise_cv: float = 0.3
    models: tuple[str, ...] = ("model",)


class Rows:
    """The rows' true lengths in tokens, and what the scheduler is told of them: characters, which tell them roughly."""

    def __init__(self, work: Work) -> None:
        rng = np.random.default_rng(work.seed)
        lengths = np.exp(rng.normal(math.log(work.median_tokens), work.sigma, work.rows))
        self.prompt: Floats = np.maximum(1.0, np.round(lengths))
        self.output = rng.choice(np.array(work.output_tokens, float), work.rows)
        self.chars = self.prompt * CHARS_PER_TOKEN * rng.uniform(1 - KNOWN_WITHIN, 1 + KNOWN_WITHIN, work.rows)
        self.model = np.arange(work.rows) * len(work.models) // work.rows
        self._names = work.models

    def task(self, row: int) -> Task:
        """Return a row as the scheduler gets it."""
        return Task(TaskKey(self._names[self.model[row]], row, 0), "", max(1, round(self.chars[row])))
