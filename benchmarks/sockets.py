"""What the choice of rows brings on real sockets: `python benchmarks/sockets.py [ROWS [ROUNDS]]` prints a table.

The whole program scores a dataset on doubles of Ollama that read and write at unequal speeds, each in a process of its
own, in fast motion. Prices and first come take turns; both have the same slots, breakers and second copies. The bound
is that of the hosts' true speeds on the same rows, so the program's own costs and the machine's noise are in the
ratios.
"""

import json
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from machine import header

from scorer.core.price import best_prices, dual_s
from scorer.dispatch.events import Event, Progress

TESTS = Path(__file__).parent.parent / "tests"
MODEL = "llama3.2:3b"
OVERHEAD_S, OUTPUT_TOKENS = 0.05, 60
TIME_SCALE = 20.0
MEDIAN_TOKENS, SIGMA = 400, 1.0
FLEETS = {
    "home: P40, two laptops": ((800, 40), (180, 22), (180, 22)),
    "tower: 4090, two Macs, two CPUs": ((5000, 120), (300, 35), (300, 35), (30, 6), (30, 6)),
}
TEMPLATE = """
name = "short"
system = "Say how good the text is."
user = "{{ text }}"
[output.score]
type = "integer"
minimum = 1
maximum = 10
[options]
num_ctx = 65536
num_predict = 96
"""


@contextmanager
def doubles(speeds: tuple[tuple[float, float], ...]) -> Iterator[list[str]]:
    """Run one double a host; yields their URLs."""
    with ExitStack() as stack:
        urls = []
        for prefill_tps, decode_tps in speeds:
            command = [sys.executable, "-m", "doubles.ollama", "--prefill-tps", str(prefill_tps)]
            command += ["--decode-tps", str(decode_tps), "--overhead-s", str(OVERHEAD_S)]
            command += ["--time-scale", str(TIME_SCALE), "--output-tokens", str(OUTPUT_TOKENS), "--model", MODEL]
            environment = {**os.environ, "PYTHONPATH": str(TESTS)}
            process = stack.enter_context(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
            stack.callback(process.kill)
            assert process.stdout is not None
            urls.append(process.stdout.readline().strip())
        yield urls


def write_rows(path: Path, count: int) -> list[int]:
    """Write texts of lognormal length; returns their lengths in characters."""
    rng = random.Random(1)
    lengths = [max(4, round(4 * math.exp(rng.gauss(math.log(MEDIAN_TOKENS), SIGMA)))) for _ in range(count)]
    texts = [f"{i:06d} ".ljust(length, "x") for i, length in enumerate(lengths)]
    pq.write_table(pa.table({"text": texts}), path)
    return lengths


def bound_s(speeds: tuple[tuple[float, float], ...], lengths: list[int]) -> float:
    """Return what no schedule on these hosts can beat, in real seconds."""
    tokens = np.array(lengths) / 4
    times = np.array([OVERHEAD_S + tokens / prefill + OUTPUT_TOKENS / decode for prefill, decode in speeds])
    return dual_s(times, best_prices(times, np.ones(len(speeds)))) / TIME_SCALE


class _Quiet:
    """A view that shows nothing and remembers when the first row was taken."""

    def event(self, event: Event) -> None:
        """Note the start."""
        if event.kind == "started":
            self.began = time.perf_counter()

    async def watch(self, _progress: Progress) -> None:
        """Show nothing."""


@dataclass(frozen=True)
class Round:
    """One run of one policy."""

    policy: str
    makespan_s: float


def child(policy: str, dataset: str, folder: str, hosts: str) -> None:
    """Score the dataset in this process and print how long it took."""
    from functools import partial

    from scorer.core.fleet import Fleet
    from scorer.jobs import run
    from scorer.jobs.submit import RunOptions

    if policy == "first come":
        run.Fleet = partial(Fleet, priced=False)  # type: ignore[misc,assignment]
    view = _Quiet()
    prompt = Path(folder) / "short.toml"
    prompt.write_text(TEMPLATE)
    options = RunOptions(dataset=dataset, hosts=Path(hosts), prompt=str(prompt), runs_dir=Path(folder) / "runs")
    ended = run.run(options, view)  # type: ignore[arg-type]
    assert not ended.counts.pending, ended
    assert not ended.counts.dead, ended
    print(json.dumps(time.perf_counter() - view.began))


def once(policy: str, dataset: Path, hosts: Path) -> Round:
    """Run one policy in a process and a folder of its own."""
    folder = Path(tempfile.mkdtemp(dir=dataset.parent))
    command = [sys.executable, __file__, "child", policy, str(dataset), str(folder), str(hosts)]
    environment = {**os.environ, "XDG_STATE_HOME": str(folder)}
    said = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    shutil.rmtree(folder)
    return Round(policy, json.loads(said.stdout.splitlines()[-1]))


def main(rows: int, rounds: int) -> None:
    """Print the table."""
    print(header())
    print(f"\n{rows:,} rows, {rounds} rounds in turns, doubles at {TIME_SCALE:g} times their speed\n")
    print("| fleet | prices, s ÷ bound | first come, s ÷ bound | first come ÷ prices |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        dataset, hosts = Path(name) / "rows.parquet", Path(name) / "hosts.toml"
        lengths = write_rows(dataset, rows)
        for title, speeds in FLEETS.items():
            best_s = bound_s(speeds, lengths)
            with doubles(speeds) as urls:
                tables = [f'[[hosts]]\nname = "h{i}"\nurl = "{url}"\n' for i, url in enumerate(urls)]
                hosts.write_text(f'[defaults]\nmodel = "{MODEL}"\nslots = 1\n' + "\n".join(tables))
                done = [once(policy, dataset, hosts) for _ in range(rounds) for policy in ("prices", "first come")]
            took = {
                policy: statistics.median(one.makespan_s for one in done if one.policy == policy)
                for policy in ("prices", "first come")
            }
            cells = [f"{seconds:.1f} ({seconds / best_s:.3f})" for seconds in took.values()]
            print(f"| {title} | {' | '.join(cells)} | **{took['first come'] / took['prices']:.3f}** |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        child(*sys.argv[2:])
    else:
        main(*(int(text) for text in (sys.argv[1:] + ["1000", "3"][len(sys.argv) - 1 :])))
