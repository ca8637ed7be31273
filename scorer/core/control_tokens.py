"""Break the control tokens of chat models inside rows, so that a row cannot end its own turn and begin another.

Servers tokenise the whole prompt with control tokens switched on: a row that holds `<|im_end|>` or `</s>` really ends
the turn, whether it was written by an attacker or by an honest page about chat templates. One space after the first
character is enough, since these tokens are matched exactly: `< |im_end|>` still reads the same to a person and a model.

Markup that merely looks like a control token (`<s>` in HTML) is broken too: for some models it *is* the token.
Nothing else in the text changes, and doing it twice changes nothing more.
"""

import re

_CONTROL_TOKEN = re.compile(
    # ChatML, Llama 3 and 4, Phi, Qwen, GLM, Granite, Command, Kimi, gpt-oss; DeepSeek and Hunyuan with wide bars
    "<(?=[|\uff5c][^\\s<>|\uff5c]{1,64}[|\uff5c]>"
    # Gemma 4 opens with <|turn> and closes with <turn|>
    "|\\|[a-z_]{1,32}>|[a-z_]{1,32}\\|>"
    # Llama 2, Mistral, Gemma 1 to 3, T5-like and base vocabularies: also begin and end of the text
    "|/?s>|(?:bos|eos|pad|unk|mask|sop|eop|BOS_TOKEN|EOS_TOKEN)>|</?SYS>>"
    "|(?:start|end)_of_(?:turn|image|audio)>|extra_id_\\d{1,3}>|SPECIAL_\\d{1,4}>|reserved_\\d{1,4}>"
    # reasoning and tools, tokens of their own in Qwen, DeepSeek, GLM and Seed; code completion; media
    "|/?(?:think|tool_call|tool_response|seed:[a-z_]{1,32})>"
    "|fim_(?:prefix|middle|suffix|pad)>|__media__>|image_soft_token>)"
    # Llama 2, Mistral, GLM, EXAONE; Ollama's own mark of an image
    "|\\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_RESULTS|TOOL_CONTENT|THINK)\\]"
    "|(?:TOOL_CALLS|gMASK|img-\\d{1,9})\\]|\\|[a-z_]{1,32}\\|\\])"
)


def neutralise(text: str) -> tuple[str, int]:
    """Break every control token in the text; return the text and how many there were."""
    return _CONTROL_TOKEN.subn(r"\g<0> ", text)
