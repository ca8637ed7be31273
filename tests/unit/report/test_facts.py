"""Facts: the figures of a report are those of the results, for any kind of job."""

import re
import statistics
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_jobs import MadeJob, texts

from scorer.core.task import TaskKey
from scorer.jobs.gather import gather
from scorer.jobs.sealed import sealed
from scorer.report.facts import Facts, facts, score_field
from scorer.report.offsets import offsets
from scorer.results import results_schema

SOURCES = Path(facts.__code__.co_filename).parent
HEAD = 'name = "t"\nsystem = "s"\nuser = "{{ text }}"\n'


def template(**fields: str) -> str:
    return HEAD + "".join(f"[output.{name}]\n{keys}\n" for name, keys in fields.items())


NUMBER = 'type = "number"\nminimum = 0\nmaximum = 1'
ANY_NUMBER = 'type = "number"'
WORDS = 'type = "choice"\nvalues = ["good", "so-so", "it\'s bad"]'
TEXT = 'type = "string"\nmax_length = 400'
YES = 'type = "boolean"'


@contextmanager
def asked(job: Path, scratch: Path) -> Iterator[tuple[Facts, list[dict[str, object]]]]:
    found = gather(job, scratch)
    with closing(sealed(found.files, found.schema, scratch)) as database:
        known = facts(found, database)
        if known.score_field:
            offsets(database, known.score_field)
        tables = [pq.read_table(path) for path in found.files]
        yield known, pa.concat_tables(tables).to_pylist() if tables else []


def test_the_figures_are_those_of_the_results(tmp_path: Path) -> None:
    table = texts(600, note=pa.array([f"note {i}" * 200 for i in range(600)]))
    job = MadeJob(table=table, models=("a", "b"), keep=("note",), published=0.5, finished=False).write(tmp_path)
    with asked(job, tmp_path) as (known, lines):
        done = [line for line in lines if line["status"] == "done"]
        scores = [line["score"] for line in done]
        assert known.score_field == "score"
        assert known.histogram is not None
        assert known.histogram.of() == tuple(Counter(scores)[value] for value in range(1, 11))
        for host in known.hosts:
            own = [line for line in done if line["host"] == host.host]
            assert known.histogram.of(host=host.host) == tuple(
                Counter(line["score"] for line in own)[value] for value in range(1, 11)
            )
            assert host.rows == len(own)
            assert host.prompt_tokens == sum(line["prompt_tokens"] for line in own)
            assert host.busy_s == pytest.approx(sum(line["duration_s"] for line in own))
            assert host.median_s == pytest.approx(statistics.median(line["duration_s"] for line in own), rel=0.1)
        assert sum(host.rows for host in known.hosts) == len(done)
        assert [model.model for model in known.models] == ["a", "b"]
        for model in known.models:
            own_scores = [line["score"] for line in done if line["model"] == model.model]
            assert (model.rows, model.mean) == (len(own_scores), pytest.approx(statistics.mean(own_scores)))
        assert known.throughput is not None
        assert sum(map(sum, known.throughput.rows.values())) == len(done)
        assert {shown.score for shown in known.lowest} == {1.0}
        assert {shown.score for shown in known.highest} == {10.0}
        assert len({shown.row for shown in known.highest}) == 8
        by_key = {(line["row"], line["model"], line["sample"]): line for line in done}
        for shown in (*known.lowest, *known.highest):
            line = by_key[shown.row, shown.model, shown.sample]
            assert (shown.host, shown.texts["completion"]) == (line["host"], line["completion"])
            assert shown.texts["note"] == line["note"][:599] + "…"
        (dead,) = known.dead
        assert (dead.kind, dead.rows) == ("cut_output", len(lines) - len(done))
        assert [shown.row for shown in dead.examples] == [49, 49, 99]
        assert dead.examples[0].texts["error"] == "cut_output: the answer was cut at 96 tokens"


@pytest.mark.parametrize("scores", [[5, 6] * 100 + [6], [1, 2] * 100, [9], [10] * 49 + [5] * 50])
def test_the_median_is_a_score_or_lies_in_the_middle_of_two(tmp_path: Path, scores: list[int]) -> None:
    made = MadeJob(table=texts(len(scores)), says=lambda key, _: {"score": scores[key.row]})
    with asked(made.write(tmp_path), tmp_path) as (known, lines):
        done = [line["score"] for line in lines if line["status"] == "done"]
        assert known.fields[0].summary["median"] == statistics.median(done)


