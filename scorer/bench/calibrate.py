"""How well a job's scores agree with a person's labels: all measures of agreement, for each model and, if asked, host.

Invariants: every figure carries its n; one line is one row (samples are averaged first), so that n counts rows; labels
that could not be used are counted by reason.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scorer.bench import agreement as measures
from scorer.bench.agreement import Coefficient, Confusion, Threshold
from scorer.bench.labels import Labelled, LabelOptions, join_labels
from scorer.bench.statistics import Floats, plain
from scorer.bench.text import between, percent
from scorer.errors import UsageError
from scorer.show import table

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrateOptions:
    """What `scorer calibrate` was told. `good`: the lowest label that counts as good, None for the upper half."""

    labels: Path
    label: str | None = None
    on: str | None = None
    field: str = "score"
    good: float | None = None
    by_host: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """One model's (and host's) agreement with the labels over `n` rows.

    `rounded`: kappa and the table are of whole numbers, since there were too many values. `offset` is how much
    higher the scores are than the labels on average.
    """

    model: str
    host: str | None
    n: int
    offset: float
    kappa: Coefficient
    spearman: Coefficient
    alpha_interval: Coefficient
    alpha_ordinal: Coefficient
    rounded: bool
    confusion: Confusion | None
    best: Threshold | None
    thresholds: tuple[Threshold, ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """All agreements of one job with one file of labels."""

    job: str
    field: str
    labelled: Labelled
    good_from: float
    agreements: tuple[Agreement, ...]

    def as_json(self) -> dict[str, object]:
        """Return it as plain JSON values."""
        found: dict[str, object] = plain(
            {
                "job": self.job,
                "field": self.field,
                "label": self.labelled.label,
                "on": self.labelled.on,
                "labels": self.labelled.labels,
                "matched": self.labelled.matched,
                "unscored": self.labelled.unscored,
                "unknown": self.labelled.unknown,
                "good_from": self.good_from,
                "agreements": [_as_json(one) for one in self.agreements],
            }
        )
        return found


def _as_json(one: Agreement) -> dict[str, object]:
    table_ = one.confusion
    confusion = {"values": table_.values, "labels_by_scores": table_.counts.tolist()} if table_ else None
    return asdict(one) | {"confusion": confusion}


def calibrate(folder: Path, options: CalibrateOptions) -> Calibration:
    """Compare a job with labels; UsageError if no label belongs to a row that has a score."""
    labelled = join_labels(folder, options.labels, LabelOptions(options.label, options.on), options.field)
    if not labelled.matched:
        raise UsageError(
            f"none of the {labelled.labels:,} labels belongs to a row with a score: {labelled.unknown:,} name no row "
            f"of job {folder.name}, {labelled.unscored:,} a row without a score (joined on {labelled.on})"
        )
    groups = ["model", "host"] if options.by_host else ["model"]
    rows = labelled.frame.groupby([*groups, "row"], sort=False).agg({"score": "mean", "label": "first"}).reset_index()
    good_from = options.good if options.good is not None else measures.upper_half(rows["label"])
    found = [
        _agreement(lines, str(key[0]), str(key[1]) if options.by_host else None, good_from)
        for key, lines in rows.groupby(groups, sort=False)
    ]
    order = list(dict.fromkeys(rows["model"]))
    found.sort(key=lambda one: (order.index(one.model), one.host or ""))
    return Calibration(folder.name, options.field, labelled, good_from, tuple(found))


def _agreement(lines: "pd.DataFrame", model: str, host: str | None, good_from: float) -> Agreement:
    labels, scores = lines["label"].to_numpy(dtype=np.float64), lines["score"].to_numpy(dtype=np.float64)
    rounded = measures.confusion(labels, scores) is None
    whole = (_whole(labels), _whole(scores)) if rounded else (labels, scores)
    candidates = measures.thresholds(labels, scores, good_from)
    return Agreement(
        model=model,
        host=host,
        n=len(lines),
        offset=float((scores - labels).mean()),
        kappa=measures.kappa(*whole),
        spearman=measures.spearman(labels, scores),
        alpha_interval=measures.alpha(labels, scores, "interval"),
        alpha_ordinal=measures.alpha(labels, scores, "ordinal"),
        rounded=rounded,
        confusion=measures.confusion(*whole),
        best=measures.best_threshold(candidates),
        thresholds=tuple(candidates),
    )


def _whole(values: Floats) -> Floats:
    return np.floor(values + 0.5)


def calibration_text(found: Calibration) -> str:
    """Return a calibration as a person reads it."""
    joined = found.labelled
    lines = [f"{found.job}: {found.field} against {joined.matched:,} of {joined.labels:,} labels ({joined.label})"]
    if joined.unscored:
        rows_that = (
            "1 label belongs to a row that has"
            if joined.unscored == 1
            else f"{joined.unscored:,} labels belong to rows that have"
        )
        lines.append(f"{rows_that} no score")
    if joined.unknown:
        are = "1 label is" if joined.unknown == 1 else f"{joined.unknown:,} labels are"
        lines.append(f"{are} empty or belong to no row of the results (joined on {joined.on})")
    rows = [
        (
            *(_name(one), one.n, _signed(one.offset)),
            *(_coefficient(c) for c in (one.kappa, one.spearman)),
            *(_figure(c.value) for c in (one.alpha_interval, one.alpha_ordinal)),
        )
        for one in found.agreements
    ]
    header = ("model", "n", "offset", "kappa (quadratic)", "Spearman", "alpha (interval)", "alpha (ordinal)")
    lines += ["", table(header, rows), "", *(_threshold(one, found.good_from) for one in found.agreements)]
    lines += [f"\n{_confusion(one)}" for one in found.agreements]
    return "\n".join(lines)


def _name(one: Agreement) -> str:
    return f"{one.model} on {one.host}" if one.host else one.model


def _signed(value: float) -> str:
    return f"{value:+.2f}"


def _figure(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.2f}"


def _coefficient(found: Coefficient) -> str:
    if np.isnan(found.interval.low):
        return _figure(found.value)
    return f"{found.value:.2f} ({found.interval.low:.2f} … {found.interval.high:.2f})"


def _threshold(one: Agreement, good_from: float) -> str:
    best = one.best
    if best is None:
        return f"{_name(one)}: no label is {good_from:g} or more, so there is no threshold to find"
    if best.taken == one.n:
        return f"{_name(one)}: no threshold has a higher F1 than taking every row (labels >= {good_from:g} are good)"
    return (
        f"{_name(one)}: best threshold is score >= {best.at:g} for labels >= {good_from:g}: "
        f"precision {percent(best.precision)} ({between(best.precision_interval)}, n={best.taken:,}), "
        f"recall {percent(best.recall)} ({between(best.recall_interval)}, n={best.good:,})"
    )


def _confusion(one: Agreement) -> str:
    if one.confusion is None:
        return f"{_name(one)}: too many different values for a table"
    values = one.confusion.values
    rounded = ", rounded to whole numbers" if one.rounded else ""
    header = ("label", *(f"{value:g}" for value in values), "n")
    rows = [
        (f"{value:g}", *(str(count) if count else "." for count in counts), str(counts.sum()))
        for value, counts in zip(values, one.confusion.counts, strict=True)
        if counts.sum()
    ]
    return f"{_name(one)}, n={one.n:,}: labels (lines) and scores (columns){rounded}\n" + table(header, rows)
