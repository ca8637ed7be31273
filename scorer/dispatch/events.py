"""What a run tells those who watch it. Events are values; where they go (screen, log, JSON) is not their business."""

from dataclasses import dataclass, field
from typing import Literal

Level = Literal["info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened: a stable `kind` for programs, a sentence for people, and its particulars."""

    kind: str
    text: str
    level: Level = "info"
    details: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HostProgress:
    """One host's line: `state` is a word, rows and tokens are of this run, `rows_per_s` of the last minutes."""

    name: str
    state: str
    running: int
    limit: int
    rows: int
    rows_per_s: float
    prompt_tps: float
    output_tps: float
    last_fault: str | None


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands. `done` and `dead` count the whole job, `eta_s` is None until a rate is known."""

    total: int
    done: int
    dead: int
    in_flight: int
    elapsed_s: float
    rows_per_s: float
    eta_s: float | None
    paused: str | None
    hosts: tuple[HostProgress, ...]
