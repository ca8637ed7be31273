"""Read the answer out of a completion, as the field does it, and say None where there is none to read.

What is never done: guess. An answer that names two different options without saying which it means is unparsed, not
wrong. A value is normalised only as far as its kind allows: options to their label, texts to what stands between the
punctuation around them, numbers (in `numbers`) to their shortest form.

The markers are the field's: `\\boxed{B}` ends a worked answer of MATH (Hendrycks et al. 2021, arXiv:2103.03874), "the
answer is B" a chain of thought (Wei et al. 2022, arXiv:2201.11903).

Invariants: every function is total and depends on its arguments alone; `None` means that nothing could be extracted.
What is written here takes time in proportion to the completion, whatever is in it: it runs between a host's replies.
"""

import re
from collections.abc import Sequence

MAX_ANSWER_CHARS = 500

_THOUGHT = "</think>"
BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]++|\{[^{}]*+\})*+)\}")
ANSWER_IS = re.compile(r"\b(?:answer|option|choice)\b[\s*_]*(?:is|are|:|=)(?:\s*(?:is|:|=))*", re.IGNORECASE)
_WRAPPING = " \t\r\n*_`\"'\u201c\u201d\u2018\u2019()[]{}<>.,:;!?\\$"


def answer_part(completion: str, stops: Sequence[str] = ()) -> str:
    """Return the completion without what a model thought aloud before it, up to the first stop text.

    Hosts stop by themselves; this is for those that do not know a stop text, and for texts that begin with one.
    """
    text = completion.rpartition(_THOUGHT)[2]
    ends = [place for stop in stops if stop and (place := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text


def phrase(text: str) -> str | None:
    """Return a short answer in words: behind the last "answer is", else the first line that says anything."""
    found = last_match(ANSWER_IS, text)
    rest = text[found.end() :] if found else text
    line = next((line for line in rest.splitlines() if line.strip(_WRAPPING)), "")
    return line.strip(_WRAPPING)[:MAX_ANSWER_CHARS] or None


def pattern(text: str, expression: re.Pattern[str]) -> str | None:
    """Return what the expression's last match holds: its first group that matched, or all of it without a group."""
    found = last_match(expression, text)
    if found is None:
        return None
    value = next((group for group in found.groups() if group is not None), found.group())
    return value.strip()[:MAX_ANSWER_CHARS] or None


def same_text(one: str, other: str) -> bool:
    """Whether two answers in words are the same but for case, punctuation around them and the width of gaps."""
    return folded(one) == folded(other)


def last_match(expression: re.Pattern[str], text: str) -> re.Match[str] | None:
    """Return an expression's last match in a text."""
    return next(iter(reversed(list(expression.finditer(text)))), None)


def folded(text: str) -> str:
    """Return a text without case, punctuation around it and the width of gaps."""
    return " ".join(text.strip(_WRAPPING).casefold().split())
