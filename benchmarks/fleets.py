"""Who takes which row, in virtual time: `python benchmarks/fleets.py [SEEDS]` prints the tables (default 5 seeds).

The fleets are those that the targets name; every run starts cold and includes the end. The bound is worked out twice:
by the prices that `scorer simulate` reports, and by an independent linear programme over the rows of the trace. That
needs scipy, which nothing else here does: `pip install scipy`.
"""

import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from machine import header
from scipy import sparse  # type: ignore[import-untyped]
from scipy.optimize import linprog  # type: ignore[import-untyped]

from scorer.core.bound import bound_of_job_s
from scorer.core.simulate import POLICIES, Policy, Result, SimEvent, SimHost, Work, simulate
from scorer.core.simulated import Rows

Speeds = Sequence[tuple[float, float]]
LP_CLASSES = 400
NAMED: dict[str, Speeds] = {
    "home": [(800, 40), (180, 22), (180, 22)],
    "mixed": [(800, 40), (600, 60), (15, 4)],
    "tower": [(5000, 120), (300, 35), (300, 35), (30, 6), (30, 6)],
}

PLAIN = Work(0)


@dataclass(frozen=True)
class Case:
    """One line of a table: a fleet for each seed, the rows, what happens, and what is promised."""

    title: str
    fleet: Callable[[int], tuple[SimHost, ...]]
    rows: int
    target: float
    events: str = ""
    policy: Policy = "priced"
    work: Work = PLAIN


def named(name: str, **keys: object) -> Callable[[int], tuple[SimHost, ...]]:
    """Return a fleet that is the same for all seeds."""
    hosts = tuple(SimHost(f"h{i}", *speeds, **keys) for i, speeds in enumerate(NAMED[name]))  # type: ignore[arg-type]
    return lambda _: hosts


def random_fleet(
    hosts: int | None, factor: float, slowest: tuple[float, float]
) -> Callable[[int], tuple[SimHost, ...]]:
    """Return fleets with speeds log-uniform over a factor; 2 to 100 hosts, drawn log-uniformly, where None is given."""

    def drawn(seed: int) -> tuple[SimHost, ...]:
        rng = np.random.default_rng(100 + seed)
        count = hosts or round(math.exp(rng.uniform(math.log(2), math.log(100))))
        speeds = np.exp(rng.uniform(0, math.log(factor), (count, 2))) * np.array(slowest)
        return tuple(SimHost(f"h{i}", float(prefill), float(decode)) for i, (prefill, decode) in enumerate(speeds))

    return drawn


def happening(hosts: Sequence[SimHost], events: str, whole_s: float) -> tuple[SimHost, ...]:
    """Let things happen to the first hosts, at shares of the time that the whole fleet would take."""
    found = list(hosts)
    bad = SimHost("bad", 1000.0, 50.0)
    for event in events.split("+") if events else []:
        match event:
            case "dies":
                found[1] = _also(found[1], SimEvent(0.4 * whole_s, "dies"))
            case "joins":
                found[-1] = _also(found[-1], SimEvent(0.3 * whole_s, "joins"))
            case "slows":
                found[0] = _also(found[0], SimEvent(0.5 * whole_s, "slows", 10.0, 0.8 * whole_s))
            case "flaps":
                for i in range(6):
                    at_s = (0.1 + 0.12 * i) * whole_s
                    found[1] = _also(found[1], SimEvent(at_s, "dies", until_s=at_s + 0.06 * whole_s))
            case "black hole":
                found.append(_also(bad, SimEvent(0.0, "sleeps", until_s=1e9)))
            case "fails fast":
                found.append(_also(bad, SimEvent(0.0, "fails_fast")))
            case "garbage":
                found.append(_also(bad, SimEvent(0.0, "garbage")))
    return tuple(found)


def _also(host: SimHost, event: SimEvent) -> SimHost:
    return replace(host, events=(*host.events, event))


def bound_by_programme_s(hosts: Sequence[SimHost], result: Result, work: Work) -> float:
    """Solve the linear programme over the rows that the trace says were won, in classes of equal share by length.

    Classes hold rows of neighbouring lengths at their mean, which is exact for times linear in the length but for the
    rows of one class that the best schedule would put on different hosts: the error is below 0.1 %.
    """
    prompts = np.sort([one.prompt_tokens for one in result.tries if one.won])
    classes = np.array_split(prompts, min(LP_CLASSES, len(prompts)))
    means, counts = np.array([part.mean() for part in classes]), np.array([len(part) for part in classes])
    output = float(np.mean(work.output_tokens))
    times = np.array([h.overhead_s + means / h.prefill_tps + output / h.decode_tps for h in hosts])
    h, c = times.shape
    placed = sparse.hstack([sparse.kron(np.ones((1, h)), sparse.eye(c)), sparse.csr_matrix((c, 1))])
    loads = sparse.hstack(
        [sparse.block_diag([row[None, :] for row in times]), -np.array([[host.slots] for host in hosts], float)]
    )
    costs = np.append(np.zeros(h * c), 1.0)
    found = linprog(costs, A_ub=loads, b_ub=np.zeros(h), A_eq=placed, b_eq=counts, method="highs")
    if not found.success:
        raise SystemExit(f"the linear programme failed: {found.message}")
    return float(found.fun)


