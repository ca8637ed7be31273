r"""Read the number that a completion ends on: all of it or nothing, never a part, such as 5 of 1e5 or 4 of 3/4.

A number may be grouped, an amount of money, a fraction, or have a power of ten. What only begins like one (a root, a
multiple of π, a power of 2, a date) is known for what it is: where such a thing is meant, there is no number to read.

The markers come from the suites as they were published: `#### 18` ends a worked GSM8K answer (Cobbe et al. 2021,
arXiv:2110.14168), `\boxed{18}` one of MATH (Hendrycks et al. 2021, arXiv:2103.03874), whose grader also takes LaTeX's
gaps, its units and both ways to write a fraction for what they mean. docs/bench.md compares the numbers with those of
lm-evaluation-harness.

Invariants: `number` is total. It takes time in proportion to the completion, whatever is in it: what repeats in an
expression is bounded or never given back.
"""

import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from scorer.suites.extract import BOXED, last_match

# no answer has more digits, and what has is never read in parts
MAX_DIGITS_CHARS = 200

# between thousands: 1,234; LaTeX's 1{,}234, 1\,234, 1,\!234; the spaces that do not break a line; 1'234
_GAP = r"(?:,(?:\\!)?|\{,\}|\\[,;:! ]|['\u2019\u00a0\u2007\u2009\u202f])"
# an endless run first, as a whole; else digits in groups, the last of three
_DIGITS = (
    rf"\d(?:{_GAP}?\d){{{MAX_DIGITS_CHARS},}}+|"
    rf"(?:\d{{1,3}}(?:{_GAP}\d{{2,3}})*{_GAP}\d{{3}}(?!\d)|\d+)(?:\.\d+)?|\.\d+"
)
_SIGN = r"[-\u2212\u2013]"  # hyphen, minus, en dash
_CURRENCY = r"(?:\\?\$|£|€|¥|₹)"
_CURRENCIES = r"[\\$£€¥₹]{0,8}+"
_FRACTION = r"\\[dt]?frac"
_WHOLE = r"\d{1,15}"
_RAISED = "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b\u207a"
_LOWERED = str.maketrans(_RAISED + "\u2212\u2013", "0123456789-+--")
_BRACES = r"\s?\{(?:[^{}\n]|\{[^{}\n]{0,40}\}){0,60}+\}"

# the power of a unit, cm^2, m^{2} or cm2, is no number at all
_UNIT = rf"\^\s?\{{?\s?{_SIGN}?\d[\d.]*+|\b(?:[cdkm]?m|in|ft|yd|mi)[23]\b"
_OVER = rf"{_FRACTION}\s?\{{\s?(?P<below>{_SIGN})?(?P<top>{_WHOLE})\s?\}}\s?\{{\s?(?P<under>{_WHOLE})\s?\}}"
_STRANGE = rf"{_FRACTION}{_BRACES}{_BRACES}|\\sqrt(?:\[\d\])?(?:\s?\d+|{_BRACES})|√\s?\d+"
# a hyphen behind a letter, a digit or a bracket is a dash or a subtraction and no sign
_HEAD = re.compile(
    rf"(?P<unit>{_UNIT})|"
    rf"(?:(?<![\w)\]}}])(?P<sign>{_SIGN}))?(?:{_CURRENCY}\s?(?P<minus>{_SIGN})?)?"
    rf"(?:(?P<digits>{_DIGITS})|{_OVER}|{_FRACTION}(?P<short>\d\d)|(?P<strange>{_STRANGE}))"
)
# "the answer is" may have a few words before its number; "Answer:" may also begin a whole worked solution
_STATED = re.compile(
    r"\banswer\b[\s*_]*(?:(?:is|are|=)[^\d\n^]{0,40}?|:[\s*_$\\({\[]*?)"
    rf"(?={_SIGN}?{_CURRENCIES}{_SIGN}?\.?\d|{_SIGN}?(?:{_FRACTION}|\\sqrt|√))",
    re.IGNORECASE,
)
# 1 000 with nothing beside it but punctuation and a word, the unit: else it may be two numbers
_SPACED = re.compile(
    r"[^\w\n]*+\d{1,3}(?: \d{3})++(?:\.\d++)?[^\w\n]*+"
    r"(?:(?:text|mathrm)\b[^\w\n]*+)?(?:[^\W\d]++[^\w\n]*+)?(?:[23]\W*)?"
)
_INNER_SPACE = re.compile(r"(?<=\d) (?=\d)")


@dataclass(frozen=True, slots=True)
class _Number:
    """A number where it stands: how it begins, and what behind its digits is part of it."""

    head: re.Match[str]
    tail: re.Match[str] | None
    kind: int


def number(text: str) -> str | None:
    """Return the number that a text ends on, in shortest decimal form: "-1234.5" for "-$1,234.50".

    The first of these that is there: behind the first `####`, in the last `\\boxed{}`, first behind the last "answer
    is", else the last number of all. Thousands' separators, currency, units and a full stop are no part of it. It is
    exact: a fraction without a decimal form is written in lowest terms, "1/3". More than MAX_DIGITS_CHARS of digits
    are no number.
    """
    _, marked, behind = text.partition("####")
    if marked and (found := _result(behind)):
        return _written(found)
    if (boxes := BOXED.findall(text)) and (found := _last(_closed(boxes[-1]))):
        return _written(found)
    if (stated := last_match(_STATED, text)) and (found := _result(text[stated.end() :])):
        return _written(found)
    before, newline, line = text.rstrip().rpartition("\n")
    return _written(found) if (found := _last(f"{before}{newline}{_closed(line)}")) else None


