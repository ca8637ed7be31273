"""Many schedules, one after the other: what went wrong in them, and how to see a failing one again."""

import gc
import shutil
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import in_memory
import pyarrow as pa
from simulation.play import Play
from simulation.schedule import draw

REPLAY = "python tests/campaign.py schedules --first {seed} --count 1"
TWICE_EVERY = 50


@dataclass(slots=True)
class Played:
    """How many schedules were played, what went wrong how often, and the broken promises by seed."""

    schedules: int = 0
    found: Counter[str] = field(default_factory=Counter)
    failures: dict[int, str] = field(default_factory=dict)

    def add(self, other: "Played") -> None:
        """Take in another shard."""
        self.schedules += other.schedules
        self.found += other.found
        self.failures |= other.failures

    def lines(self) -> list[str]:
        """The counts, then the failures, each with the command that shows it again."""
        counts = [f"{count:10,}  {what}" for what, count in sorted(self.found.items())]
        broken = [f"{REPLAY.format(seed=seed)}\n    {error}" for seed, error in sorted(self.failures.items())]
        return [f"{self.schedules:,} schedules, {len(self.failures)} broken promises", *counts, *broken]


def play(seeds: Iterable[int], *, loudly: bool = False) -> Played:
    """Play these schedules, each in a folder of its own; every fiftieth twice, since a seed must say everything.

    `loudly`: print the traceback of what fails.
    """
    # a short run looks for garbage at the pace of a long one, and reads small files without a crowd of threads
    gc.set_threshold(100_000)
    pa.set_cpu_count(1)
    played = Played()
    for seed in seeds:
        try:
            played.found += _once(seed)
        except Exception as error:  # noqa: BLE001  (whatever it is, it belongs to its seed, and the others go on)
            if loudly:
                traceback.print_exc()
            played.failures[seed] = f"{type(error).__name__}: {error}"
        played.schedules += 1
    return played


def _once(seed: int) -> Counter[str]:
    found, trace = _in_a_folder(seed)
    if seed % TWICE_EVERY == 0:
        assert _in_a_folder(seed)[1] == trace, "the same seed gave another trace"
        found["seed played twice, same trace"] += 1
    return found


def _in_a_folder(seed: int) -> tuple[Counter[str], list[tuple[str, float, str, str]]]:
    folder = Path(tempfile.mkdtemp(prefix=f"schedule-{seed}-", dir=in_memory.place()))
    try:
        play = Play(draw(seed), folder)
        return play.to_the_end(), play.world.trace()
    finally:
        shutil.rmtree(folder)
