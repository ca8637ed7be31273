"""The double's own record of what it was asked and what it said: the truth that tests compare results with.

One record a request, opened on arrival and closed just before the last byte of the reply is sent, so whoever has a
reply finds it recorded. Written in the server's thread, read in any.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TextIO

OPEN = "open"
ANSWERED = "answered"  # a reply of the kind that was asked for, sound or not
REFUSED = "refused"  # an error reply
CANCELLED = "cancelled"  # the client went away first
DROPPED = "dropped"  # the server closed the connection on purpose (a fault)
RESET = "reset"  # the server went down or restarted meanwhile


@dataclass(slots=True)
class Record:
    """One request and what became of it.

    `index` counts all requests, `generation` those that had something to generate (None for the others); `nth` says
    how often this user text had been seen before. Times are real monotonic seconds, `busy_s` is simulated seconds in
    a slot. `answer` is the completion as JSON (None if it is none), and `sound` says whether it may be believed:
    complete, untruncated and untouched by a fault. `load` is None, `loading`, and then `load`, `reload`,
    `aborted` or `failed`; or `unload`.
    """

    index: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: Any  # parsed JSON, or None
    in_s: float
    out_s: float | None = None
    generation: int | None = None
    nth: int = 0
    user_text: str | None = None
    fault: str | None = None
    status: int | None = None
    outcome: str = OPEN
    content: str | None = None
    answer: Any = None
    sound: bool = False
    truncated: bool = False
    slot: int | None = None
    queued: bool = False
    load: str | None = None
    prompt_tokens: int = 0
    output_tokens: int = 0
    busy_s: float = 0.0

    def as_json(self) -> str:
        """The record as one line, without the headers, which may carry a token."""
        return json.dumps({f.name: getattr(self, f.name) for f in fields(self) if f.name != "headers"})


@dataclass(slots=True)
class Log:
    """All records in order of arrival. With a file, each is written there as it closes, and none is kept in memory."""

    file: TextIO | None = None
    records: list[Record] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)
    _next_index: int = 0

    def open(self, method: str, path: str, headers: Mapping[str, str]) -> Record:
        """Begin the record of a request that has arrived whole."""
        record = Record(self._next_index, method, path, headers, None, time.monotonic())
        self._next_index += 1
        with self.changed:
            if self.file is None:
                self.records.append(record)
            self.changed.notify_all()
        return record

    def close(self, record: Record, outcome: str) -> None:
        """End a record; whatever comes first wins, later calls change nothing."""
        if record.outcome != OPEN:
            return
        with self.changed:
            record.outcome = outcome
            record.out_s = time.monotonic()
            self.changed.notify_all()
        if self.file is not None:
            self.file.write(record.as_json() + "\n")
            self.file.flush()

    def touch(self) -> None:
        """Wake those who wait: a record has changed without being closed."""
        with self.changed:
            self.changed.notify_all()

    def wait_until(self, condition: Callable[[], bool], timeout_s: float) -> None:
        """Wait until the condition holds, looking whenever a record changes; TimeoutError if it never does."""
        with self.changed:
            if not self.changed.wait_for(condition, timeout_s):
                raise TimeoutError(f"not within {timeout_s} s: {condition}")


def answered(records: list[Record]) -> dict[str, list[Any]]:
    """Every sound answer that was sent: user text → the answers, in order of arrival of their requests."""
    answers: dict[str, list[Any]] = {}
    for record in records:
        if record.sound and record.outcome == ANSWERED and record.user_text is not None:
            answers.setdefault(record.user_text, []).append(record.answer)
    return answers


def read_log(lines: TextIO) -> list[Record]:
    """Read back the file that a double in its own process has written, in order of arrival."""
    records = [Record(headers={}, **json.loads(line)) for line in lines if line.endswith("\n")]
    return sorted(records, key=lambda record: record.index)
