"""What every script here is told: `python TOOL.py JOB.json`. Nothing but the standard library: each runs elsewhere."""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

COMPLETE, FOUND = "output complete", "rows found: "


@dataclass(frozen=True)
class Job:
    """The rows, the hosts, and how many requests each of them may have in flight. `folder` may be written to."""

    dataset: str
    prompts: str
    template: str
    folder: str
    model: str
    urls: list[str]
    slots: int
    num_ctx: int
    num_predict: int

    def messages(self) -> list[list[dict[str, str]]]:
        """Return the prompt of each row, ready made: rendering them costs the tools nothing."""
        lines = Path(self.prompts).read_text().splitlines()
        return [_messages(row["system"], row["user"]) for row in map(json.loads, lines)]

    @property
    def in_flight(self) -> int:
        """Requests in flight on all addresses together."""
        return self.slots * len(self.urls)


def _messages(system: str, user: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]


def told() -> Job:
    """Return the job that the command line names."""
    return Job(**json.loads(Path(sys.argv[1]).read_text()))


def checked(completion: str | None) -> dict[str, object]:
    """Return the fields of an answer; ValueError if it is none."""
    fields = json.loads(completion or "")
    if not 1 <= fields["score"] <= 10:
        raise ValueError(completion)
    return {"score": fields["score"], "reason": fields["reason"]}


def finished(found: Iterable[tuple[int, object]]) -> None:
    """Tell the parent that the output is complete, then, off the clock, the row and score of each answer in it."""
    print(f"\n{COMPLETE}", flush=True)
    print(f"\n{FOUND}{json.dumps([[row, score] for row, score in found])}", flush=True)
