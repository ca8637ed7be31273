"""Read which one of several options a completion means, and say None where it means none or does not say which.

What is never done: guess. Whoever repeats the options ("A. Sydney B. Canberra"), names two ("A, B", "yes and no") or
says which one it is not ("not yes") has not answered.

Invariants: `choice` is total and gives a label of the options or None. It takes time in proportion to the completion,
whatever is in it.
"""

import re
from collections.abc import Mapping

from scorer.suites.extract import ANSWER_IS, BOXED, folded

# of a line, beyond twice the longest option: a label with all that may stand around it
LABEL_CHARS = 1000

_OPEN = r"[\s*_`\"'(\[<{\\$]"
_LETTER = re.compile(
    rf"{_OPEN}*(?:(?:option|choice)\b{_OPEN}*)?([A-Za-z])"
    r"(?:[*_`\"']*[)\].:,>](?!\W{0,40}(?:or|and|/|&)\W)|\W*$)",
    re.IGNORECASE,
)
# A, B; A and B; (A), (B); A on a line and B on the next: but "B, a red cat" has an article
_TWO_LETTERS = re.compile(
    rf"{_OPEN}*(?:(?:option|choice)s?\b{_OPEN}*)?([A-Za-z])(?!\w)[*_`\"')\].:>]{{0,9}}[ \t]{{0,9}}"
    rf"(?:[,;/&+|\n]\s{{0,9}}(?:(?:and|or|nor)\b)?|(?:and|or|nor)\b){_OPEN}{{0,9}}(?:(?:option|choice)\b{_OPEN}{{0,9}})?"
    r"([B-HJ-Z](?![\w'\u2019])|[AI](?=[ \t]*(?:$|\n|[^\w\s'\u2019]|(?:is|are|and|or|nor)\b)))",
    re.IGNORECASE,
)
_NEXT_ITEM = re.compile(r"[\W_]{0,40}?([A-Za-z])[*_`\"']{0,5}[)\].:>](?!\w)")
_ITEM = re.compile(
    r"(?:^|[.;,!?][ \t])[ \t*_\-(\[]{0,20}([A-Za-z])[*_`\"']{0,5}[)\].:>](?!\w)",
    re.MULTILINE,
)
_TWO_WORDS = re.compile(
    r"\W*(\w\w+)(?:\W{0,9}(?:\b(?:and|or|nor)\b|[/&|])\W{0,9}(\w+)|[.,;]\W{0,9}(\w+)\W*$)", re.IGNORECASE
)
# also "not (A) Sydney"
_NEGATED = re.compile(
    r"(?:\bnot|n['\u2019]t|\bnever|\bneither|\bnor)\s+(?:(?:be|the|an?)\s+)?\W*(?:\w\W+)?$", re.IGNORECASE
)
_NEGATION_CHARS = 30


def choice(text: str, options: Mapping[str, str]) -> str | None:
    """Return the label of the option that a text names; `options` maps labels to the options' texts.

    In this order: behind the last "answer is"; in the last box; at its very beginning, a label with nothing or only
    punctuation behind it, or an option's text; the one label in brackets, or the one option's text, that occurs at all.
    Of labels that are words, such as yes and no, the one that the last line with any of them names. The first of these
    that names any option decides; if it names several, nothing is read.
    """
    for found in reversed(list(ANSWER_IS.finditer(text))):
        if named := _named(text, options, found.end()):
            return _only(named)
    if (boxes := BOXED.findall(text)) and (named := _named(boxes[-1], options)):
        return _only(named)
    if named := _named(text, options) | _listed(text, options):
        return _only(named)
    if all(len(label) == 1 for label in options):
        return _only(_bracketed(text, options)) or _only(_mentioned(text, options))
    by_line = (labels for line in reversed(text.splitlines()) if (labels := _mentioned(line, options)))
    return _only(next(by_line, set()))


