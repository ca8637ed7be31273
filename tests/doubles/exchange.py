"""One request being answered: every way out goes through here, so that none is left out of the record.

The record is closed just before the last bytes are handed to the socket.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from doubles import wire
from doubles.record import ANSWERED, REFUSED, Log, Record

JSON = "application/json; charset=utf-8"
NDJSON = "application/x-ndjson"
TEXT = "text/plain; charset=utf-8"
HTML = "text/html"


@dataclass(slots=True)
class Exchange:
    """A request, its connection and its record. `arrived_s` is a simulated instant."""

    connection: wire.Connection
    request: wire.HttpRequest
    record: Record
    log: Log
    arrived_s: float

    def close(self, outcome: str, status: int | None = None) -> None:
        """Close the record; the first to do so wins."""
        self.record.status = self.record.status or status
        self.log.close(self.record, outcome)

    def send(self, status: int, body: bytes, content_type: str, more: Mapping[str, str] | None = None) -> None:
        """Send a whole reply."""
        self.close(ANSWERED if status < 300 else REFUSED, status)
        head = wire.head(status, content_type, len(body), more)
        self.connection.send(head if self.request.method == "HEAD" else head + body)

    def json(self, status: int, document: Mapping[str, Any], more: Mapping[str, str] | None = None) -> None:
        """Send a whole JSON reply."""
        self.send(status, json.dumps(document).encode(), JSON, more)

    def error(self, status: int, text: str) -> None:
        """Send an error as the native API words it."""
        self.json(status, {"error": text})

    def begin(self, content_type: str = NDJSON, length: int | None = None) -> None:
        """Send the head of a 200 whose body follows bit by bit; chunked unless the length is known."""
        self.record.status = 200
        self.connection.send(wire.head(200, content_type, length))

    def line(self, document: Mapping[str, Any]) -> None:
        """Send one line of a stream."""
        self.connection.send(wire.chunk(line(document)))

    def end(self, document: Mapping[str, Any] | None) -> None:
        """Send the last line of a stream, if there is one, and its end."""
        self.close(ANSWERED)
        last = wire.chunk(line(document)) if document is not None else b""
        self.connection.send(last + wire.chunk(b""))


def line(document: Mapping[str, Any]) -> bytes:
    """One line of NDJSON."""
    return json.dumps(document).encode() + b"\n"
