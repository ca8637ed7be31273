"""Text for people: durations, tables, summaries. Everything takes values and returns a string."""

import math
import shlex
import textwrap
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from scorer.jobs.folder import RESULTS
from scorer.jobs.look import Status
from scorer.jobs.simulation import Simulated
from scorer.templates import Template

BAR_WIDTH = 30
MAX_BARS = 21


def duration(seconds: float | None) -> str:
    """Return a duration as people say it: `47s`, `12m`, `3h05`, `14d 6h`; `?` if it is not known."""
    if seconds is None:
        return "?"
    minutes = int(seconds // 60)
    if seconds < 60:
        return f"{seconds:.0f}s"
    if minutes < 60:
        return f"{minutes}m"
    if minutes < 48 * 60:
        return f"{minutes // 60}h{minutes % 60:02d}"
    return f"{minutes // 1440}d {minutes // 60 % 24}h"


def rate(rows_per_s: float) -> str:
    """Return a rate in the unit in which it is easiest to think of."""
    if rows_per_s >= 1 or rows_per_s == 0:
        return f"{rows_per_s:,.1f} rows/s"
    if rows_per_s * 60 >= 1:
        return f"{rows_per_s * 60:.1f} rows/min"
    return f"{rows_per_s * 3600:.1f} rows/h"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a plain table: numbers to the right, words to the left, two spaces between columns."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(line[i]) for line in (list(header), *cells)) for i in range(len(header))]
    right = [all(isinstance(row[i], int | float) for row in rows) and bool(rows) for i in range(len(header))]
    lines = []
    for line in (list(header), *cells):
        parts = [text.rjust(w) if r else text.ljust(w) for text, w, r in zip(line, widths, right, strict=True)]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def report(status: Status) -> str:
    """Return everything that `scorer status` says."""
    counts = status.counts
    share = (counts.done + counts.dead) / counts.total if counts.total else 1.0
    lines = [
        f"{status.folder.name}: {status.state}, {share:.1%}",
        f"  {counts.done:,} done, {counts.dead:,} dead, {counts.pending:,} to do; {status.spec.selection}",
        f"  {', '.join(status.spec.models)} on {status.spec.dataset.source}",
        f"  {duration(status.elapsed_s)} of work so far, last activity {_moment(status.last_activity)}",
    ]
    if status.state == "running":
        lines.append(f"  {rate(status.rows_per_s)}, about {duration(status.eta_s)} left")
        lines += _extrapolation(status)
    sections = [_hosts(status), _scores(status), _dead(status)]
    return "\n".join([*lines, *(f"\n{section}" for section in sections if section)])


def summary(status: Status, *, interrupted: bool) -> str:
    """Return what a run says at its end: how it went and what to do next."""
    counts, job = status.counts, status.folder.name
    sections = [_hosts(status), _scores(status), _dead(status)]
    lines = [f"{section}\n" for section in sections if section]
    ended = "interrupted" if interrupted else "finished"
    lines.append(f"{job}: {ended}: {counts.done:,} done, {counts.dead:,} dead, {counts.pending:,} to do")
    lines += _extrapolation(status)
    lines.append(f"results: {status.folder / RESULTS}")
    where = runs_option(status.folder.parent)
    if interrupted:
        lines.append(f"go on with: scorer resume {job}{where}")
    elif counts.dead:
        lines.append(f"try the dead rows again with: scorer retry {job}{where}; then: scorer resume {job}{where}")
    return "\n".join(lines)


def runs_option(runs_dir: Path) -> str:
    """Return what a command needs to find a job of this runs folder: nothing if it is the default one."""
    return "" if runs_dir == Path("runs") else f" --runs-dir {shlex.quote(str(runs_dir))}"


def _extrapolation(status: Status) -> list[str]:
    """Say what the whole dataset would take, when only some of its rows were asked for."""
    whole = status.spec.dataset.rows * len(status.spec.models) * status.spec.samples
    done = status.counts.done + status.counts.dead
    if status.spec.selection.kind == "all" or not status.counts.done or whole <= status.counts.total:
        return []
    seconds = status.elapsed_s / done * whole
    return [f"all {whole:,} rows would take about {duration(seconds)} at this pace; run it without the pilot's option"]


def _hosts(status: Status) -> str:
    rows = [
        (
            host.host,
            host.rows,
            f"{host.rows / max(status.counts.done, 1):.0%}",
            status.recent.get(host.host, 0),
            host.prompt_tokens,
            host.output_tokens,
            f"{host.busy_s / max(host.rows, 1):.1f} s",
        )
        for host in status.hosts
    ]
    header = ("host", "rows", "share", "last 5 min", "tokens in", "tokens out", "a row")
    return table(header, rows) if rows else ""


def _scores(status: Status) -> str:
    overall: Counter[float] = sum(status.scores.values(), Counter())
    if not overall:
        return ""
    values = sorted(overall)
    lines = [f"scores: mean {_mean(overall):.2f}"]
    if len(values) <= MAX_BARS:
        most = max(overall.values())
        lines += [
            f"  {value:>6g}  {'█' * max(1, round(overall[value] / most * BAR_WIDTH)):<{BAR_WIDTH}} {overall[value]:,}"
            for value in values
        ]
    else:
        lines.append(f"  from {values[0]:g} to {values[-1]:g}")
    if len(status.scores) > 1:
        lines += [f"  {host}: mean {_mean(c):.2f} of {c.total():,}" for host, c in sorted(status.scores.items())]
    return "\n".join(lines)


def _mean(counts: Counter[float]) -> float:
    return sum(value * count for value, count in counts.items()) / counts.total()


def _dead(status: Status) -> str:
    if not status.dead:
        return ""
    lines = ["dead rows:"]
    for kind in status.dead:
        example = textwrap.shorten(kind.error, 110, placeholder=" …")
        lines.append(f"  {kind.kind}: {kind.count:,}, such as row {kind.example.row}: {example}")
    return "\n".join(lines)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def jobs_table(found: Sequence[Status]) -> str:
    """Return one line a job, the last active one at the end; empty if there is none."""
    rows = [
        (
            status.folder.name,
            status.state,
            f"{(status.counts.done + status.counts.dead) / max(status.counts.total, 1):.1%}",
            status.counts.done,
            status.counts.dead,
            status.counts.pending,
            _moment(status.last_activity),
        )
        for status in found
    ]
    return table(("job", "state", "progress", "done", "dead", "to do", "last activity"), rows) if rows else ""


def prompts_table(shipped: Sequence[Template]) -> str:
    """Return one line a template."""
    rows = [
        (
            template.name,
            ", ".join(sorted(template.variables)),
            ", ".join(f"{field.name} ({field.type})" for field in template.fields),
        )
        for template in shipped
    ]
    return table(("template", "variables", "output"), rows)


def preview_text(found: dict[str, object]) -> str:
    """Return what will be sent for a row, as a person reads it."""
    import json

    notes = found["notes"]
    lines = [str(note) for note in notes] if isinstance(notes, list) else []
    lines += [
        f"--- system ---\n{found['system']}",
        f"--- user (row {found['row']}) ---\n{found['user']}",
        f"--- format ---\n{json.dumps(found['schema'])}",
        f"--- options ---\n{json.dumps(found['options'])}",
        f"about {found['estimated_prompt_tokens']} prompt tokens, by 4 characters a token"
        + ("" if found["fits"] else ": will probably not fit the context"),
    ]
    if found["empty"]:
        lines.append("this row is empty: it will not be sent")
    if found["control_tokens_neutralised"]:
        lines.append(f"{found['control_tokens_neutralised']} chat control tokens in the row were made harmless")
    return "\n".join(lines)


def simulation_text(found: Simulated) -> str:
    """Return how a fleet fared: its hosts, then the scheduler beside other ways of giving out the same rows."""
    best = found.priced
    endless = not math.isfinite(best.bound_s)
    hosts = [
        (
            host.name,
            best.hosts[host.name].rows,
            f"{best.hosts[host.name].rows / max(found.work.rows, 1):.1%}",
            duration(best.hosts[host.name].busy_s),
            f"{found.utilisation(best, host):.1%}",
        )
        for host in found.hosts
    ]
    policies = [
        (
            "scorer" if name == "priced" else name,
            duration(result.makespan_s) if not result.unfinished else f"{result.unfinished:,} rows never",
            "-" if endless else f"{result.ratio:.3f}",
            f"{result.tail_s:,.1f} s",
            result.duplicated,
            result.wasted,
            result.dead,
        )
        for name, result in found.results.items()
    ]
    limit = "no schedule finishes them" if endless else f"no schedule takes less than {duration(best.bound_s)}"
    lines = [
        f"{found.work.rows:,} rows, seed {found.work.seed}: {limit}",
        table(("policy", "takes", "÷ bound", "tail", "second copies", "failed tries", "dead"), policies),
        table(("host", "rows", "share", "busy", "utilisation"), hosts),
    ]
    return "\n\n".join(lines)
