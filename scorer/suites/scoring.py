"""From a reply to a benchmark's score: what was answered, whether that could be read at all, and whether it is right.

A reply is never invalid: what cannot be read scores 0 with `parsed` false, so that it can be reported apart.

A choice is the likeliest label among the candidates for the first token, where the host gives their log-probabilities;
`logprobs` records these then. It is read from the text, and `logprobs` is null, where the host gives none, or where the
labels are no likely first token at all and the text says clearly which one is meant ("The answer is B").
"""

import json
import math
from collections.abc import Mapping, Sequence

from scorer.core.output import fields_from
from scorer.core.task import Reply
from scorer.suites import extract
from scorer.suites.choices import choice
from scorer.suites.form import Suite
from scorer.suites.numbers import number

FIELDS = fields_from(
    {
        "score": {"type": "number", "minimum": 0, "maximum": 1},
        "answer": {"type": "string", "max_length": extract.MAX_ANSWER_CHARS},
        "parsed": {"type": "boolean"},
        "logprobs": {"type": "string", "max_length": 1999},
    },
    "benchmark answers",
)
TOP_LOGPROBS = 20
LEAST_MASS = 0.5
_AROUND_TOKENS = " \t\n\u2581\u0120(*\"'"


def scored(suite: Suite, gold: str, choices: str | None, reply: Reply) -> dict[str, object]:
    """Return the output fields of one reply; `choices` as a case has it."""
    text = extract.answer_part(reply.text, suite.options.stop)
    options = json.loads(choices) if choices else {}
    likely = label_logprobs(reply.first_token, list(options)) if suite.metric == "choice" else {}
    answer = _read(suite, text, options)
    if likely and (answer is None or _mass(likely) >= LEAST_MASS):
        answer = max(likely, key=likely.__getitem__)
    else:
        likely = {}
    return {
        "score": float(answer is not None and _right(suite, answer, gold)),
        "answer": answer,
        "parsed": answer is not None,
        "logprobs": json.dumps({label: round(value, 4) for label, value in likely.items()}) if likely else None,
    }


def label_logprobs(candidates: Sequence[tuple[str, float]], labels: Sequence[str]) -> dict[str, float]:
    """Return label → log-probability, likeliest first, of the labels that are among the candidates for a token.

    Ways to write one label, such as "B" and " B", add up. A letter counts in its own case only: "a" is a word.
    """
    known = {label if len(label) == 1 else label.casefold(): label for label in labels}
    found: dict[str, float] = {}
    for token, logprob in candidates:
        bare = token.strip(_AROUND_TOKENS)
        label = known.get(bare if len(bare) == 1 else bare.casefold())
        if label is not None:
            found[label] = _sum(found[label], logprob) if label in found else logprob
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _mass(logprobs: Mapping[str, float]) -> float:
    return sum(math.exp(value) for value in logprobs.values())


def _sum(one: float, other: float) -> float:
    high, low = max(one, other), min(one, other)
    return high + math.log1p(math.exp(low - high))


def _read(suite: Suite, text: str, options: Mapping[str, str]) -> str | None:
    match suite.answer:
        case "choice":
            return choice(text, options)
        case "number":
            return number(text)
        case "text":
            return extract.phrase(text)
        case _:
            return extract.pattern(text, suite.pattern) if suite.pattern is not None else None


def _right(suite: Suite, answer: str, gold: str) -> bool:
    return answer == gold if suite.answer in ("choice", "number") else extract.same_text(answer, gold)
