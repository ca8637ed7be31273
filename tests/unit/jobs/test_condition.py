"""`--where`: what is a condition, what is refused, and that it reaches nothing but the results."""

from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_jobs import MadeJob, texts

from scorer.errors import Torn, UsageError
from scorer.jobs.condition import Chosen, Condition
from scorer.jobs.gather import Gathered, gather
from scorer.jobs.rows_in_order import RowsInOrder

INPUTS = pa.schema([("lang", pa.string()), ("length", pa.int64())])


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, scratch: Path) -> Gathered:
    table = texts(300, when=pa.array(range(300), pa.duration("s")), half=pa.array([1.5] * 300, pa.float16()))
    job = MadeJob(table=table, keep=("when", "half"), models=("m", "other"), samples=2, published=0.7, finished=False)
    return gather(job.write(tmp_path_factory.mktemp("job")), scratch)


def chosen(found: Gathered, scratch: Path, text: str) -> Chosen:
    with closing(Condition(text, found.files, found.schema, scratch)) as condition:
        assert not condition.concerns(INPUTS, joined=False)
        return condition.chosen()


def rows(found: Gathered, scratch: Path, text: str) -> list[dict[str, object]]:
    some = RowsInOrder(found.files, found.schema, scratch, chosen(found, scratch, text))
    return [line for batch in some.batches() for line in batch.to_pylist()]


CONDITIONS = {
    "score >= 8": lambda line: line["score"] is not None and line["score"] >= 8,
    "status = 'dead'": lambda line: line["status"] == "dead",
    "score >= 8 OR status = 'dead'": lambda line: line["status"] == "dead" or line["score"] >= 8,
    "model = 'other' AND sample = 1 -- only these": lambda line: line["model"] == "other" and line["sample"] == 1,
    "reason LIKE '%7'": lambda line: (line["reason"] or "").endswith("7"),
    "finished_at >= '2023-11-14 22:14:00+00'": lambda line: line["finished_at"].timestamp() >= 1_700_000_040,
    "row IN (SELECT row FROM results WHERE status = 'dead')": lambda line: line["row"] % 50 == 49,
    "score > 11": lambda line: False,
    "results.row < 3": lambda line: line["row"] < 3,
}


@pytest.mark.parametrize("text", CONDITIONS)
def test_a_condition_chooses_the_rows_for_which_it_holds(found: Gathered, scratch: Path, text: str) -> None:
    everything = [
        line for batch in RowsInOrder(found.files, found.schema, scratch, None).batches() for line in batch.to_pylist()
    ]
    assert len(everything) == 1200
    assert rows(found, scratch, text) == [line for line in everything if CONDITIONS[text](line)]


HOSTILE = (
    "1=1); COPY results TO '{out}'; SELECT (1",
    "1=1); ATTACH '{out}'; SELECT (1",
    "1=1) UNION ALL SELECT row, model, sample FROM results WHERE (1=1",
    "true) ORDER BY (row",
    "true) LIMIT (1",
    "score > (SELECT count(*) FROM read_csv('{secret}'))",
    "score > (SELECT count(*) FROM read_text('{secret}'))",
    "score > (SELECT count(*) FROM read_parquet('{part}'))",
    "score > (SELECT count(*) FROM '{secret}')",
    "score > (SELECT count(*) FROM glob('{folder}/*'))",
    "score > (SELECT count(*) FROM found)",
    "score = getenv('HOME')",
    "score > (SELECT count(*) FROM query('COPY results TO ''{out}'''))",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_condition_reads_and_writes_no_file(found: Gathered, scratch: Path, tmp_path: Path, text: str) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "part.parquet")
    places = {"out": tmp_path / "out", "secret": secret, "folder": tmp_path, "part": tmp_path / "part.parquet"}
    with pytest.raises(UsageError) as refused:
        rows(found, scratch, text.format(**places))
    assert len(str(refused.value).splitlines()) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part.parquet", "secret.csv"]


