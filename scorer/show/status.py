"""What `scorer status`, `scorer jobs` and the end of a run say. Everything takes values and returns a string."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from scorer.jobs.folder import RESULTS
from scorer.jobs.look import Status
from scorer.show.scores import scores_text
from scorer.show.words import about, duration, figure, moment, one_line, rate, shortened, table
from scorer.suites.battery import KIND

EXAMPLE_CELLS = 110
FAULT_CELLS = 60


def report(status: Status) -> str:
    """Return everything that `scorer status` says."""
    counts = status.counts
    lines = [
        f"{status.folder.name}: {status.state}, {_share(status)}",
        f"  {counts.done:,} done, {counts.dead:,} dead, {counts.pending:,} to do; {status.selection}",
        f"  {', '.join(status.spec.models)} on {one_line(status.spec.dataset.source)}",
        f"  {duration(status.elapsed_s)} of work so far, last activity {moment(status.last_activity)}",
    ]
    if status.paused:
        lines.append(f"  PAUSED: {one_line(status.paused)}")
    elif status.gives_up_in_s is not None:
        lines.append(f"  no host can take a row now: it waits and gives up in {duration(status.gives_up_in_s)}")
    elif status.state == "running":
        lines.append(f"  {rate(status.rows_per_s)} over the last 5 min, {left(status)}")
    lines += _extrapolation(status)
    sections = [_hosts(status), _believed(status), _scores(status), _dead(status)]
    return "\n".join([*lines, *(f"\n{section}" for section in sections if section)])


def left(status: Status) -> str:
    """Return how long the job will still take, with its range."""
    if status.eta_s is None:
        return "time left not known yet"
    if status.eta_low_s is None or status.eta_high_s is None:
        return f"perhaps {duration(status.eta_s)} left; it is too early to say how sure that is"
    low, high = duration(status.eta_low_s), duration(status.eta_high_s)
    return f"about {duration(status.eta_s)} left (four times in five between {low} and {high})"


def summary(status: Status, *, ending: str) -> str:
    """Return what a run says at its end: how it went and what to do next. `ending`: finished, interrupted, ..."""
    counts, job = status.counts, status.folder.name
    sections = [_hosts(status), _scores(status), _dead(status)]
    lines = [f"{section}\n" for section in sections if section]
    lines.append(f"{job}: {ending}: {counts.done:,} done, {counts.dead:,} dead, {counts.pending:,} to do")
    lines += _extrapolation(status)
    lines.append(f"results: {status.folder / RESULTS}")
    return "\n".join(lines + _next(status))


def runs_option(runs_dir: Path) -> str:
    """Return what a command needs to find a job of this runs folder: nothing if it is the default one."""
    return "" if runs_dir == Path("runs") else f" --runs-dir {shlex.quote(str(runs_dir))}"


def _next(status: Status) -> list[str]:
    """Return the commands that come next, as they are typed."""
    job, where = status.folder.name, runs_option(status.folder.parent)
    # of a benchmark, scores are not what one looks at
    accuracy = [f"accuracy: scorer bench report {job}{where}"] if _is_benchmark(status) and status.counts.done else []
    if status.counts.pending:
        return [f"go on with: scorer resume {job}{where}", *accuracy]
    lines = []
    if status.worth_a_retry:
        lines.append(f"try the dead rows again: scorer retry {job}{where}; then: scorer resume {job}{where}")
    elif status.counts.dead:
        lines.append(f"no other try helps these dead rows (scorer retry {job}{where} puts them back all the same)")
    if status.counts.done:
        lines.append(f"one file, with the input: scorer export {job} -o {job}.parquet --join{where}")
        lines += accuracy or [f"a page to look at:        scorer report {job} -o {job}.html{where}"]
    return lines


def _is_benchmark(status: Status) -> bool:
    return status.spec.template.kind == KIND


def _scores(status: Status) -> str:
    # over suites and models together, right answers have no mean that says anything
    return "" if _is_benchmark(status) else scores_text(status.scores, status.counts.done, status.score_words)


def _share(status: Status) -> str:
    counts = status.counts
    share = (counts.done + counts.dead) / counts.total if counts.total else 1.0
    # "100.0%" is for what has ended
    return f"{min(share, 0.999) if counts.pending else share:.1%}"


def _extrapolation(status: Status) -> list[str]:
    """Say what the whole dataset would take, when only some of its rows were asked for."""
    if status.whole_s is None:
        return []
    return [
        f"  all {status.whole_tasks:,}: about {about(status.whole_s)} on these hosts "
        "(the same command without the pilot's option does the rest)"
    ]


def _hosts(status: Status) -> str:
    done = max(status.counts.done, 1)
    rows = [
        (
            shortened(host.host, 24),
            host.rows,
            f"{host.rows / done:.1%}",
            status.recent.get(host.host, 0),
            host.prompt_tokens,
            host.output_tokens,
            f"{host.busy_s / max(host.rows, 1):.1f} s",
        )
        for host in status.hosts
    ]
    header = ("host", "rows", "share", "last 5 min", "tokens in", "tokens out", "mean a row")
    return table(header, rows) if rows else ""


def _believed(status: Status) -> str:
    """Return what the scheduler of a run that goes on believes of each host."""
    if status.posting is None:
        return ""
    rows = [
        (
            shortened(host.name, 24),
            host.state,
            f"{host.running}/{host.limit}",
            _known(host.prefill_tps),
            _known(host.decode_tps),
            f"{host.row_s:.1f} s" if host.row_s else "?",
            shortened(host.last_fault or "", FAULT_CELLS),
        )
        for host in status.posting.progress.hosts
    ]
    header = ("now", "state", "slots", "reads tok/s", "writes tok/s", "typical row", "last fault")
    return table(header, rows) if rows else ""


def _known(tps: float | None) -> str:
    return "?" if tps is None else figure(tps)


def _dead(status: Status) -> str:
    if not status.dead:
        return ""
    lines = ["dead rows:"]
    for kind in status.dead:
        # the kind is said already
        example = shortened(kind.error.removeprefix(f"{kind.kind}: "), EXAMPLE_CELLS)
        lines.append(f"  {kind.kind}: {kind.count:,}, such as row {kind.example.row}: {example}")
    return "\n".join(lines)


def jobs_table(found: Sequence[Status]) -> str:
    """Return one line a job, the last active one at the end; empty if there is none."""
    rows = [
        (
            status.folder.name,
            "running, no host" if status.gives_up_in_s is not None and not status.paused else status.state,
            _share(status),
            status.counts.done,
            status.counts.dead,
            status.counts.pending,
            duration(status.eta_s) if status.eta_s is not None else "",
            moment(status.last_activity),
        )
        for status in found
    ]
    return table(("job", "state", "progress", "done", "dead", "to do", "left", "last activity"), rows) if rows else ""
