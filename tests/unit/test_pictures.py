"""Pictures: an SVG that belongs to its page, the same each time, and safe whatever the names hold."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer import pictures
from scorer.errors import UsageError
from scorer.pictures import INK, MARK, PAGE_CSS, SERIES, inline_svg, legible, new_figure, write_picture

EVIL = '<script>alert("1")</script> $\\frac{1$ & 日本 \x1b[31m'


def drawn(name: str = "p40") -> str:
    figure, (axes,) = new_figure(4, 2)
    axes.bar([legible(name, 60), "other"], [1, 2], color=SERIES[0], label=legible(name, 60))
    axes.set_title(legible(name, 60), color=INK)
    figure.legend()
    return inline_svg(figure, name)


def test_the_same_figure_gives_the_same_text() -> None:
    assert drawn() == drawn()


def test_a_picture_takes_its_colours_and_font_from_the_page() -> None:
    svg = drawn()
    used = set(re.findall(r"var\((--[a-z0-9-]+)\)", svg))
    assert {"--ink", "--series-0", "--faint"} <= used
    assert all(f"{name}:" in PAGE_CSS for name in used)
    assert "font-family: inherit" in svg
    assert "DejaVu" not in svg
    assert INK not in svg


def test_dark_pages_have_a_value_of_their_own_for_every_colour() -> None:
    light, dark = re.findall(r":root \{(.*?)\}", PAGE_CSS)
    names = [set(re.findall(r"(--[a-z0-9-]+):", rule)) for rule in (light, dark)]
    assert names[0] == names[1]


def test_names_are_text_and_nothing_else() -> None:
    root = ET.fromstring(drawn(EVIL))
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert tags <= {"svg", "g", "path", "text", "use", "defs", "clipPath", "rect", "tspan"}
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert legible(EVIL, 60) in texts
    assert root.get("aria-label") == legible(EVIL, 200)


@given(st.text(max_size=80), st.integers(2, 40))
def test_a_label_is_one_printable_line(text: str, most: int) -> None:
    label = legible(text, most)
    assert len(label) <= most
    assert label.isprintable()


@pytest.mark.parametrize("name", ["a.svg", "a.PNG"])
def test_a_picture_is_written_as_its_name_says(tmp_path: Path, name: str) -> None:
    figure, _ = new_figure(2, 1)
    write_picture(figure, tmp_path / name)
    start = (tmp_path / name).read_bytes()[:4096]
    assert start.startswith(b"<?xml" if name.endswith("svg") else b"\x89PNG\r")
    assert MARK.encode() in start


def test_a_picture_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    figure, _ = new_figure(2, 1)
    with pytest.raises(UsageError, match="cannot write"):
        write_picture(figure, tmp_path / "no" / "a.png")


def test_importing_it_does_not_import_matplotlib() -> None:
    assert not hasattr(pictures, "matplotlib")
