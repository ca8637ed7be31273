"""`scorer` as its users run it: a folder with a dataset, a template and a hosts file; its own process.

Hosts are doubles of Ollama on real sockets. What the command has stored is compared with the doubles' own record.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import forking
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from doubles.ollama import Model, OllamaDouble, Record
from invariants import check_invariants

MODEL = "llama3.2:3b"
OTHER_DIGEST = "ab" * 32
RUN_TIMEOUT_S = 120.0
POLL_S = 0.005
# what rich heeds before it asks the terminal itself: whoever runs the tests may have set it
OF_THE_TERMINAL = {
    "COLUMNS",
    "LINES",
    "NO_COLOR",
    "FORCE_COLOR",
    "TTY_COMPATIBLE",
    "TTY_INTERACTIVE",
    "COLORTERM",
    "TERM",
}

TEMPLATE = """
name = "judge"
system = "Judge the text. Answer in JSON."
user = "{{ text }}"
[output.score]
type = "integer"
minimum = 1
maximum = 10
[output.reason]
type = "string"
max_length = 60
[options]
num_ctx = 1024
num_predict = 64
"""


def texts(count: int) -> list[str | None]:
    """So many different short texts."""
    return [f"text number {i}: {'word ' * (i % 7)}end" for i in range(count)]


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - any JSON value
        """Stdout, which must be one JSON value and nothing else."""
        return json.loads(self.out)

    @property
    def events(self) -> list[dict[str, Any]]:
        """Stdout, which must be one JSON object a line and nothing else."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def messages(self) -> list[str]:
        """The lines on stderr."""
        return self.err.splitlines()


@dataclass(frozen=True, slots=True)
class Desk:
    """A user's folder. Every command runs in it, in its own process, with nothing of this machine's configuration."""

    folder: Path

    def write(self, name: str, text: str) -> Path:
        """Write a file."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def dataset(self, rows: Sequence[str | None], name: str = "rows.parquet", **columns: pa.Array) -> Path:
        """Write a Parquet file with the column `text` and others."""
        pq.write_table(pa.table({"text": pa.array(rows, pa.string()), **columns}), self.folder / name)
        return self.folder / name

    def arrow(self, columns: Mapping[str, pa.Array], name: str = "rows.arrow") -> Path:
        """Write an Arrow file, which has types that Parquet lacks."""
        table = pa.table(dict(columns))
        with pa.ipc.new_file(self.folder / name, table.schema) as file:
            file.write_table(table)
        return self.folder / name

    def hosts(self, urls: Mapping[str, str], name: str = "hosts.toml", **keys: object) -> Path:
        """Write a hosts file; `keys` go under [defaults]."""
        defaults = {"model": MODEL, "slots": 1, **keys}
        lines = [
            "[defaults]",
            *(f"{key} = {json.dumps(value)}" for key, value in defaults.items() if value is not None),
        ]
        for host, url in urls.items():
            lines += ["", "[[hosts]]", f'name = "{host}"', f'url = "{url}"']
        return self.write(name, "\n".join(lines) + "\n")

    def command(self, *arguments: str) -> list[str]:
        """The command line of a `scorer` command."""
        return [sys.executable, "-m", "scorer", *arguments]

    def environment(self) -> dict[str, str]:
        """The environment of a `scorer` command."""
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("COV_", "PYTEST_")) and key not in OF_THE_TERMINAL
        }
        state = {"HOME": str(self.folder), "XDG_STATE_HOME": str(self.folder / ".state")}
        return {**kept, **state, "PYTHONWARNINGS": "error::ResourceWarning"}

    def scorer(self, *arguments: str, code: int = 0) -> Said:
        """Run a command to its end, which must be with this exit code and without a traceback."""
        with self.started(*arguments) as process:
            return finished(process, code)

    def judge(self, *arguments: str, code: int = 0) -> Said:
        """`scorer run` of the dataset with the small template as the job `judged`."""
        return self.scorer(*JUDGE, *arguments, code=code)

    @contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Start a command; it is killed on leaving if it still runs."""
        with self._start(self.command(*arguments), self.environment()) as process:
            try:
                yield process
            finally:
                process.kill()

    def _start(self, command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
        if forking.POSSIBLE and command[0] == sys.executable:
            return forking.forked(command[1:], self.folder, environment)
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    @property
    def job(self) -> Path:
        """The folder of the job that `judge` runs."""
        return self.folder / "runs" / "judged"

    def check(
        self,
        rows: Sequence[str | None],
        doubles: Mapping[str, OllamaDouble],
        *,
        job: Path | None = None,
        expected: int | None = None,
    ) -> list[dict[str, Any]]:
        """Assert all invariants of the finished job against the doubles' record, and return its results.

        `expected`: how many tasks, if not one a row; `job`: its folder, if it is not the one that `judge` runs.
        """
        tasks = len(rows) if expected is None else expected
        return check_invariants(job or self.job, expected=tasks, answers=answers(rows, doubles))


def desk_of_this_process(folder: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk with one host and the small template, at which the library is used in the test's own process."""
    desk = Desk(folder)
    desk.write("judge.toml", TEMPLATE)
    desk.hosts({"only": url})
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / ".state"))
    return desk


JUDGE = ("run", "rows.parquet", "--prompt", "judge.toml", "--job", "judged")


def finished(process: "subprocess.Popen[str]", code: int) -> Said:
    """Wait for the end of a command, which must be with this exit code and without a traceback."""
    out, err = process.communicate(timeout=RUN_TIMEOUT_S)
    assert process.returncode == code, f"exit code {process.returncode}\n{out}\n{err}"
    assert "Traceback" not in err, err
    assert "Warning" not in err, err
    return Said(process.returncode, out, err)


def wait_for(process: "subprocess.Popen[str]", double: OllamaDouble, condition: Callable[[OllamaDouble], bool]) -> None:
    """Wait until something holds of a double while a command runs; its early end is a failure, not a long wait."""
    deadline_s = time.monotonic() + RUN_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline_s:
        with suppress(TimeoutError):
            double.wait_until(condition, 0.5)
            return
    process.kill()
    out, err = process.communicate()
    raise AssertionError(f"it never came to that; the command said:\n{out}\n{err}")


def wait_while(condition: Callable[[], bool]) -> None:
    """Wait while something holds of other processes' files and of doubles, of which no event tells."""
    deadline_s = time.monotonic() + RUN_TIMEOUT_S
    while condition():
        assert time.monotonic() < deadline_s, "waited in vain"
        threading.Event().wait(POLL_S)


def answers(rows: Sequence[str | None], doubles: Mapping[str, OllamaDouble]) -> dict[int, dict[str, list[str]]]:
    """For each row what each host has soundly answered, by the hosts' own record."""
    said: dict[str, dict[str, list[str]]] = {}
    for host, double in doubles.items():
        for record in double.generations:
            if record.sound and record.user_text is not None and record.content is not None:
                said.setdefault(record.user_text, {}).setdefault(host, []).append(record.content)
    return {row: said.get(text or "", {}) for row, text in enumerate(rows)}


def chats(double: OllamaDouble) -> list[Record]:
    """Every request to the chat endpoint, the empty ones that load a model included."""
    return [record for record in double.log if record.path == "/api/chat"]


def model(name: str = MODEL, **changes: Any) -> Model:  # noqa: ANN401 - fields of Model
    """One of the double's models."""
    return Model(name=name, **changes)


def refused_url() -> str:
    """A loopback URL at which nothing listens."""
    with OllamaDouble() as double:
        return double.url
