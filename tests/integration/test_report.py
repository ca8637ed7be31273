"""`scorer report` and `scorer simulate --plot` as their users run them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from doubles.ollama import OllamaDouble
from running import TEMPLATE, Desk, finished, texts, wait_for

FLEET = """
[[hosts]]
name = "p40"
prefill_tps = 900
decode_tps = 40
[[hosts]]
name = "mini"
prefill_tps = 200
decode_tps = 15
[[hosts.events]]
at_s = 20
kind = "dies"
"""


@pytest.fixture
def double() -> Iterator[OllamaDouble]:
    with OllamaDouble() as double:
        yield double


def test_a_report_is_written_during_a_run_and_after(tmp_path: Path, double: OllamaDouble) -> None:
    desk = Desk(tmp_path)
    desk.write("judge.toml", TEMPLATE)
    desk.hosts({"only <host>": double.url})
    desk.dataset([*texts(400), ""])
    with desk.started("run", "rows.parquet", "--prompt", "judge.toml", "--job", "judged") as process:
        wait_for(process, double, lambda double: len(double.generations) > 100)
        early = desk.scorer("report", "judged", "-o", "early.html", "--json").json
        finished(process, 3)
    assert early["done"] + early["dead"] + early["pending"] == 401
    said = desk.scorer("report")
    assert said.out.startswith("report.html: the report of judged: 400 rows done, 1 dead, 0 to go")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    for words in ("only &lt;host&gt;", "empty_prompt", "finished, some rows dead", "Highest"):
        assert words in text
    assert desk.scorer("report").out == said.out, "its own page is replaced"
    notes = desk.write("notes.html", "<p>mine</p>")
    assert "--force" in desk.scorer("report", "-o", "notes.html", code=2).err
    assert notes.read_text() == "<p>mine</p>"
    assert desk.scorer("report", "-o", "notes.html", "--force").code == 0
    assert str(double.url) not in text, "an address of the network is nobody's business"
    assert "report.txt" in desk.scorer("report", "judged", "-o", "report.txt", code=2).err
    assert desk.scorer("verify", "judged").out == "judged: sound\n"


def test_a_simulation_is_drawn(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write("fleet.toml", FLEET)
    for name, start in (("plot.svg", b"<?xml"), ("plot.png", b"\x89PNG")):
        said = desk.scorer("simulate", "--fleet", "fleet.toml", "--rows", "60", "--plot", name, "--json")
        assert said.json["rows"] == 60
        assert (tmp_path / name).read_bytes().startswith(start)
    assert "mini" in (tmp_path / "plot.svg").read_text(encoding="utf-8")
    refused = desk.scorer("simulate", "--fleet", "fleet.toml", "--plot", "plot.pdf", code=2)
    assert ".svg or .png" in refused.err
