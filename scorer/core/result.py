"""What the queue is told about a task, and what it hands out.

`Tried`, `Done` and `Died` are the three facts a commit can hold; `ResultRow` is one line of the output. Texts may hold
anything a model or a dataset can produce; the queue makes them storable.

Invariants: times are UTC seconds since 1970 on the way in and whole microseconds on the way out, so that a row read
twice is equal to itself; token counts and durations are None where the server did not say.
"""

from dataclasses import dataclass
from typing import NamedTuple

from scorer.core.task import Attempt, TaskKey


@dataclass(frozen=True, slots=True)
class Tried:
    """A failed try of a task that is still waiting for another. `at`: when it ended, UTC seconds."""

    key: TaskKey
    attempt: Attempt
    at: float


class Done(NamedTuple):
    """A task ended with a valid score.

    `fields`: the parsed record in the template's order. `score`: the figure that histograms count, if there is one
    (`figure_of`).
    `kept`: the kept columns as one JSON object. `attempts`: all tries that were sent, this one included.
    """

    key: TaskKey
    fields: dict[str, object]
    score: float | None
    kept: str
    completion: str
    digest: str | None
    host: str
    attempts: int
    prompt_tokens: int | None
    output_tokens: int | None
    duration_s: float
    finished_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Died:
    """A task ended without a score. `error` is `kind: message`; what never reached a host has no host."""

    key: TaskKey
    kind: str
    error: str
    kept: str
    attempts: int
    finished_at: float
    completion: str | None = None
    digest: str | None = None
    host: str | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    duration_s: float | None = None


Entry = Tried | Done | Died


def size_bytes(entry: Entry) -> int:
    """Return about how many bytes an entry's texts take at most, in memory as in the database."""
    if isinstance(entry, Tried):
        return most_bytes(entry.attempt.message, entry.attempt.completion)
    if isinstance(entry, Done):
        # its fields were read out of the completion
        return most_bytes(entry.kept, entry.completion, entry.completion)
    return most_bytes(entry.kept, entry.completion, entry.error)


def most_bytes(*texts: str | None) -> int:
    """Return how many bytes texts take at most, in memory or as UTF-8: a bound that needs no walk over them."""
    total = 0
    for text in texts:
        if text:
            total += len(text) if text.isascii() else 4 * len(text)
    return total


class ResultRow(NamedTuple):
    """One line of the output. A tuple, since a part makes ten thousand of them.

    `fields` and `kept` are JSON objects; `fields` is None for a dead row.
    """

    row: int
    model: str
    sample: int
    fields: str | None
    kept: str
    status: str
    error: str | None
    completion: str | None
    model_digest: str | None
    host: str | None
    attempts: int
    prompt_tokens: int | None
    output_tokens: int | None
    duration_s: float | None
    finished_us: int


class Pending(NamedTuple):
    """A waiting task; a tuple, since there may be millions.

    `tries` counts what was sent before; `history` is what is held against it, oldest first.
    """

    key: TaskKey
    tries: int
    history: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class Counts:
    """How many tasks are in each state."""

    pending: int
    done: int
    dead: int

    @property
    def total(self) -> int:
        """All tasks."""
        return self.pending + self.done + self.dead


@dataclass(frozen=True, slots=True)
class Part:
    """A contiguous range of result numbers, both ends included, and its file once that is recorded."""

    number: int
    first_seq: int
    last_seq: int
    size_bytes: int | None = None
    sha256: str | None = None

    @property
    def rows(self) -> int:
        """Rows of the part."""
        return self.last_seq - self.first_seq + 1

    @property
    def recorded(self) -> bool:
        """Whether its file was published whole. Such a file never changes."""
        return self.sha256 is not None


@dataclass(frozen=True, slots=True)
class HostTotals:
    """What a host has scored so far. `busy_s` sums its requests' durations, `last_finished_at` is UTC seconds."""

    host: str
    rows: int
    prompt_tokens: int
    output_tokens: int
    busy_s: float
    last_finished_at: float


class Timing(NamedTuple):
    """What one score took: seconds from request to answer, and when the answer came, in UTC seconds."""

    host: str
    prompt_tokens: int
    output_tokens: int
    duration_s: float
    finished_at: float


@dataclass(frozen=True, slots=True)
class DeadKind:
    """Dead tasks of one kind, with one of them as an example."""

    kind: str
    count: int
    example: TaskKey
    error: str
