"""What `scorer simulate` says."""

import math

from scorer.jobs.simulation import Simulated
from scorer.show.words import duration, table


def simulation_text(found: Simulated) -> str:
    """Return how a fleet fared: its hosts, then the scheduler beside other ways of giving out the same rows."""
    best = found.priced
    endless = not math.isfinite(best.bound_s)
    hosts = [
        (
            host.name,
            best.hosts[host.name].rows,
            f"{best.hosts[host.name].rows / max(found.work.rows, 1):.1%}",
            _took(best.hosts[host.name].busy_s),
            f"{found.utilisation(best, host):.1%}",
        )
        for host in found.hosts
    ]
    policies = [
        (
            "scorer" if name == "priced" else name,
            _took(result.makespan_s) if not result.unfinished else f"{result.unfinished:,} rows never",
            "-" if endless else f"{result.ratio:.3f}",
            f"{result.tail_s:,.1f} s",
            result.duplicated,
            result.wasted,
            result.dead,
        )
        for name, result in found.results.items()
    ]
    limit = "no schedule finishes them" if endless else f"no schedule takes less than {_took(best.bound_s)}"
    lines = [
        f"{found.work.rows:,} rows, seed {found.work.seed}: {limit}",
        table(("policy", "takes", "÷ bound", "tail", "second copies", "failed tries", "dead"), policies),
        table(("host", "rows", "share", "slot time", "utilisation"), hosts),
    ]
    return "\n\n".join(lines)


def _took(seconds: float) -> str:
    return f"{seconds:.1f}s" if seconds < 60 else duration(seconds)
