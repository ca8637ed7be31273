"""scorer.log: one JSON object a line, rotated, so that a run of weeks can be read afterwards."""

import json
import logging
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType

from scorer.errors import ScorerError

FILE = "scorer.log"
MAX_BYTES = 10 << 20
BACKUPS = 4

logger = logging.getLogger("scorer")


class JsonLines(logging.Formatter):
    """A record as one JSON object: time (UTC), level, kind, text, and what else the event carries."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "kind": getattr(record, "kind", "log"),
            "text": record.getMessage(),
            **getattr(record, "details", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class JobLog:
    """While in the block, log to a job's folder; a bug that leaves the block leaves its traceback there."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._handler = RotatingFileHandler(self._path, maxBytes=MAX_BYTES, backupCount=BACKUPS, encoding="utf-8")
        self._handler.setFormatter(JsonLines())

    def __enter__(self) -> logging.Logger:
        self._level, self._propagate = logger.level, logger.propagate
        logger.addHandler(self._handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        return logger

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, ScorerError):
            logger.error(str(error), extra={"kind": "stopped"})
        elif isinstance(error, Exception):
            logger.critical("a bug", exc_info=error, extra={"kind": "bug"})
            error.add_note(f"the traceback is in {self._path}")
        logger.removeHandler(self._handler)
        logger.setLevel(self._level)
        logger.propagate = self._propagate
        self._handler.close()
