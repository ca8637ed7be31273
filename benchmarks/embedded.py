"""What two real hosts do together: `python benchmarks/embedded.py [ROWS]` prints a table (default 40 rows).

Real inference: the embedded engine with its demo model, as two hosts of one fleet and each of them alone, on the
shipped functions. Tokens a second count prompts and answers, from the moment the first host is up to the last row done,
so the end, when one of them has nothing left to do, is in it. More threads than cores cannot all work at once: the sum
of both alone is then more than the machine has.
"""

import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
from machine import header

from scorer.dispatch.events import Event
from scorer.jobs.run import run
from scorer.jobs.submit import RunOptions

DATASET = Path(__file__).parent.parent / "data" / "functions.parquet"


class _View:
    """A view that notes when rows began to be taken."""

    began = 0.0

    def event(self, event: Event) -> None:
        """Note the start."""
        if event.kind == "host_up" and not self.began:
            self.began = time.perf_counter()

    async def watch(self, _progress: object) -> None:
        """Show nothing."""


def tokens_per_s(threads: tuple[int, ...], rows: int) -> tuple[float, dict[str, int]]:
    """Score so many rows on hosts with so many threads each; return tokens a second and the rows by host."""
    with tempfile.TemporaryDirectory() as name:
        folder, view = Path(name), _View()
        tables = [
            f'[[hosts]]\nname = "threads-{n}{"ab"[i]}"\napi = "embedded"\nthreads = {n}\nslots = 1\n'
            for i, n in enumerate(threads)
        ]
        (folder / "hosts.toml").write_text("\n".join(tables))
        options = RunOptions(
            dataset=str(DATASET),
            prompt="code-quality",
            hosts=folder / "hosts.toml",
            limit=rows,
            runs_dir=folder / "runs",
        )
        ended = run(options, view)
        took_s = time.perf_counter() - view.began
        results = pq.read_table(
            ended.folder / "results", columns=["host", "prompt_tokens", "output_tokens"]
        ).to_pylist()
        by_host: dict[str, int] = {}
        for row in results:
            by_host[row["host"]] = by_host.get(row["host"], 0) + 1
        return sum((row["prompt_tokens"] or 0) + (row["output_tokens"] or 0) for row in results) / took_s, by_host


def main(rows: int) -> None:
    """Print the tables."""
    print(header())
    print(f"\n{rows} rows, real inference, tokens a second\n")
    print("| threads | first alone | second alone | sum of both | together | together ÷ sum | rows |")
    print("|---|---|---|---|---|---|---|")
    for threads in ((1, 1), (1, 2)):
        alone = [tokens_per_s((n,), rows)[0] for n in threads]
        together, by_host = tokens_per_s(threads, rows)
        shares = ", ".join(f"{count}" for _, count in sorted(by_host.items()))
        print(
            f"| {threads[0]} + {threads[1]} | {alone[0]:.0f} | {alone[1]:.0f} | {sum(alone):.0f} | {together:.0f} "
            f"| {together / sum(alone):.2f} | {shares} |",
            flush=True,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
