"""The range of the ETA is checked as it is meant: how often it holds, in simulated runs of several kinds."""

import math
import random
from dataclasses import dataclass

import pytest

from scorer.dispatch.eta import LEAST_NOTES, MOST, Backtest, Eta, few
from scorer.dispatch.tally import Tallies


@dataclass(frozen=True)
class Host:
    """Seconds a row on average, how much rows scatter, how long it is up and away, and how its speed drifts."""

    row_s: float
    sigma: float = 0.6
    up_s: float = math.inf
    away_s: float = 0.0
    drift: float = 0.0


STEP_S = 2
KINDS = {
    "steady": [Host(2.0), Host(6.0), Host(15.0)],
    "few rows": [Host(45.0, 0.8)],
    "drifting": [Host(3.0, drift=0.3), Host(6.0, drift=0.2)],
    "flapping": [Host(3.0, up_s=900, away_s=300), Host(6.0)],
}
SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)
# before that a host has hardly been away once, and what has not been seen cannot be in the range
FLAPPING_SHARES = (0.5, 0.6, 0.75, 0.9)


def simulated(hosts: list[Host], rows: int, rng: random.Random) -> tuple[list[tuple[float, Eta | None]], float]:
    """Run to the end; return what was believed every minute, and when the end was."""
    tallies, said, now, done = Tallies(0.0), [], 0.0, 0
    ends = [rng.expovariate(1 / host.row_s) for host in hosts]
    turns = [rng.expovariate(1 / host.up_s) if math.isfinite(host.up_s) else math.inf for host in hosts]
    up, speed = [True] * len(hosts), [0.0] * len(hosts)
    while done < rows:
        now += STEP_S
        for i, host in enumerate(hosts):
            if turns[i] <= now:
                up[i] = not up[i]
                turns[i] = now + rng.expovariate(1 / (host.up_s if up[i] else host.away_s))
                ends[i] = now + host.row_s
            speed[i] += -speed[i] * STEP_S / 7200 + host.drift * math.sqrt(STEP_S / 3600) * rng.gauss(0, 1)
            while up[i] and ends[i] <= now and done < rows:
                done += 1
                tallies.host(str(i)).scored(500, 50)
                ends[i] += host.row_s * math.exp(speed[i] + rng.gauss(-(host.sigma**2) / 2, host.sigma))
        tallies.look(now, {str(i) for i in range(len(hosts)) if up[i]})
        if now % 60 < STEP_S:
            said.append((now, tallies.eta(rows - done)))
    return said, now


@pytest.mark.parametrize("kind", KINDS)
def test_the_range_holds_about_four_times_in_five(kind: str) -> None:
    hosts, shares = KINDS[kind], FLAPPING_SHARES if kind == "flapping" else SHARES
    held, ranges, asked = 0, 0, 0
    rows = int(sum(1 / host.row_s for host in hosts) * 2 * 3600)
    for seed in range(8):
        said, end = simulated(hosts, rows, random.Random(seed))
        for share in shares:
            asked += 1
            at, eta = min(said, key=lambda one: abs(one[0] - share * end))
            if eta is not None and eta.low_s is not None and eta.high_s is not None:
                ranges += 1
                held += eta.low_s <= end - at <= eta.high_s
    assert ranges >= asked / 2, "it hardly ever dared to say a range"
    assert held / ranges >= 0.7, f"{held} of {ranges}"


def test_of_a_steady_run_the_range_becomes_narrow() -> None:
    said, end = simulated(KINDS["steady"], 5000, random.Random(1))
    late = [eta for at, eta in said if eta and eta.low_s and eta.high_s and 0.4 < at / end < 0.8]
    assert late
    assert all(eta.high_s / eta.low_s < 1.35 for eta in late)  # type: ignore[operator]
    assert all(eta.low_s < eta.guess_s < eta.high_s for eta in late)  # type: ignore[operator]


def test_without_a_rate_there_is_no_guess_and_without_a_past_no_range() -> None:
    backtest = Backtest()
    assert backtest.eta(100, 0.0) is None
    assert backtest.eta(100, 2.0) == Eta(50.0)
    for step in range(LEAST_NOTES - 1):
        backtest.note(step * 10.0, 20 * step, 2.0)
    assert backtest.eta(100, 2.0) == Eta(50.0)


def test_guesses_that_were_right_make_a_range_of_nothing_and_wrong_ones_a_wide_one() -> None:
    right, wrong, absurd = Backtest(), Backtest(), Backtest()
    for step in range(60):
        right.note(step * 10.0, 20 * step, 2.0)
        wrong.note(step * 10.0, 20 * step, 3.0)
        absurd.note(step * 10.0, 20 * step, 30.0)
    assert right.eta(100, 2.0) == Eta(50.0, 50.0, 50.0)
    eta = wrong.eta(100, 2.0)
    assert eta is not None
    assert eta.high_s == pytest.approx(50 * 1.5 ** few(20), rel=0.1)
    assert absurd.eta(100, 2.0) == Eta(50.0), "a range of a factor of fifteen helps nobody"


def test_weeks_are_remembered_in_bounded_memory() -> None:
    backtest = Backtest()
    for hour in range(24 * 21):
        backtest.note(hour * 3600.0, hour, 1 / 3600)
    assert len(backtest._notes) < MOST
    eta = backtest.eta(24 * 7, 1 / 3600)
    assert eta is not None
    assert eta.low_s == pytest.approx(7 * 86400)


def test_few_separate_times_make_the_range_wider() -> None:
    assert [few(1) > few(2) > few(5) > few(10) > few(11), few(1000)] == [True, 1.0]
