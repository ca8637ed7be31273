"""What a report tells of a job, asked of its results in a few passes over narrow columns.

No query brings more than some hundred lines into Python, and texts are read only of the few rows that are shown, so
that a million rows take seconds and little memory. (Only the count of different texts reads all of them, streaming.)

Where a query of the results groups or sorts by what it works out, it says so by the place (`GROUP BY 1`) and not by a
name of its own: a kept column or an output field may be called so, and SQL would take that.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import types

from scorer.errors import NEVER_SENT
from scorer.jobs.asking import choices
from scorer.jobs.gather import Gathered
from scorer.jobs.sealed import TABLE
from scorer.report.excerpts import Key, Shown, shown

if TYPE_CHECKING:
    import duckdb

MOST_SINGLE = 21
CLASSES = 20
MOMENTS = 120
SHOWN_ROWS = 8
SHOWN_DEAD = 3
# beyond it squares and pictures' scales are beyond the greatest float; no score that means something is near it
MOST_DRAWN = 1e100
OTHER_VALUES = "other values"
SOURCE = b"scorer.source"


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often scores were given: `edges` of the classes (one more than classes), or single values if `single`.

    `counts` by model and host. `labels`: what single values are called, if not by their figure.
    """

    field: str
    edges: tuple[float, ...]
    single: bool
    counts: dict[tuple[str, str], tuple[int, ...]]
    labels: tuple[str, ...] = ()

    def of(self, *, model: str | None = None, host: str | None = None) -> tuple[int, ...]:
        """Return the counts of one model, one host, or all, class by class."""
        chosen = [c for (m, h), c in self.counts.items() if model in (None, m) and host in (None, h)]
        width = len(self.edges) - (not self.single)
        return tuple(sum(counts[i] for counts in chosen) for i in range(width))


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What one host has scored. Durations are of its requests, in seconds; times are UTC seconds.

    `median_s`, `fast_s` and `slow_s` (median and outer tenths) are approximate.
    """

    host: str
    rows: int
    prompt_tokens: int
    output_tokens: int
    busy_s: float
    median_s: float
    fast_s: float
    slow_s: float
    first_at: float
    last_at: float
    tries: int

    @property
    def output_tps(self) -> float:
        """Tokens written per second of its requests."""
        return self.output_tokens / self.busy_s if self.busy_s else 0.0


@dataclass(frozen=True, slots=True)
class Throughput:
    """Rows that ended in each span of time of `step_s` seconds from `start_at` (UTC seconds) on, by host."""

    start_at: float
    step_s: float
    rows: dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class DeadFacts:
    """Dead rows of one kind, the hosts on which they ended, and some of them."""

    kind: str
    rows: int
    examples: tuple[Shown, ...]


@dataclass(frozen=True, slots=True)
class FieldFacts:
    """An output field in figures: `summary` is what there is to say by its type, `values` the most frequent ones.

    `others`: how many rows have a value that is none of these.
    """

    name: str
    type: str
    summary: dict[str, float]
    values: tuple[tuple[str, int], ...] = ()
    others: int = 0


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What one model has scored; `mean` and `deviation` are None without a numeric score."""

    model: str
    rows: int
    dead: int
    mean: float | None
    deviation: float | None


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that a report tells which its results know. `beyond`: how many scores are too far out to be drawn."""

    score_field: str | None
    histogram: Histogram | None
    beyond: int
    models: tuple[ModelFacts, ...]
    hosts: tuple[HostFacts, ...]
    throughput: Throughput | None
    fields: tuple[FieldFacts, ...]
    lowest: tuple[Shown, ...]
    highest: tuple[Shown, ...]
    dead: tuple[DeadFacts, ...]

    @property
    def worth_a_retry(self) -> tuple[str, ...]:
        """The kinds of dead rows that another try can help, the most frequent first."""
        return tuple(dead.kind for dead in self.dead if dead.kind not in NEVER_SENT)


def score_field(schema: pa.Schema) -> str | None:
    """Return the output field that is the score: `score` if it is a number, else the first number, else yes or no.

    None if there is neither, or if `score` is a word: words are counted, but have no mean.
    """
    outputs = {field.name: field.type for field in _outputs(schema)}
    numbers = [name for name, type_ in outputs.items() if _is_number(type_)]
    if not numbers and types.is_string(outputs.get("score", pa.null())):
        return None
    fitting = numbers or [name for name, type_ in outputs.items() if types.is_boolean(type_)]
    return "score" if "score" in fitting else next(iter(fitting), None)


def facts(found: Gathered, database: "duckdb.DuckDBPyConnection") -> Facts:
    """Ask a database that has the results as its table; every query is bounded in what it returns."""
    ask = _Questions(found, database)
    return Facts(
        score_field=ask.score,
        histogram=ask.histogram(),
        beyond=ask.beyond(),
        models=ask.models(),
        hosts=ask.hosts(),
        throughput=ask.throughput(),
        fields=tuple(ask.field(field) for field in _outputs(found.schema)),
        lowest=ask.extreme("ASC"),
        highest=ask.extreme("DESC"),
        dead=ask.dead(),
    )


class _Questions:
    def __init__(self, found: Gathered, database: "duckdb.DuckDBPyConnection") -> None:
        self._files = found.files
        self._schema = found.schema
        self._choices = choices(found.spec.template, found.folder)
        self._database = database
        self.score = score_field(found.schema)

    def histogram(self) -> Histogram | None:
        if self.score is None:
            return self._words()
        name = quoted(self.score)
        value = f"{name}::DOUBLE"
        done = f"FROM {TABLE} WHERE status = 'done' AND {drawable(value)}"
        ((low, high),) = self._rows(f"SELECT min({value}), max({value}) {done}")
        if low is None:
            return None
        type_ = self._schema.field(self.score).type
        if types.is_boolean(type_):
            counts = self._counts(f"{name}::INTEGER", done, 2)
            return Histogram(self.score, (0.0, 1.0), single=True, counts=counts, labels=("false", "true"))
        single = types.is_integer(type_) and high - low < MOST_SINGLE
        edges = _singles(low, high) if single else _edges(low, high)
        step = edges[1] - edges[0] if len(edges) > 1 else 1.0
        classes = len(edges) if single else len(edges) - 1
        place = f"least(greatest(floor(({value} - {edges[0]!r}) / {step!r} + 1e-9), 0), {classes - 1})::INTEGER"
        return Histogram(self.score, edges, single, self._counts(place, done, classes))

    def beyond(self) -> int:
        """Count the scores that are numbers but not drawn."""
        if self.score is None:
            return 0
        value = f"{quoted(self.score)}::DOUBLE"
        ((rows,),) = self._rows(
            f"SELECT count(*) FROM {TABLE} WHERE status = 'done' AND isfinite({value}) AND NOT {drawable(value)}"
        )
        return int(rows)

    def _words(self) -> Histogram | None:
        """Count a score that is one of a few words, the most frequent first."""
        if "score" not in [field.name for field in _outputs(self._schema)]:
            return None
        fact = self.field(self._schema.field("score"))
        if not fact.values:
            return None
        words = tuple(word for word, _ in fact.values)
        labels = (*words, OTHER_VALUES) if fact.others else words
        listed = ", ".join("'" + word.replace("'", "''") + "'" for word in words)
        done = f"FROM {TABLE} WHERE status = 'done' AND score IS NOT NULL"
        place = f"coalesce(list_position([{listed}], score), {len(labels)}) - 1"
        counts = self._counts(place, done, len(labels))
        return Histogram("score", tuple(map(float, range(len(labels)))), single=True, counts=counts, labels=labels)

    def _counts(self, place: str, done: str, classes: int) -> dict[tuple[str, str], tuple[int, ...]]:
        """Count by model, host, and the class whose number SQL tells."""
        counts: dict[tuple[str, str], list[int]] = {}
        found = self._rows(f"SELECT model, host, {place}, count(*) {done} GROUP BY ALL ORDER BY ALL")
        for model, host, at, rows in found:
            counts.setdefault((model, host), [0] * classes)[at] = rows
        return {key: tuple(value) for key, value in counts.items()}

    def models(self) -> tuple[ModelFacts, ...]:
        figures = "NULL, NULL"
        if self.score is not None:
            value = f"{quoted(self.score)}::DOUBLE"
            figures = f"avg({value}) FILTER (status = 'done'), stddev_samp({value}) FILTER (status = 'done')"
        found = self._rows(
            f"SELECT model, count(*) FILTER (status = 'done'), count(*) FILTER (status = 'dead'), {figures} "
            f"FROM {TABLE} GROUP BY model ORDER BY model"
        )
        return tuple(ModelFacts(*row) for row in found)

    def hosts(self) -> tuple[HostFacts, ...]:
        found = self._rows(
            "SELECT host, count(*), coalesce(sum(prompt_tokens), 0)::BIGINT, coalesce(sum(output_tokens), 0)::BIGINT, "
            "sum(duration_s), approx_quantile(duration_s, 0.5), approx_quantile(duration_s, 0.1), "
            "approx_quantile(duration_s, 0.9), min(epoch_us(finished_at)) / 1e6, max(epoch_us(finished_at)) / 1e6, "
            f"sum(attempts)::BIGINT FROM {TABLE} WHERE status = 'done' GROUP BY host ORDER BY count(*) DESC, host"
        )
        return tuple(HostFacts(*row) for row in found)

    def throughput(self) -> Throughput | None:
        span = f"SELECT min(epoch_us(finished_at)) / 1e6, max(epoch_us(finished_at)) / 1e6 FROM {TABLE}"
        ((first, last),) = self._rows(f"{span} WHERE status = 'done'")
        if first is None:
            return None
        step_s = max((last - first) / MOMENTS, 1.0)
        moments = max(1, math.ceil((last - first) / step_s))
        rows: dict[str, list[int]] = {}
        for host, at, count in self._rows(
            f"SELECT host, floor((epoch_us(finished_at) / 1e6 - {first!r}) / {step_s!r})::INTEGER, count(*) "
            f"FROM {TABLE} WHERE status = 'done' GROUP BY ALL ORDER BY ALL"
        ):
            rows.setdefault(host, [0] * moments)[min(max(at, 0), moments - 1)] += count
        return Throughput(first, step_s, {host: tuple(counts) for host, counts in rows.items()})

    def field(self, field: pa.Field) -> FieldFacts:
        name = quoted(field.name)
        done = f"FROM {TABLE} WHERE status = 'done' AND {name} IS NOT NULL"
        if _is_number(field.type):
            value = f"{name}::DOUBLE"
            (figures,) = self._rows(
                f"SELECT avg({value}), stddev_samp({value}), min({value}), ({self._median(value, done)}), "
                f"max({value}) {done}"
            )
            return FieldFacts(field.name, "number", _known("mean deviation lowest median highest", figures))
        if types.is_boolean(field.type):
            (figures,) = self._rows(f"SELECT avg({name}::INTEGER) {done}")
            return FieldFacts(field.name, "boolean", _known("true", figures))
        (figures,) = self._rows(
            f"SELECT approx_count_distinct({name}), avg(length({name})), max(length({name})) {done}"
        )
        summary = _known("different length longest", figures)
        if field.name not in self._choices and summary.get("different", MOST_SINGLE) >= MOST_SINGLE:
            return FieldFacts(field.name, "text", summary)
        counts = self._rows(
            f"SELECT {name}, count(*), sum(count(*)) OVER () {done} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {MOST_SINGLE}"
        )
        values = tuple((str(value), rows) for value, rows, _ in counts)
        others = int(counts[0][2]) - sum(rows for _, rows in values) if counts else 0
        return FieldFacts(field.name, "choice", summary, values, others)

    def _median(self, value: str, done: str) -> str:
        """Return SQL for the exact median: an approximate one lies between the few values that scores have.

        Sorted, since that goes to the disk where memory is short, which DuckDB's own quantiles cannot.
        """
        ((rows,),) = self._rows(f"SELECT count(*) {done}")
        middle = f"LIMIT {2 - rows % 2} OFFSET {max(rows - 1, 0) // 2}"
        return f"SELECT avg(middle) FROM (SELECT {value} {done} ORDER BY 1 {middle}) AS middles(middle)"

    def extreme(self, direction: str) -> tuple[Shown, ...]:
        """The rows with the lowest or highest scores; of equal ones some from all over, the same ones each time."""
        if self.score is None:
            return ()
        name = quoted(self.score)
        keys = self._rows(
            f"SELECT row, model, sample FROM {TABLE} WHERE status = 'done' AND {name} IS NOT NULL "
            f"ORDER BY {name} {direction}, hash(row, model, sample), row LIMIT {SHOWN_ROWS}"
        )
        return self._shown(keys)

    def dead(self) -> tuple[DeadFacts, ...]:
        kinds = self._rows(
            f"SELECT split_part(error, ':', 1), count(*), arg_min([row::VARCHAR, model, sample::VARCHAR], row, "
            f"{SHOWN_DEAD}) FROM {TABLE} WHERE status = 'dead' GROUP BY 1 ORDER BY 2 DESC, 1"
        )
        return tuple(
            DeadFacts(kind, rows, self._shown([(int(row), model, int(sample)) for row, model, sample in keys]))
            for kind, rows, keys in kinds
        )

    def _shown(self, keys: Sequence[Key]) -> tuple[Shown, ...]:
        return shown(self._files, keys, [field.name for field in self._schema if _is_shown(field)], self.score)

    def _rows(self, sql: str) -> list[Any]:
        return self._database.sql(sql).fetchall()


def quoted(name: str) -> str:
    """Return a column's name as SQL writes it, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def drawable(value: str) -> str:
    """Return SQL for whether a score, itself in SQL as a DOUBLE, is there and of a size that can be drawn."""
    return f"coalesce(abs({value}) <= {MOST_DRAWN!r}, false)"


def _outputs(schema: pa.Schema) -> list[pa.Field]:
    return [field for field in schema if (field.metadata or {}).get(SOURCE) == b"output"]


def _is_shown(field: pa.Field) -> bool:
    """Whether a row's excerpt has the column: what the model said, what was kept, and why it died."""
    return (field.metadata or {}).get(SOURCE) is not None or field.name in ("error", "completion")


def _is_number(type_: pa.DataType) -> bool:
    return bool(types.is_integer(type_) or types.is_floating(type_))


def _known(names: str, values: Sequence[float | None]) -> dict[str, float]:
    return {name: value for name, value in zip(names.split(), values, strict=True) if value is not None}


def _singles(low: float, high: float) -> tuple[float, ...]:
    return tuple(float(value) for value in range(int(low), int(high) + 1))


def _edges(low: float, high: float) -> tuple[float, ...]:
    """Return round borders of some twenty classes from low to high."""
    from matplotlib.ticker import MaxNLocator

    if low == high:
        # half a point is nothing to a figure that is large enough
        half = max(0.5, abs(low) * 1e-9)
        return (low - half, low + half)
    return tuple(float(edge) for edge in MaxNLocator(CLASSES).tick_values(low, high))
