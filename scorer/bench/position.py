"""Position bias: does a judge of two answers prefer the place where an answer stands?

A suite asks it when each pair of answers is put in both orders, as two cases whose ids end in `/ab` and `/ba`. A judge
without bias names the other letter when the order is turned; one that names the same letter twice judged the place.

Invariant: of the pairs that were judged in both orders, each is either consistent or biased, nothing else.
"""

from dataclasses import dataclass

import numpy as np

from scorer.bench.answers import Answers
from scorer.bench.statistics import Mean, share

ORDERS = ("/ab", "/ba")


@dataclass(frozen=True, slots=True)
class PositionBias:
    """How one model judged the pairs of one suite, samples counted one by one.

    `pairs` were judged in both orders; `incomplete` lack an order, because it is dead, missing or unparsed. `bias` is
    the share in which the same place won twice, `first` and `second` how often which; `consistent` are the others.
    `both_right`: share in which both orders were judged right.
    """

    suite: str
    model: str
    pairs: int
    incomplete: int
    first: int
    second: int
    bias: Mean
    both_right: Mean

    @property
    def consistent(self) -> int:
        """Pairs in which the same answer won in both orders."""
        return self.pairs - self.first - self.second


def paired_suites(answers: Answers) -> list[str]:
    """Return the suites all of whose cases come in two orders."""
    return [suite for suite, cases in answers.cases.groupby("suite", sort=False)["case"] if _in_orders(list(cases))]


def _in_orders(cases: list[str]) -> bool:
    return all(case.endswith(ORDERS) for case in cases) and any(_turned(case) in set(cases) for case in cases[:1])


def _turned(case: str) -> str:
    return case[:-3] + (ORDERS[1] if case.endswith(ORDERS[0]) else ORDERS[0])


def position_biases(answers: Answers) -> list[PositionBias]:
    """Return the bias of every model on every suite that asks both orders."""
    return [_bias(answers, suite, model) for suite in paired_suites(answers) for model in answers.models]


def _bias(answers: Answers, suite: str, model: str) -> PositionBias:
    lines = answers.of(model, suite)
    lines = lines[lines["parsed"].astype(bool) & lines["answer"].notna()]
    pair, order = lines["case"].str[:-3], lines["case"].str[-3:]
    keyed = lines.assign(pair=pair, order=order).set_index(["pair", "sample", "order"])
    letters = keyed["answer"].unstack("order").reindex(columns=list(ORDERS)).dropna()
    right = keyed["score"].unstack("order").reindex(columns=list(ORDERS)).loc[letters.index]
    ab, ba = letters[ORDERS[0]].to_numpy(dtype=str), letters[ORDERS[1]].to_numpy(dtype=str)
    same = ab == ba
    clusters = letters.index.get_level_values("pair").to_numpy()
    known = {case[:-3] for case in answers.cases.loc[answers.cases["suite"] == suite, "case"]}
    both_right = (right.to_numpy(dtype=np.float64) > 0.5).all(axis=1)
    return PositionBias(
        suite=suite,
        model=model,
        pairs=len(letters),
        incomplete=len(known) * answers.spec.samples - len(letters),
        first=int((same & (ab == "A")).sum()),
        second=int((same & (ab != "A")).sum()),
        bias=share(same.astype(np.float64), clusters),
        both_right=share(both_right.astype(np.float64), clusters),
    )
