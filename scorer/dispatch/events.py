"""What a run tells those who watch it. Events are values; where they go (screen, log, JSON) is not their business."""

from dataclasses import dataclass, field
from typing import Literal

Level = Literal["info", "warning", "error"]

# states of a host in which it scores rows, or will as soon as there are some for it
WELL = frozenset({"up", "busy"})


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened: a stable `kind` for programs, a sentence for people, and its particulars."""

    kind: str
    text: str
    level: Level = "info"
    details: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HostProgress:
    """One host's line: `state` is a word, rows and tokens are of this run, rates of the last minutes.

    What the scheduler believes of it, None before it has shown anything: `prefill_tps` and `decode_tps`, the tokens a
    second that one request reads and writes, and `row_s`, the seconds of a typical row.
    """

    name: str
    state: str
    running: int
    limit: int
    rows: int
    rows_per_s: float
    prompt_tps: float
    output_tps: float
    last_fault: str | None
    prefill_tps: float | None = None
    decode_tps: float | None = None
    row_s: float | None = None

    @property
    def well(self) -> bool:
        """Whether it does what it is there for."""
        return self.state in WELL


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands. `done` and `dead` count the whole job, `eta_s` is None until a rate is known.

    Four times in five the run ends between `eta_low_s` and `eta_high_s` (dispatch/eta.py says what that rests on).
    `paused` is why no rows are taken; there is no end in sight then. `gives_up_in_s` is how long it will still wait for
    hosts, None while one can take what is left.
    """

    total: int
    done: int
    dead: int
    in_flight: int
    elapsed_s: float
    rows_per_s: float
    eta_s: float | None
    paused: str | None
    hosts: tuple[HostProgress, ...]
    eta_low_s: float | None = None
    eta_high_s: float | None = None
    gives_up_in_s: float | None = None
