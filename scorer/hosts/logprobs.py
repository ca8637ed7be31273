"""The candidates for an answer's first token, as both kinds of API list them."""

from math import isfinite

from scorer.hosts.classify import plain_text

MAX_CANDIDATES = 64


def first_token(entries: object) -> tuple[tuple[str, float], ...]:
    """Return (token, natural log-probability) of the candidates for the first token, likeliest first.

    `entries` is the reply's list of generated tokens. Whatever is not of that form is left out: a reply without
    log-probabilities is a good reply, and who needs them sees that there are none.
    """
    if not isinstance(entries, list) or not entries or not isinstance(entries[0], dict):
        return ()
    listed = entries[0].get("top_logprobs")
    found: dict[str, float] = {}
    for entry in [*listed[:MAX_CANDIDATES], entries[0]] if isinstance(listed, list) else [entries[0]]:
        if isinstance(entry, dict) and isinstance(entry.get("token"), str) and _possible(entry.get("logprob")):
            found.setdefault(plain_text(entry["token"]), float(entry["logprob"]))
    return tuple(sorted(found.items(), key=lambda pair: -pair[1]))


def _possible(logprob: object) -> bool:
    return isinstance(logprob, int | float) and not isinstance(logprob, bool) and isfinite(logprob) and logprob <= 0
