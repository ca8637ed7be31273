"""Break the control tokens of chat models inside rows, so that a row cannot end its own turn and begin another.

Servers tokenise the whole prompt with control tokens switched on: a row that holds `<|im_end|>` or `</s>` really ends
the turn, whether it was written by an attacker or by an honest page about chat templates. One space after the first
character is enough, since these tokens are matched exactly: `< |im_end|>` still reads the same to a person and a model.

Markup that merely looks like a control token (`<s>` in HTML) is broken too: for some models it *is* the token.
Nothing else in the text changes, and doing it twice changes nothing more.

A row can also put a token together from two of its columns, or finish one that the prompt around it begins, as in
`<{{ tag }}>`. So a prompt is looked at as a whole, and only tokens that its author wrote from the first character to
the last are left alone.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence

_CONTROL_TOKEN = re.compile(
    # ChatML, Llama 3 and 4, Phi, Qwen, GLM, Granite, Command, Kimi, gpt-oss; DeepSeek and Hunyuan with wide bars
    "<(?=([|\uff5c][^\\s<>|\uff5c]{1,64}[|\uff5c]>"
    # Gemma 4 opens with <|turn> and closes with <turn|>
    "|\\|[a-z_]{1,32}>|[a-z_]{1,32}\\|>"
    # Llama 2, Mistral, Gemma 1 to 3, T5-like and base vocabularies: also begin and end of the text
    "|/?s>|(?:bos|eos|pad|unk|mask|sop|eop|BOS_TOKEN|EOS_TOKEN)>|</?SYS>>"
    "|(?:start|end)_of_(?:turn|image|audio)>|extra_id_\\d{1,3}>|SPECIAL_\\d{1,4}>|reserved_\\d{1,4}>"
    # reasoning and tools, tokens of their own in Qwen, DeepSeek, GLM and Seed; code completion; media
    "|/?(?:think|tool_call|tool_response|seed:[a-z_]{1,32})>"
    "|fim_(?:prefix|middle|suffix|pad)>|__media__>|image_soft_token>))"
    # Llama 2, Mistral, GLM, EXAONE; Ollama's own mark of an image
    "|\\[(?=(/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_RESULTS|TOOL_CONTENT|THINK)\\]"
    "|(?:TOOL_CALLS|gMASK|img-\\d{1,9})\\]|\\|[a-z_]{1,32}\\|\\]))"
)


class Authored(str):
    """A piece of a prompt that its author wrote; what comes from a row is any other string."""

    __slots__ = ()


def neutralise(*pieces: str) -> tuple[str, int]:
    """Join the pieces and break every control token that is not wholly `Authored`; return the text and how many."""
    text = "".join(pieces)
    starts, ends = _of_rows(pieces)
    parts: list[str] = []
    begin = 0
    for token in _CONTROL_TOKEN.finditer(text):
        nearest = bisect_right(ends, token.start())
        if nearest < len(starts) and starts[nearest] < max(token.end(1), token.end(2)):
            parts.append(text[begin : token.end()])
            begin = token.end()
    return " ".join((*parts, text[begin:])), len(parts)


def _of_rows(pieces: Sequence[str]) -> tuple[list[int], list[int]]:
    """Return where in the joined text the pieces from rows begin and where they end."""
    starts: list[int] = []
    ends: list[int] = []
    end = 0
    for piece in pieces:
        start, end = end, end + len(piece)
        if piece and not isinstance(piece, Authored):
            starts.append(start)
            ends.append(end)
    return starts, ends
