"""`scorer bench report` and `compare` on jobs whose answers are known, as their users type them."""

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import running
from bench_jobs import DEAD, MISSING, NUM_PREDICT, Answer, BenchJob, Case, Desk, Said

from scorer.bench.statistics import wilson

EVIL = "</td><script>alert('x')</script><img src=x onerror=alert(1)> {{ 7*7 }} $x^{2$ \x00 & 你好"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A folder with one job: two suites and a judge's pairs in both orders, two models."""
    made = Desk(tmp_path)
    maths = [Case("maths", str(i), question=f"{EVIL} {i}", gold="4") for i in range(40)]
    reading = [Case("reading", str(i), group=f"passage {i // 4}") for i in range(20)]
    pairs = [Case("judge", f"{i}/{order}", str(i), gold=gold) for i in range(6) for order, gold in _ORDERS]
    BenchJob([*maths, *reading, *pairs], _says).write(tmp_path / "runs")
    return made


_ORDERS = (("ab", "A"), ("ba", "B"))


def _says(model: str, case: Case, _sample: int) -> Answer:
    if case.suite == "maths":
        return _maths(model, int(case.case))
    if case.suite == "reading":
        return Said("A" if int(case.case) // 4 < 3 else "B", host="macbook", duration_s=3.0)
    number = int(case.case.split("/")[0])
    if model == "base":
        return Said("A")  # always the first
    return Said(None) if (number, case.case[-2:]) == (5, "ba") else Said(case.gold)


def _maths(model: str, number: int) -> Answer:
    """Of 40: base has the first 20 right, tuned all but the last ten; three special ones."""
    if number == 39:
        return MISSING if model == "tuned" else DEAD
    if number == 38:
        return Said(None, "I cannot tell.")
    right = number < (20 if model == "base" else 30)
    return Said("4" if right else f"{number + 5}", f"{EVIL} #### {number}", duration_s=1.0 + number / 10)


def test_the_figures_are_those_that_were_put_in(desk: Desk) -> None:
    found = desk.scorer("bench", "report", "bench", "--json").json
    cells = {(cell["suite"], cell["model"]): cell for cell in found["figures"]}
    base, tuned = cells["maths", "base"], cells["maths", "tuned"]
    assert (base["asked"], base["accuracy"]["n"], base["dead"], base["missing"], base["unparsed"]) == (40, 39, 1, 0, 1)
    assert (tuned["asked"], tuned["accuracy"]["n"], tuned["dead"], tuned["missing"]) == (40, 39, 0, 1)
    assert base["accuracy"]["value"] == pytest.approx(20 / 39)
    assert base["if_dead_wrong"] == pytest.approx(20 / 40)
    assert tuned["if_dead_wrong"] == pytest.approx(30 / 39), "what is missing is not dead"
    assert base["accuracy"]["interval"]["low"] == pytest.approx(wilson(20, 39).low)
    assert base["unparsed_share"] == pytest.approx(1 / 39)

    reading = cells["reading", "base"]["accuracy"]
    assert (reading["n"], reading["clusters"], reading["value"]) == (20, 5, 0.6)
    assert reading["interval"]["low"] < reading["wilson"]["low"]

    shares = [cells[suite, "tuned"]["accuracy"]["value"] for suite in ("maths", "reading", "judge")]
    assert found["macro"]["tuned"]["value"] == pytest.approx(sum(shares) / 3)
    micro = next(cell for cell in found["micro"] if cell["model"] == "tuned")
    assert micro["accuracy"]["value"] == pytest.approx((30 + 12 + 11) / (39 + 20 + 12))
    assert found["missing"] == 1
    hosts = {host["host"]: host for host in found["hosts"]}
    assert hosts["macbook"]["answers"] == 40
    assert hosts["macbook"]["median_s"] == 3.0
    assert hosts["macbook"]["prompt_tokens"] == 4000


def test_a_judge_that_always_takes_the_first_is_found_out(desk: Desk) -> None:
    found = {bias["model"]: bias for bias in desk.scorer("bench", "report", "bench", "--json").json["position_bias"]}
    base, tuned = found["base"], found["tuned"]
    assert {bias["suite"] for bias in found.values()} == {"judge"}
    assert (base["pairs"], base["first"], base["second"], base["consistent"]) == (6, 6, 0, 0)
    assert base["bias"]["value"] == 1.0
    assert base["both_right"]["value"] == 0.0
    assert (tuned["pairs"], tuned["incomplete"], tuned["consistent"]) == (5, 1, 5)
    assert (tuned["bias"]["value"], tuned["both_right"]["value"]) == (0.0, 1.0)


def test_the_terminal_says_what_counts_and_what_does_not(desk: Desk) -> None:
    said = desk.scorer("bench", "report", "bench")
    line = next(line.split() for line in said.out.splitlines() if re.match(r"maths +base", line))
    assert line[:5] == ["maths", "base", "39", "51.3%", "36.2%"]
    assert "1 (2.6%)" in said.out
    assert "maths, base: 50.0%" in said.out
    assert "1 answer is still missing" in said.out
    assert "position bias" in said.out
    assert "-o report.html" in said.err
    assert re.search(r"micro average +tuned +71 +74\.6%", said.out)


def test_two_models_are_compared_on_what_both_have_answered(desk: Desk) -> None:
    found = desk.scorer("bench", "compare", "bench", "base", "tuned", "--json").json
    maths = found["suites"]["maths"]
    assert (maths["n"], maths["only_a"], maths["only_b"], maths["both_right"], maths["both_wrong"]) == (
        39,
        0,
        10,
        20,
        9,
    )
    assert maths["p"] == pytest.approx(2 / 2**10)
    assert maths["p_corrected"] == pytest.approx(min(1, 3 * 2 / 2**10))
    assert maths["shown"] is True
    assert maths["verdict"].startswith("tuned is better than base.")
    assert found["left_out"] == 1
    assert found["suites"]["reading"]["difference"] == 0
    said = desk.scorer("bench", "compare", "bench", "base", "tuned")
    assert said.out.startswith("tuned is better than base.")
    assert "1 question was not answered by both" in said.out
    turned = desk.scorer("bench", "compare", "bench", "tuned", "base", "--json").json
    assert turned["overall"]["difference"] == -found["overall"]["difference"]


class _Page(HTMLParser):
    """What a browser would make of the page: its elements, their addresses, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_stands_alone_and_nothing_from_rows_is_live_in_it(desk: Desk) -> None:
    said = desk.scorer("bench", "report", "bench", "-o", "report.html")
    assert "page: report.html" in said.err
    source = (desk.folder / "report.html").read_text(encoding="utf-8")
    page = _Page()
    page.feed(source)
    assert not {"script", "img", "iframe", "link", "object"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert all(
        value.startswith("#") for name, value in page.attributes if name in {"src", "href", "xlink:href"} and value
    )
    assert "default-src 'none'" in source
    assert "prefers-color-scheme: dark" in source
    text = "".join(page.text)
    assert "<script>alert('x')</script><img src=x onerror=alert(1)> {{ 7*7 }} $x^{2$" in text
    assert "你好" in text


def test_the_page_has_a_picture_of_each_kind_with_its_n(desk: Desk) -> None:
    desk.scorer("bench", "report", "bench", "-o", "report.html")
    source = (desk.folder / "report.html").read_text(encoding="utf-8")
    pictures = re.findall(r"<svg.*?</svg>", source, re.DOTALL)
    texts = ["".join(ET.fromstring(picture).itertext()) for picture in pictures]
    assert len(pictures) == 4
    assert all("n=" in text for text in texts)
    assert "51.3%  n=39" in re.sub(r"\s*\n\s*", "", texts[0])
    assert {"maths", "reading", "judge", "base", "tuned"} <= set(re.findall(r"\w+", texts[0]))
    assert "macbook" in texts[2]
    assert re.search(r"seconds", texts[2])
    assert re.search(r"tokens", texts[3])


def test_the_page_shows_the_questions_that_are_answered_differently(desk: Desk) -> None:
    desk.scorer("bench", "report", "bench", "-o", "report.html")
    page = _Page()
    page.feed((desk.folder / "report.html").read_text(encoding="utf-8"))
    text = "".join(page.text)
    assert "Only tuned is right: 15" in text  # ten of maths, five of judge (the sixth is unparsed)
    assert "Only base is right: 0" in text
    assert "Both are wrong, but differently: 1" in text
    assert "nothing extracted" in text
    assert "#### 25" in text


def test_a_page_stays_small_whatever_the_completions(tmp_path: Path) -> None:
    cases = [Case("maths", str(i), question="q" * 50_000) for i in range(300)]
    job = BenchJob(cases, lambda m, _c, _s: Said("A" if m == "base" else "B", "x" * 100_000))
    job.write(tmp_path / "runs")
    Desk(tmp_path).scorer("bench", "report", "bench", "-o", "page.html")
    source = (tmp_path / "page.html").read_text()
    assert len(source) < 1_000_000
    assert "Only base is right: 300, of which 40 are here" in source
    assert "97,000 characters more" in source


def test_samples_give_pass_at_k_over_questions(tmp_path: Path) -> None:
    cases = [Case("code", str(i)) for i in range(10)]
    job = BenchJob(cases, lambda m, c, s: Said("A" if s < int(c.case) % 3 else "B"), models=("base",), samples=4)
    job.write(tmp_path / "runs")
    desk = Desk(tmp_path)
    found = desk.scorer("bench", "report", "bench", "--json").json["figures"][0]
    right = [i % 3 for i in range(10)]
    assert found["accuracy"]["n"] == 40
    assert found["accuracy"]["clusters"] == 10
    passes = {one["k"]: one for one in found["passes"]}
    assert sorted(passes) == [1, 2, 4]
    assert passes[1]["value"] == pytest.approx(sum(right) / 40)
    assert passes[4]["value"] == pytest.approx(sum(r > 0 for r in right) / 10)
    assert passes[2]["value"] == pytest.approx(sum({0: 0, 1: 3 / 6, 2: 5 / 6}[r] for r in right) / 10)
    assert "pass@2" in desk.scorer("bench", "report", "bench").out
    desk.scorer("bench", "report", "bench", "-o", "page.html")
    assert "pass@2" in (tmp_path / "page.html").read_text()


@pytest.fixture
def half_dead(tmp_path: Path) -> Desk:
    """A folder with one job of two suites, of which `tuned` has answered nothing of the second."""
    cases = [Case(suite, str(i)) for suite in ("easy", "hard") for i in range(8)]

    def says(model: str, case: Case, _sample: int) -> Answer:
        return DEAD if (model, case.suite) == ("tuned", "hard") else Said("A" if model == "tuned" else "B")

    BenchJob(cases, says).write(tmp_path / "runs")
    return Desk(tmp_path)


def test_models_are_not_averaged_over_different_suites(half_dead: Desk) -> None:
    found = half_dead.scorer("bench", "report", "bench", "--json").json["macro"]
    assert found["base"]["value"] == 0
    assert (found["tuned"]["value"], found["tuned"]["interval"]["low"]) == (None, None)
    said = half_dead.scorer("bench", "report", "bench", "-o", "page.html")
    assert re.search(r"macro average +tuned +0 +- +-", said.out)
    assert "No macro average of tuned: it has no answer in hard." in said.out
    assert "No macro average of tuned: it has no answer in hard." in (half_dead.folder / "page.html").read_text()


def test_a_suite_that_only_one_model_has_answered_is_in_no_test(half_dead: Desk) -> None:
    found = half_dead.scorer("bench", "compare", "bench", "base", "tuned", "--json").json["suites"]
    assert (found["hard"]["p"], found["hard"]["p_corrected"], found["hard"]["shown"]) == (None, None, None)
    assert found["easy"]["p_corrected"] == found["easy"]["p"] == 2 / 2**8
    said = half_dead.scorer("bench", "compare", "bench", "base", "tuned")
    assert re.search(r"hard +0 +- .*- *$", said.out, re.MULTILINE)
    half_dead.scorer("bench", "report", "bench", "-o", "page.html")
    (row,) = re.findall(r"<tr><td>hard</td><td>base</td><td>tuned</td>.*", (half_dead.folder / "page.html").read_text())
    assert "1.000" not in row
    assert "nan" not in row


def test_answers_that_were_cut_off_are_told_where_they_are_read_from_text(tmp_path: Path) -> None:
    cases = [Case(suite, str(i)) for suite in ("read", "likely") for i in range(6)]

    def says(model: str, case: Case, _sample: int) -> Answer:
        if model == "tuned" and case.case == "5":
            return DEAD
        return Said("A", output_tokens=NUM_PREDICT - (int(case.case) >= 3))

    BenchJob(cases, says, by_logprob=frozenset({"likely"})).write(tmp_path / "runs")
    desk = Desk(tmp_path)
    found = desk.scorer("bench", "report", "bench", "--json").json
    assert [(cell["suite"], cell["cut"]) for cell in found["figures"]] == [
        *(("read", 3), ("read", 3)),
        *(("likely", 0), ("likely", 0)),
    ]
    assert [cell["cut"] for cell in found["micro"]] == [3, 3]
    note = "num_predict are read as they stand: read, base: 3 of 6; read, tuned: 3 of 5."
    assert note in desk.scorer("bench", "report", "bench", "-o", "page.html").out
    assert note in (tmp_path / "page.html").read_text()


def test_nothing_is_said_of_cut_answers_where_there_are_none(desk: Desk) -> None:
    assert "num_predict" not in desk.scorer("bench", "report", "bench", "-o", "page.html").out
    assert "num_predict" not in (desk.folder / "page.html").read_text()


def test_a_job_without_answers_yet_is_reported_as_that(tmp_path: Path) -> None:
    BenchJob([Case("maths", "0"), Case("maths", "1")], lambda *_: MISSING).write(tmp_path / "runs")
    desk = Desk(tmp_path)
    said = desk.scorer("bench", "report", "bench", "-o", "page.html")
    assert "4 answers are still missing" in said.out
    assert desk.scorer("bench", "report", "bench", "--json").json["figures"][0]["accuracy"]["value"] is None
    assert "no question was answered by both" in desk.scorer("bench", "compare", "bench", "base", "tuned").out
    assert "<svg" in (tmp_path / "page.html").read_text()


def test_it_all_works_in_a_process_of_its_own(desk: Desk) -> None:
    said = running.Desk(desk.folder).scorer("bench", "report", "bench", "-o", "report.html", "--json")
    assert said.json["page"] == "report.html"
    assert said.err == ""
    assert said.json == desk.scorer("bench", "report", "bench", "-o", "report.html", "--json").json


def test_mistakes_are_told_with_what_to_do(desk: Desk) -> None:
    assert "did you mean bench?" in desk.scorer("bench", "report", "bnch", code=2).err
    said = desk.scorer("bench", "compare", "bench", "base", "tund", code=2)
    assert "did you mean tuned?" in said.err
    assert "two different models" in desk.scorer("bench", "compare", "bench", "base", "base", code=2).err
    assert "there is no folder no/such" in desk.scorer("bench", "report", "bench", "-o", "no/such/r.html", code=2).err
    assert "must end in .html" in desk.scorer("bench", "report", "bench", "-o", "report.pdf", code=2).err
    (desk.folder / "runs/bench/cases.parquet").unlink()
    assert "is no benchmark job" in desk.scorer("bench", "report", "bench", code=2).err


def test_a_page_replaces_a_page_and_no_file_of_somebody_else(desk: Desk) -> None:
    mine = desk.folder / "mine.html"
    mine.write_text("<p>my own notes</p>")
    said = desk.scorer("bench", "report", "bench", "-o", "mine.html", code=2)
    assert "is there already" in said.err
    assert "--force" in said.err
    assert mine.read_text() == "<p>my own notes</p>"
    desk.scorer("bench", "report", "bench", "-o", "mine.html", "--force")
    made = mine.read_text()
    assert "<svg" in made
    desk.scorer("bench", "report", "bench", "-o", "mine.html")
    assert mine.read_text() == made


@pytest.mark.parametrize("force", [(), ("--force",)])
@pytest.mark.parametrize("name", ["queue.sqlite", "cases.parquet", "job.toml"])
def test_a_page_is_never_written_over_the_job(desk: Desk, name: str, force: tuple[str, ...]) -> None:
    path = desk.folder / "runs/bench" / name
    before = path.read_bytes()
    desk.scorer("bench", "report", "bench", "-o", str(path), *force, code=2)
    link = desk.folder / "page.html"
    link.symlink_to(path)
    said = desk.scorer("bench", "report", "bench", "-o", "page.html", *force, code=2)
    assert "belongs to the job itself" in said.err
    assert path.read_bytes() == before


def test_a_damaged_file_is_named(desk: Desk) -> None:
    part = desk.folder / "runs/bench/results/part-00000.parquet"
    part.write_bytes(part.read_bytes()[:500])
    said = desk.scorer("bench", "report", "bench", code=4)
    assert "part-00000.parquet cannot be read" in said.err
    assert "scorer verify" in said.err


def test_cases_of_another_job_are_refused(desk: Desk) -> None:
    path = desk.folder / "runs/bench/cases.parquet"
    pq.write_table(pq.read_table(path).slice(0, 10), path)
    assert "belongs to another job" in desk.scorer("bench", "report", "bench", code=4).err
    pq.write_table(pa.table({"row": [1]}), path)
    assert "has no column suite" in desk.scorer("bench", "report", "bench", code=2).err
