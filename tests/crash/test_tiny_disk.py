"""A real run on a real disk that becomes full, stays so, and is freed: it waits, says so, and goes on by itself."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from doubles.ollama import OllamaDouble, Spec
from killing import SLOTS, Desk
from running import RUN_TIMEOUT_S, TEMPLATE, texts, wait_for, wait_while

HERE = Path(__file__).parent
ROWS = 300
FULL_S = 1.5


def why_not() -> str | None:
    """Why this machine lets us mount no disk of our own; None if it does."""
    if not sys.platform.startswith("linux"):
        return "only Linux has mount namespaces"
    tried = subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, text=True, check=False
    )
    return f"no disk of our own: {tried.stderr.strip()}" if tried.returncode else None


pytestmark = pytest.mark.skipif(
    (reason := why_not()) is not None, reason=f"{reason}; ENOSPC is tested in test_disk_errors.py all the same"
)


class TinyDesk(Desk):
    """A desk whose command runs on a tiny disk of its own."""

    def command(self, *arguments: str) -> list[str]:
        place, kept = self.folder / "disk", self.folder / "runs"
        place.mkdir()
        runner = ["unshare", "-rm", sys.executable, str(HERE / "tiny_disk.py"), str(place), "8m", str(kept)]
        scorer = [sys.executable, str(HERE / "small_space.py"), *arguments]
        return [*runner, *scorer, "--runs-dir", str(place / "runs"), "--json"]


@pytest.fixture
def desk(tmp_path: Path) -> TinyDesk:
    made = TinyDesk(tmp_path)
    made.write("judge.toml", TEMPLATE)
    made.dataset(texts(ROWS))
    return made


@pytest.fixture
def double() -> Iterator[OllamaDouble]:
    """A host that does about fifty rows a second."""
    with OllamaDouble(Spec(overhead_s=0.08, slots=SLOTS, prefix_cache=False, cancel_poll_s=0)) as running:
        yield running


def test_a_run_waits_while_the_disk_is_full_and_goes_on_by_itself(desk: TinyDesk, double: OllamaDouble) -> None:
    desk.hosts({"a": double.url}, slots=SLOTS)
    said: list[dict[str, object]] = []

    def listen(process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        said.extend(map(json.loads, process.stdout))

    def has_said(kind: str) -> bool:
        return any(kind in (event.get("event"), event.get("kind")) for event in said)

    with desk.started("run", "rows.parquet", "--prompt", "judge.toml", "--job", "judged") as process:
        listener = threading.Thread(target=listen, args=(process,))
        listener.start()
        try:
            wait_for(process, double, lambda double: sum(r.outcome == "answered" for r in double.generations) >= 60)
            process.send_signal(signal.SIGUSR1)
            wait_while(lambda: process.poll() is None and not has_said("disk_full"))
            wait_while(lambda: any(record.outcome == "open" for record in double.generations))
            asked = len(double.generations)
            threading.Event().wait(FULL_S)  # how long it is full is what is tested: nothing is being waited for
            assert process.poll() is None, said[-1]
            assert len(double.generations) == asked < ROWS, "rows were asked while their answers could not be kept"
            process.send_signal(signal.SIGUSR2)
            process.wait(RUN_TIMEOUT_S)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            listener.join()
        assert process.stderr is not None
        assert process.returncode == 0, process.stderr.read()
    assert has_said("disk_ok")
    desk.check(texts(ROWS), {"a": double})
    assert len(double.generations) == ROWS, "an answer was thrown away"
