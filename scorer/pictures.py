"""What HTML pages and figures share: the look of a page, and a Matplotlib figure as an SVG that belongs to the page.

A figure takes its colours from the page it stands on (CSS custom properties), so that it follows light and dark without
being drawn twice. The same figure gives the same text each time: no dates, no random identifiers.

This module draws nothing itself and never opens a window: figures are made with `new_figure`, outside pyplot's globals.
"""

import io
import re
import warnings
from html import escape
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from scorer.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# colours that can be told apart by most eyes; each is a CSS property in a page, and itself in a file
SERIES = ("#2f6fb3", "#d9822b", "#2a9d78", "#b4469a", "#8a7a2e", "#6a5acd", "#c0473f", "#4f8f9f", "#7c7c7c", "#9a6b3f")
INK, FAINT, GRID, PAPER = "#1d2530", "#5c6773", "#d9dee4", "#ffffff"
GOOD, WARN, BAD = "#2a8f5d", "#b97a10", "#c0392b"

PICTURES = (".svg", ".png")
MARK = "drawn by scorer"

_NAMED = {
    **{colour: f"--series-{number}" for number, colour in enumerate(SERIES)},
    INK: "--ink",
    FAINT: "--faint",
    GRID: "--grid",
    PAPER: "--paper",
    GOOD: "--good",
    WARN: "--warn",
    BAD: "--bad",
}

_SERIES_DARK = (
    "#6ea8e5",
    "#f0a659",
    "#4fc9a0",
    "#dc7cc6",
    "#c5b455",
    "#a49bf0",
    "#ee8078",
    "#7fc3d3",
    "#a9a9a9",
    "#cf9c6b",
)
_DARK = {
    "--ink": "#e6e9ed",
    "--faint": "#9aa5b1",
    "--grid": "#343c46",
    "--paper": "#1b2027",
    "--page": "#13171c",
    "--good": "#4cc38a",
    "--warn": "#e0a63c",
    "--bad": "#ef6f62",
    **{f"--series-{number}": colour for number, colour in enumerate(_SERIES_DARK)},
}


def _properties(values: dict[str, str]) -> str:
    return " ".join(f"{name}: {value};" for name, value in values.items())


PAGE_CSS = f"""
:root {{ color-scheme: light dark; --page: #f5f6f8; {_properties({name: c for c, name in _NAMED.items()})} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_properties(_DARK)} }} }}
* {{ box-sizing: border-box; }}
html {{ -webkit-text-size-adjust: 100%; }}
body {{ margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }}
main {{ max-width: 68rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem; }}
h1 {{ font-size: 1.6rem; line-height: 1.2; margin: 0 0 .25rem; overflow-wrap: anywhere; }}
h2 {{ font-size: 1.15rem; margin: 0 0 .75rem; }}
h3 {{ font-size: 1rem; margin: 1.25rem 0 .5rem; }}
p {{ margin: .4rem 0 .8rem; max-width: 46rem; }}
a {{ color: var(--series-0); }}
.faint, figcaption, caption {{ color: var(--faint); }}
.good {{ color: var(--good); }} .warn {{ color: var(--warn); }} .bad {{ color: var(--bad); }}
section {{ background: var(--paper); border: 1px solid var(--grid); border-radius: .6rem;
  padding: 1.1rem 1.25rem; margin: 1rem 0; }}
figure {{ margin: .5rem 0 1rem; overflow-x: auto; }}
figure svg {{ display: block; width: 100%; height: auto; min-width: 34rem; max-width: 60rem; }}
figcaption {{ font-size: .85rem; margin-top: .3rem; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }}
caption {{ text-align: left; font-size: .85rem; padding-bottom: .4rem; }}
th, td {{ text-align: left; padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--grid);
  vertical-align: top; }}
th {{ color: var(--faint); font-weight: 600; font-size: .85rem; white-space: nowrap; }}
td.figure, th.figure {{ text-align: right; }}
td.figure, th.figure, td.short {{ white-space: nowrap; }}
tr:last-child > td {{ border-bottom: 0; }}
code, pre {{ font: .85em/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace; }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere; background: var(--page); border-radius: .4rem;
  padding: .6rem .75rem; margin: .4rem 0; }}
dl.facts {{ display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.25rem; margin: .5rem 0; }}
dl.facts dt {{ color: var(--faint); }}
dl.facts dd {{ margin: 0; overflow-wrap: anywhere; }}
.tiles {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .75rem; margin: 1rem 0; }}
.tile {{ background: var(--paper); border: 1px solid var(--grid); border-radius: .6rem; padding: .7rem .9rem; }}
.tile b {{ display: block; font-size: 1.45rem; line-height: 1.2; font-variant-numeric: tabular-nums; }}
.tile span {{ color: var(--faint); font-size: .85rem; }}
@media (max-width: 40rem) {{
  main {{ padding: 1rem .6rem 3rem; }}
  section {{ padding: .9rem .8rem; }}
  dl.facts {{ grid-template-columns: 1fr; gap: 0; }}
  dl.facts dd {{ margin-bottom: .45rem; }}
}}
@media print {{ body {{ background: none; }} section, .tile {{ break-inside: avoid; }} }}
""".strip()


