"""Export: every result once and in row order, beside its own input, and nothing is lost by a mistake."""

import errno
import json
import os
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from made_jobs import MadeJob, texts

from scorer.errors import StoreError, Torn, UsageError
from scorer.jobs import rows_in_order
from scorer.jobs.export import ExportOptions, export
from scorer.jobs.folder import move_aside
from scorer.jobs.mend import verify

ROWS = 200
TABLE = texts(
    ROWS,
    score_input=pa.array(["taken"] * ROWS),
    score=pa.array([i * 2 for i in range(ROWS)]),
    note=pa.array([f"note {i}" for i in range(ROWS)]),
)


@pytest.fixture
def job(tmp_path: Path) -> Path:
    made = MadeJob(
        table=TABLE, keep=("note",), models=("a", "b"), samples=2, published=0.6, finished=False, part_rows=50
    )
    return made.write(tmp_path)


def test_published_committed_and_dead_rows_are_all_there_in_row_order(job: Path, tmp_path: Path) -> None:
    done = export(job, ExportOptions(to=tmp_path / "out.parquet"))
    table = pq.read_table(done.file)
    keys = list(zip(table["row"].to_pylist(), table["model"].to_pylist(), table["sample"].to_pylist(), strict=True))
    assert keys == [(row, model, sample) for row in range(ROWS) for model in "ab" for sample in (0, 1)]
    assert (done.rows, done.dead, done.pending) == (ROWS * 4, ROWS * 4 // 50, 0)
    assert pc.sum(pc.equal(table["status"], "dead")).as_py() == done.dead
    assert table["note"].to_pylist() == [f"note {row}" for row, _, _ in keys]
    published = pq.read_table(job / "results" / "part-00000.parquet")
    assert table.schema.equals(published.schema)
    found = {(line["row"], line["model"], line["sample"]): line for line in table.to_pylist()}
    for line in published.to_pylist():
        assert found[line["row"], line["model"], line["sample"]] == line


@pytest.mark.parametrize("bucket_bytes", [500, 1 << 24])
def test_each_result_stands_beside_its_own_input(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket_bytes: int
) -> None:
    monkeypatch.setattr(rows_in_order, "BUCKET_BYTES", bucket_bytes)
    monkeypatch.setattr(rows_in_order, "BATCH_ROWS", 37)
    done = export(job, ExportOptions(to=tmp_path / "out.parquet", join=True))
    table = pq.read_table(done.file)
    assert table.num_rows == ROWS * 4
    rows = table["row"].to_pylist()
    assert table["text"].to_pylist() == [f"text number {row}" for row in rows]
    # `score` is a result and `score_input` a column of the input itself, so the input's `score` goes one further
    assert {"score", "score_input", "score_input_input", "note", "note_input"} <= set(table.column_names)
    assert set(table["score_input"].to_pylist()) == {"taken"}
    assert table["score_input_input"].to_pylist() == [row * 2 for row in rows]
    assert table["note_input"].to_pylist() == table["note"].to_pylist()


def test_a_condition_over_the_input_chooses_too(job: Path, tmp_path: Path) -> None:
    where = "score_input_input % 10 = 0 AND status = 'done' AND score > 5"
    done = export(job, ExportOptions(to=tmp_path / "out.parquet", join=True, where=where))
    table = pq.read_table(done.file)
    assert 0 < done.rows < ROWS
    assert all(row % 5 == 0 for row in table["row"].to_pylist())
    assert pc.min(table["score"]).as_py() > 5
    assert table["text"].to_pylist() == [f"text number {row}" for row in table["row"].to_pylist()]
    everything = export(job, ExportOptions(to=tmp_path / "all.parquet", join=True))
    expected = [
        line for line in pq.read_table(everything.file).to_pylist() if line["row"] % 5 == 0 and (line["score"] or 0) > 5
    ]
    assert table.to_pylist() == expected


def test_an_input_that_differs_from_a_result_only_in_case_can_be_chosen_by(tmp_path: Path) -> None:
    job = MadeJob(table=texts(ROWS, Score=pa.array(range(ROWS)))).write(tmp_path)
    export(job, ExportOptions(to=tmp_path / "out.parquet", join=True, where='"Score_input" = 9'))
    table = pq.read_table(tmp_path / "out.parquet")
    assert (table["row"].to_pylist(), table["Score_input"].to_pylist()) == ([9], [9])


INPUT_CONDITIONS = {
    "length > 190": lambda row: row > 190,
    "LENGTH > 190 AND Status = 'done'": lambda row: row > 190 and row % 50 != 49,
    "text LIKE '%1%' AND length < 20": lambda row: row < 20 and "1" in str(row),
    "meta.lang = 'en'": lambda row: row % 2 == 0,
    "META.Lang = 'en' AND results.length > 190": lambda row: row % 2 == 0 and row > 190,
    "results.meta.lang = 'en'": lambda row: row % 2 == 0,
    "meta.score > 190": lambda row: row > 190,
}


@pytest.fixture(scope="module")
def odd_input(tmp_path_factory: pytest.TempPathFactory) -> Path:
    meta = pa.array([{"lang": ("en", "fr")[i % 2], "score": i} for i in range(ROWS)])
    return MadeJob(table=texts(ROWS, Length=pa.array(range(ROWS)), meta=meta)).write(tmp_path_factory.mktemp("odd"))


@pytest.mark.parametrize("where", INPUT_CONDITIONS)
def test_the_inputs_columns_are_named_as_sql_names_them(odd_input: Path, tmp_path: Path, where: str) -> None:
    done = export(odd_input, ExportOptions(to=tmp_path / "out.parquet", join=True, where=where))
    rows = pq.read_table(done.file)["row"].to_pylist()
    assert rows == [row for row in range(ROWS) if INPUT_CONDITIONS[where](row)]


INPUT_MISTAKES = {
    "text LIKE '%1%' AND lenght > 5": ("lenght", "did you mean Length?", ", text, Length, meta"),
    "meta.lang = 'en' AND Lenght > 5": ("did you mean Length?",),
    "text::INTEGER > 5": ("Could not convert", ", text, Length, meta"),
}


@pytest.mark.parametrize("where", INPUT_MISTAKES)
def test_a_mistake_over_the_input_is_told_with_all_columns(odd_input: Path, tmp_path: Path, where: str) -> None:
    with pytest.raises(UsageError) as told:
        export(odd_input, ExportOptions(to=tmp_path / "out.parquet", join=True, where=where))
    assert len(str(told.value).splitlines()) == 2
    for words in INPUT_MISTAKES[where]:
        assert words in str(told.value)


def test_a_column_of_the_input_is_known_in_any_case_where_it_is_not_joined(odd_input: Path, tmp_path: Path) -> None:
    for where, name in (("length > 5", "Length"), ("meta.lang = 'en'", "meta")):
        with pytest.raises(UsageError, match=f"{name} is a column of the input; add --join"):
            export(odd_input, ExportOptions(to=tmp_path / "out.parquet", where=where))


def test_a_job_that_was_moved_aside_is_told_by_the_name_that_it_has_now(job: Path, tmp_path: Path) -> None:
    aside = move_aside(job)
    assert export(aside, ExportOptions(to=tmp_path / "out.parquet")).job == aside.name == "judged.1"
    (tmp_path / "rows.parquet").unlink()
    with pytest.raises(UsageError, match=r"where job judged\.1 had its dataset"):
        export(aside, ExportOptions(to=tmp_path / "out.csv", join=True))


def test_a_condition_that_nothing_meets_gives_a_file_with_no_rows(job: Path, tmp_path: Path) -> None:
    for name in ("none.parquet", "none.csv", "none.jsonl"):
        assert export(job, ExportOptions(to=tmp_path / name, where="score > 99")).rows == 0
    assert pq.read_table(tmp_path / "none.parquet").num_rows == 0
    assert (tmp_path / "none.csv").read_text().startswith('"row","model"')
    assert (tmp_path / "none.jsonl").read_bytes() == b""


def test_the_same_in_every_format(job: Path, tmp_path: Path) -> None:
    names = ("out.parquet", "out.jsonl", "out.csv")
    counts = {export(job, ExportOptions(to=tmp_path / name, where="row < 20")).rows for name in names}
    assert counts == {80}
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["completion"] for line in lines] == pq.read_table(tmp_path / "out.parquet")["completion"].to_pylist()
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 81