MISTAKES = {
    "scor > 5": ("scor", "did you mean score?", "columns: row, model"),
    "score >": ("syntax error", "score >= 8"),
    "score > 'high'": ("high", "columns: row"),
    "lower(score) = 'x'": ("lower",),
    "nofunction(score)": ("nofunction",),
    "sum(score) > 5": ("aggregates",),
    "score = ?": ("parameters",),
    "  ": ("empty", "score >= 8"),
    "lang = 'py'": ("lang is a column of the input", "--join"),
}


@pytest.mark.parametrize(("text", "words"), MISTAKES.items())
def test_a_mistake_is_told_in_a_line_or_two(found: Gathered, scratch: Path, text: str, words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as told:
        chosen(found, scratch, text)
    assert len(str(told.value).splitlines()) <= 2
    for word in words:
        assert word in str(told.value)


def test_a_column_that_sql_cannot_name_is_not_offered(tmp_path: Path) -> None:
    table = texts(10).append_column("", pa.array(range(10))).append_column("v1", pa.array(["x"] * 10))
    # what has no name comes first: DuckDB would call it v1 by itself
    found = gather(MadeJob(table=table, keep=("", "v1")).write(tmp_path), tmp_path)
    assert len(rows(found, tmp_path, "v1 = 'x'")) == 10
    with pytest.raises(UsageError) as told:
        chosen(found, tmp_path, "v2 = 'x'")
    assert "reason, v1, status" in str(told.value)


# so many rows come at once that only a later one than these can fail on the way
LATE = 120_000


def late(tmp_path: Path, last: str = "x") -> Condition:
    """A condition that holds for all rows of a file but the last, for which it cannot be evaluated."""
    columns = {
        "row": pa.array(range(LATE), pa.int64()),
        "model": pa.array(["m"] * LATE),
        "sample": pa.array([0] * LATE, pa.int32()),
        "completion": pa.array(["1"] * (LATE - 1) + [last]),
    }
    table = pa.table(columns)
    pq.write_table(table, tmp_path / "late.parquet", row_group_size=5000)
    return Condition("completion::int = 1", [tmp_path / "late.parquet"], table.schema, tmp_path)


def test_a_condition_that_fails_in_a_late_row_is_told_as_one_that_fails_in_the_first(tmp_path: Path) -> None:
    with closing(late(tmp_path)) as condition, pytest.raises(UsageError) as told:
        condition.chosen()
    first, second = str(told.value).splitlines()
    assert first.startswith("--where completion::int = 1: Could not convert string 'x'")
    assert second == "columns: row, model, sample, completion"


def test_rows_that_cannot_be_read_are_not_the_conditions_fault(tmp_path: Path) -> None:
    with closing(late(tmp_path)) as condition:
        file = tmp_path / "late.parquet"
        content = file.read_bytes()
        late_in_it, little = len(content) * 8 // 10, len(content) // 20
        file.write_bytes(content[:late_in_it] + bytes(little) + content[late_in_it + little :])
        with pytest.raises(Torn, match=r"late\.parquet is not what was written"):
            condition.chosen()


@pytest.mark.parametrize("text", ["IO Error in line 3", "IO Error: disk", "reading the stream"])
def test_a_row_that_reads_like_an_error_of_the_disk_is_none(
    found: Gathered, scratch: Path, tmp_path: Path, text: str
) -> None:
    with pytest.raises(UsageError, match="Could not convert"):
        chosen(found, scratch, f"score > '{text}'")
    with closing(late(tmp_path, text)) as condition, pytest.raises(UsageError, match="Could not convert"):
        condition.chosen()


def test_it_is_known_whether_a_condition_needs_the_input(found: Gathered, scratch: Path) -> None:
    for text, needs in (("score > 3 AND lang = 'py'", True), ("length > 3", True), ("score > 3", False)):
        with closing(Condition(text, found.files, found.schema, scratch)) as condition:
            assert condition.concerns(INPUTS, joined=True) is needs
    condition = Condition("lang + 'py' > [1]", found.files, found.schema, scratch)
    with closing(condition), pytest.raises(UsageError, match="lang, length"):
        condition.concerns(INPUTS, joined=True)
