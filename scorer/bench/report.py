"""The figures of a benchmark job: every suite and model with its uncertainty, averages, hosts, position bias.

Three things are kept apart and never added up silently: an answer that is wrong; one from which nothing could be
extracted (unparsed: it scores zero, and its share is told); a task that ended without an answer (dead: it is in no
accuracy, and the accuracy that counts it as wrong is told beside it).

Invariant: every figure carries the number of answers that it rests on.
"""

from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from scorer.bench.answers import Answers
from scorer.bench.compare import Comparison, compare
from scorer.bench.position import PositionBias, position_biases
from scorer.bench.statistics import Mean, PassAtK, ks, macro, pass_at_k, plain, share

if TYPE_CHECKING:
    import pandas as pd

MAX_COMPARED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One model on one suite, or on all of them (`suite` is None): answers, accuracy, and what is not in it.

    `asked` = answers + dead + missing. `if_dead_wrong` is the accuracy with dead tasks counted as wrong. `cut`: answers
    that ended at the suite's num_predict, which are read as they stand; none where log-probabilities are read.
    """

    suite: str | None
    model: str
    asked: int
    dead: int
    missing: int
    unparsed: int
    cut: int
    accuracy: Mean
    if_dead_wrong: float
    passes: tuple[PassAtK, ...]

    @property
    def unparsed_share(self) -> float:
        """The share of answers from which nothing could be extracted; NaN if there are none."""
        return self.unparsed / self.accuracy.n if self.accuracy.n else float("nan")

    def as_json(self) -> dict[str, object]:
        """Return it as JSON values, NaN still in it."""
        return asdict(self) | {"unparsed_share": self.unparsed_share}


@dataclass(frozen=True, slots=True)
class HostFigures:
    """What one host has done: answers, tokens, and how long an answer took (seconds; quartiles, fastest to slowest)."""

    host: str
    answers: int
    prompt_tokens: int
    output_tokens: int
    busy_s: float
    quarter_s: float
    median_s: float
    three_quarters_s: float


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of a job. `overall` pools all questions of a model (micro); `macro` weighs suites alike.

    Of a model that has not answered every suite, `macro` is nothing: it would be an average over other suites.
    """

    job: str
    models: tuple[str, ...]
    suites: tuple[str, ...]
    samples: int
    missing: int
    cells: tuple[Figures, ...]
    overall: tuple[Figures, ...]
    macro: dict[str, Mean]
    hosts: tuple[HostFigures, ...]
    positions: tuple[PositionBias, ...]
    comparisons: tuple[Comparison, ...]

    def cell(self, suite: str, model: str) -> Figures:
        """Return the figures of one model on one suite."""
        return next(cell for cell in self.cells if (cell.suite, cell.model) == (suite, model))

    def unanswered(self, model: str) -> list[str]:
        """Return the suites of which a model has answered nothing: with any, it has no macro average."""
        return [cell.suite or "" for cell in self.cells if cell.model == model and not cell.accuracy.n]

    def as_json(self) -> dict[str, object]:
        """Return it as plain JSON values."""
        found: dict[str, object] = plain(
            {
                "job": self.job,
                "models": self.models,
                "suites": self.suites,
                "samples": self.samples,
                "missing": self.missing,
                "figures": [cell.as_json() for cell in self.cells],
                "micro": [cell.as_json() for cell in self.overall],
                "macro": {model: asdict(mean) for model, mean in self.macro.items()},
                "hosts": [asdict(host) for host in self.hosts],
                "position_bias": [asdict(bias) | {"consistent": bias.consistent} for bias in self.positions],
                "comparisons": [comparison.as_json() for comparison in self.comparisons],
            }
        )
        return found


def make_report(answers: Answers) -> Report:
    """Compute all figures of a job, and compare its models in pairs, the first `MAX_COMPARED` of them."""
    cells = tuple(_figures(answers, model, suite) for suite in answers.suites for model in answers.models)
    averages = {model: macro([cell.accuracy for cell in cells if cell.model == model]) for model in answers.models}
    return Report(
        job=answers.folder.name,
        models=tuple(answers.models),
        suites=tuple(answers.suites),
        samples=answers.spec.samples,
        missing=answers.missing,
        cells=cells,
        overall=tuple(_figures(answers, model, None) for model in answers.models),
        macro=averages,
        hosts=tuple(_hosts(answers.frame)),
        positions=tuple(position_biases(answers)),
        comparisons=tuple(compare(answers, a, b) for a, b in combinations(answers.models[:MAX_COMPARED], 2)),
    )


def _figures(answers: Answers, model: str, suite: str | None) -> Figures:
    lines = answers.of(model, suite)
    dead, asked = answers.dead(model, suite), answers.asked(suite)
    scores = lines["score"].to_numpy(dtype=np.float64)
    accuracy = share(scores, lines["cluster"].to_numpy(dtype=object).astype(str))
    ended = len(lines) + dead
    return Figures(
        suite=suite,
        model=model,
        asked=asked,
        dead=dead,
        missing=asked - ended,
        unparsed=int((~lines["parsed"].astype(bool)).sum()),
        cut=answers.cut(model, suite),
        accuracy=accuracy,
        if_dead_wrong=float(scores.sum()) / ended if ended else float("nan"),
        passes=_passes(lines, answers.spec.samples) if suite is not None else (),
    )


def _passes(lines: "pd.DataFrame", samples: int) -> tuple[PassAtK, ...]:
    if samples < 2:
        return ()
    questions = lines.groupby(["question_id", "cluster"], sort=False)["score"].agg(["sum", "count"]).reset_index()
    right, drawn = np.rint(questions["sum"].to_numpy()), questions["count"].to_numpy()
    clusters = questions["cluster"].to_numpy(dtype=object).astype(str)
    return tuple(pass_at_k(right, drawn, k, clusters) for k in ks(samples))


def _hosts(frame: "pd.DataFrame") -> list[HostFigures]:
    found = []
    for host, lines in frame[frame["status"] == "done"].groupby("host"):
        quarter_s, median_s, three_quarters_s = lines["duration_s"].quantile([0.25, 0.5, 0.75])
        found.append(
            HostFigures(
                host=str(host),
                answers=len(lines),
                prompt_tokens=int(lines["prompt_tokens"].sum()),
                output_tokens=int(lines["output_tokens"].sum()),
                busy_s=float(lines["duration_s"].sum()),
                quarter_s=float(quarter_s),
                median_s=float(median_s),
                three_quarters_s=float(three_quarters_s),
            )
        )
    return found
