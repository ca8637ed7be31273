"""How much higher or lower one host scores than the others do, as far as rows that differ can tell.

Hosts score different rows: long ones go to the quick hosts, and scores may depend on length. So a host is compared with
the others among prompts of about its own length and the same model: in each tenth of the prompts' lengths its mean less
the others', and of these differences the mean that is weighted by the host's rows (a stratified difference of means,
with its normal 95 % interval). Rows were not dealt out at random, so this hints at a difference and proves none; the
same rows on every host would.
"""

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scorer.jobs.sealed import TABLE
from scorer.report.facts import drawable, quoted

if TYPE_CHECKING:
    import duckdb

MIN_ROWS = 50
MIN_IN_STRATUM = 2
STRATA = 10
Z_95 = 1.96


@dataclass(frozen=True, slots=True)
class Group:
    """Scores of one host on prompts of one model and length: number, mean, variance (of the sample)."""

    stratum: tuple[str, int]
    host: str
    n: int
    mean: float
    variance: float


@dataclass(frozen=True, slots=True)
class Offset:
    """One host against the others. `value` and its interval are None where there are too few rows to compare."""

    host: str
    n: int
    mean: float
    value: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def differs(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def offsets(database: "duckdb.DuckDBPyConnection", field: str) -> tuple[Offset, ...]:
    """Compare every host with the others by the field of the results that is the score."""
    return compare(_groups(database, field))


def compare(groups: list[Group]) -> tuple[Offset, ...]:
    """Return each host's offset, the host with most rows first."""
    strata: dict[tuple[str, int], list[Group]] = defaultdict(list)
    for group in groups:
        strata[group.stratum].append(group)
    hosts = sorted({group.host for group in groups}, key=lambda host: (-_rows(groups, host), host))
    return tuple(_offset(host, groups, strata) for host in hosts)


def _offset(host: str, groups: list[Group], strata: dict[tuple[str, int], list[Group]]) -> Offset:
    own = [group for group in groups if group.host == host]
    n = sum(group.n for group in own)
    mean = sum(group.n * group.mean for group in own) / n
    pairs = []
    for group in own:
        others = _pooled([other for other in strata[group.stratum] if other.host != host])
        if others is not None and min(group.n, others.n) >= MIN_IN_STRATUM:
            pairs.append((group, others))
    compared = sum(group.n for group, _ in pairs)
    if compared < MIN_ROWS or sum(others.n for _, others in pairs) < MIN_ROWS:
        return Offset(host, n, mean)
    value = sum(group.n * (group.mean - others.mean) for group, others in pairs) / compared
    error = math.sqrt(
        sum((g.n / compared) ** 2 * (g.variance / g.n + others.variance / others.n) for g, others in pairs)
    )
    return Offset(host, n, mean, value, value - Z_95 * error, value + Z_95 * error)


def _pooled(groups: list[Group]) -> Group | None:
    """Return several hosts' scores as if they were one host's."""
    n = sum(group.n for group in groups)
    if n < MIN_IN_STRATUM:
        return None
    mean = sum(group.n * group.mean for group in groups) / n
    squares = sum((group.n - 1) * group.variance + group.n * (group.mean - mean) ** 2 for group in groups)
    return Group(groups[0].stratum, "", n, mean, squares / (n - 1))


def _rows(groups: list[Group], host: str) -> int:
    return sum(group.n for group in groups if group.host == host)


def _groups(database: "duckdb.DuckDBPyConnection", field: str) -> list[Group]:
    value = f"{quoted(field)}::DOUBLE"
    done = f"FROM {TABLE} WHERE status = 'done' AND {drawable(value)}"
    borders = [i / STRATA for i in range(1, STRATA)]
    ((tenths,),) = database.sql(f"SELECT approx_quantile(prompt_tokens, {borders}) {done}").fetchall()
    tenth = " + ".join(f"coalesce((prompt_tokens > {int(border)})::INTEGER, 0)" for border in tenths or [0])
    found = database.sql(
        f"SELECT model, {tenth}, host, count(*), avg({value}), coalesce(var_samp({value}), 0) {done} "
        "GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    return [Group((model, place), host, n, mean, variance) for model, place, host, n, mean, variance in found]
