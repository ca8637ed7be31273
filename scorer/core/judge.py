"""From what a host answered to a score, or to the reason why it is none.

Nothing that was cut, truncated or invalid passes; the order of the checks matters, because a truncated prompt gives a
perfectly valid answer to the wrong question.
"""

from collections.abc import Callable
from typing import NamedTuple

from scorer.core.estimate import TokenRatio
from scorer.core.task import Reply
from scorer.core.truncation import looks_truncated
from scorer.errors import FaultKind, RowFault

# servers keep a token or a few for themselves
CONTEXT_SLACK = 8

ParseReply = Callable[[Reply], dict[str, object]]


class Asked(NamedTuple):
    """What the request allowed: the host's context and the output cap in tokens, and the prompt's characters.

    `accept_cut`: an answer that ended at the cap is one all the same, as where a benchmark's metric reads free text.
    """

    num_ctx: int
    num_predict: int
    chars: int
    accept_cut: bool = False


def judge(reply: Reply, asked: Asked, ratio: TokenRatio, parse: ParseReply) -> dict[str, object]:
    """Return the parsed record of a trustworthy reply; raise RowFault otherwise."""
    read = reply.prompt_tokens if reply.reported_prompt_tokens is None else reply.reported_prompt_tokens
    if read is not None and looks_truncated(
        read, asked.num_ctx, ratio.tokens(asked.chars), calibrated=ratio.calibrated
    ):
        raise RowFault(
            FaultKind.CONTEXT_OVERFLOW,
            f"the server cut the prompt silently: it read {read} tokens of about "
            f"{ratio.tokens(asked.chars)}, context {asked.num_ctx}",
            permanent=True,
            completion=reply.text,
        )
    if reply.finish == "length":
        if _context_ended(reply, asked):
            raise RowFault(
                FaultKind.CONTEXT_OVERFLOW,
                f"prompt and answer fill the context of {asked.num_ctx} tokens: the answer ended after "
                f"{reply.output_tokens} of {asked.num_predict}",
                permanent=True,
                completion=reply.text,
            )
        if not asked.accept_cut:
            raise RowFault(
                FaultKind.CUT_OUTPUT, f"the answer was cut at num_predict = {asked.num_predict}", completion=reply.text
            )
    return parse(reply)


def _context_ended(reply: Reply, asked: Asked) -> bool:
    """Whether `length` means the end of the context and not of num_predict: the server gives one word for both."""
    if reply.output_tokens is None or reply.output_tokens >= asked.num_predict:
        return False
    return reply.prompt_tokens is None or reply.prompt_tokens + reply.output_tokens >= asked.num_ctx - CONTEXT_SLACK
