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
from collections.abc import Mapping, Sequence

MAX_ANSWER_CHARS = 500
# of a line, beyond twice the longest option: a label with all that may stand around it
LABEL_CHARS = 1000

_THOUGHT = "</think>"
BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]++|\{[^{}]*+\})*+)\}")
_ANSWER_IS = re.compile(r"\b(?:answer|option|choice)\b[\s*_]*(?:is|are|:|=)(?:\s*(?:is|:|=))*", re.IGNORECASE)
_WRAPPING = " \t\r\n*_`\"'\u201c\u201d\u2018\u2019()[]{}<>.,:;!?\\$"
_LETTER = re.compile(
    r"[\s*_`\"'(\[<{\\$]*(?:(?:option|choice)\b[\s*_`\"'(\[<]*)?([A-Za-z])"
    r"(?:[*_`\"']*[)\].:,>](?!\W*(?:or|and|/|&)\W)|\W*$)",
    re.IGNORECASE,
)


def answer_part(completion: str, stops: Sequence[str] = ()) -> str:
    """Return the completion without what a model thought aloud before it, up to the first stop text.

    Hosts stop by themselves; this is for those that do not know a stop text, and for texts that begin with one.
    """
    text = completion.rpartition(_THOUGHT)[2]
    ends = [place for stop in stops if stop and (place := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text


def choice(text: str, options: Mapping[str, str]) -> str | None:
    """Return the label of the option that a text names; `options` maps labels to the options' texts.

    In this order: behind the last "answer is"; in the last box; at its very beginning, a label with nothing or only
    punctuation behind it, or an option's text; the one label in brackets, or the one option's text, that occurs at all.
    Of labels that are words, such as yes and no, the one that the last line with any of them names.
    """
    for found in reversed(list(_ANSWER_IS.finditer(text))):
        if (label := _named(text, options, found.end())) is not None:
            return label
    if (boxes := BOXED.findall(text)) and (label := _named(boxes[-1], options)) is not None:
        return label
    if (label := _named(text, options)) is not None:
        return label
    if all(len(label) == 1 for label in options):
        return _only(_bracketed(text, options)) or _only(_mentioned(text, options))
    named = (labels for line in reversed(text.splitlines()) if (labels := _mentioned(line, options)))
    return _only(next(named, set()))


def phrase(text: str) -> str | None:
    """Return a short answer in words: behind the last "answer is", else the first line that says anything."""
    found = last_match(_ANSWER_IS, text)
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
    return _folded(one) == _folded(other)


def last_match(expression: re.Pattern[str], text: str) -> re.Match[str] | None:
    """Return an expression's last match in a text."""
    return next(iter(reversed(list(expression.finditer(text)))), None)


def _named(text: str, options: Mapping[str, str], start: int = 0) -> str | None:
    """Return the option that a text names right at `start`: its label, alone or with punctuation, or its own words."""
    end = start + LABEL_CHARS + 2 * max(map(len, options.values()), default=0)
    line, newline, _ = text[start:end].lstrip().partition("\n")
    # a longer line cannot be an option alone, and where it is cut off here nothing ends
    whole = bool(newline) or end >= len(text)
    labels = {label.casefold(): label for label in options}
    letter = _LETTER.match(line)
    if letter and (whole or letter.end() < len(line)) and letter[1].casefold() in labels:
        return labels[letter[1].casefold()]
    folded = _folded(line) if whole else ""
    for label, words in options.items():
        if folded and folded in (_folded(label), _folded(words)):
            return label
    # a word as label may have a reason behind it: "No, because …"
    word = re.match(r"\W*(\w\w+)", line)
    return labels.get(word[1].casefold()) if word else None


def _bracketed(text: str, options: Mapping[str, str]) -> set[str]:
    labels = {label.casefold(): label for label in options}
    return {labels[found.casefold()] for found in re.findall(r"\((\w+)\)", text) if found.casefold() in labels}


def _mentioned(text: str, options: Mapping[str, str]) -> set[str]:
    """Return the labels of the options whose texts occur as whole words, but inside no longer option's text."""
    folded = _folded(text)
    found: set[str] = set()
    for label, words in sorted(options.items(), key=lambda item: -len(item[1])):
        sought = rf"(?<!\w){re.escape(_folded(words))}(?!\w)"
        if _folded(words) and re.search(sought, folded):
            found.add(label)
            folded = re.sub(sought, "\n", folded)
    return found


def _only(labels: set[str]) -> str | None:
    return next(iter(labels)) if len(labels) == 1 else None


def _folded(text: str) -> str:
    return " ".join(text.strip(_WRAPPING).casefold().split())
