"""From an HTTP answer that is an error to the fault it stands for: what all APIs have in common.

A status says much, but a 400 or 500 can be the row's doing or the set-up's, for good or for now: there only the text
tells. Each API has its literal table of `Rule`s, tried in order; texts not in a table fall to the status.
"""

import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import NamedTuple

import httpx

from scorer.errors import Fault, FaultKind, HostFault, HostUnusable, RowFault, UnclearFault
from scorer.hosts.http import Answer, excerpt

MAX_RETRY_AFTER_S = 3600.0
# what a server complains of, it says at once; the rest may be anything, a megabyte of it
READ_CHARS = 4096

Make = Callable[[str], Fault]


class Rule(NamedTuple):
    """Which text means which fault; the pattern is searched for, without regard to case."""

    pattern: str
    fault: Make


def host(kind: FaultKind) -> Make:
    """Blame the host."""
    return lambda message: HostFault(kind, message)


def unusable(kind: FaultKind) -> Make:
    """Blame the host's set-up."""
    return lambda message: HostUnusable(kind, message)


def row(kind: FaultKind, *, permanent: bool = False) -> Make:
    """Blame the row."""
    return lambda message: RowFault(kind, message, permanent=permanent)


def unclear(kind: FaultKind) -> Make:
    """Blame nobody yet."""
    return lambda message: UnclearFault(kind, message)


class Complaint(NamedTuple):
    """A server's own words, and the particulars that came with them if it gave any."""

    text: str
    details: dict[str, object]


def complaint(document: dict[str, object] | None) -> Complaint | None:
    """Return what an error document says, or None if it is not one.

    Understands {"error": text}, {"error": {"message": …}}, and the first holding the second as JSON in its text, which
    is how Ollama passes on what llama-server said; {"object": "error", "message": …} as older vLLM writes it; and
    {"detail": …} of servers made with FastAPI.
    """
    if document is None:
        return None
    error = document.get("error")
    if isinstance(error, str) and error.lstrip().startswith("{"):
        error = _unpacked(error)
    if document.get("object") == "error":
        error = document
    elif document.keys() == {"detail"}:
        error = _detail(document["detail"])
    elif "error" not in document:
        return None
    if isinstance(error, dict):
        words = (error.get(key) for key in ("message", "type", "code"))
        return Complaint(_unquoted(" ".join(word for word in words if isinstance(word, str) and word)), error)
    return Complaint(_unquoted(str(error)), {})


def _detail(detail: object) -> str:
    """Return what FastAPI complains of, without the part of the request that it quotes: there is the row in it."""
    if isinstance(detail, list):
        found = (f"{entry.get('loc')}: {entry.get('msg')}" for entry in detail if isinstance(entry, dict))
        return "; ".join(found)
    return str(detail)


def _unquoted(text: str) -> str:
    """Cut off what quotes the request, as vLLM's complaints about one do: no row may write the words we look for."""
    return text.partition("'input':")[0]


def _unpacked(text: str) -> object:
    try:
        inner = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return inner.get("error", text) if isinstance(inner, dict) else text


def by_text(rules: Sequence[Rule], text: str) -> Fault | None:
    """Return the fault of the first rule that the text matches."""
    said = text[:READ_CHARS]
    for rule in rules:
        if re.search(rule.pattern, said, re.IGNORECASE | re.DOTALL):
            return rule.fault(excerpt(text))
    return None


def by_status(answer: Answer) -> Fault | None:
    """Return the fault where the status alone says enough; None for those that depend on the text."""
    status = answer.status
    message = f"HTTP {status}: {excerpt(answer.body)}"
    if status in (401, 403, 407):
        return HostUnusable(FaultKind.UNAUTHORISED, f"{message}; check token_env or token_file{_forbidden(answer)}")
    if status == 405:
        return HostUnusable(FaultKind.WRONG_ENDPOINT, f"{message}; check url and api")
    if status in (429, 503):
        return HostFault(FaultKind.BUSY, message, retry_after_s=retry_after_s(answer.headers))
    if status == 413:
        # the row is too large for a proxy on the way, and may pass elsewhere
        return RowFault(FaultKind.BAD_REQUEST, message)
    if status in (408, 499, 502, 504) or (answer.html and status != 404):
        return HostFault(FaultKind.GATEWAY, message)
    return None


