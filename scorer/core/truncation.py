"""Recognise a prompt that the server cut without saying so.

Ollama answers 200 with a confident completion to half a prompt when it was not told to refuse (or is too old, or too
new, to listen). The only trace is the number of prompt tokens it reports. Where the cut leaves that number:

    up to 0.24              num_ctx
    0.30.0 to 0.30.10       num_ctx - 1
    from 0.30.11            num_ctx - (num_ctx - keep) // 2, about half; keep is 4, or 5 with a token for the beginning

An honest prompt can have exactly such a length, so the number alone convicts nobody: our own estimate of the prompt
must contradict it as well.
"""

KEPT_AT_FRONT = (4, 5)
# the template's own tokens around the cut text
NEAR_TOKENS = 4
# estimates of a calibrated ratio are within 15 % or so; a cut to half leaves at most 0.5 / 0.85 of the estimate
FAR_BELOW = 0.65


def looks_truncated(prompt_tokens: int, num_ctx: int, estimate_tokens: float, *, calibrated: bool) -> bool:
    """Say whether the server's count of prompt tokens betrays a silent cut.

    `estimate_tokens` is our own estimate of the whole prompt; `calibrated` says that it rests on counts seen from this
    model and template, so that a count far below it is suspicious too.
    """
    if not _where_cuts_end(prompt_tokens, num_ctx):
        return False
    return estimate_tokens > num_ctx or (calibrated and prompt_tokens < FAR_BELOW * estimate_tokens)


def _where_cuts_end(prompt_tokens: int, num_ctx: int) -> bool:
    """Whether one of the known ways to cut leaves this number of tokens."""
    if prompt_tokens >= num_ctx - 1:
        return True
    halves = (num_ctx - (num_ctx - keep) // 2 for keep in KEPT_AT_FRONT)
    return any(abs(prompt_tokens - half) <= NEAR_TOKENS for half in halves)
