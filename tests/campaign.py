"""The fault campaign by hand: as many schedules and kills as wanted, with the figures at the end.

    python tests/campaign.py nightly                          what runs each night: 100,000 schedules, 3,000 kills
    python tests/campaign.py schedules --count 10000          simulated jobs, from seed 0 on
    python tests/campaign.py schedules --first 7 --count 1    one again that has failed, with its traceback
    python tests/campaign.py schedules --shard 2/4            every fourth of them: for several machines
    python tests/campaign.py kills --count 200                `kill -9` of real runs
    python tests/campaign.py stops --count 20                 SIGSTOP, a while, SIGCONT, of real runs

The exit code is 1 if a promise was broken. What needs no chance (crash points, disk errors, power cuts) is in the
tests of every push, all of it.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "crash")]

from killing import Report, campaign, stops  # noqa: E402  (needs the path)
from simulation.many import Played, play  # noqa: E402

NIGHTLY_SCHEDULES = 100_000
NIGHTLY_KILLS = 3_000
NIGHTLY_STOPS = 100
BLOCK = 50
KILLS_A_JOB = 10


def schedules(seeds: Sequence[int], processes: int) -> Played:
    """Play schedules in blocks, and say from time to time how it goes."""
    if len(seeds) == 1:
        return play(seeds, loudly=True)
    blocks = [seeds[i : i + BLOCK] for i in range(0, len(seeds), BLOCK)]
    total, said_s = Played(), time.monotonic()
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for played in pool.map(play, blocks):
            total.add(played)
            if played.failures or time.monotonic() - said_s > 60:
                said_s = time.monotonic()
                say(f"{total.schedules:,} of {len(seeds):,} schedules, {len(total.failures)} broken promises")
    return total


def kills(count: int, seed: int) -> Report:
    """Kill real runs, ten in each job, by turns with parts of usual and of tiny size."""
    found: list[Report] = []
    while (left := count - sum(len(report.deaths) for report in found)) > 0:
        number = seed + len(found)
        folder = Path(tempfile.mkdtemp(prefix=f"kill-{number}-"))
        say(f"kills: seed {number}, {folder}, {left} to go")
        found.append(campaign(folder, min(left, KILLS_A_JOB), number, small_parts=bool(number % 2)))
    return Report.of(found)


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201


def _shard(text: str) -> tuple[int, int]:
    index, _, of = text.partition("/")
    if not (index.isdigit() and of.isdigit() and 1 <= int(index) <= int(of)):
        raise argparse.ArgumentTypeError("I/N, with I from 1 to N")
    return int(index) - 1, int(of)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["nightly", "schedules", "kills", "stops"])
    parser.add_argument("--count", type=int, help="how many schedules, kills or stops")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="the first seed")
    parser.add_argument("--shard", type=_shard, default=(0, 1), metavar="I/N", help="only every N-th, from the I-th on")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


def main() -> int:
    """Run what was asked for, and print the figures."""
    options, began_s = _options(), time.monotonic()
    shard, shards = options.shard
    broken = False
    if options.what in ("nightly", "schedules"):
        seeds = range(options.first + shard, options.first + (options.count or NIGHTLY_SCHEDULES), shards)
        played = schedules(seeds, options.processes)
        broken = bool(played.failures)
        say("\n".join(played.lines()))
    if options.what in ("nightly", "kills"):
        count = options.count if options.what == "kills" and options.count else NIGHTLY_KILLS
        say("\n".join(kills(-(-count // shards), options.first + 1_000_000 * shard).lines()))
    if options.what in ("nightly", "stops"):
        count = options.count if options.what == "stops" and options.count else NIGHTLY_STOPS
        folder = Path(tempfile.mkdtemp(prefix="stops-"))
        say("\n".join(stops(folder, -(-count // shards), options.first + shard).lines()))
    say(f"{time.monotonic() - began_s:.0f} s; {'A PROMISE WAS BROKEN' if broken else 'nothing lost, nothing twice'}")
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