def new_figure(
    width_in: float = 9.0, height_in: float = 3.2, *, rows: int = 1, columns: int = 1
) -> "tuple[Figure, list[Axes]]":
    """Make a figure in the look of the page, and its axes line by line; inches of 72 points."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_style()):
        figure = Figure(figsize=(width_in, height_in), layout="constrained", facecolor="none")
        axes = figure.subplots(rows, columns, squeeze=False)
        return figure, [one for line in axes for one in line]


def legible(text: str, most: int = 32) -> str:
    """Return a name from a job or a row as a label: one line, nothing unprintable, at most so many characters."""
    line = "".join(char if char.isprintable() else " " for char in text).strip()
    return line if len(line) <= most else f"{line[: most - 1]}…"


def inline_svg(figure: "Figure", label: str = "") -> str:
    """Return a figure as an SVG element for an HTML page, in the page's own colours and font.

    `label` is what a screen reader says. The same figure gives the same text.
    """
    svg = svg_text(figure)
    head, rest = svg[svg.index("<svg") :].split(">", 1)
    head = re.sub(r' (width|height)="[^"]*"', "", head)  # the view box is left, so that the page decides
    rest = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", rest, flags=re.DOTALL)
    rest = re.sub(r'<g id="[^"]*">', "<g>", rest)
    rest = re.sub(r"(?<=[:\s\"])#[0-9a-f]{6}\b(?=[;\"])", _property_of, rest)
    rest = re.sub(r"font-family: [^;\"]*", "font-family: inherit", rest)
    return f'{head} role="img" aria-label="{escape(legible(label, 200))}">{rest}'


def svg_text(figure: "Figure") -> str:
    """Return a figure as a whole SVG file; the same figure gives the same text."""
    out = io.StringIO()
    _save(figure, out, format="svg", metadata={"Date": None, "Creator": MARK})
    return out.getvalue()


def write_picture(figure: "Figure", path: Path) -> None:
    """Write a figure to a file, `.svg` or `.png`, on white paper; UsageError if it cannot be written."""
    figure.set_facecolor(PAPER)
    try:
        if path.suffix.lower() == ".svg":
            path.write_text(svg_text(figure), encoding="utf-8")
        else:
            with path.open("wb") as file:
                _save(figure, file, format="png", dpi=144, metadata={"Software": MARK})
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None


def _style() -> Any:  # noqa: ANN401 - Matplotlib types its settings name by name
    from cycler import cycler

    return {
        "axes.axisbelow": True,
        "axes.edgecolor": GRID,
        "axes.facecolor": "none",
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.labelcolor": FAINT,
        "axes.prop_cycle": cycler(color=SERIES),
        "axes.spines.left": False,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlecolor": INK,
        "axes.titlelocation": "left",
        "axes.titlesize": 10,
        "font.family": "sans-serif",
        "font.size": 10,
        "grid.color": GRID,
        "legend.frameon": False,
        "svg.fonttype": "none",
        "text.color": INK,
        "text.parse_math": False,  # names may hold dollar signs
        "xtick.color": FAINT,
        "xtick.labelcolor": FAINT,
        "ytick.color": FAINT,
        "ytick.labelcolor": FAINT,
        "ytick.left": False,
    }


def _save(figure: "Figure", out: IO[Any], **how: Any) -> None:  # noqa: ANN401 - what savefig takes
    import matplotlib as mpl
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)
    salt = "x".join(str(inches) for inches in figure.get_size_inches())
    with mpl.rc_context({**_style(), "svg.hashsalt": salt}), warnings.catch_warnings():
        # a script that Matplotlib's own font lacks: an SVG's text is set in the reader's fonts
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(out, **how)


def _property_of(found: re.Match[str]) -> str:
    name = _NAMED.get(found[0])
    return f"var({name})" if name else found[0]