def test_a_job_of_words_counts_words(tmp_path: Path) -> None:
    words = ["good", "good", "so-so", "it's bad"]
    made = MadeJob(
        table=texts(400),
        template=template(score=WORDS, safe=YES, why=TEXT),
        says=lambda key, _: {"score": words[key.row % 4], "safe": key.row % 4 > 0, "why": f"because {key.row}"},
    )
    with asked(made.write(tmp_path), tmp_path) as (known, _):
        assert known.score_field is None
        assert known.histogram is not None
        assert known.histogram.labels == ("good", "it's bad", "so-so")
        assert known.histogram.of() == (200, 100, 100)
        score, safe, why = known.fields
        assert score.values == (("good", 200), ("it's bad", 100), ("so-so", 100))
        assert safe.summary == {"true": 0.75}
        assert (why.type, why.values) == ("text", ())
        assert known.highest == ()


@pytest.mark.parametrize(("count", "others"), [(13, 0), (21, 0), (22, 1), (40, 19)])
def test_of_many_words_the_rare_ones_are_counted_together(tmp_path: Path, count: int, others: int) -> None:
    words = [f"word {i:02}" for i in range(count)]
    made = MadeJob(
        table=texts(10 * count),
        template=template(score=f'type = "choice"\nvalues = {words}'),
        says=lambda key, _: {"score": words[key.row % count]},
    )
    with asked(made.write(tmp_path), tmp_path) as (known, _):
        (field,) = known.fields
        assert (field.type, len(field.values), field.others) == ("choice", count - others, 10 * others)
        assert known.histogram is not None
        assert known.histogram.labels == (*words[:21], *(["other values"] if others else []))
        assert known.histogram.of() == (10,) * (count - others) + ((10 * others,) if others else ())
        assert sum(sum(known.histogram.of(host=host.host)) for host in known.hosts) == 10 * count


def test_yes_or_no_is_a_score_too(tmp_path: Path) -> None:
    made = MadeJob(table=texts(100), template=template(score=YES), says=lambda key, _: {"score": key.row % 4 == 0})
    with asked(made.write(tmp_path), tmp_path) as (known, _):
        assert known.histogram is not None
        assert (known.histogram.labels, known.histogram.of()) == (("false", "true"), (75, 25))
        assert known.models[0].mean == 0.25


@pytest.mark.parametrize(
    "values", [[0.25], [1e17], [0.0, 1.0], [0.3, 0.30000000000000004], [0.1, 0.2, 0.7], [i / 1000 for i in range(1000)]]
)
def test_fractions_fall_into_classes_that_hold_all_of_them(tmp_path: Path, values: list[float]) -> None:
    def says(key: TaskKey, _: object) -> dict[str, object]:
        return {"score": values[key.row % len(values)]}

    made = MadeJob(table=texts(300), template=template(score=ANY_NUMBER), says=says)
    with asked(made.write(tmp_path), tmp_path) as (known, lines):
        histogram = known.histogram
        assert histogram is not None
        assert sum(histogram.of()) == 300
        scores = [line["score"] for line in lines]
        assert histogram.edges[0] < histogram.edges[1]
        assert histogram.edges[0] <= min(scores)
        assert histogram.edges[-1] >= max(scores)
        for low, high, count in zip(histogram.edges, histogram.edges[1:], histogram.of(), strict=False):
            # a border may fall on either side
            inside = sum(low - 1e-6 <= line["score"] <= high + 1e-6 for line in lines)
            strictly = sum(low + 1e-6 < line["score"] < high - 1e-6 for line in lines)
            assert strictly <= count <= inside


@pytest.mark.parametrize("far", [[1e308, -1e308], [1e308], [1.1e100]])
def test_scores_too_far_out_to_be_drawn_are_counted(tmp_path: Path, far: list[float]) -> None:
    values = [*far, 1.0, 2.0]
    made = MadeJob(
        table=texts(60 * len(values)),
        template=template(score=ANY_NUMBER),
        says=lambda key, _: {"score": values[key.row % len(values)]},
    )
    with asked(made.write(tmp_path), tmp_path) as (known, _):
        assert known.histogram is not None
        assert (known.beyond, sum(known.histogram.of())) == (60 * len(far), 120)
        assert known.histogram.edges[-1] == 2.0
        assert known.highest[0].score == max(values)


def test_a_job_in_which_nothing_has_ended_has_no_figures(tmp_path: Path) -> None:
    job = MadeJob(table=texts(3), says=lambda _key, _rng: None, finished=False).write(tmp_path)
    with asked(job, tmp_path) as (known, lines):
        assert lines == []
        assert (known.histogram, known.hosts, known.throughput, known.highest, known.dead) == (None, (), None, (), ())