def _numbers(text: str) -> Iterator[_Number]:
    end = 0
    while head := _HEAD.search(text, end):
        end = head.end()
        if head["unit"]:
            continue
        tails = ((kind, tail.match(text, end)) for kind, (tail, _) in enumerate(_TAILS)) if head["digits"] else ()
        kind, found = next(((kind, found) for kind, found in tails if found), (0, None))
        end = found.end() if found else end
        yield _Number(head, found, kind)


def _last(text: str) -> _Number | None:
    return next(iter(deque(_numbers(text), maxlen=1)), None)


def _result(text: str) -> _Number | None:
    """Return the number that a line states: behind its last equals sign if one is there, else its first."""
    line = text.lstrip().partition("\n")[0]
    return next(_numbers(_closed(line.rpartition("=")[2])), None) or next(_numbers(line), None)


def _closed(text: str) -> str:
    """Return a text without the spaces in its number, if one number is all that it says."""
    return _INNER_SPACE.sub("", text) if _SPACED.fullmatch(text) else text


def _written(found: _Number) -> str | None:
    """Return a number's shortest form; None for what is too long, divided by zero, or strange."""
    value = _value(found)
    text = None if value is None else _shortest(value)
    if text is None or len(text) > MAX_DIGITS_CHARS:
        return None
    head = found.head
    return f"-{text}" if value and (head["sign"] or head["minus"] or head["below"]) else text


def _value(found: _Number) -> Fraction | None:
    head = found.head
    if head["strange"] or len(head["digits"] or "") > MAX_DIGITS_CHARS:
        return None
    if head["short"]:
        return _ratio(*map(Fraction, head["short"]))
    if head["top"]:
        return _ratio(Fraction(head["top"]), Fraction(head["under"]))
    digits = _plain(head["digits"])
    return _TAILS[found.kind][1](digits, found.tail) if found.tail else digits


def _plain(digits: str) -> Fraction:
    return Fraction(re.sub(r"[^\d.]", "", digits))


def _ratio(top: Fraction, under: Fraction) -> Fraction | None:
    return top / under if under else None


def _divided(digits: Fraction, tail: re.Match[str]) -> Fraction | None:
    endless = tail["more"] or len(tail["under"]) > MAX_DIGITS_CHARS
    return None if endless else _ratio(digits, _plain(tail["under"]))


def _mixed(digits: Fraction, tail: re.Match[str]) -> Fraction | None:
    top, under = Fraction(tail["top"]), Fraction(tail["under"])
    return digits + top / under if top < under and digits.denominator == 1 else None


def _shifted(digits: Fraction, tail: re.Match[str]) -> Fraction | None:
    power = tail["power"].translate(_LOWERED)
    return digits * Fraction(10) ** int(power) if len(power) <= 4 and abs(int(power)) <= MAX_DIGITS_CHARS else None


def _power(digits: Fraction, tail: re.Match[str]) -> Fraction | None:
    return _shifted(Fraction(1), tail) if digits == 10 else None


def _none(_digits: Fraction, _tail: re.Match[str]) -> None:
    return None


_EXPONENT = rf"(?P<power>\+?{_SIGN}?\d++)"
_TEN = r"\s{0,2}(?:\\times|\\cdot|[\u00d7\u00b7*xX])\s{0,2}10"
# what behind digits makes them another number; the first that is there counts
_TAILS: tuple[tuple[re.Pattern[str], Callable[[Fraction, re.Match[str]], Fraction | None]], ...] = tuple(
    (re.compile(tail), value)
    for tail, value in (
        (r"\s?/\s?(?P<under>(?:\d{1,3}(?:,\d{3})++(?!\d)|\d++)(?:\.\d++)?)(?P<more>(?:\s?/\s?\d++)++)?", _divided),
        (rf" (?P<top>{_WHOLE})/(?P<under>{_WHOLE})(?![\d/])", _mixed),
        (rf"\s?{_FRACTION}\s?\{{(?P<top>{_WHOLE})\}}\s?\{{(?P<under>{_WHOLE})\}}", _mixed),
        (rf"\s?{_FRACTION}(?P<top>\d)(?P<under>\d)", _mixed),
        (rf"{_TEN}\s?\^\s?\{{?\s?{_EXPONENT}\s?\}}?", _shifted),
        (rf"{_TEN}\*\*{_EXPONENT}", _shifted),
        (rf"{_TEN}(?P<power>[{_RAISED}]++)", _shifted),
        (rf"[eE]{_EXPONENT}(?!\w)", _shifted),
        (rf"\s?\^\s?\{{?\s?{_EXPONENT}\s?\}}?", _power),
        (rf"\*\*{_EXPONENT}", _power),
        (rf"(?P<power>[{_RAISED}]++)", _power),
        # 1.000.000, 0.\overline{3}; 2½, 2√3, 2π
        (r"(?:\.\d++)++|\.?\\(?:overline|bar|dot)\{?\d++\}?", _none),
        (rf"\s?(?:{_STRANGE}|\\pi\b|π|[\u00bc-\u00be\u2150-\u215e])", _none),
    )
)


def _shortest(value: Fraction) -> str:
    """Write a number as a decimal if it has one, else as a fraction."""
    rest, places = value.denominator, {2: 0, 5: 0}
    for prime in places:
        while rest % prime == 0:
            rest //= prime
            places[prime] += 1
    if rest != 1:
        return f"{value.numerator}/{value.denominator}"
    after = max(places.values())
    digits = str(value.numerator * 10**after // value.denominator).rjust(after + 1, "0")
    return f"{digits[:-after]}.{digits[-after:]}" if after else digits
