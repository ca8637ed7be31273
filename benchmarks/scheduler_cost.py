"""What the scheduler alone costs: `python benchmarks/scheduler_cost.py [ROWS]` prints a table (default 1,000,000 rows).

`core/fleet.py` and its window in a bare event loop in virtual time: no sockets, no queue, no simulated servers. What a
row costs here is its way through the window, a pick, a release, and its share of prices, looks at the last rows and
second copies, from a cold start to the last row. Making the row's own objects is measured apart and taken off.
"""

import heapq
import random
import sys
import time
from dataclasses import dataclass

import numpy as np
from machine import header

from scorer.core.fleet import Fleet, Member, Slot
from scorer.core.task import Reply, Scored, Task, TaskKey
from scorer.core.window import Window

WINDOW = 512
CHUNK = 128
OUTPUT_TOKENS = 60
OVERHEAD_S = 0.05
NOISE_CV = 0.3


@dataclass(frozen=True)
class Case:
    """So many hosts with so many slots each, speeds log-uniform over a factor of 200, and the rows."""

    hosts: int
    slots: int
    rows: int


class Rows:
    """Rows as they come, and what each of them takes on a host."""

    def __init__(self, case: Case) -> None:
        rng = np.random.default_rng(1)
        speeds = np.exp(rng.uniform(0, np.log(200), (case.hosts, 2))) * np.array((25, 1))
        self.speeds = {f"h{i}": (float(prefill), float(decode)) for i, (prefill, decode) in enumerate(speeds)}
        # enough that no pattern repeats within a window
        self.tokens = np.maximum(1, np.exp(rng.normal(np.log(400), 1.0, 1 << 16))).astype(int).tolist()
        sigma = np.sqrt(np.log(1 + NOISE_CV**2))
        self.noise = np.exp(rng.normal(-(sigma**2) / 2, sigma, 1 << 16)).tolist()

    def task(self, row: int) -> Task:
        """Return a row as the scheduler gets it."""
        return Task(TaskKey("m", row, 0), "", 4 * self.tokens[row & 0xFFFF])

    def outcome(self, slot: Slot) -> Scored:
        """Return how it ends on a host."""
        prefill_tps, decode_tps = self.speeds[slot.host]
        tokens, noise = slot.task.chars // 4, self.noise[slot.number & 0xFFFF]
        prefill_s, decode_s = tokens / prefill_tps * noise, OUTPUT_TOKENS / decode_tps * noise
        reply = Reply("", "stop", tokens, OUTPUT_TOKENS, prefill_s, decode_s)
        return Scored(reply, {}, OVERHEAD_S + prefill_s + decode_s)


class Loop:
    """The least that can drive a fleet."""

    def __init__(self, case: Case) -> None:
        self.rows, self.left, self.taken = Rows(case), case.rows, 0
        self.fleet, self.window = Fleet(random.Random(0)), Window()
        self.size = max(WINDOW, 2 * case.hosts * case.slots)
        self.heap: list[tuple[float, int, Slot, Scored]] = []
        self.gone: set[int] = set()
        self.now = self.look_at = 0.0
        members = [Member(name, frozenset({"m"}), 4096, case.slots) for name in self.rows.speeds]
        self.fleet.configure(members)
        self.fleet.attend(self.window)
        for member in members:
            self.fleet.join(member, 0.0)

    def run(self) -> None:
        """Do all rows."""
        self.fill(self.fleet.free_hosts(0.0))
        while self.heap:
            self.now, _, slot, outcome = heapq.heappop(self.heap)
            if slot.number in self.gone:
                continue
            settled = self.fleet.release(slot, outcome, self.now)
            for loser in settled.losers:
                self.fleet.abandon(loser)
                self.gone.add(loser.number)
            due = self.fleet.due(self.now)
            if due is not None and self.now >= self.look_at:
                self.look_at = due
                self.fill(self.fleet.free_hosts(self.now))
            else:
                self.fill([slot.host])

    def fill(self, hosts: list[str]) -> None:
        """Give these hosts rows until they want no more."""
        for host in hosts:
            self.refill()
            while (slot := self.fleet.pick(host, self.window, self.now)) is not None:
                outcome = self.rows.outcome(slot)
                heapq.heappush(self.heap, (self.now + outcome.duration_s, slot.number, slot, outcome))
                self.refill()

    def refill(self) -> None:
        """Keep the window full."""
        while len(self.window) < self.size * 3 // 4 and self.taken < self.left:
            for _ in range(min(CHUNK, self.left - self.taken)):
                self.window.add(self.rows.task(self.taken))
                self.taken += 1
        self.window.last = self.taken == self.left


def objects_us(case: Case) -> float:
    """Return the µs that a row's own objects and its place in the heap of events cost, without any scheduler."""
    rows, heap, count = Rows(case), list[tuple[float, int, Scored]](), min(case.rows, 200_000)
    began = time.process_time()
    for row in range(count):
        slot = Slot(row, "h0", rows.task(row), 0.0, 120.0)
        outcome = rows.outcome(slot)
        heapq.heappush(heap, (outcome.duration_s, row, outcome))
        if len(heap) > case.hosts * case.slots:
            heapq.heappop(heap)
    return (time.process_time() - began) / count * 1e6


def main(rows: int) -> None:
    """Print the table."""
    print(header())
    print("\n| hosts | slots each | rows | CPU-µs a row |\n|---|---|---|---|")
    for case in (Case(3, 1, 50_000), Case(3, 85, 100_000), Case(50, 1, 100_000), Case(1000, 1, rows)):
        loop = Loop(case)
        began = time.process_time()
        loop.run()
        cpu_us = (time.process_time() - began) / case.rows * 1e6 - objects_us(case)
        print(f"| {case.hosts:,} | {case.slots} | {case.rows:,} | {cpu_us:.0f} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
