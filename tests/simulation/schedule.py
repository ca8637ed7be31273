"""What happens in one simulated job: drawn from a seed, so that a seed is all it takes to see it again.

Every job has at least 200 rows and three hosts, one of which stays well throughout: whatever else happens, the job must
finish. The other hosts get one or two ills each; the machine that the job runs on gets up to three events.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import get_args

from simulation.world import Faults, SimHost

from scorer.failpoints import FailpointName

ROWS = 200
MOST_ROWS = 260
EMPTY_SHARE = 0.01
LONGEST_CHARS = 4 * 2048
OTHER_DIGEST = "cd" * 32
SHORT_S = (5.0, 20.0)
LONG_S = (90.0, 150.0)

RUNNING_PLACES = tuple(place for place in get_args(FailpointName) if not place.startswith(("retry", "enqueue")))

EVENTS = ("suspend", "disk_full", "interrupt", "crash_point", "crash_disk", "join", "leave", "duplicates", "slow_disk")


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happens to the run itself: what, when (virtual seconds), for how long, at which named place.

    `again_s`: it happens again after each of these. `breaks`: with it every connection breaks.
    """

    kind: str
    at_s: float
    for_s: float = 0.0
    place: str = ""
    again_s: tuple[float, ...] = ()
    breaks: bool = False


@dataclass(slots=True)
class Schedule:
    """One job's fate. `span_s` is about how long it takes; lives after the first get no more happenings."""

    seed: int
    span_s: float
    hosts: list[SimHost]
    happenings: list[Happening]
    slots: int | None
    deadline_s: float
    part_rows: int
    window: int
    texts: list[str | None]


def draw(seed: int) -> Schedule:
    """Draw a schedule."""
    rng = random.Random(seed)
    rows = rng.randint(ROWS, MOST_ROWS)
    # an exchanged model is noticed within a minute: only a longer run can show that
    span_s = rng.uniform(*(LONG_S if rng.random() < 0.05 else SHORT_S))
    count = rng.choice((3, 3, 3, 4, 4, 5))
    hosts = [_host("well", _row_s(rng, rows, span_s, count), rng.choice((1, 2, 4)))]
    for number in range(1, count):
        row_s = _row_s(rng, rows, span_s, count) * rng.choice((0.3, 1.0, 3.0))
        hosts.append(_ill(rng, _host(f"ill-{number}", row_s, rng.choice((1, 2, 4))), span_s))
    kinds = rng.sample(EVENTS, rng.choice((0, 1, 1, 2, 3)))
    return Schedule(
        seed=seed,
        span_s=span_s,
        hosts=hosts,
        happenings=[_restless(seed, _happening(rng, kind, span_s)) for kind in kinds],
        slots=rng.choice((None, None, 1, 2, 4)),
        deadline_s=rng.uniform(3.0, 20.0),
        part_rows=rng.choice((40, 80, 10_000)),
        window=rng.choice((64, 128, 512)),
        texts=_texts(rng, rows, overlong=any(host.faults.truncate for host in hosts)),
    )


def _texts(rng: random.Random, rows: int, *, overlong: bool) -> list[str | None]:
    texts: list[str | None] = [f"text {i} " + "word " * rng.randint(1, 40) for i in range(rows)]
    for row in range(rows):
        if rng.random() < EMPTY_SHARE:
            texts[row] = rng.choice((None, "", " \n"))
    for row in rng.sample(range(rows), 3 if overlong else 0):
        texts[row] = f"text {row} " + "word " * 2000
    return texts


def _row_s(rng: random.Random, rows: int, span_s: float, hosts: int) -> float:
    return hosts * span_s / rows * rng.uniform(0.5, 2.0)


def _happening(rng: random.Random, kind: str, span_s: float) -> Happening:
    place = f"{rng.choice(RUNNING_PLACES)}:{rng.randint(1, 4)}" if kind == "crash_point" else ""
    return Happening(kind, rng.uniform(0.05, 0.8) * span_s, rng.uniform(0.05, 0.5) * span_s, place)


