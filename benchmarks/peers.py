"""Other tools at the same work: `python benchmarks/peers.py [ROWS [ROUNDS]]` prints tables (600 rows, 3 rounds).

Each tool runs in an environment of its own (`peers_environments.py`), by a script of its own (`peers_scripts/`), and is
measured from outside (`peers_process.py`), in turns with the others on the same rows (`peers_work.py`) and hosts
(`peers_server.py`). All are told how many slots the hosts have and keep as many requests in flight, except distilabel,
which sends batches that wait in the front. Five measurements: equal hosts; unequal hosts; five times as many rows on
fast hosts that take 255 at once; killed in the middle and run again; and prompts longer than the context of hosts that
cut them without a word. Linux only.

In favour of the others: their prompts come ready made, their answers are only parsed, and a tool that takes one address
gets a front that deals out requests as well as can be done without knowing the speeds, at no cost.
"""

import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from machine import header
from peers_environments import PINS, python_of
from peers_process import Start, Took, ToolFailed, killed, measured
from peers_scripts.job import Job
from peers_server import Tally, serving
from peers_work import NUM_PREDICT, Work, crowded, equal, overlong, unequal
from server import MODEL

SCRIPTS = Path(__file__).parent / "peers_scripts"
ENDS = ("right", "lost", "twice", "wrong")


@dataclass(frozen=True)
class Tool:
    """A tool, its script, how it gets at several hosts, and whether it knows what it had done before it was killed."""

    name: str
    script: str
    environment: str
    by_front: bool = False
    keeps: bool = True

    @property
    def hosts(self) -> str:
        """Say how it gets at the hosts."""
        return "the front" if self.by_front else "its own"


TOOLS = (
    Tool("scorer", "scorer_run.py", "scorer"),
    Tool("flexllm", "flexllm_batch.py", "flexllm"),
    Tool("litellm.Router, least busy", "litellm_router.py", "litellm", keeps=False),
    Tool("distilabel, OllamaLLM", "distilabel_pipeline.py", "distilabel", by_front=True),
    Tool("Curator, LiteLLM backend", "curator_llm.py", "curator", by_front=True),
    Tool("inspect-ai", "inspect_task.py", "inspect", by_front=True),
)


