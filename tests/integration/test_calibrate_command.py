"""`scorer calibrate` on jobs whose scores are known: joining, counting, figures, pictures, mistakes."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import running
from bench_jobs import DEAD, BenchJob, Case, Desk, Said
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score

SCORES = [1, 2, 2, 3, 5, 4, 1, 5, 3, 2, 4, 5]
LABELS = [1, 2, 3, 3, 5, 5, 1, 4, 2, 1, 4, 5]
ROWS = range(len(SCORES))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A job with scores from 1 to 5 by two models; row 12 is dead, row 13 was scored but has no label."""

    def says(model: str, case: Case, _sample: int) -> Said | str:
        row = int(case.case)
        if row == 12:
            return DEAD
        score = [*SCORES, 0, 3][row] if model == "base" else 3 + row % 2
        return Said("A", score=float(score), host="p40" if row % 2 else "macbook")

    BenchJob([Case("s", str(row)) for row in range(14)], says).write(tmp_path / "runs")
    return Desk(tmp_path)


def _csv(desk: Desk, lines: list[str], header: str = "row,label", name: str = "labels.csv") -> str:
    (desk.folder / name).write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return name


def _labels(desk: Desk, *more: str) -> str:
    return _csv(desk, [*(f"{row},{LABELS[row]}" for row in ROWS), *more])


def test_the_figures_are_those_of_the_reference_libraries(desk: Desk) -> None:
    found = desk.scorer("calibrate", "bench", "--labels", _labels(desk), "--json").json
    base, tuned = found["agreements"]
    assert (base["model"], tuned["model"]) == ("base", "tuned")
    assert base["n"] == tuned["n"] == 12
    expected = cohen_kappa_score(LABELS, SCORES, weights="quadratic", labels=[1, 2, 3, 4, 5])
    assert base["kappa"]["value"] == pytest.approx(expected, rel=1e-9)
    assert base["spearman"]["value"] == pytest.approx(spearmanr(LABELS, SCORES).statistic, rel=1e-9)
    assert base["offset"] == pytest.approx((sum(SCORES) - sum(LABELS)) / 12)
    assert base["confusion"]["values"] == [1, 2, 3, 4, 5]
    assert sum(map(sum, base["confusion"]["labels_by_scores"])) == 12
    assert found["good_from"] == 4
    assert (base["best"]["at"], base["best"]["precision"], base["best"]["recall"]) == (4, 1.0, 1.0)
    assert tuned["best"]["taken"] == 12


def test_labels_that_cannot_be_used_are_counted_by_reason(desk: Desk) -> None:
    labels = _labels(desk, "12,3", "99,1", "100,2", "13,")
    found = desk.scorer("calibrate", "bench", "--labels", labels, "--json").json
    assert (found["labels"], found["matched"], found["unscored"], found["unknown"]) == (16, 12, 1, 3)
    said = desk.scorer("calibrate", "bench", "--labels", labels)
    assert "12 of 16 labels" in said.out
    assert "1 label belongs to a row that has no score" in said.out
    assert "3 labels are empty or belong to no row" in said.out


def test_row_numbers_may_be_written_as_decimals(desk: Desk) -> None:
    _csv(desk, [f"{row}.0, {LABELS[row]}.0 " for row in ROWS])
    assert desk.scorer("calibrate", "bench", "--labels", "labels.csv", "--json").json["matched"] == 12


def test_hosts_are_told_apart_when_asked(desk: Desk) -> None:
    found = desk.scorer("calibrate", "bench", "--labels", _labels(desk), "--by", "host", "--json").json
    assert [(one["model"], one["host"], one["n"]) for one in found["agreements"]] == [
        *(("base", "macbook", 6), ("base", "p40", 6)),
        *(("tuned", "macbook", 6), ("tuned", "p40", 6)),
    ]
    assert "base on p40" in desk.scorer("calibrate", "bench", "--labels", _labels(desk), "--by", "host").out


def test_jsonl_and_parquet_and_words_do_as_well(desk: Desk) -> None:
    words = ["yes" if label >= 4 else "no" for label in LABELS]
    lines = [json.dumps({"row": row, "keep it": words[row]}) for row in ROWS]
    (desk.folder / "labels.jsonl").write_text("\n".join(lines))
    flags = pa.table({"row": list(ROWS), "keep it": [word == "yes" for word in words]})
    pq.write_table(flags, desk.folder / "labels.parquet")
    found = [
        desk.scorer("calibrate", "bench", "--labels", name, "--json").json
        for name in ("labels.jsonl", "labels.parquet")
    ]
    assert found[0] == found[1]
    assert found[0]["label"] == "keep it"
    assert found[0]["agreements"][0]["best"]["at"] == 4