def _restless(seed: int, happening: Happening) -> Happening:
    """Let half of the suspended machines wake up to broken connections, and some fall asleep again and again.

    So soon again that the same rows are in flight. The chance is its own: whatever else a seed says stays as it is.
    """
    rng = random.Random(f"restless {seed}")
    if happening.kind != "suspend" or rng.random() < 0.5:
        return happening
    again_s = tuple(rng.uniform(0.2, 2.5) for _ in range(rng.randint(0, 5)))
    return replace(happening, again_s=again_s, breaks=True)


# -- what hosts suffer from --------------------------------------------------------------------------------------------


def _host(name: str, row_s: float, slots: int) -> SimHost:
    return SimHost(name, row_s, slots, faults=Faults(overflow_above_chars=LONGEST_CHARS))


def _ill(rng: random.Random, host: SimHost, span_s: float) -> SimHost:
    for kind in rng.sample(sorted(ILLS), rng.choice((1, 1, 2))):
        ILLS[kind](rng, host, span_s)
    return host


def _chance(name: str, least: float, most: float) -> "Ill":
    def make_ill(rng: random.Random, host: SimHost, _: float) -> None:
        setattr(host.faults, name, rng.uniform(least, most))

    return make_ill


def _slow(rng: random.Random, host: SimHost, span_s: float) -> None:
    begin = rng.uniform(0, 0.7) * span_s
    host.faults.slow = ((begin, begin + rng.uniform(0.1, 2) * span_s, 10.0),)


def _flapping(rng: random.Random, host: SimHost, span_s: float) -> None:
    at, down = rng.uniform(0, 0.3) * span_s, list(host.faults.down)
    for _ in range(rng.randint(2, 5)):
        end = at + rng.uniform(0.02, 0.15) * span_s
        down.append((at, end))
        at = end + rng.uniform(0.02, 0.15) * span_s
    host.faults.down = tuple(down)


def _late_arrival(rng: random.Random, host: SimHost, span_s: float) -> None:
    host.faults.down = (*host.faults.down, (0.0, rng.uniform(0.1, 0.6) * span_s))


def _gone_for_good(rng: random.Random, host: SimHost, span_s: float) -> None:
    host.faults.down = (*host.faults.down, (rng.uniform(0.1, 0.8) * span_s, 1e9))


def _fast_failure(_: random.Random, host: SimHost, __: float) -> None:
    host.faults.fails_fast = True


def _joins_with_another_model(rng: random.Random, host: SimHost, span_s: float) -> None:
    _late_arrival(rng, host, span_s)
    host.digest = OTHER_DIGEST


def _model_exchanged(rng: random.Random, host: SimHost, span_s: float) -> None:
    host.exchange = (rng.uniform(0.05, 0.3) * span_s, OTHER_DIGEST)


def _small_context(_: random.Random, host: SimHost, __: float) -> None:
    """It cuts what does not fit and says nothing; the others refuse it."""
    host.faults.truncate = 1.0
    host.faults.overflow_above_chars = None


Ill = Callable[[random.Random, SimHost, float], None]

ILLS: dict[str, Ill] = {
    "reset": _chance("drop", 0.01, 0.2),
    "hang": _chance("hang", 0.005, 0.05),
    "late": _chance("late", 0.005, 0.1),
    "slow": _slow,
    "garbage": _chance("garbage", 0.01, 1.0),
    "fast failure": _fast_failure,
    "server error": _chance("error_500", 0.01, 0.3),
    "flapping": _flapping,
    "late arrival": _late_arrival,
    "gone for good": _gone_for_good,
    "wrong digest": _joins_with_another_model,
    "model exchanged": _model_exchanged,
    "truncation": _small_context,
    "cut": _chance("cut", 0.01, 0.2),
    "unfinished": _chance("done_false", 0.01, 0.2),
    "busy": _chance("busy", 0.01, 0.3),
    "proxy page": _chance("html_502", 0.01, 0.2),
    "refusal": _chance("bad_request", 0.002, 0.05),
}
