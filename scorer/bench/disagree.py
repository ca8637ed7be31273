"""The questions that two models answer differently, to be read one by one: a bounded number of each kind.

Invariants: each kind is counted whole, whatever the number shown; texts are cut at `MAX_CHARS`, and say by how much.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scorer.bench.answers import Answers

if TYPE_CHECKING:
    import pandas as pd

MAX_SHOWN = 40
MAX_CHARS = 3_000


@dataclass(frozen=True, slots=True)
class Reply:
    """What one model said to a question: the answer extracted from its first sample, and all of its text."""

    answer: str
    completion: str
    right: int
    samples: int


@dataclass(frozen=True, slots=True)
class Question:
    """One question with both replies. `row` is the job's row."""

    suite: str
    case: str
    row: int
    question: str
    gold: str
    a: Reply
    b: Reply


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to differ: how many questions, and the first of them."""

    title: str
    count: int
    shown: Sequence[Question]


@dataclass(frozen=True, slots=True)
class Disagreement:
    """All that two models answer differently."""

    a: str
    b: str
    kinds: tuple[Kind, ...]


def disagreement(answers: Answers, a: str, b: str, most: int = MAX_SHOWN) -> Disagreement:
    """Find what two models answer differently, at most `most` questions of each kind, spread over the suites."""
    first, second = _replies(answers, a), _replies(answers, b)
    both = first.add_suffix("_a").join(second.add_suffix("_b"), how="inner")
    differ = (both["answer_a"] != both["answer_b"]) & ~(both["answer_a"].isna() & both["answer_b"].isna())
    kinds = (
        (f"Only {a} is right", both["mean_a"] > both["mean_b"]),
        (f"Only {b} is right", both["mean_b"] > both["mean_a"]),
        ("Both are wrong, but differently", (both["mean_a"] == both["mean_b"]) & (both["mean_a"] == 0) & differ),
    )
    if answers.spec.samples > 1:
        kinds = ((f"{a} is right more often", kinds[0][1]), (f"{b} is right more often", kinds[1][1]), kinds[2])
    return Disagreement(a, b, tuple(_kind(answers, title, both[chosen], most) for title, chosen in kinds))


def _replies(answers: Answers, model: str) -> "pd.DataFrame":
    lines = answers.of(model).sort_values(["row", "sample"])
    by_row = lines.groupby("row", sort=False)
    firsts = by_row[["answer", "completion"]].nth(0).set_axis(by_row["row"].first(), axis="index")
    return firsts.assign(mean=by_row["score"].mean(), right=by_row["score"].sum(), samples=by_row["score"].count())


def _kind(answers: Answers, title: str, lines: "pd.DataFrame", most: int) -> Kind:
    cases = answers.cases.set_index("row").loc[lines.index]
    turn = cases.groupby("suite").cumcount()
    chosen = turn.sort_values(kind="stable").index[:most].sort_values()
    return Kind(title, len(lines), [_question(cases.loc[row], lines.loc[row]) for row in chosen])


def _question(case: "pd.Series[Any]", line: "pd.Series[Any]") -> Question:
    texts = {name: clipped(str(case[name])) for name in ("question", "gold")}
    return Question(case["suite"], case["case"], int(line.name), **texts, a=_reply(line, "a"), b=_reply(line, "b"))


def _reply(line: "pd.Series[Any]", which: str) -> Reply:
    answer, completion = line[f"answer_{which}"], line[f"completion_{which}"]
    return Reply(
        answer=clipped(answer) if isinstance(answer, str) else "",
        completion=clipped(completion) if isinstance(completion, str) else "",
        right=round(line[f"right_{which}"]),
        samples=int(line[f"samples_{which}"]),
    )


def clipped(text: str) -> str:
    """Return a text cut at `MAX_CHARS`, with a note of how much was cut."""
    rest = len(text) - MAX_CHARS
    return text if rest <= 0 else f"{text[:MAX_CHARS]} … and {rest:,} characters more"
