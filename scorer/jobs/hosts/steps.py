"""What long commands about hosts report while they work: one value for each thing that happened, whoever shows it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

State = Literal["working", "done", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Step:
    """How far a host has come with a model. Sizes are in bytes and known only while something is fetched."""

    host: str
    model: str
    text: str
    state: State = "working"
    completed_bytes: int | None = None
    total_bytes: int | None = None


Tell = Callable[[Step], None]