def measure(case: Case, seeds: int) -> str:
    """Return a line: median and worst ratio, the programme's bound over ours, second copies, dead rows, CPU a row."""
    ratios, programmes, copies, dead = [], [], 0, 0
    began = time.process_time()
    for seed in range(seeds):
        work = replace(case.work, rows=case.rows, seed=seed)
        fleet = case.fleet(seed)
        hosts = happening(fleet, case.events, bound_of_job_s(fleet, work, Rows(work)) if case.events else 0.0)
        result = simulate(hosts, work, case.policy)
        ratios.append(result.ratio)
        copies += result.duplicated
        dead += result.dead + result.unfinished
        if not case.events and len(work.models) == 1:
            programmes.append(bound_by_programme_s(hosts, result, work) / result.bound_s)
    cpu_us = (time.process_time() - began) / (case.rows * seeds) * 1e6
    median, programme = statistics.median(ratios), f"{statistics.median(programmes):.4f}" if programmes else "-"
    promised = math.isfinite(case.target)
    target = f"{case.target:.2f}" if promised else "-"
    verdict = ("met" if median <= case.target else "MISSED") if promised else ""
    return (
        f"| {case.title} | {case.rows:,} | {median:.3f} | {max(ratios):.3f} | {target} | {verdict} "
        f"| {programme} | {copies / seeds:.1f} | {dead} | {cpu_us:.0f} |"
    )


def cases() -> list[Case]:
    """Return everything that is measured."""
    fifty, any_fleet = random_fleet(50, 100, (50, 2)), random_fleet(None, 200, (25, 1))
    small = list(NAMED)
    found = [Case(name, named(name), 5000, 1.01) for name in small]
    found += [
        Case("fifty", fifty, 20_000, 1.02),
        Case("random", any_fleet, 20_000, 1.02),
        Case("fifty", fifty, 5000, 1.05),
    ]
    for policy in POLICIES[1:]:
        found += [Case(f"{name}, {policy}", named(name), 5000, math.inf, policy=policy) for name in small]
    found.append(Case("fifty, first_come", fifty, 20_000, math.inf, policy="first_come"))
    for events in ("dies", "joins", "slows", "dies+joins+slows"):
        found += [Case(f"{name}: {events}", named(name), 5000, 1.02, events) for name in small]
        found.append(Case(f"fifty: {events}", fifty, 20_000, 1.06, events))
    for events in ("fails fast", "garbage", "black hole", "flaps"):
        found += [Case(f"{name}: {events}", named(name), 5000, 1.02, events) for name in small]
    found.append(Case("home, 4 slots each", named("home", slots=4), 5000, 1.01))
    found.append(Case("home, 4 slots to be found out", named("home", slots=4, climb=True), 5000, math.inf))
    mixed_outputs = Work(0, output_tokens=(8, 60, 250))
    found += [Case(f"{name}, outputs 8/60/250", named(name), 5000, 1.01, work=mixed_outputs) for name in small]
    two = Work(0, models=("a", "b"))
    found.append(Case("home, two models, no load", named("home"), 5000, 1.01, work=two))
    for load_s in (20.0, 60.0):
        loads = named("home", load_s=load_s)
        found.append(Case(f"home, two models, {load_s:.0f} s to load", loads, 5000, 1.05, work=two))
        for i, which in enumerate(("the P40 has", "one laptop has")):
            lacking = partial(_only, loads, i)
            found.append(Case(f"home, {which} only the small one, {load_s:.0f} s", lacking, 3000, 1.05, work=two))
    three = Work(0, models=("a", "b", "c"))
    found.append(Case("home, three models, 20 s to load", named("home", load_s=20.0), 6000, 1.05, work=three))
    return found


def _only(fleet: Callable[[int], tuple[SimHost, ...]], host: int, seed: int) -> tuple[SimHost, ...]:
    """Let one host have the first model only."""
    return tuple(replace(one, models=("a",)) if i == host else one for i, one in enumerate(fleet(seed)))


def thousand(rows: int) -> str:
    """Return what 1,000 hosts cost the processor, simulation included."""
    hosts = random_fleet(1000, 200, (25, 1))(1)
    began = time.process_time()
    result = simulate(hosts, Work(rows, seed=1))
    cpu_us = (time.process_time() - began) / rows * 1e6
    return f"1,000 hosts, {rows:,} rows: {cpu_us:.0f} µs of CPU a row, {result.ratio:.3f} of the bound"


def main(seeds: int) -> None:
    """Print the tables."""
    print(header())
    print(f"\n{seeds} seeds; prompts lognormal (400 tokens, sigma 1), outputs 60 tokens, noise cv 0.3, cold start\n")
    print("| fleet | rows | median ÷ bound | worst | target | | programme ÷ bound | second copies | dead | µs a row |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for case in cases():
        print(measure(case, seeds), flush=True)
    print()
    for rows in (100_000, 300_000):
        print(thousand(rows), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
