"""Keeps a host's token out of what is repeated of its answers: servers and proxies like to quote what they were sent.

A gateway that refuses a key quotes it, a redirect carries it along in its address, a proxy in debug mode prints all
headers. Such words end up in messages, and those in the log, the database and `status`. So all of an answer comes here
before an adapter sees it, and every message of a try once more. Only a completion that has become a score is stored as
it was said: a model does not see the headers, so that it has such a word from the row.

Texts must come here before they are cut to length: of a token that was cut little is known. Only a message that quotes
a completion has been cut already.

Tokens of fewer than 8 characters are placeholders for servers that want some (`ollama`, `x`), words that belong to
messages; they are let through. A server that means to give away its own token can: it could spell it backwards.
"""

import json
import re
from collections.abc import Callable, Iterator
from html import escape
from urllib.parse import quote

import httpx

LEAST_CHARS = 8
LEAST_CUT_CHARS = 4
HIDDEN = "[token]"
CUT = "…"


class Hush:
    """Replaces one token, in every spelling that an honest server would give it."""

    def __init__(self, token: str | None) -> None:
        secret = token if token is not None and len(token) >= LEAST_CHARS else ""
        # twice, as in a link that is in JSON, or JSON in the text of an error that is JSON
        once = _spelt({secret})
        spellings = _spelt(once) - {""}
        self._spellings = tuple(sorted(spellings, key=len, reverse=True))
        self._encoded = tuple(spelling.encode() for spelling in self._spellings)
        # the longest part of it that all spellings have in common: most answers are seen at once not to hold the token
        self._core = max(re.findall("[A-Za-z0-9]+", secret), key=len, default="")
        self._encoded_core = self._core.encode()

    def of_bytes(self, body: bytes) -> bytes:
        """Return a body without the token."""
        if self._encoded_core in body:
            for spelling in self._encoded:
                body = body.replace(spelling, HIDDEN.encode())
        return body

    def of_text(self, text: str) -> str:
        """Return a text without the token."""
        if self._core in text:
            for spelling in self._spellings:
                text = text.replace(spelling, HIDDEN)
        return text

    def of_message(self, text: str) -> str:
        """Return a text without the token, nor the beginning of one that somebody has cut short with an ellipsis."""
        text = self.of_text(text)
        if CUT in text:
            for beginning in self._beginnings():
                text = text.replace(beginning + CUT, HIDDEN + CUT)
        return text

    def of_document(self, document: dict[str, object] | None, body: bytes) -> dict[str, object] | None:
        """Return the JSON object of a body without the token in any key or text; that very object where it has none.

        None, as for what is no JSON, where it is nested deeper than can be looked through.
        """
        spelt_out = self._encoded_core in body or b"\\u" in body
        if document is None or not self._spellings or not spelt_out:
            return document
        try:
            return {self.of_text(key): self._of_value(value) for key, value in document.items()}
        except RecursionError:
            return None

    def of_headers(self, headers: httpx.Headers) -> httpx.Headers:
        """Return headers without the token in their values."""
        if not self._spellings:
            return headers
        return httpx.Headers([(name, self.of_bytes(value)) for name, value in headers.raw])

    def _of_value(self, value: object) -> object:
        if isinstance(value, str):
            return self.of_text(value)
        if isinstance(value, list):
            return [self._of_value(entry) for entry in value]
        if isinstance(value, dict):
            return {self.of_text(key): self._of_value(entry) for key, entry in value.items()}
        return value

    def _beginnings(self) -> Iterator[str]:
        for spelling in self._spellings:
            for chars in range(len(spelling) - 1, LEAST_CUT_CHARS - 1, -1):
                yield spelling[:chars]


def _in_json(text: str) -> str:
    return json.dumps(text)[1:-1]


def _in_go(text: str) -> str:
    """Spell a text as the JSON of servers written in Go, Ollama among them."""
    return _in_json(text).replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


SPELLINGS: tuple[Callable[[str], str], ...] = (
    str,
    _in_json,
    lambda text: _in_json(text).replace("/", "\\/"),
    _in_go,
    quote,
    lambda text: quote(text, safe=""),
    escape,
    lambda text: escape(text).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),
)


def _spelt(texts: set[str]) -> set[str]:
    return {spell(text) for text in texts for spell in SPELLINGS}
