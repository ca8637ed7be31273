"""The page: complete, self-contained, and deaf to whatever rows and models say."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pytest
from made_jobs import MadeJob, texts

from scorer.errors import UsageError
from scorer.jobs.folder import move_aside
from scorer.report.facts import HostFacts, Throughput
from scorer.report.page import report
from scorer.report.plots import throughput_plot

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)> {{ 7*7 }} $\\frac{ \x1b[31m\u202e \"' & 日本"
# elements without an end tag
VOID = {"meta", "br", "img", "link", "input"}


class Page(HTMLParser):
    """Collects what a browser would make of a page; every element must be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def written(job: Path, folder: Path) -> tuple[str, Page]:
    done = report(job, folder / "report.html")
    text = done.file.read_text(encoding="utf-8")
    return text, Page(text)


def test_a_report_tells_everything_and_needs_nothing(tmp_path: Path) -> None:
    made = MadeJob(table=texts(1500, note=pa.array([f"note {i}" for i in range(1500)])), keep=("note",))
    text, page = written(made.write(tmp_path), tmp_path)
    for words in (
        *(
            "1,470",
            "mean score",
            "judge",
            "p40",
            "macbook",
            "mini",
            "0.13.0",
            "dddddddddddd",
            "5d" if False else "all rows",
        ),
        *("Scores", "Do the hosts agree?", "Work over time", "Dead rows", "cut_output", "30 rows", "Lowest", "Highest"),
        *(
            "scorer retry judged",
            "--kind cut_output",
            "note 49",
            "2023-11-14T22:13:20+00:00",
            "rows.parquet",
            "Judge the text.",
        ),
    ):
        assert words in page.text, words
    assert text.count("<svg") == 5
    assert not {"script", "link", "img", "iframe", "object"} & page.tags
    links = [value for name, value in page.attributes if name in ("href", "src", "xlink:href", "action")]
    assert all(value and value.startswith("#") for value in links)
    assert "default-src 'none'" in text
    assert "url(" not in re.sub(r"url\(#[\w-]+\)", "", text)


@pytest.mark.parametrize("others", [False, True])
def test_only_dead_rows_that_another_try_can_help_are_offered_one(tmp_path: Path, others: bool) -> None:
    kinds = ["empty_prompt", "empty_prompt", "deadline" if others else "render_failed"]
    made = MadeJob(table=texts(3), says=lambda key, _: f"{kinds[key.row]}: x")
    _, page = written(made.write(tmp_path), tmp_path)
    assert "Dead rows" in page.text
    assert ("scorer retry" in page.text, "--kind deadline" in page.text) == (others, others)


def test_what_rows_and_models_say_stays_text(tmp_path: Path) -> None:
    made = MadeJob(
        table=texts(200, note=pa.array([EVIL] * 200)),
        keep=("note",),
        models=("m", EVIL),
        hosts=("<b>host</b>", "$x$", "a&b"),
        says=lambda key, rng: (
            f"invalid_output: {EVIL}" if key.row % 20 == 0 else {"score": rng.randint(1, 10), "reason": EVIL}
        ),
    )
    text, page = written(made.write(tmp_path), tmp_path)
    assert not {"script", "img", "b-host"} & page.tags
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert "{{ 7*7 }}" in page.text
    assert "49" not in re.findall(r"=x onerror=alert\(2\)> (\S+)", page.text)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "<b>host</b>" in page.text


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (MadeJob(table=texts(3), says=lambda *_: None, finished=False), "No row has ended so far"),
        (MadeJob(table=texts(3), says=lambda *_: "render_failed: x"), "Every row that ended so far is dead"),
        (MadeJob(table=texts(1), says=lambda *_: {"score": 1, "reason": "x"}), "1 row"),
        (
            MadeJob(table=texts(99), says=lambda *_: {"score": 1, "reason": "x"}, hosts=[f"h{i}" for i in range(30)]),
            "h0",
        ),
        (MadeJob(table=texts(40), models=tuple(f"m{i}" for i in range(6))), "the first 4 of 6 models"),
    ],
    ids=["nothing yet", "all dead", "one row", "many hosts", "many models"],
)
def test_a_report_of_any_job_works(tmp_path: Path, made: MadeJob, words: str) -> None:
    _, page = written(made.write(tmp_path), tmp_path)
    assert words in page.text


@pytest.mark.parametrize("far", [[1e308, -1e308, 0.5], [1e308, 1e308]])
def test_scores_that_no_picture_can_hold_are_told_of(tmp_path: Path, far: list[float]) -> None:
    made = MadeJob(
        table=texts(300),
        template='name = "t"\nsystem = "s"\nuser = "{{ text }}"\n[output.score]\ntype = "number"\n',
        says=lambda key, _: {"score": far[key.row % len(far)]},
    )
    _, page = written(made.write(tmp_path), tmp_path)
    rows = sum(abs(score) > 1 for score in far) * 300 // len(far)
    assert f"Not drawn, nor compared between hosts: {rows} rows with a score beyond ±1e+100." in page.text
    assert "to 1e+308, mean" in page.text


def test_what_many_words_leave_over_is_on_the_page(tmp_path: Path) -> None:
    words = [f"word{i:02}" for i in range(40)]
    head = 'name = "t"\nsystem = "s"\nuser = "{{ text }}"\n[output.score]\ntype = "choice"\n'
    says = {"table": texts(400), "says": lambda key, _: {"score": words[key.row % 40]}}
    _, page = written(MadeJob(template=f"{head}values = {words}", **says).write(tmp_path), tmp_path)
    assert "word20: 2.5%, other values: 47.5%" in page.text


def test_a_report_is_replaced_and_never_in_the_jobs_own_way(tmp_path: Path) -> None:
    job = MadeJob(table=texts(5)).write(tmp_path)
    written(job, tmp_path)
    written(job, tmp_path)
    written(job, job)
    assert (job / "report.html").is_file()
    for name in ("report.txt", "no/report.html", "runs/judged/results/report.html"):
        with pytest.raises(UsageError):
            report(job, tmp_path / name)
    assert not list(tmp_path.glob(".report*"))


@pytest.mark.parametrize("span_s", [1, 9, 214, 300, 5000, 90_000, 900_000, 40_000_000])
def test_time_has_ticks_whatever_the_span(span_s: float) -> None:
    """Matplotlib warns, which is an error here, where it knows no distance of ticks for a span."""
    throughput = Throughput(1.7e9, span_s / 100, {"h": tuple(range(100))})
    svg = throughput_plot(throughput, [])
    assert svg == "", "no host, nothing to draw"
    host = HostFacts("h", 1, 1, 1, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1)
    assert throughput_plot(throughput, [host]).count("<text") > 6


def test_a_job_that_was_moved_aside_is_told_by_the_name_that_it_has_now(tmp_path: Path) -> None:
    aside = move_aside(MadeJob(table=texts(60)).write(tmp_path))
    assert report(aside, tmp_path / "report.html").job == "judged.1"
    assert "scorer retry judged.1" in (tmp_path / "report.html").read_text(encoding="utf-8")
