"""A task, what an attempt at it can come to, and what becomes of it then.

States. The database stores three, and this is the whole table of transitions:

    pending --(valid score)--> done        final
    pending --(verdict DEAD)-> dead        until `scorer retry`
    dead    --(retry)--------> pending

"Running" is not a state: it lives in the dispatcher's memory, so a crash leaves nothing to clean up.

Blame (scheduling.md: three values). A failed attempt is charged to one of them:

    HOST     the row goes back untouched and uncounted. Two *different* hosts found down right after they got the row
             make the row the suspect after all: poison, dead.
    ROW      one charge; three charges are death. A permanent fault (a context overflow that no usable host could
             hold) is death at once. A request that a server calls bad without saying why is death once a second host
             has called it so: the same request fails again wherever it is the row that is wrong.
    UNCLEAR  a charge only once two different hosts gave one, or while only one host could take the row at all.

No row dies of one host alone while another could take it: charges kill only when they come from two hosts or more, or
when a single host can take the row.

Invariants: histories are append-only; `verdict` depends on nothing but its arguments.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from scorer.errors import FaultKind

MAX_CHARGES = 3
POISONED_HOSTS = 2
REFUSING_HOSTS = 2


class State(StrEnum):
    """What the database stores of a task."""

    PENDING = "pending"
    DONE = "done"
    DEAD = "dead"


TRANSITIONS: dict[State, frozenset[State]] = {
    State.PENDING: frozenset({State.DONE, State.DEAD}),
    State.DONE: frozenset(),
    State.DEAD: frozenset({State.PENDING}),
}


class Blame(StrEnum):
    """Who is charged for a failed attempt."""

    HOST = "host"
    ROW = "row"
    UNCLEAR = "unclear"
    NOBODY = "nobody"  # we cancelled it ourselves, or our own network or machine was away


class TaskKey(NamedTuple):
    """Identity of a task: the model's name, the row's 0-based index in the dataset, the sample's index."""

    model: str
    row: int
    sample: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """One failed try of a task on one host.

    `downed`: the host was found down right after this request. `permanent`: no other try can help. `completion`: what
    the model said, as long as this is news; histories are without it.
    """

    host: str
    blame: Blame
    kind: FaultKind
    message: str
    downed: bool = False
    permanent: bool = False
    completion: str | None = None
    sent: bool = True


class Task(NamedTuple):
    """A unit of work in memory; a tuple like all that is made anew for each row, since a frozen class costs thrice.

    `user` is the rendered prompt after the constant system text. `kept` are the kept columns as one JSON object.
    `chars` counts system and user text. `tries` counts what was sent before, cut-off runs not included. `recipe` names
    which of the run's ways of asking is this row's; empty where there is only one.
    """

    key: TaskKey
    user: str
    chars: int
    kept: str = "{}"
    history: tuple[Attempt, ...] = ()
    tries: int = 0
    recipe: str = ""

    def failed_on(self, host: str) -> bool:
        """Whether this host already failed the row with a fault that was not the host's own."""
        return any(a.host == host and a.blame in (Blame.ROW, Blame.UNCLEAR) for a in self.history)

    def after(self, attempt: Attempt) -> "Task":
        """Return the task with one more attempt in its history, without the completion: it may be long."""
        return self._replace(history=(*self.history, replace(attempt, completion=None)))


@dataclass(frozen=True, slots=True)
class Dead:
    """The verdict that ends a task without a score."""

    kind: FaultKind
    message: str


def verdict(history: Sequence[Attempt], takers: int, *, larger_context: bool) -> Dead | None:
    """Say whether a task is dead after these attempts; None lets it wait for another try.

    `takers` is the number of hosts that could take the row at all, the last one that failed it and each in service;
    `larger_context` says whether a configured host has a larger context than the one that reported an overflow.
    """
    if not history:
        return None
    last = history[-1]
    if last.kind is FaultKind.CONTEXT_OVERFLOW and last.blame is Blame.ROW:
        return None if larger_context else Dead(last.kind, last.message)
    if last.permanent:
        return Dead(last.kind, last.message)
    # one that blames nobody is kept too, and read again by the next start
    downed = {a.host for a in history if a.downed and a.blame is not Blame.NOBODY}
    if len(downed) >= POISONED_HOSTS:
        hosts = ", ".join(sorted(downed))
        return Dead(FaultKind.POISON, f"hosts went down right after this row: {hosts}")
    alone = takers <= 1
    refusing = {a.host for a in history if _is_refusal(a)}
    if len(refusing) >= REFUSING_HOSTS or (alone and _is_refusal(last)):
        return Dead(FaultKind.BAD_REQUEST, next(a.message for a in reversed(history) if _is_refusal(a)))
    charged = [a for a in history if a.blame is Blame.ROW]
    unclear = [a for a in history if a.blame is Blame.UNCLEAR]
    if alone or len({a.host for a in unclear}) > 1:
        charged += unclear
    if len(charged) >= MAX_CHARGES and (alone or len({a.host for a in charged}) > 1):
        reason = next(a for a in reversed(history) if a in charged)
        return Dead(reason.kind, reason.message)
    return None


def _is_refusal(attempt: Attempt) -> bool:
    return attempt.kind is FaultKind.BAD_REQUEST and attempt.blame is Blame.ROW


@dataclass(frozen=True, slots=True)
class Variation:
    """How the next request for a row differs from the first: at temperature 0 the same one gives the same answer."""

    seed_step: int = 0
    temperature_step: float = 0.0
    num_predict_factor: int = 1


PLAIN = Variation()
_WITHOUT_COMPLETION = (FaultKind.CONTEXT_OVERFLOW, FaultKind.BAD_REQUEST)


def variation(history: Sequence[Attempt]) -> Variation:
    """Change what can help: seed and a little temperature after a bad completion, more room after a cut one."""
    bad = sum(a.blame is Blame.ROW and a.kind not in _WITHOUT_COMPLETION for a in history)
    if not bad:
        return PLAIN
    cut = sum(a.kind is FaultKind.CUT_OUTPUT for a in history)
    return Variation(seed_step=bad, temperature_step=min(0.1 * bad, 0.5), num_predict_factor=min(2**cut, 4))


class Reply(NamedTuple):
    """What a host answered, before anyone believed it.

    Times are seconds as the server measured them, None where it does not say. `finish` is `stop` or `length`; anything
    else never becomes a Reply. `prompt_tokens` counts the whole prompt whether or not a cache saved computing it;
    `reported_prompt_tokens` is the server's figure even where it leaves out what its cache held. `first_token` are the
    likeliest candidates for the first token with their natural log-probabilities, likeliest first; empty unless asked
    for and given.
    """

    text: str
    finish: str
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    prefill_s: float | None = None
    decode_s: float | None = None
    load_s: float | None = None
    reported_prompt_tokens: int | None = None
    first_token: tuple[tuple[str, float], ...] = ()


class Scored(NamedTuple):
    """An attempt that ended with a valid score. `fields` is the parsed record, score first."""

    reply: Reply
    fields: dict[str, object]
    duration_s: float


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt that ended without one."""

    attempt: Attempt
    duration_s: float
    retry_after_s: float | None = None


Outcome = Scored | Failed
