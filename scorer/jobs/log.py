"""scorer.log: one JSON object a line, rotated, so that a run of weeks can be read afterwards.

It is a convenience: a disk on which nothing can be written is told of elsewhere, and stops no run because of its log.
What could not be written waits in the file's buffer, as far as that goes.

Each job logs by itself, outside the tree of the process's loggers: neither another job nor the program that runs it
sees any of that, and their own settings stay as they are.
"""

import json
import logging
import sys
from contextlib import suppress
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType

from scorer.errors import ScorerError, StoreError

FILE = "scorer.log"
MAX_BYTES = 10 << 20
BACKUPS = 4


class JsonLines(logging.Formatter):
    """A record as one JSON object: time (UTC), level, kind, text, and what else the event carries."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "kind": getattr(record, "kind", "log"),
            "text": record.getMessage(),
            # an event about a row that failed has a kind of its own: the fault's
            **{"fault" if key == "kind" else key: value for key, value in getattr(record, "details", {}).items()},
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class _Patient(RotatingFileHandler):
    """Leaves a full disk alone; the usual handler prints a traceback for every line."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (logging's name)
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        with suppress(OSError):
            super().close()


class JobLog:
    """While in the block, log to a job's folder; a bug that leaves the block leaves its traceback there."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        try:
            self._handler = _Patient(self._path, maxBytes=MAX_BYTES, backupCount=BACKUPS, encoding="utf-8")
        except OSError as error:
            raise StoreError(f"cannot write {self._path}: {error.strerror}") from None
        self._handler.setFormatter(JsonLines())
        self._logger = logging.Logger("scorer", logging.INFO)
        self._logger.addHandler(self._handler)

    def __enter__(self) -> logging.Logger:
        return self._logger

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, ScorerError):
            self._logger.error(str(error), extra={"kind": "stopped"})
        elif isinstance(error, Exception):
            self._logger.critical("a bug", exc_info=error, extra={"kind": "bug"})
            error.add_note(f"the traceback is in {self._path}")
        self._logger.removeHandler(self._handler)
        self._handler.close()
