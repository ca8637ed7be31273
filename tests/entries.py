"""Entries of the queue with everything filled in, for tests that care about one or two of their fields."""

from dataclasses import replace

from scorer.core.result import Died, Done, Tried
from scorer.core.task import Attempt, Blame, TaskKey
from scorer.errors import FaultKind


def done(row: int, *, model: str = "m", sample: int = 0, score: float | None = 7.0, **changes: object) -> Done:
    entry = Done(
        key=TaskKey(model, row, sample),
        fields={"score": 7, "reason": f"because of {row}"},
        score=score,
        kept='{"name":"f"}',
        completion='{"score": 7}',
        digest="d" * 64,
        host="p40",
        attempts=1,
        prompt_tokens=100,
        output_tokens=10,
        duration_s=1.5,
        finished_at=1_700_000_000.25,
    )
    return entry._replace(**changes)


def died(row: int, *, model: str = "m", sample: int = 0, kind: str = "deadline", **changes: object) -> Died:
    entry = Died(
        key=TaskKey(model, row, sample),
        kind=kind,
        error=f"{kind}: row {row} took too long",
        kept='{"name":"f"}',
        attempts=3,
        finished_at=1_700_000_001.5,
    )
    return replace(entry, **changes)


def tried(row: int, *, model: str = "m", sample: int = 0, at: float = 1_700_000_000.0, **changes: object) -> Tried:
    attempt = Attempt(host="p40", blame=Blame.UNCLEAR, kind=FaultKind.DEADLINE, message="too slow")
    return Tried(TaskKey(model, row, sample), replace(attempt, **changes), at)
