"""A job's report as one HTML file that needs nothing else: no network, no script, light and dark, wide and narrow.

Everything that comes from the job goes through Jinja's autoescape, and a content policy in the page forbids scripts and
requests altogether. Only the style sheet and the pictures, which are made here, are put in as they are.
"""

import math
import tempfile
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import jinja2
from markupsafe import Markup

from scorer import __version__
from scorer.jobs.folder import RESULTS
from scorer.jobs.gather import gather
from scorer.jobs.look import Status, status
from scorer.jobs.places import check_page, write_page
from scorer.jobs.sealed import sealed
from scorer.pictures import PAGE_CSS
from scorer.report import plots
from scorer.report.facts import MOST_DRAWN, Facts, facts
from scorer.report.offsets import Offset, offsets
from scorer.show import duration, harmless, rate

_PAGES = Path(__file__).parent / "pages"
GIST_CHARS = 140

_OWN_CSS = """
details.row { border-top: 1px solid var(--grid); padding: .35rem 0; }
summary { cursor: pointer; overflow-wrap: anywhere; }
summary b { display: inline-block; min-width: 1.6rem; }
.gist { display: block; color: var(--faint); font-size: .85rem; padding-left: 1.1rem; }
details[open] .gist { display: none; }
h4 { font-size: .85rem; color: var(--faint); font-weight: 600; margin: .6rem 0 0; }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); gap: 0 2rem; }
.two > div { min-width: 0; }
.two h3 { margin-top: .5rem; }
"""


@dataclass(frozen=True, slots=True)
class Reported:
    """The report that was written, and how many rows it tells of."""

    job: str
    file: Path
    done: int
    dead: int
    pending: int
    size_bytes: int

    def as_json(self) -> dict[str, object]:
        """Return it as plain JSON values."""
        return {
            "job": self.job,
            "file": str(self.file),
            "done": self.done,
            "dead": self.dead,
            "pending": self.pending,
            "bytes": self.size_bytes,
        }


def report(folder: Path, to: Path, *, force: bool = False) -> Reported:
    """Write a job's report, during a run and after; UsageError if the place cannot be written."""
    look = status(folder)
    check_page(to, folder, look.spec, force=force)
    with tempfile.TemporaryDirectory(prefix="scorer-report-") as scratch:
        found = gather(folder, Path(scratch))
        with closing(sealed(found.files, found.schema, Path(scratch))) as database:
            known = facts(found, database)
            compared = offsets(database, known.score_field) if known.score_field else ()
    text = page(look, known, compared, datetime.now(UTC))
    write_page(to, text)
    counts = look.counts
    return Reported(folder.name, to, counts.done, counts.dead, counts.pending, to.stat().st_size)


def page(look: Status, known: Facts, compared: tuple[Offset, ...], now: datetime) -> str:
    """Return the page; the same arguments give the same text."""
    models = [model.model for model in known.models]
    drawn = {
        "histogram": plots.histogram_plot(known.histogram, models),
        "hosts": plots.hosts_plot(known.histogram, known.hosts),
        "offsets": plots.offsets_plot(compared),
        "throughput": plots.throughput_plot(known.throughput, known.hosts),
        "durations": plots.durations_plot(known.hosts),
    }
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            css=Markup(PAGE_CSS + _OWN_CSS),
            version=__version__,
            spec=look.spec,
            status=look,
            facts=known,
            mean=_mean(known),
            most_drawn=MOST_DRAWN,
            offsets=compared,
            plots={name: Markup(svg) for name, svg in drawn.items()},
            many_models=len(models) > 1,
            models_shown=plots.MOST_MODELS,
            models_hidden=len(models) > plots.MOST_MODELS,
            hosts_hidden=len(known.hosts) > plots.MOST_HOSTS,
            results_dir=look.folder / RESULTS,
            made_at=_moment(now.timestamp()),
        )
    )


def _mean(known: Facts) -> float | None:
    scored = [model for model in known.models if model.mean is not None]
    rows = sum(model.rows for model in scored)
    return sum(model.rows * (model.mean or 0.0) for model in scored) / rows if rows else None


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PAGES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) or not isinstance(value, str) else harmless(value),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=_count,
        duration=duration,
        figure=_figure,
        gist=_gist,
        moment=_moment,
        percent=_percent,
        rate=rate,
        signed=_signed,
    )
    return environment


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _figure(value: float | None) -> str:
    """A figure with three digits that count, or more if it is a whole number; `?` too if it is beyond all floats."""
    if value is None or isinstance(value, jinja2.Undefined) or not math.isfinite(value):
        return "?"
    if abs(value) >= 1e15:
        return f"{value:.4g}"
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


def _signed(value: float) -> str:
    return f"{value:+,.0f}" if 10 <= abs(value) < 1e15 else f"{value:+.2g}"


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _gist(text: str) -> str:
    """The beginning of a text in one line."""
    line = " ".join(harmless(text).split())
    return line if len(line) <= GIST_CHARS else f"{line[: GIST_CHARS - 1]}…"