def test_labels_join_on_another_column(desk: Desk) -> None:
    for path in (desk.folder / "runs/bench/results").glob("*.parquet"):
        table = pq.read_table(path)
        names = pa.array([f"{row:03d}" for row in table["row"].to_pylist()])
        pq.write_table(table.append_column("name", names), path)
    _csv(desk, [f"{row:03d},{LABELS[row]}" for row in ROWS], "name,label")
    refused = desk.scorer("calibrate", "bench", "--labels", "labels.csv", code=2)
    assert "perhaps --on name" in refused.err
    found = desk.scorer("calibrate", "bench", "--labels", "labels.csv", "--on", "name", "--json").json
    assert (found["matched"], found["on"]) == (12, "name")

    for path in (desk.folder / "runs/bench/results").glob("*.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.drop_columns("name").append_column("name", pa.array(["000"] * len(table))), path)
    refused = desk.scorer("calibrate", "bench", "--labels", "labels.csv", "--on", "name", code=2)
    assert "names more than one row" in refused.err


def test_samples_are_averaged_before_they_are_compared(tmp_path: Path) -> None:
    job = BenchJob(
        [Case("s", str(row)) for row in range(12)],
        lambda _m, c, s: Said("A", score=float(LABELS[int(c.case)] + (s - 1))),
        models=("base",),
        samples=3,
    )
    job.write(tmp_path / "runs")
    desk = Desk(tmp_path)
    found = desk.scorer("calibrate", "bench", "--labels", _labels(desk), "--json").json["agreements"][0]
    assert (found["n"], found["offset"], found["kappa"]["value"]) == (12, 0, 1)


def test_too_many_values_are_rounded_and_it_is_said(tmp_path: Path) -> None:
    job = BenchJob([Case("s", str(r)) for r in range(60)], lambda _m, c, _s: Said("A", score=int(c.case) / 12))
    job.write(tmp_path / "runs")
    desk = Desk(tmp_path)
    _csv(desk, [f"{row},{row // 12}" for row in range(60)])
    found = desk.scorer("calibrate", "bench", "--labels", "labels.csv", "--json").json["agreements"][0]
    assert found["rounded"] is True
    assert found["confusion"]["values"] == [0, 1, 2, 3, 4, 5]
    assert "rounded to whole numbers" in desk.scorer("calibrate", "bench", "--labels", "labels.csv").out


def test_good_labels_can_be_named_and_none_may_be_good(desk: Desk) -> None:
    labels = _labels(desk)
    found = desk.scorer("calibrate", "bench", "--labels", labels, "--good", "5", "--json").json
    assert found["agreements"][0]["best"]["good"] == LABELS.count(5)
    said = desk.scorer("calibrate", "bench", "--labels", labels, "--good", "6", "-o", "c.png")
    assert "no label is 6 or more" in said.out


@pytest.mark.parametrize(("name", "magic"), [("c.png", b"\x89PNG"), ("c.svg", b"<?xml")])
def test_the_picture_is_drawn(desk: Desk, name: str, magic: bytes) -> None:
    said = desk.scorer("calibrate", "bench", "--labels", _labels(desk), "-o", name, "--by", "host")
    assert f"picture: {name}" in said.err
    assert (desk.folder / name).read_bytes().startswith(magic)


def test_it_works_in_a_process_of_its_own(desk: Desk) -> None:
    said = running.Desk(desk.folder).scorer("calibrate", "bench", "--labels", _labels(desk))
    assert said.out.startswith("bench: score against 12 of 12 labels (label)")
    assert "base: best threshold is score >= 4 for labels >= 4: precision 100.0%" in said.out


@pytest.mark.parametrize(
    ("header", "line", "options", "message"),
    [
        ("row,label", "3,fine", (), "label is 'fine' in line 1"),
        ("row,a,b", "3,1,2", (), "Say it with --label; there are: a, b"),
        ("row,label", "3,1", ("--label", "lable"), "did you mean `label`?"),
        ("row,label", "3,1", ("--on", "rows"), "did you mean `row`?"),
        ("row,label", "3,1", ("--field", "scor"), "did you mean `score`?"),
        ("row,label", "3,1", ("--field", "answer"), "answer is string, not a number"),
        ("row,label", "3,1\n3,2", (), "more than one label where row is 3"),
        ("row,label", "77,1", (), "none of the 1 labels belongs to a row with a score"),
        ("row,label", "", (), "cannot be read as labels: dataset labels.csv has no rows"),
        ("row,label", "3,inf", (), "label is 'inf' in line 1"),
        ("row,label", "2,1\n3,-Infinity", (), "label is '-Infinity' in line 2"),
        ("row,label,label", "3,1,1", (), "more than one column named `label`"),
        ("row,label,rating", "3,1,1", (), "Say it with --label; there are: label, rating"),
        ("row,label", "3,1", ("-o", "c.jpeg"), "must end in"),
        ("row,label", "3,1", ("-o", "nowhere/c.png"), "there is no folder"),
    ],
)
def test_mistakes_are_told(desk: Desk, header: str, line: str, options: tuple[str, ...], message: str) -> None:
    _csv(desk, line.splitlines(), header)
    said = desk.scorer("calibrate", "bench", "--labels", "labels.csv", *options, code=2)
    assert message in said.err


def test_files_that_are_no_labels_are_refused(desk: Desk) -> None:
    assert "no file of labels" in desk.scorer("calibrate", "bench", "--labels", "none.csv", code=2).err
    (desk.folder / "l.xlsx").write_text("x")
    assert "cannot tell its format by its name" in desk.scorer("calibrate", "bench", "--labels", "l.xlsx", code=2).err
    (desk.folder / "l.parquet").write_text("x")
    assert "cannot be read as labels" in desk.scorer("calibrate", "bench", "--labels", "l.parquet", code=2).err
    (desk.folder / "l.csv").write_text("")
    assert "cannot be read as labels" in desk.scorer("calibrate", "bench", "--labels", "l.csv", code=2).err


def test_the_job_s_own_scores_are_never_taken_for_labels_unasked(desk: Desk) -> None:
    desk.scorer("export", "bench", "-o", "own.parquet")
    refused = desk.scorer("calibrate", "bench", "--labels", "own.parquet", code=2)
    assert "no column of labels beside the job's own" in refused.err

    own = pq.read_table(desk.folder / "own.parquet", filters=[("model", "=", "base"), ("row", "<", 12)])
    graded = own.append_column("my opinion", pa.array([LABELS[row] for row in own["row"].to_pylist()]))
    pq.write_table(graded, desk.folder / "graded.parquet")
    found = desk.scorer("calibrate", "bench", "--labels", "graded.parquet", "--json").json
    assert (found["label"], found["matched"]) == ("my opinion", 12)
    assert found["agreements"][0]["kappa"]["value"] < 1

    pq.write_table(graded.append_column("note", own["completion"]), desk.folder / "noted.parquet")
    refused = desk.scorer("calibrate", "bench", "--labels", "noted.parquet", code=2)
    assert "Say it with --label; there are: my opinion, note" in refused.err
    told = ("--labels", "noted.parquet", "--label", "my opinion", "--json")
    assert desk.scorer("calibrate", "bench", *told).json["matched"] == 12


def test_a_person_s_own_column_may_be_called_score_if_there_is_no_other(desk: Desk) -> None:
    _csv(desk, [f"{row},{LABELS[row]}" for row in ROWS], "row,score")
    assert desk.scorer("calibrate", "bench", "--labels", "labels.csv", "--json").json["label"] == "score"
    _csv(desk, [f"{row},1,{LABELS[row]}" for row in ROWS], "row,score,mine")
    assert desk.scorer("calibrate", "bench", "--labels", "labels.csv", "--json").json["label"] == "mine"


def test_labels_stand_beside_texts_of_any_length_and_with_line_breaks(desk: Desk) -> None:
    long = "a line\nand another\n" * 10_000
    _csv(desk, [f'{row},"{long}",{LABELS[row]}' for row in ROWS], "row,text,label")
    assert desk.scorer("calibrate", "bench", "--labels", "labels.csv", "--json").json["matched"] == 12

    lines = [json.dumps({"row": row, "text": "x" * 3_000_000 * (row == 5), "label": LABELS[row]}) for row in ROWS]
    (desk.folder / "labels.jsonl").write_text("\n".join(lines))
    found = desk.scorer("calibrate", "bench", "--labels", "labels.jsonl", "--json").json
    assert found["matched"] == 12


def test_keys_that_look_like_dates_are_compared_as_they_stand(desk: Desk) -> None:
    for path in (desk.folder / "runs/bench/results").glob("*.parquet"):
        table = pq.read_table(path)
        days = pa.array([f"2024-01-{row + 1:02d}" for row in table["row"].to_pylist()])
        pq.write_table(table.append_column("day", days), path)
    lines = [json.dumps({"day": f"2024-01-{row + 1:02d}", "label": LABELS[row]}) for row in ROWS]
    (desk.folder / "labels.jsonl").write_text("\n".join(lines))
    found = desk.scorer("calibrate", "bench", "--labels", "labels.jsonl", "--on", "day", "--json").json
    assert found["matched"] == 12


def test_labels_are_single_and_finite_values(desk: Desk) -> None:
    (desk.folder / "labels.jsonl").write_text('{"row": 1, "label": [1, 2], "keys": [3]}\n')
    assert "labels.jsonl: label is list" in desk.scorer("calibrate", "bench", "--labels", "labels.jsonl", code=2).err
    (desk.folder / "labels.jsonl").write_text('{"row": 1, "label": 2}\n{"row": 2, "label": Infinity}\n')
    assert "label is inf in line 2" in desk.scorer("calibrate", "bench", "--labels", "labels.jsonl", code=2).err
    (desk.folder / "labels.jsonl").write_text('{"day": [1], "label": 2}\n')
    told = ("--labels", "labels.jsonl", "--on", "day", "--label", "label")
    assert "has no column `day`" in desk.scorer("calibrate", "bench", *told, code=2).err