def main(rows: int, rounds: int) -> None:
    """Measure every tool and print the tables."""
    print(
        f"{datetime.now(tz=UTC):%Y-%m-%d}",
        header(),
        *(f"{tool}: {', '.join(pins)}" for tool, pins in PINS.items()),
        sep="\n",
        flush=True,
    )
    for tool in TOOLS:
        python_of(tool.environment)
    with tempfile.TemporaryDirectory(prefix="peers-") as name:
        folder = Path(name)
        same, home, long = equal(folder, rows), unequal(folder, rows), overlong(folder, rows // 10, every=10)
        fast = crowded(folder, 5 * rows)
        _print_times(f"Three equal hosts of {same.paces[0].slots} slots", same, rounds)
        _print_times(f"Three unequal hosts of {home.paces[0].slots} slots", home, rounds)
        _print_rates(fast, rounds)
        _print_killed(same)
        _print_cut(long)


@contextmanager
def _ready(tool: Tool, work: Work) -> Iterator[Start]:
    """Start the hosts and write the tool's job into a new folder; yields what to start."""
    tally = Tally(work.rows)
    with (
        tempfile.TemporaryDirectory(prefix="peer-", ignore_cleanup_errors=True) as name,
        serving(work.paces, tally) as (*urls, front),
    ):
        slots = sum(pace.slots for pace in work.paces) if tool.by_front else work.paces[0].slots
        job = Job(
            dataset=str(work.dataset),
            prompts=str(work.prompts),
            template=str(work.template),
            folder=name,
            model=MODEL,
            urls=[front] if tool.by_front else urls,
            slots=slots,
            num_ctx=work.num_ctx,
            num_predict=NUM_PREDICT,
        )
        path = Path(name) / "job.json"
        path.write_text(json.dumps(asdict(job)))
        yield Start([python_of(tool.environment), str(SCRIPTS / tool.script), str(path)], Path(name), tally)


def _in_turns(work: Work, rounds: int) -> dict[Tool, list[Took]]:
    """Measure every tool in every round; a failed run is told and left out."""
    found: dict[Tool, list[Took]] = {tool: [] for tool in TOOLS}
    for _ in range(rounds):
        for tool in TOOLS:
            try:
                with _ready(tool, work) as start:
                    found[tool].append(measured(start))
                print(f"{tool.name}: {found[tool][-1]}", file=sys.stderr, flush=True)
            except ToolFailed as failed:
                print(f"{tool.name}: {failed}", file=sys.stderr, flush=True)
    return found


def _print_rates(work: Work, rounds: int) -> None:
    found = _in_turns(work, rounds)
    slots = sum(pace.slots for pace in work.paces)
    print(f"\n{work.rows:,} rows, {slots} in flight on three hosts, answers after 100 ms; median of {rounds}\n")
    _print_head("tool", "hosts by", "rows/s", "scorer has", "CPU-ms a row", "peak MB", *ENDS)
    rates = {tool: _median(took, lambda t: work.rows / t.wall_s) for tool, took in found.items() if took}
    for tool, rate in rates.items():
        took = found[tool]
        cells = [
            tool.name,
            tool.hosts,
            f"{rate:,.0f}" + (f" (failed in {rounds - len(took)} rounds)" if len(took) < rounds else ""),
            f"{rates[TOOLS[0]] / rate:.1f} x",
            f"{1000 * _median(took, lambda t: t.cpu_s) / work.rows:.2f}",
            f"{_median(took, lambda t: t.peak_mb):.0f}",
            str(min(each.right for each in took)),
            *(str(max(of)) for of in zip(*((t.lost, t.twice, t.wrong) for t in took), strict=True)),
        ]
        _print_row(cells)


def _print_times(title: str, work: Work, rounds: int) -> None:
    found = _in_turns(work, rounds)
    print(
        f"\n{title}, {work.rows:,} rows, no schedule takes less than {work.bound_s:.1f} s; median of {rounds} (worst)\n"
    )
    _print_head("tool", "hosts by", "time ÷ the least", "CPU-ms a row", "start, s", "peak MB", *ENDS)
    for tool, took in found.items():
        if len(took) < rounds:
            _print_row([tool.name, tool.hosts, f"failed in {rounds - len(took)} of {rounds} rounds", *[""] * 7])
            continue
        ratios = [each.wall_s / work.bound_s for each in took]
        cells = [
            tool.name,
            tool.hosts,
            f"{statistics.median(ratios):.3f} ({max(ratios):.3f})",
            f"{1000 * _median(took, lambda t: t.cpu_s) / work.rows:.1f}",
            f"{_median(took, lambda t: t.start_s):.1f}",
            f"{_median(took, lambda t: t.peak_mb):.0f}",
            str(min(each.right for each in took)),
            *(str(max(of)) for of in zip(*((t.lost, t.twice, t.wrong) for t in took), strict=True)),
        ]
        _print_row(cells)


def _median(took: Sequence[Took], of: Callable[[Took], float]) -> float:
    return statistics.median(of(each) for each in took)


def _print_killed(work: Work) -> None:
    print("\nKilled without warning when half of the rows had been answered, then run again; equal hosts, one round\n")
    _print_head("tool", "answered until the kill", "of these asked again", *ENDS)
    for tool in TOOLS:
        if not tool.keeps:
            continue
        with _ready(tool, work) as start:
            killed(start, work.rows // 2)
            asked, answered = list(start.tally.asked), list(start.tally.answered)
            try:
                took = measured(start)
            except ToolFailed as failed:
                print(f"{tool.name}: {failed}", file=sys.stderr)
                _print_row([tool.name, str(sum(map(bool, answered))), failed.how, *[""] * 4])
                continue
            again = sum(
                bool(had) and after > before
                for had, before, after in zip(answered, asked, start.tally.asked, strict=True)
            )
            ends = (took.right, took.lost, took.twice, took.wrong)
            _print_row([tool.name, str(sum(map(bool, answered))), str(again), *map(str, ends)])


def _print_cut(work: Work) -> None:
    print(f"\nOne prompt in ten longer than the context of {work.num_ctx:,} tokens; hosts cut it unless told not to\n")
    _print_head("tool", "rows", "prompts cut by a host", "rows with a score", "without one")
    for tool in TOOLS:
        with _ready(tool, work) as start:
            try:
                took = measured(start)
            except ToolFailed as failed:
                print(f"{tool.name}: {failed}", file=sys.stderr)
                continue
            cut = sum(map(bool, start.tally.cut))
            _print_row([tool.name, str(work.rows), str(cut), str(took.right), str(took.lost)])


def _print_head(*titles: str) -> None:
    _print_row(titles)
    print(f"|{'---|' * len(titles)}")


def _print_row(cells: Sequence[str]) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(*(int(text) for text in (sys.argv[1:] + ["600", "3"][len(sys.argv) - 1 :])))