def _forbidden(answer: Answer) -> str:
    if answer.status == 403 and not answer.body:
        # a server bound to loopback answers so to a Host header that is not its own
        return ", or let the proxy rewrite the Host header"
    return ""


def overflow(text: str, details: dict[str, object], num_ctx: int) -> RowFault | None:
    """Return the fault of a prompt that was refused for its length, with both numbers where the server gives them."""
    said = text[:READ_CHARS]
    if not re.search(OVERFLOW, said, re.IGNORECASE):
        return None
    prompt = count(details.get("n_prompt_tokens")) or _number(PROMPT_TOKENS, said)
    limit = count(details.get("n_ctx")) or _number(CONTEXT_TOKENS, said)
    if prompt is not None and limit is not None:
        message = f"prompt of {prompt} tokens, context {limit}"
        if prompt < limit:
            message += ": too little room for the answer"
    else:
        message = f"prompt longer than the context of {limit or num_ctx} tokens: {excerpt(text)}"
    return RowFault(FaultKind.CONTEXT_OVERFLOW, message, permanent=True)


def _number(pattern: str, text: str) -> int | None:
    found = re.search(pattern, text, re.IGNORECASE)
    return next(int(group) for group in found.groups() if group) if found else None


OVERFLOW = (
    r"exceed_context_size|context_length_exceeded"
    r"|input length.{0,80}exceeds"
    r"|exceeds (the )?(available )?context"
    r"|longer than the (context|maximum model) length"
    r"|maximum context length"
    # LM Studio, in its own grammar
    r"|when context the overflows|context size has been exceeded"
    # what older versions of vLLM come to when they subtract the prompt from the context
    r"|max_tokens must be at least 1, got -"
)
PROMPT_TOKENS = (
    r"(?:request|input length|prompt tokens) \((\d{1,9})"
    r"|\b(\d{1,9}) (?:in the messages|input tokens)"
    r"|resulted in (\d{1,9}) tokens"
    r"|prompt \(length (\d{1,9})\)"
    r"|keep the first (\d{1,9}) tokens"
)
CONTEXT_TOKENS = r"(?:context (?:length|size)|model length) (?:is |of |of only )?\(?(\d{1,9})"


def retry_after_s(headers: httpx.Headers) -> float | None:
    """Return the server's Retry-After in seconds, at most MAX_RETRY_AFTER_S; None if there is none to understand.

    A date is read against the answer's own Date header, so that no clock of ours matters.
    """
    wish = headers.get("retry-after", "").strip()
    try:
        seconds = float(wish)
    except ValueError:
        seconds = _until(wish, headers.get("date", ""))
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S) if isfinite(seconds) else None


def _until(wish: str, date: str) -> float:
    try:
        later, now = (parsedate_to_datetime(d).replace(tzinfo=UTC) for d in (wish, date))
    except (ValueError, OverflowError):  # the latter for a year or an offset beyond a C integer
        return float("nan")
    return (later - now).total_seconds()


def count(value: object) -> int | None:
    """Return a number of tokens as a server reports it, None if it is not one."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31:
        return value
    return None


def seconds(value: object, per_second: float) -> float | None:
    """Return a duration in seconds from a server's own unit; None if it is missing, zero or not a duration."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e18:
        return value / per_second
    return None


def plain_text(value: object) -> str:
    """Return a string that any file can hold: halves of surrogate pairs become U+FFFD; no string becomes empty."""
    if not isinstance(value, str):
        return ""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def proper_name(value: object) -> str | None:
    """Return a model's name if it is one that can be shown: printable and not endless."""
    return value if isinstance(value, str) and value.isprintable() and 0 < len(value) <= 256 else None
