"""Keeps a host's token out of what is repeated of its answers: servers and proxies like to quote what they were sent.

A gateway that refuses a key quotes it, a redirect carries it along in its address, a proxy in debug mode prints all
headers. Such words end up in messages, and those in the log, the database and `status`. Completions are never
changed: a model does not see the headers, and what it said must be stored as it was.

Texts must come here before they are cut to length: of a token that was cut it would not know the rest.

Tokens of fewer than 8 characters are placeholders for servers that want some (`ollama`, `x`), words that belong to
messages; they are let through. A server that means to give away its own token can: it could spell it backwards.
"""

import json
from html import escape
from urllib.parse import quote

LEAST_CHARS = 8
HIDDEN = "[token]"


class Hush:
    """Replaces one token, in every spelling that an honest server would give it."""

    def __init__(self, token: str | None) -> None:
        secret = token if token is not None and len(token) >= LEAST_CHARS else ""
        in_json = json.dumps(secret)[1:-1]
        spellings = {secret, in_json, in_json.replace("/", "\\/"), quote(secret, safe=""), escape(secret)} - {""}
        self._spellings = tuple(sorted(spellings, key=len, reverse=True))
        self._encoded = tuple(spelling.encode() for spelling in self._spellings)

    def of_bytes(self, body: bytes) -> bytes:
        """Return a body without the token; the very same object where it is not in it."""
        for spelling in self._encoded:
            if spelling in body:
                body = body.replace(spelling, HIDDEN.encode())
        return body

    def of_text(self, text: str) -> str:
        """Return a text without the token."""
        for spelling in self._spellings:
            text = text.replace(spelling, HIDDEN)
        return text
