"""A benchmark report for the terminal: everything takes values and returns a string."""

import math

from scorer.bench.report import MAX_COMPARED, Figures, Report
from scorer.bench.statistics import Interval, Mean
from scorer.show import table

HEADER = ("suite", "model", "n", "accuracy", "95% interval", "unparsed", "dead", "missing")


def percent(share: float) -> str:
    """Return a share as a percentage with one decimal; a dash if it is unknown."""
    return "-" if math.isnan(share) else f"{round(share, 9):.1%}"  # 0.4175 prints the same however it was summed


def between(interval: Interval) -> str:
    """Return an interval of shares as percentages; a dash if there is none."""
    return "-" if math.isnan(interval.low) else f"{percent(interval.low)} … {percent(interval.high)}"


def still_missing(answers: int) -> str:
    """Say how many answers are still missing."""
    return "1 answer is still missing" if answers == 1 else f"{answers:,} answers are still missing"


def report_text(report: Report) -> str:
    """Return a report as a person reads it in a terminal."""
    lines = [f"{report.job}: {_count(len(report.suites), 'suite')}, {_count(len(report.models), 'model')}"]
    rows = [_line(cell.suite or "", cell) for cell in report.cells]
    if len(report.suites) > 1:
        rows += [_line("micro average", cell) for cell in report.overall]
        rows += [_macro_line(model, mean) for model, mean in report.macro.items()]
    sections = [table(HEADER, rows), _notes(report), _passes(report), _positions(report), _comparisons(report)]
    sections.append(_hosts(report))
    return "\n\n".join([*lines, *(section for section in sections if section)])


def _line(suite: str, cell: Figures) -> tuple[object, ...]:
    mean = cell.accuracy
    mark = " *" if mean.clustered else ""
    unparsed = f"{cell.unparsed:,} ({percent(cell.unparsed_share)})" if cell.unparsed else "0"
    figures = (mean.n, percent(mean.value), between(mean.interval) + mark)
    return (suite, cell.model, *figures, unparsed, cell.dead, cell.missing)


def _macro_line(model: str, mean: Mean) -> tuple[object, ...]:
    return ("macro average", model, mean.n, percent(mean.value), between(mean.interval), "", "", "")


def _notes(report: Report) -> str:
    notes = ["n: answers. unparsed: answers from which nothing could be extracted; they count as wrong."]
    if any(cell.accuracy.clustered for cell in (*report.cells, *report.overall)):
        notes.append("* questions share a passage, subject or several samples: the interval allows for that.")
    dead = [cell for cell in report.cells if cell.dead]
    if dead:
        notes.append("dead: no answer was had; neither right nor wrong above. Counted as wrong, accuracy would be:")
        notes += [f"  {cell.suite}, {cell.model}: {percent(cell.if_dead_wrong)}" for cell in dead]
    notes += [*cut_notes(report), *macro_notes(report)]
    if report.missing:
        notes.append(f"{still_missing(report.missing)}: go on with `scorer resume {report.job}`")
    return "\n".join(notes)


def cut_notes(report: Report) -> list[str]:
    """Say in one line how many answers were cut off, if any were."""
    cells = [cell for cell in report.cells if cell.cut]
    if not cells:
        return []
    each = "; ".join(f"{cell.suite}, {cell.model}: {cell.cut:,} of {cell.accuracy.n:,}" for cell in cells)
    return [f"Answers that ended at their suite's num_predict are read as they stand: {each}."]


def macro_notes(report: Report) -> list[str]:
    """Say of which models there is no macro average, and why."""
    if len(report.suites) < 2:
        return []
    absent = [(model, report.unanswered(model)) for model in report.models]
    return [
        f"No macro average of {model}: it has no answer in {', '.join(suites)}." for model, suites in absent if suites
    ]


def _passes(report: Report) -> str:
    rows = [
        (cell.suite, cell.model, f"pass@{found.k}", found.n, percent(found.value), between(found.interval))
        for cell in report.cells
        for found in cell.passes
    ]
    if not rows:
        return ""
    title = f"{report.samples} samples a question (n: questions; the table above is the mean over samples):"
    return title + "\n" + table(("suite", "model", "", "n", "value", "95% interval"), rows)


def _positions(report: Report) -> str:
    if not report.positions:
        return ""
    rows = [
        (
            *(found.suite, found.model, found.pairs, percent(found.bias.value), between(found.bias.interval)),
            *(found.first, found.second, percent(found.both_right.value), found.incomplete),
        )
        for found in report.positions
    ]
    header = (
        *("suite", "model", "pairs", "position bias", "95% interval"),
        *("first twice", "second twice", "both right", "incomplete"),
    )
    return "Both orders of the same two answers; biased is who picks the same place twice:\n" + table(header, rows)


def _comparisons(report: Report) -> str:
    lines = [found.verdict for found in report.comparisons]
    if lines:
        others = len(report.models) > MAX_COMPARED
        first = f"; only the first {MAX_COMPARED} models are compared here" if others else ""
        lines.append(f"by suite: scorer bench compare {report.job} A B{first}")
    return "\n".join(lines)


def _hosts(report: Report) -> str:
    rows = [
        (host.host, host.answers, host.prompt_tokens, host.output_tokens, f"{host.median_s:.1f} s")
        for host in report.hosts
    ]
    return table(("host", "answers", "tokens in", "tokens out", "median"), rows) if rows else ""


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