def _named(text: str, options: Mapping[str, str], start: int = 0) -> set[str]:
    """Return the options that a text names right at `start`: a label, alone or with punctuation, or its own words.

    More than one if another is named beside it, or if it is the first of a list of the options.
    """
    end = start + LABEL_CHARS + 2 * max(map(len, options.values()), default=0)
    near = text[start:end].lstrip()
    line, newline, following = near.partition("\n")
    # a longer line cannot be an option alone, and where it is cut off here nothing ends
    whole = bool(newline) or end >= len(text)
    labels = _by_name(options)
    if (two := _TWO_LETTERS.match(near)) and (both := _known(two, labels)) and len(both) == 2:
        return both
    letter = _LETTER.match(line)
    if letter and (whole or letter.end() < len(line)) and (label := labels.get(letter[1].casefold())):
        return {label} | _next_in_list(near[letter.end() :], label, options)
    if whole and (alike := _alike(line, options)):
        return alike | _alike(following.lstrip().partition("\n")[0], options)
    if (two := _TWO_WORDS.match(line)) and (both := _known(two, labels)) and two[1].casefold() in labels:
        return both
    # a word as label may have a reason behind it: "No, because …"
    word = re.match(r"\W*(\w\w+)", line)
    return {labels[word[1].casefold()]} if word and word[1].casefold() in labels else set()


def _next_in_list(behind: str, label: str, options: Mapping[str, str]) -> set[str]:
    """Return the next option if it follows a label, or the option's own text, as the next item of a list."""
    order = list(options)
    successor = order[order.index(label) + 1 :][:1]
    words = r"\s+".join(map(re.escape, options[label].split()))
    own = re.match(rf"[\W_]*{words}", behind, re.IGNORECASE) if words else None
    item = _NEXT_ITEM.match(behind, own.end() if own else 0)
    return {found for found in successor if item and item[1].casefold() == found.casefold()}


def _listed(text: str, options: Mapping[str, str]) -> set[str]:
    """Return the other options of a text that says something of each in turn, such as "A: no, B: yes".

    A label, alone or with its own words, that has the first line for itself is an answer, whatever is said below it.
    """
    line, _, _ = text.lstrip().partition("\n")
    labels = _by_name(options)
    letter = _LETTER.match(line)
    label = labels.get(letter[1].casefold()) if letter else None
    if letter is None or label is None or folded(line[letter.end() :]) in ("", folded(options[label])):
        return set()
    start = len(text) - len(text.lstrip()) + letter.end()
    found = {item[1] for item in _ITEM.finditer(text, start) if item[1].isupper() == letter[1].isupper()}
    return {labels[name.casefold()] for name in found if name.casefold() in labels}


def _by_name(options: Mapping[str, str]) -> dict[str, str]:
    return {label.casefold(): label for label in options}


def _known(found: re.Match[str], labels: Mapping[str, str]) -> set[str]:
    return {labels[name.casefold()] for name in found.groups() if name and name.casefold() in labels}


def _alike(line: str, options: Mapping[str, str]) -> set[str]:
    said = folded(line)
    return {label for label, words in options.items() if said and said in (folded(label), folded(words))}


def _bracketed(text: str, options: Mapping[str, str]) -> set[str]:
    labels = _by_name(options)
    found = [match for match in re.finditer(r"\((\w+)\)", text) if match[1].casefold() in labels]
    if any(_is_negated(text, match) for match in found):
        return set(options)
    return {labels[match[1].casefold()] for match in found}


def _mentioned(text: str, options: Mapping[str, str]) -> set[str]:
    """Return the labels of the options whose texts occur as whole words, but inside no longer option's text.

    All of them if it is said of one that it is not the one.
    """
    said = folded(text)
    found: set[str] = set()
    for label, words in sorted(options.items(), key=lambda item: -len(item[1])):
        sought = re.compile(rf"(?<!\w){re.escape(folded(words))}(?!\w)")
        places = list(sought.finditer(said)) if folded(words) else []
        if any(_is_negated(said, place) for place in places):
            return set(options)
        if places:
            found.add(label)
            said = sought.sub("\n", said)
    return found


def _is_negated(text: str, found: re.Match[str]) -> bool:
    return _NEGATED.search(text[max(0, found.start() - _NEGATION_CHARS) : found.start()]) is not None


def _only(labels: set[str]) -> str | None:
    return next(iter(labels)) if len(labels) == 1 else None