def test_what_is_there_stays_unless_it_may_be_replaced(job: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("mine")
    with pytest.raises(UsageError, match="--force"):
        export(job, ExportOptions(to=out))
    with pytest.raises(UsageError, match="scor"):
        export(job, ExportOptions(to=out, force=True, where="scor > 1"))
    assert out.read_text() == "mine", "a mistake cost the file that was there"
    export(job, ExportOptions(to=out, force=True))
    assert out.read_text() != "mine"


def test_the_jobs_own_files_are_never_written(job: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in job.rglob("*") if path.is_file()}
    own = (job / "results" / "new.parquet", job / "results" / "part-00000.parquet", tmp_path / "rows.parquet")
    for place in own:
        with pytest.raises(UsageError, match="another place"):
            export(job, ExportOptions(to=place, force=True))
    link = tmp_path / "link.parquet"
    link.symlink_to(tmp_path / "rows.parquet")
    with pytest.raises(UsageError, match="dataset"):
        export(job, ExportOptions(to=link, force=True))
    assert {path: path.read_bytes() for path in job.rglob("*") if path.is_file()} == before


def test_nothing_is_left_behind_whether_it_works_or_not(job: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    export(job, ExportOptions(to=out / "a.parquet", join=True, where="note IS NOT NULL"))
    with pytest.raises(UsageError):
        export(job, ExportOptions(to=out / "b.parquet", where="scor > 1"))
    assert [path.name for path in out.iterdir()] == ["a.parquet"]


def test_a_dataset_that_has_changed_or_moved_is_told(job: Path, tmp_path: Path) -> None:
    source, moved = tmp_path / "rows.parquet", tmp_path / "moved.parquet"
    source.rename(moved)
    with pytest.raises(UsageError, match="--dataset"):
        export(job, ExportOptions(to=tmp_path / "out.csv", join=True))
    export(job, ExportOptions(to=tmp_path / "out.csv", join=True, dataset=str(moved)))
    pq.write_table(texts(ROWS), source)
    with pytest.raises(UsageError, match="content differs"):
        export(job, ExportOptions(to=tmp_path / "more.csv", join=True))


def test_a_job_without_results_says_so(tmp_path: Path) -> None:
    job = MadeJob(table=texts(3), says=lambda _key, _rng: None, finished=False).write(tmp_path)
    with pytest.raises(UsageError, match="no row has ended"):
        export(job, ExportOptions(to=tmp_path / "out.csv"))


def test_rows_that_have_not_ended_are_counted(tmp_path: Path) -> None:
    made = MadeJob(
        table=texts(30), says=lambda key, _: {"score": 1, "reason": ""} if key.row < 20 else None, finished=False
    )
    done = export(made.write(tmp_path), ExportOptions(to=tmp_path / "out.csv"))
    assert (done.rows, done.pending) == (20, 10)


def test_a_part_that_is_missing_or_torn_is_told(job: Path, tmp_path: Path) -> None:
    part = job / "results" / "part-00001.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(StoreError, match=r"part-00001\.parquet is not what was written: `scorer verify judged` makes"):
        export(job, ExportOptions(to=tmp_path / "out.csv"))
    part.unlink()
    with pytest.raises(StoreError, match=r"part-00001\.parquet is missing: `scorer verify judged` makes"):
        export(job, ExportOptions(to=tmp_path / "out.csv"))
    assert verify(job)
    export(job, ExportOptions(to=tmp_path / "out.csv"))


def test_a_part_whose_values_have_changed_is_told_and_not_exported(job: Path, tmp_path: Path) -> None:
    part = job / "results" / "part-00000.parquet"
    table = pq.read_table(part)
    scores = table.schema.get_field_index("score")
    pq.write_table(table.set_column(scores, table.schema.field("score"), pc.add(table["score"], 1)), part)
    with pytest.raises(Torn, match=r"part-00000\.parquet is not what was written"):
        export(job, ExportOptions(to=tmp_path / "out.csv"))
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("at", ["read_metadata", "ParquetFile"])
def test_a_disk_that_fails_is_told_with_the_part_and_not_with_the_export(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    real = getattr(pq, at)

    def fail(path: Path, *rest: object) -> object:
        if path.name == "part-00001.parquet":
            raise OSError(errno.EIO, "Input/output error")
        return real(path, *rest)

    monkeypatch.setattr(pq, at, fail)
    with pytest.raises(StoreError, match=r"part-00001\.parquet: Input/output error"):
        export(job, ExportOptions(to=tmp_path / "out.csv"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_the_users_mistake(job: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(UsageError, match="name another place"):
        export(job, ExportOptions(to=closed / "out.csv"))


def test_a_job_that_goes_on_meanwhile_is_exported_as_of_one_moment(tmp_path: Path) -> None:
    """A row that is dead when the export begins and done when it ends is there once at most."""
    from entries import done as scored

    from scorer.queue import Queue

    job = MadeJob(table=texts(200), finished=False, published=0.5, part_rows=20).write(tmp_path)
    queue = Queue.open(job / "queue.sqlite", 1.7e9)
    stop = threading.Event()

    def go_on() -> None:
        row = 49
        while not stop.is_set():
            queue.revive(None)
            queue.commit([scored(row, model="m", kept="{}")], 1.7e9)
            row = row + 50 if row < 199 else 49

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        for i in range(5):
            done = export(job, ExportOptions(to=tmp_path / f"{i}.parquet"))
            rows = pq.read_table(done.file)["row"].to_pylist()
            assert rows == sorted(set(rows))
    finally:
        stop.set()
        thread.join()
        queue.close()
