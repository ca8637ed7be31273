"""Two models of one benchmark job, compared on the questions that both have answered.

Invariants: a question counts once, whatever the number of its samples; what either model has not answered (dead or
missing) is left out and counted; p-values of several suites are corrected for there being several.
"""

from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

import numpy as np

from scorer.bench.answers import Answers
from scorer.bench.paired import Paired, compare_pairs, holm, is_shown, points, verdict
from scorer.bench.statistics import plain
from scorer.errors import UsageError
from scorer.show import table

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class SuiteComparison:
    """Two models on one suite; `p` is corrected for the number of suites (Holm)."""

    suite: str
    paired: Paired
    p: float
    verdict: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models over all questions and by suite. `left_out`: questions that only one of them or none has answered."""

    job: str
    a: str
    b: str
    overall: Paired
    verdict: str
    left_out: int
    suites: tuple[SuiteComparison, ...]

    def as_json(self) -> dict[str, object]:
        """Return it as plain JSON values."""
        suites = {
            one.suite: {**_paired_json(one.paired, one.p), "p_corrected": one.p, "verdict": one.verdict}
            for one in self.suites
        }
        overall = _paired_json(self.overall, self.overall.p) | {"verdict": self.verdict}
        names = {"job": self.job, "a": self.a, "b": self.b, "left_out": self.left_out}
        found: dict[str, object] = plain({**names, "overall": overall, "suites": suites})
        return found


def _paired_json(paired: Paired, p: float) -> dict[str, object]:
    return asdict(paired) | {"shown": is_shown(p, paired.interval)}


def compare(answers: Answers, a: str, b: str) -> Comparison:
    """Compare two models of a job; UsageError if the job has no such model, or they are the same."""
    for name in (a, b):
        if name not in answers.models:
            near = get_close_matches(name, answers.models, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(
                f"{answers.folder.name} has no model {name!r}{hint}\nIts models: {', '.join(answers.models)}"
            )
    if a == b:
        raise UsageError(f"compare two different models; {answers.folder.name} has {', '.join(answers.models)}")
    both = questions_of_both(answers, a, b)
    overall = _compared(both)
    suites = [(suite, _compared(both[both["suite"] == suite])) for suite in answers.suites]
    corrected = holm([paired.p for _, paired in suites])
    return Comparison(
        job=answers.folder.name,
        a=a,
        b=b,
        overall=overall,
        verdict=verdict(overall, a, b),
        left_out=len(answers.cases) - len(both),
        suites=tuple(
            SuiteComparison(suite, paired, p, verdict(paired, a, b, p=p))
            for (suite, paired), p in zip(suites, corrected, strict=True)
        ),
    )


def questions_of_both(answers: Answers, a: str, b: str) -> "pd.DataFrame":
    """Return one line a question that both models answered: `suite`, `case`, `cluster`, mean scores `a` and `b`."""
    keys = ["suite", "case", "row", "cluster"]
    means = [
        answers.of(model).groupby(keys, sort=False)["score"].mean().rename(name) for name, model in (("a", a), ("b", b))
    ]
    return means[0].to_frame().join(means[1], how="inner").reset_index()


def _compared(both: "pd.DataFrame") -> Paired:
    return compare_pairs(both["a"].to_numpy(dtype=np.float64), both["b"].to_numpy(dtype=np.float64), both["cluster"])


def comparison_text(found: Comparison) -> str:
    """Return a comparison as a person reads it."""
    lines = [found.verdict]
    if found.left_out:
        were = "1 question was" if found.left_out == 1 else f"{found.left_out:,} questions were"
        lines.append(f"{were} not answered by both models, and left out.")
    rows = [_line(one.suite, one.paired, one.p) for one in found.suites]
    if len(found.suites) > 1:
        rows.append(_line("all", found.overall, found.overall.p))
    header = ("suite", "n", "A", "B", "B - A", "95% interval", "only A", "only B", "p", "could show")
    lines += ["", f"A = {found.a}", f"B = {found.b}", "", table(header, rows), ""]
    corrected = "; p of the suites is corrected for their number (Holm)" if len(found.suites) > 1 else ""
    lines.append(f"n: questions that both answered. only A: those that only A has right. Tests: {_tests(found)}")
    lines.append(f"could show: the smallest difference in points that n questions show 4 times out of 5{corrected}")
    return "\n".join(lines)


def _tests(found: Comparison) -> str:
    return ", ".join(sorted({one.paired.test for one in found.suites} | {found.overall.test}))


def _line(suite: str, paired: Paired, p: float) -> tuple[object, ...]:
    if not paired.n:
        return (suite, 0, *["-"] * 8)
    has_interval = not np.isnan(paired.interval.low)
    return (
        suite,
        paired.n,
        f"{paired.accuracy_a:.1%}",
        f"{paired.accuracy_b:.1%}",
        points(paired.difference),
        f"{points(paired.interval.low)} … {points(paired.interval.high)}" if has_interval else "-",
        paired.only_a,
        paired.only_b,
        "-" if np.isnan(p) else f"{p:.3f}",
        f"{100 * paired.detectable:.1f}",
    )
