"""How near the climbed number of slots comes to the best fixed one: `python benchmarks/limits.py [HOST …]`.

Virtual time, no sockets: a host shares its throughput among the requests that it works on, as its curve says (work
done per second with n requests, in units of what one alone gets); beyond its own slots they queue inside it, first come
first served, and every request loses a round trip before it. The real `core/limit.py` decides how many are in flight.

Prompts are lognormal (median 400 tokens, sigma 1), outputs 60 tokens, and a row's time scatters by 30 % besides. Rows
done are compared with those of the best fixed limit on the same rows; the best one is the lowest that is within 1 % of
the highest throughput. Figures are means over the seeds, in brackets the worst one.
"""

import heapq
import math
import platform
import random
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean
from typing import Protocol

from scorer.core.limit import Limit, work

ROUND_TRIP_S = 0.05
MEDIAN_TOKENS, SIGMA, OUTPUT_TOKENS = 400, 1.0, 60
NOISE_SIGMA = math.sqrt(math.log(1 + 0.3**2))
MINUTES = {5: 12, 10: 12, 60: 10, 240: 5}  # and how many seeds each
SHOWN_MIN = (1, 2, 5, 10, 20, 40, 60, 120, 180, 240)
GRID = (1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 17, 18, 20, 24, 32, 64, 128, 256)
SLOW_S, SLOW_FACTOR = (7200.0, 9000.0), 10.0

Changes = list[tuple[float, int]]


@dataclass(frozen=True)
class Host:
    """A host alone with one request, its own slots, and what it does with more. `slow_s`: when it is slow, and ends."""

    name: str
    prefill_tps: float
    decode_tps: float
    slots: int
    curve: Callable[[int], float]
    slow_s: tuple[float, float] | None = None


HOSTS = (
    Host("vLLM-like", 800, 40, 256, lambda n: n / (1 + (n - 1) / 32)),
    Host("Ollama, one slot", 800, 40, 1, lambda n: 1.0),
    Host("P40-like, 16 slots", 800, 40, 16, lambda n: n**0.6),
    Host("thrashing CPU", 100, 10, 64, lambda n: (1.0, 1.5, 1.7, 1.55)[n - 1] if n <= 4 else 1.55 * (4 / n) ** 0.8),
    Host("M1, flat from 1 to 8", 180, 22, 8, lambda n: 1.0),
    Host("GPU, 4 slots", 800, 40, 4, lambda n: n**0.8),
    Host("slow CPU, 2 slots", 15, 4, 2, lambda n: n**0.7),
)


class Slots(Protocol):
    """Whoever says how many requests may be in flight."""

    value: int

    def completed(self, amount: float, now: float, *, saturated: bool) -> None:
        """Hear of a completion."""


@dataclass
class Fixed:
    """A number of slots that stays."""

    value: int

    def completed(self, amount: float, now: float, *, saturated: bool) -> None:
        """Learn nothing."""


class Server:
    """Requests that share a throughput. `progress` is what each of them has been given since the start."""

    def __init__(self, host: Host, seed: int) -> None:
        self.host = host
        self.rng = random.Random(seed)
        self.curve = [0.0, *(host.curve(n) for n in range(1, host.slots + 1))]
        self.now = self.progress = 0.0
        self.number = 0
        self.active: list[tuple[float, int, int]] = []
        self.waiting = 0
        self.arriving: deque[float] = deque()
        self.changes = list(host.slow_s or ())
        self.factor = 1.0

    def next_s(self) -> float:
        """Return when the next thing happens."""
        times = [self.changes[0]] if self.changes else []
        times += [self.arriving[0]] if self.arriving else []
        times += [self.now + (self.active[0][0] - self.progress) / self.speed()] if self.active else []
        return min(times)

    def speed(self) -> float:
        """Return what each active request is given per second."""
        n = len(self.active)
        return self.curve[n] / n / self.factor if n else 0.0

    def step(self, moment: float) -> int | None:
        """Go on to that moment; return the prompt tokens of a row that is done then."""
        self.progress += self.speed() * (moment - self.now)
        self.now = moment
        if self.changes and self.changes[0] == moment:
            self.changes.pop(0)
            self.factor = SLOW_FACTOR if self.changes else 1.0
            return None
        if self.arriving and self.arriving[0] == moment:
            self.arriving.popleft()
            if len(self.active) < self.host.slots:
                self.start()
            else:
                self.waiting += 1
            return None
        _, _, prompt_tokens = heapq.heappop(self.active)
        if self.waiting:
            self.waiting -= 1
            self.start()
        return prompt_tokens

    def start(self) -> None:
        """Begin with a row."""
        prompt = max(1, round(math.exp(self.rng.gauss(math.log(MEDIAN_TOKENS), SIGMA))))
        alone_s = prompt / self.host.prefill_tps + OUTPUT_TOKENS / self.host.decode_tps
        alone_s *= math.exp(self.rng.gauss(-(NOISE_SIGMA**2) / 2, NOISE_SIGMA))
        self.number += 1
        heapq.heappush(self.active, (self.progress + alone_s, self.number, prompt))


