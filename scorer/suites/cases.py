"""From a dataset's rows to a suite's cases: the prompt with its worked examples, the right answer, and what to call it.

Worked examples are chosen by hash, so that the same suite has the same ones in every process and version, whatever the
order in which anything runs; with more of them the first ones stay. A row that serves as an example is never asked.

Invariants: `make_cases` raises nothing but `UsageError`, which names the suite's file, the key and the row; equal
arguments give equal cases; ids are unique within a suite.
"""

import hashlib
import json
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import jinja2

from scorer.core.checked import quoted
from scorer.core.control_tokens import Authored, neutralise
from scorer.errors import UsageError
from scorer.inputs import spread
from scorer.sandbox import RENDER_ERRORS, first_line
from scorer.suites.catalogue import Part
from scorer.suites.numbers import number

Row = Mapping[str, object]

LETTERS = string.ascii_uppercase
ORDERS = ("ab", "ba")
_SHOWN_COLUMNS = 12


@dataclass(frozen=True, slots=True)
class Case:
    """One question of a suite as it will be asked.

    `group` names what it shares with others, such as a passage. `question` is for people, `prompt` what is sent.
    `choices` maps labels to the options' texts as JSON, None where there are none.
    """

    suite: str
    case: str
    group: str | None
    question: str
    gold: str
    metric: str
    prompt: str
    choices: str | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many worked examples each prompt has, and how many rows are asked, None for all of them."""

    shots: int
    limit: int | None = None


def make_cases(
    part: Part, rows: Sequence[Row], examples: Sequence[Row] | None, wanted: Wanted
) -> tuple[list[Case], list[str]]:
    """Return a suite's cases in the order of its rows, and what ought to be said about them.

    `examples` are the rows of another split for the worked examples; None takes them out of `rows`.
    """
    asked = [_Asked(part, row, index) for index, row in enumerate(rows)]
    pool = asked if examples is None else [_Asked(part, row, i, "examples") for i, row in enumerate(examples)]
    chosen = _chosen(part, pool, wanted.shots)
    notes: list[str] = []
    if examples is None and wanted.shots:
        used = {id(one) for several in chosen.values() for one in several}
        asked = [one for one in asked if id(one) not in used]
        if not asked:
            raise UsageError(
                f"{part.suite.place}: all {len(rows)} rows would be worked examples: ask for fewer --shots"
            )
        notes.append(f"{part.name}: {len(used)} of its rows are the worked examples and are not asked themselves")
    if wanted.limit is not None:
        asked = [asked[i] for i in spread(len(asked), wanted.limit)]
    cases = [case for one in asked for case in _cases_of(one, chosen)]
    _check_unique(cases, part)
    return cases, notes


def _chosen(part: Part, pool: Sequence["_Asked"], shots: int) -> dict[str, list["_Asked"]]:
    """Return the worked examples for each group, or under "" for all, in the order of their rows."""
    if not shots:
        return {}
    by_group: dict[str, list[_Asked]] = {}
    for one in pool:
        by_group.setdefault(one.group if part.suite.examples_of_group else "", []).append(one)
    for group, several in by_group.items():
        if len(several) < shots:
            where = f" of {quoted(group)}" if group else ""
            raise UsageError(f"{part.name}: {shots} worked examples{where} are wanted and there are {len(several)}")
        by_rank = sorted(several, key=lambda one: _rank(part.suite.seed, one.index))
        by_group[group] = sorted(by_rank[:shots], key=lambda one: one.index)
    return by_group


def _rank(seed: int, index: int) -> bytes:
    return hashlib.sha256(f"{seed}/{index}".encode()).digest()


def _check_unique(cases: Sequence[Case], part: Part) -> None:
    seen: set[str] = set()
    for case in cases:
        if case.case in seen:
            raise UsageError(
                f"{part.suite.place}: id gives {quoted(case.case)} for two rows; leave it out to count them"
            )
        seen.add(case.case)


class _Asked:
    """One row with what the suite makes of it, in one order of its pair if it has one."""

    def __init__(self, part: Part, row: Row, index: int, role: str = "data", order: str = "") -> None:
        self.part = part
        self.row = row
        self.index = index
        self.order = order
        self._role = role
        self._better = ""
        self._values: dict[str, object] = {
            **row,
            "letters": LETTERS,
            "subset": part.subset,
            "words": part.words,
        }
        self.options = self._pair() if part.suite.paired else self._options()
        self._values["options"] = [{"label": label, "text": text} for label, text in self.options.items()]
        self._values["lettered"] = "\n".join(f"{label}. {text}" for label, text in self.options.items())
        self.gold = self._gold()
        self._values["gold"] = self.gold
        self.group = self.text("group")
        self._values["group"] = self.group

    def turned(self, order: str) -> "_Asked":
        """Return the same row with its two answers in this order."""
        return _Asked(self.part, self.row, self.index, self._role, order)

    def text(self, key: str) -> str:
        """Render one of the suite's texts, "" if the suite does not have it."""
        return neutralise(*self.pieces(key))[0]

    def pieces(self, key: str) -> list[str]:
        """Render one of the suite's texts but leave it in pieces: of two texts a row could make one control token."""
        compiled = self.part.suite.texts.get(key)
        if compiled is None:
            return []
        try:
            pieces = list(compiled.generate(self._values))
            "".join(pieces).encode()  # a lone surrogate can be neither sent nor stored
        except RENDER_ERRORS as error:
            self._refuse(key, first_line(error))
        return pieces

    def _value(self, key: str) -> object:
        try:
            value = self.part.suite.expressions[key](
                **{name: v for name, v in self._values.items() if name.isidentifier()}
            )
            # an undefined name shows when it is used
            return str(value) if isinstance(value, jinja2.Undefined) else value
        except RENDER_ERRORS as error:
            self._refuse(key, first_line(error))

    def _options(self) -> dict[str, str]:
        known = self.part.suite.expressions
        texts = self._listed("choices") if "choices" in known else []
        labels = self._listed("labels") if "labels" in known else list(LETTERS[: len(texts)])
        texts = texts or labels
        if len(labels) != len(texts):
            self._refuse("choices", f"{len(texts)} texts for {len(labels)} labels")
        if len(set(labels)) != len(labels):
            self._refuse("labels", "the same label twice")
        if self.part.suite.metric == "choice" and len(labels) < 2:
            self._refuse("choices", f"{len(labels)} options: a choice has two or more")
        return dict(zip(labels, texts, strict=True))

    def _listed(self, key: str) -> list[str]:
        value = self._value(key)
        if isinstance(value, str) or not isinstance(value, Sequence):
            self._refuse(key, "is no list")
        return [str(item) for item in value]

    def _pair(self) -> dict[str, str]:
        better = self._value("better")
        if better not in ("a", "b"):
            self._refuse("better", f"gives {quoted(str(better))}, not a or b")
        first, second = self._value("a"), self._value("b")
        turned = self.order == "ba"
        self._values |= {"a": second, "b": first} if turned else {"a": first, "b": second}
        self._better = "A" if (better == "a") != turned else "B"
        return {"A": "", "B": ""}

    def _gold(self) -> str:
        suite = self.part.suite
        gold = self._better if suite.paired else self.text("gold").strip()
        if suite.metric == "choice" and gold not in self.options:
            self._refuse("gold", f"gives {quoted(gold)}, which is none of {', '.join(self.options)}")
        if suite.answer == "number":
            value = number(gold)
            if value is None:
                self._refuse("gold", f"gives {quoted(gold)}, in which there is no number")
            return value
        if not gold:
            self._refuse("gold", "gives nothing")
        return gold

    def _refuse(self, key: str, reason: str) -> NoReturn:
        names = [str(name) for name in self.row]
        shown = ", ".join(names[:_SHOWN_COLUMNS]) + (", …" if len(names) > _SHOWN_COLUMNS else "")
        raise UsageError(
            f"{self.part.suite.place}: {key}: row {self.index} of its {self._role}: {reason}\nits columns: {shown}"
        )


def _cases_of(one: _Asked, chosen: Mapping[str, Sequence[_Asked]]) -> list[Case]:
    suite = one.part.suite
    examples = chosen.get(one.group if suite.examples_of_group else "", ())
    if chosen and not examples:
        raise UsageError(f"{suite.place}: there are no worked examples of {quoted(one.group)} in its examples")
    shown: list[str] = []
    for example in examples:
        shown += (*example.pieces("user"), *example.pieces("worked"), Authored(suite.separator))
    case_id = one.text("id") or str(one.index)
    orders = [(f"{case_id}/{order}", one.turned(order)) for order in ORDERS] if suite.paired else [(case_id, one)]
    return [
        Case(
            suite=one.part.name,
            case=name,
            group=(one.group or case_id) if suite.paired else one.group or None,
            question=asked.text("question") or asked.text("user"),
            gold=asked.gold,
            metric=suite.metric,
            prompt=neutralise(*asked.pieces("intro"), *shown, *asked.pieces("user"))[0],
            choices=json.dumps(asked.options, ensure_ascii=False) if asked.options else None,
        )
        for name, asked in orders
    ]
