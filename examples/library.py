"""Score rows from Python and use each result as it comes: `python examples/library.py [hosts.toml]`.

It is the same durable job as `scorer run`'s: stop it at any moment and run it again, and it goes on where it was. In a
notebook, or in any other async code, `async with scorer.open_job(…)` does the same without blocking.
"""

import sys

import anyio

import scorer

ROWS = [
    {"id": "fib", "text": "def fib(n):\n    return n if n < 2 else fib(n - 1) + fib(n - 2)"},
    {"id": "mean", "text": "def mean(values):\n    return sum(values) / len(values)"},
    {"id": "swap", "text": "x = 1; y = 2; t = x; x = y; y = t  # swaps"},
    {"id": "read", "text": "with open(path, encoding='utf-8') as file:\n    lines = file.read().splitlines()"},
]
HOSTS = sys.argv[1] if len(sys.argv) > 1 else None


def plain() -> None:
    """In a plain program: a loop over the results, as they come."""
    scored = []
    for result in scorer.score(ROWS, prompt="quality", hosts=HOSTS, keep=["id"]):
        if result.done:
            print(f"{result.kept['id']}: {result.score} ({result.host}, {result.duration_s:.1f} s)")
            scored.append(result)
        else:
            print(f"{result.kept['id']}: dead: {result.error}")
    best = max(scored, key=lambda result: result.score)
    print(f"the best: {best.kept['id']}")


async def in_async_code() -> None:
    """In async code; the job is finished already, so that no host is asked and its results come at once."""
    async with scorer.open_job(ROWS, prompt="quality", hosts=HOSTS, keep=["id"]) as run:
        count = 0
        async for _ in run:
            count += 1
        print(f"{count} results in {run.folder / 'results'}")


if __name__ == "__main__":
    plain()
    anyio.run(in_async_code)