def rows_done(host: Host, slots: Slots, until_s: float, seed: int) -> tuple[int, Changes]:
    """Keep all slots taken; return the rows done, and when the number of slots became what."""
    server, changes, flying, done = Server(host, seed), [(0.0, slots.value)], 0, 0
    while True:
        while flying < slots.value:
            server.arriving.append(server.now + ROUND_TRIP_S)
            flying += 1
        moment = server.next_s()
        if moment >= until_s:
            return done, changes
        prompt_tokens = server.step(moment)
        if prompt_tokens is not None:
            saturated = flying >= slots.value
            flying -= 1
            done += 1
            slots.completed(work(prompt_tokens, OUTPUT_TOKENS), moment, saturated=saturated)
            if slots.value != changes[-1][1]:
                changes.append((moment, slots.value))


def climb(host: Host, until_s: float, seed: int) -> tuple[int, Changes]:
    """Do so with the limit that is climbed."""
    return rows_done(host, Limit(None, 0.0, random.Random(seed)), until_s, seed)


def best_fixed(host: Host) -> int:
    """Return the lowest number of slots that does nearly as many rows as any."""
    done = {n: rows_done(host, Fixed(n), 4 * 3600.0, 91)[0] for n in GRID if n <= 2 * host.slots + 2}
    return min(n for n in done if done[n] >= 0.99 * max(done.values()))


def stretches_above(changes: Changes, most: int, until_s: float) -> list[float]:
    """Return the lengths of the times in which there were more slots than `most`, in seconds."""
    found, since = [], None
    for moment, value in [*changes, (until_s, 0)]:
        if value > most and since is None:
            since = moment
        elif value <= most and since is not None:
            found.append(moment - since)
            since = None
    return found


def at(changes: Changes, moment: float) -> int:
    """Return the number of slots at a moment."""
    return [value for begin, value in changes if begin <= moment][-1]


def slow_down(host: Host, seed: int) -> tuple[int, int, int]:
    """Return the limit before half an hour of a tenfold slow-down, the lowest and the highest in it."""
    _, changes = climb(replace(host, slow_s=SLOW_S), SLOW_S[1], seed)
    before = at(changes, SLOW_S[0])
    during = [value for moment, value in changes if moment > SLOW_S[0]]
    return before, min([before, *during]), max([before, *during])


def measure(host: Host) -> None:
    """Print one host's rows of all tables."""
    best = best_fixed(host)
    cells, above, longest = [], 0.0, 0.0
    for minutes, seeds in MINUTES.items():
        until_s = 60.0 * minutes
        runs = [climb(host, until_s, seed) for seed in range(seeds)]
        fixed = [rows_done(host, Fixed(best), until_s, seed)[0] for seed in range(seeds)]
        shares = [100 * done / most for (done, _), most in zip(runs, fixed, strict=True)]
        cells.append(f"{fmean(shares):3.0f} ({min(shares):.0f})")
        stretches = [stretches_above(changes, 2 * best, until_s) for _, changes in runs]
        above = 100 * fmean(sum(each) for each in stretches) / until_s
        longest = max((length for each in stretches for length in each), default=0.0)
    levels = " ".join(f"{at(runs[0][1], 60.0 * minute):>3}" for minute in SHOWN_MIN)
    mean = fmean(value * (end - begin) for (begin, value), (end, _) in pairwise([*runs[0][1], (until_s, 0)]))
    mean *= len(runs[0][1]) / until_s
    slowed = ", ".join(f"{before} ({low}-{high})" for before, low, high in (slow_down(host, s) for s in range(3)))
    print(
        f"| {host.name} | {best} | {' | '.join(cells)} | {above:.0f} % | {longest / 60:.0f} | {mean:.1f} | "
        f"{levels} | {slowed} |",
        flush=True,
    )


def main(names: list[str]) -> None:
    """Print the table of all hosts, or of those whose names begin so."""
    print(f"{platform.platform()}, Python {platform.python_version()}\n")
    print(
        "| host | best | "
        + " | ".join(f"{minutes} min, %" for minutes in MINUTES)
        + f" | above twice the best, of {max(MINUTES)} min | longest, min | mean limit | at "
        + " ".join(f"{minute:>3}" for minute in SHOWN_MIN)
        + " min | slowed tenfold for 30 min (lowest-highest) |"
    )
    print("|---" * (len(MINUTES) + 7) + "|")
    for host in HOSTS:
        if not names or any(host.name.startswith(name) for name in names):
            measure(host)


if __name__ == "__main__":
    main(sys.argv[1:])
