"""The fault campaign by hand: as many schedules and kills as wanted, with the figures at the end.

    python tests/campaign.py nightly                          what runs each night: 100,000 schedules, 3,000 kills
    python tests/campaign.py schedules --count 10000          simulated jobs, from seed 0 on
    python tests/campaign.py schedules --first 7 --count 1    one again that has failed, with its traceback
    python tests/campaign.py schedules --shard 2/4            every fourth of them: for several machines
    python tests/campaign.py schedules --record done.jsonl    in several sittings: what is done there is not done again
    python tests/campaign.py kills --count 200                `kill -9` of real runs
    python tests/campaign.py stops --count 20                 SIGSTOP, a while, SIGCONT, of real runs

The exit code is 1 if a promise was broken. What needs no chance (crash points, disk errors, power cuts) is in the
tests of every push, all of it.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "crash")]

from killing import Report, campaign, stops  # noqa: E402  (needs the path)
from pydantic import TypeAdapter  # noqa: E402
from simulation.many import Played, play  # noqa: E402

Found = TypeVar("Found")

NIGHTLY_SCHEDULES = 100_000
NIGHTLY_KILLS = 3_000
NIGHTLY_STOPS = 100
BLOCK = 50
SAY_S = 60
KILLS_A_JOB = 10


def schedules(seeds: Sequence[int], processes: int, record: Path | None) -> Played:
    """Play schedules in blocks, and say from time to time how it goes."""
    if len(seeds) == 1:
        return play(seeds, loudly=True)
    total, said_s = Played(), time.monotonic()
    blocks = [(seeds[i : i + BLOCK],) for i in range(0, len(seeds), BLOCK)]
    for played in _each(play, Played, blocks, processes, record):
        total.add(played)
        if played.failures or time.monotonic() - said_s > SAY_S:
            said_s = time.monotonic()
            say(f"{total.schedules:,} of {len(seeds):,} schedules, {len(total.failures)} broken promises")
    return total


def kills(count: int, seed: int, processes: int, record: Path | None) -> Report:
    """Kill real runs, ten in each job, by turns with parts of usual and of tiny size."""
    total, said_s = Report.of([]), time.monotonic()
    jobs = [(min(KILLS_A_JOB, count - done), seed + i) for i, done in enumerate(range(0, count, KILLS_A_JOB))]
    for report in _each(_kill, Report, jobs, processes, record):
        total = Report.of([total, report])
        if time.monotonic() - said_s > SAY_S:
            said_s = time.monotonic()
            say(f"{len(total.deaths):,} of {count:,} kills")
    return total


def _kill(count: int, seed: int) -> Report:
    folder = Path(tempfile.mkdtemp(prefix=f"kill-{seed}-"))
    report = campaign(folder, count, seed, small_parts=bool(seed % 2))
    shutil.rmtree(folder)  # what fails stays, to be looked at
    return report


def _each(
    what: Callable[..., Found],
    kind: type[Found],
    jobs: Sequence[tuple[Any, ...]],
    processes: int,
    record: Path | None,
) -> Iterator[Found]:
    """Do all these jobs in processes of their own, and yield what each has found as it ends.

    `record`: a file where each leaves a line; a job that has one is not done again.
    """
    form = TypeAdapter(tuple[str, kind])  # type: ignore[valid-type]
    known = dict(map(form.validate_json, record.read_bytes().splitlines())) if record and record.exists() else {}
    names = {job: f"{what.__name__}{job}" for job in jobs}
    yield from (known[name] for name in names.values() if name in known)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        going = {pool.submit(what, *job): name for job, name in names.items() if name not in known}
        for done in as_completed(going):
            if record:
                with record.open("ab") as file:
                    file.write(form.dump_json((going[done], done.result())) + b"\n")
            yield done.result()


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
    parser.add_argument(
        "--record", type=Path, metavar="FILE", help="keep what is done of schedules and kills, and go on there"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


def main() -> int:
    """Run what was asked for, and print the figures."""
    options, began_s = _options(), time.monotonic()
    shard, shards = options.shard
    broken = False
    if options.what in ("nightly", "schedules"):
        seeds = range(options.first + shard, options.first + (options.count or NIGHTLY_SCHEDULES), shards)
        played = schedules(seeds, options.processes, options.record)
        broken = bool(played.failures)
        say("\n".join(played.lines()))
    if options.what in ("nightly", "kills"):
        count = options.count if options.what == "kills" and options.count else NIGHTLY_KILLS
        say(
            "\n".join(
                kills(-(-count // shards), options.first + 1_000_000 * shard, options.processes, options.record).lines()
            )
        )
    if options.what in ("nightly", "stops"):
        count = options.count if options.what == "stops" and options.count else NIGHTLY_STOPS
        folder = Path(tempfile.mkdtemp(prefix="stops-"))
        say("\n".join(stops(folder, -(-count // shards), options.first + shard).lines()))
    say(f"{time.monotonic() - began_s:.0f} s; {'A PROMISE WAS BROKEN' if broken else 'nothing lost, nothing twice'}")
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
