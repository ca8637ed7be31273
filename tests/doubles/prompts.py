"""What becomes of a prompt that is longer than the context: cut without a word, or refused, by era and kind of model.

Pure. The table is ollama.md's: the counts that a reply gives after a silent cut are the only sign of it.
"""

import json
from dataclasses import dataclass

from doubles.answers import TEMPLATE_TOKENS, TOKEN_CHARS
from doubles.calls import Call, Refusal
from doubles.spec import is_era_b, version_tuple

HONOURS_TRUNCATE = (0, 12, 6)
CUTS_TO_HALF = (0, 30, 11)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model gets to see. `text` is the whole rendered prompt, `seen` what its answer depends on."""

    text: str
    seen: str
    tokens: int
    truncated: bool = False


def prompt_tokens(contents: list[str]) -> int:
    """Tokens of a prompt made of these message contents: a quarter of the characters, rounded up, and a constant."""
    return -(-sum(map(len, contents)) // TOKEN_CHARS) + TEMPLATE_TOKENS


def fit(call: Call, num_ctx: int, version: str) -> Prompt:
    """The prompt as the server of this version feeds it to a context of `num_ctx` tokens, or a Refusal (400)."""
    truncates = call.truncate or version_tuple(version) < HONOURS_TRUNCATE
    if call.model.inference == "mlx":
        num_ctx = call.model.max_context
    contents = _drop_oldest(call, num_ctx) if truncates else [content for _, content in call.messages]
    tokens = prompt_tokens(contents)
    text = "\n".join(contents)
    # llama-server wants room for one token more than the prompt
    if tokens <= num_ctx - is_era_b(version):
        return Prompt(text, call.user_text, tokens)
    if call.model.inference == "mlx":
        raise Refusal(
            400, f"input length ({tokens} tokens) exceeds the model's maximum context length ({num_ctx} tokens)"
        )
    if not is_era_b(version):
        if not truncates:
            raise Refusal(400, "the input length exceeds the context length")
        return cut(text, num_ctx)
    if not truncates or call.model.inference == "native":
        raise Refusal(400, overflow_text(tokens, num_ctx))
    if not call.shift:
        raise Refusal(400, "the prompt is longer than the context length currently available to the model")
    return cut(text, half(num_ctx, call.num_keep) if version_tuple(version) >= CUTS_TO_HALF else num_ctx - 1)


def half(num_ctx: int, num_keep: int) -> int:
    """Tokens that 0.30.11 and later leave of an over-long prompt: 2050 of 4096."""
    return num_ctx - (num_ctx - num_keep) // 2


def cut(text: str, tokens: int) -> Prompt:
    """A prompt cut to its tail. The answer depends on what is missing, so it is never the right one's by itself."""
    tail = text[-tokens * TOKEN_CHARS :]
    return Prompt(tail, f"cut\0{tail}", tokens, truncated=True)


def overflow_text(tokens: int, num_ctx: int) -> str:
    """The `error` of era B: itself a JSON document in a string."""
    message = f"request ({tokens} tokens) exceeds the available context size ({num_ctx} tokens), try increasing it"
    inner = {
        "code": 400,
        "message": message,
        "type": "exceed_context_size_error",
        "n_prompt_tokens": tokens,
        "n_ctx": num_ctx,
    }
    return json.dumps({"error": inner}, separators=(",", ":"))


def _drop_oldest(call: Call, num_ctx: int) -> list[str]:
    """Drop whole messages from the front until the rest fits; system messages and the last one stay."""
    kept = list(call.messages)
    while prompt_tokens([content for _, content in kept]) > num_ctx:
        oldest = next((m for m in kept[:-1] if m[0] != "system"), None)
        if oldest is None:
            break
        kept.remove(oldest)
    return [content for _, content in kept]
