"""Sorts the entries of one commit into rows of tables; keeps the first answer for each task, and no other.

Text is made storable here: a lone surrogate, which is no character and which neither SQLite nor Parquet can hold,
becomes U+FFFD. Everything else is kept as it is, NUL included.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from scorer.core.result import Died, Done, Entry, Tried
from scorer.queue import statements as sql

Key = tuple[int, int, int]
"""A task as the tables know it: the model's number, row, sample."""

_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_SURROGATES = re.compile("[\ud800-\udfff]")


def storable(text: str) -> str:
    """Replace what UTF-8 cannot hold."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return _SURROGATES.sub("\ufffd", text)
    return text


def microseconds(seconds: float) -> int:
    """Return a time or duration in whole microseconds."""
    return round(seconds * 1e6)


class Batch:
    """Rows to write for entries that were added in order. `waiting`: which of their tasks are pending in the tables."""

    def __init__(self, last_seq: int, waiting: set[Key]) -> None:
        self._seq = last_seq
        self._waiting = waiting
        self._attempts: list[dict[str, Any]] = []
        self._tries: list[dict[str, Any]] = []
        self._results: list[dict[str, Any]] = []
        self._dead: list[dict[str, Any]] = []
        self._ends: list[dict[str, Any]] = []
        self._hosts: dict[tuple[int, str], dict[str, Any]] = {}
        self._scores: Counter[tuple[int, str, float]] = Counter()

    def add(self, key: Key, entry: Entry) -> bool:
        """Take an entry in; False if its task is not waiting (any more)."""
        if key not in self._waiting:
            return False
        if isinstance(entry, Tried):
            self._add_try(key, entry)
            return True
        self._waiting.remove(key)
        if isinstance(entry, Done):
            self._add_result(key, entry)
        else:
            self._add_death(key, entry)
        return True

    def writes(self) -> Iterator[tuple[str, Any]]:
        """Yield statements for the driver with their parameters, tries before ends; none without rows."""
        scores = [
            {"model": model, "host": host, "score": score, "rows": rows}
            for (model, host, score), rows in self._scores.items()
        ]
        for statement, rows in (
            (sql.INSERT_ATTEMPT, self._attempts),
            (sql.COUNT_TRY, self._tries),
            (sql.INSERT_RESULT, self._results),
            (sql.INSERT_DEAD, self._dead),
            (sql.END_TASK, self._ends),
            (sql.ADD_TO_HOST_TALLY, list(self._hosts.values())),
            (sql.ADD_TO_SCORE_TALLY, scores),
        ):
            yield from statement.writes(rows)

    def _add_try(self, key: Key, entry: Tried) -> None:
        model, row, sample = key
        attempt = entry.attempt
        self._attempts.append(
            {
                "model": model,
                "row": row,
                "sample": sample,
                "at": microseconds(entry.at),
                "downed": attempt.downed,
                "permanent": attempt.permanent,
                "sent": attempt.sent,
                "void": False,
                "blame": attempt.blame.value,
                "kind": attempt.kind.value,
                "host": storable(attempt.host),
                "message": storable(attempt.message),
                "completion": _storable_or_none(attempt.completion),
            }
        )
        if attempt.sent:
            self._tries.append({"to_model": model, "to_row": row, "to_sample": sample})

    def _add_result(self, key: Key, entry: Done) -> None:
        self._seq += 1
        row = self._end(key, entry, sql.DONE)
        row["seq"] = self._seq
        row["score"] = entry.score
        row["fields"] = fields_json(entry.fields)
        self._results.append(row)
        self._tally(key[0], row["host"], entry, row["finished_at"])

    def _add_death(self, key: Key, entry: Died) -> None:
        row = self._end(key, entry, sql.DEAD)
        row["kind"] = entry.kind
        row["error"] = storable(entry.error)
        self._dead.append(row)

    def _end(self, key: Key, entry: Done | Died, state: int) -> dict[str, Any]:
        """Note the task's end; return the columns that a result and a dead row share."""
        model, row, sample = key
        self._ends.append({"model": model, "row": row, "sample": sample, "state": state, "tries": entry.attempts})
        return {
            "model": model,
            "row": row,
            "sample": sample,
            "attempts": entry.attempts,
            "prompt_tokens": entry.prompt_tokens,
            "output_tokens": entry.output_tokens,
            "duration_s": entry.duration_s,
            "finished_at": microseconds(entry.finished_at),
            "host": _storable_or_none(entry.host),
            "digest": entry.digest,
            "kept": storable(entry.kept),
            "completion": _storable_or_none(entry.completion),
        }

    def _tally(self, model: int, host: str, entry: Done, finished_us: int) -> None:
        sums = self._hosts.get((model, host))
        if sums is None:
            sums = self._hosts[model, host] = {
                "model": model,
                "host": host,
                "rows": 0,
                "prompt_tokens": 0,
                "output_tokens": 0,
                "busy_s": 0.0,
                "last_finished_at": finished_us,
            }
        sums["rows"] += 1
        sums["prompt_tokens"] += entry.prompt_tokens or 0
        sums["output_tokens"] += entry.output_tokens or 0
        sums["busy_s"] += entry.duration_s
        sums["last_finished_at"] = max(sums["last_finished_at"], finished_us)
        if entry.score is not None:
            self._scores[model, host, entry.score] += 1


def fields_json(fields: dict[str, object]) -> str:
    """Write a score's fields as compact JSON; what is no finite number is written as JavaScript writes it."""
    try:
        return to_json(fields, inf_nan_mode="constants").decode()
    except PydanticSerializationError:
        # a lone surrogate, which only free text of a suite can hold
        return storable(_to_json(fields))


def _storable_or_none(text: str | None) -> str | None:
    return None if text is None else storable(text)
