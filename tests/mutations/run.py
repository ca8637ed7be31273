"""Break each promise in a copy of the tree and show that a test notices: `python tests/mutations/run.py`.

A mutation is noticed when its tests fail; when they pass, the whole of WIDELY is asked, and when that passes too, the
mutation has survived: a test is missing. The tests it names run unchanged first, since a test that fails anyway shows
nothing. Exit code 1 if any survived.

It never changes the tree it is started from. `--jobs 2` runs two at a time; names choose some.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

import in_memory  # noqa: E402  (needs the path)
from mutations.catalogue import Mutation, load  # noqa: E402  (needs the path)

TREE = Path(__file__).resolve().parents[2]
COPIED = ("scorer", "tests", "prompts", "data", "examples", "docs", "pyproject.toml", "README.md")
WIDELY = (
    "tests/unit",
    "tests/simulation/test_runs.py",
    "tests/simulation/test_blame.py",
    "tests/simulation/test_changing_hosts.py",
    "tests/simulation/test_interruptions.py",
    "tests/simulation/test_which_model.py",
    "tests/crash/test_power.py",
    # where a mutation has been made it can be made no more, which says nothing about the promise
    "--ignore=tests/unit/test_mutations.py",
)
TIMEOUT_S = 120
PASSED, FAILED = 0, 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a mutation fared: `noticed` by the test `by`; neither noticed nor survived means that the tests broke."""

    name: str
    noticed: bool
    by: str
    seconds: float


class Copy:
    """A copy of the tree in which one mutation at a time is made and undone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in COPIED:
            source = TREE / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
            elif source.exists():
                shutil.copy(source, folder / name)

    def try_out(self, mutation: Mutation) -> Verdict:
        """Make it, run its tests and, if they pass, all others; undo it."""
        began = time.monotonic()
        changed = mutation.changed(self._folder)
        before = {path: path.read_text(encoding="utf-8") for path in changed}
        try:
            for path, text in changed.items():
                path.write_text(text, encoding="utf-8")
            code, by = self.pytest(mutation.tests)
            if code == PASSED:
                code, by = self.pytest(WIDELY)
                by = f"{by} (widely)" if code == FAILED else by
        finally:
            for path, text in before.items():
                path.write_text(text, encoding="utf-8")
        by = by if code in (PASSED, FAILED) else f"pytest ended with {code}: {by}"
        return Verdict(mutation.name, code == FAILED, by, time.monotonic() - began)

    def pytest(self, tests: Sequence[str]) -> tuple[int, str]:
        """Run tests until one fails; return the exit code, and which it was or the last line."""
        options = ["-x", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider", "--timeout", str(TIMEOUT_S)]
        options += ["--basetemp", str(self._folder / "tmp")]
        said = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *tests],
            cwd=self._folder,
            # bytecode is told apart by time and size, and a mutation may have the time and size of the original
            env={**os.environ, "PYTHONPATH": str(self._folder), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        lines = (said.stdout + said.stderr).strip().splitlines() or [""]
        failed = [found[1] for line in lines if (found := re.match(r"(?:FAILED|ERROR) (\S+)", line))]
        return said.returncode, failed[0] if failed else lines[-1]


def main() -> int:
    """Try the chosen mutations and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="only mutations whose name holds one of these words")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    chosen = [m for m in load() if not options.words or any(word in m.name for word in options.words)]
    for mutation in chosen:
        mutation.changed(TREE)  # a stale one ends everything here, before any time is spent
    began = time.monotonic()
    # tests that sync a thousand times take a tenth of the time in memory
    with tempfile.TemporaryDirectory(prefix="mutations-", dir=in_memory.place()) as folder:
        copies = [Copy(_made(Path(folder) / str(number))) for number in range(options.jobs)]
        code, said = copies[0].pytest(sorted({test for mutation in chosen for test in mutation.tests}))
        if code != PASSED:
            print(f"the tests fail without any mutation: {said}")  # noqa: T201
            return 1
        print(f"unchanged: {said}", flush=True)  # noqa: T201
        verdicts = _try_all(chosen, copies)
    survivors = [verdict for verdict in verdicts if not verdict.noticed]
    print(f"{len(verdicts) - len(survivors)} of {len(verdicts)} noticed, {time.monotonic() - began:.0f} s")  # noqa: T201
    return 1 if survivors else 0


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _try_all(chosen: Sequence[Mutation], copies: Sequence[Copy]) -> list[Verdict]:
    free: SimpleQueue[Copy] = SimpleQueue()
    for copy in copies:
        free.put(copy)

    def try_out(mutation: Mutation) -> Verdict:
        copy = free.get()
        try:
            verdict = copy.try_out(mutation)
        finally:
            free.put(copy)
        word = "noticed" if verdict.noticed else "SURVIVED"
        print(f"{word:8} {verdict.seconds:6.1f} s  {verdict.name:66} {verdict.by}", flush=True)  # noqa: T201
        return verdict

    with ThreadPoolExecutor(len(copies)) as threads:
        return list(threads.map(try_out, chosen))


if __name__ == "__main__":
    sys.exit(main())
