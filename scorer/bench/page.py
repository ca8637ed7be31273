"""A benchmark report as one HTML file that needs nothing else: no network, no script, light and dark.

Rows and completions are hostile: everything from them goes through Jinja's autoescape, and a content policy in the page
forbids scripts and requests altogether. Only the pictures and the style sheet, which are made here, are put in as
they are.
"""

import math
from itertools import combinations
from pathlib import Path

import jinja2
from markupsafe import Markup

from scorer import __version__
from scorer.bench.answers import Answers
from scorer.bench.disagree import MAX_SHOWN, disagreement
from scorer.bench.paired import points
from scorer.bench.plots import accuracy_plot, disagreement_plot, time_plot, tokens_plot
from scorer.bench.report import MAX_COMPARED, Report
from scorer.bench.text import between, cut_notes, macro_notes, percent, still_missing
from scorer.pictures import PAGE_CSS
from scorer.show import duration

_PAGES = Path(__file__).parent / "pages"


def report_page(answers: Answers, report: Report) -> str:
    """Return the page of a report, with the questions that each two models answer differently."""
    pairs = list(combinations(answers.models[:MAX_COMPARED], 2))
    most = max(1, MAX_SHOWN // max(len(pairs), 1)) if len(pairs) > 1 else MAX_SHOWN
    plots = {
        "accuracy": Markup(accuracy_plot(report)),
        "disagreement": Markup(disagreement_plot(report)),
        "time": Markup(time_plot(report)),
        "tokens": Markup(tokens_plot(report)),
    }
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            notes=[*cut_notes(report), *macro_notes(report)],
            version=__version__,
            plots=plots,
            css=Markup(PAGE_CSS + (_PAGES / "report.css").read_text(encoding="utf-8")),
            disagreements=[disagreement(answers, a, b, most) for a, b in pairs],
        )
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PAGES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(percent=percent, between=between, points=_points, pvalue=_pvalue)
    environment.filters.update(duration=duration, still_missing=still_missing)
    return environment


def _points(difference: float) -> str:
    return "-" if math.isnan(difference) else points(difference)


def _pvalue(p: float) -> str:
    return "-" if math.isnan(p) else (f"{p:.3f}" if p >= 0.001 else "< 0.001")