def test_a_field_may_have_any_name(tmp_path: Path) -> None:
    made = MadeJob(
        table=texts(30).append_column('od"d; --', pa.array(["x"] * 30)),
        keep=('od"d; --',),
        template=template(score=NUMBER),
        says=lambda *_: {"score": 0.5},
    )
    with asked(made.write(tmp_path), tmp_path) as (known, _):
        assert known.highest[0].texts['od"d; --'] == "x"


NAMES_IN_SQL = sorted(
    {name for path in sorted(SOURCES.glob("*.py")) for name in re.findall(r"\b(?:AS|FROM) \(?(\w+)", path.read_text())}
    # what has been a name of the queries' own, or sounds like one
    | {"kind", "Kind", "place", "moment", "middle", "tenth", "results", "count", "select"}
)


def figures(folder: Path, column: str, output: str) -> tuple[object, ...]:
    """The figures of a job that keeps a column of this name, and has a score of that one."""
    made = MadeJob(
        table=texts(150, **{column: pa.array([f"{i % 3}" for i in range(150)])}),
        keep=(column,),
        template=template(score=YES, **{output: 'type = "integer"\nminimum = 0\nmaximum = 9'}),
        says=lambda key, rng: "refused: no" if key.row % 7 == 3 else {"score": True, output: rng.randint(0, 9)},
    )
    found = gather(made.write(folder), folder)
    with closing(sealed(found.files, found.schema, folder)) as database:
        known = facts(found, database)
        assert known.score_field == output
        assert known.histogram is not None
        shares = [(one.model, one.rows, one.dead, one.mean, one.deviation) for one in known.models]
        dead = [(one.kind, one.rows, [shown.row for shown in one.examples]) for one in known.dead]
        ends = [[shown.row for shown in end] for end in (known.lowest, known.highest)]
        fields = [one.summary for one in known.fields]
        return known.histogram.counts, shares, dead, ends, fields, known.throughput, offsets(database, output)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    return figures(tmp_path_factory.mktemp("plain"), "anything", "figure")


@pytest.mark.parametrize("name", NAMES_IN_SQL)
def test_no_name_of_a_column_or_field_changes_the_figures(tmp_path: Path, name: str, plain: tuple[object, ...]) -> None:
    """Such as one that a query uses itself."""
    for place in ("kept", "output"):
        (tmp_path / place).mkdir()
    assert figures(tmp_path / "kept", name, "figure") == plain
    assert figures(tmp_path / "output", "anything", name) == plain


KEPT = {
    "half": (pa.array([1.5] * 60, pa.float16()), "1.5"),
    "long": (pa.array([Decimal("1.25")] * 60, pa.decimal256(50, 2)), "1.25"),
    "": (pa.array(range(60)), "7"),  # the index of a pandas table in a CSV has no name
    "no\0name": (pa.array(["x"] * 60), "x"),
    "far": (pa.array([2**62] * 60, pa.timestamp("ms")), str(2**62)),
    "twins": (pa.array([{"a": 1, "A": True}] * 60), '{"a": 1, "A": true}'),
    "none": (pa.nulls(60), None),
}


@pytest.mark.parametrize("name", KEPT)
def test_any_kept_column_is_shown(tmp_path: Path, name: str) -> None:
    values, text = KEPT[name]
    made = MadeJob(
        table=texts(60).append_column(name, values),
        keep=(name,),
        says=lambda key, _: {"score": int(key.row == 7)} if key.row % 2 else "refused: no",
    )
    found = gather(made.write(tmp_path), tmp_path)
    with closing(sealed(found.files, found.schema, tmp_path)) as database:
        known = facts(found, database)
        assert [known.highest[0].row, known.highest[0].score] == [7, 1.0]
        assert known.highest[0].texts.get(name) == text
        assert len(known.dead[0].examples) == 3


def test_which_field_is_the_score() -> None:
    from scorer.core.score import Field

    def chosen(**types: str) -> str | None:
        return score_field(results_schema([Field(name, type_) for name, type_ in types.items()], {}))  # type: ignore[arg-type]

    assert chosen(reason="string", score="integer", other="number") == "score"
    assert chosen(score="choice", depth="number") == "depth"
    assert chosen(score="string", safe="boolean") is None
    assert chosen(safe="boolean", score="boolean") == "score"
