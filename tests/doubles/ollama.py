"""A double of Ollama: a real HTTP server on a loopback socket that behaves as ollama.md says, well or badly.

In a thread, for tests:

    with OllamaDouble(Spec(slots=2, faults={"drop": 0.02})) as double:
        ...  # talk to double.url
        assert double.answered == {text: [expected_answer(text, schema)] for text in texts}

As a process, `python -m doubles.ollama --port 0 --decode-tps 40 --log FILE`, which prints its URL on its first line;
`double_process` starts one from a test.

Not imitated: embeddings, blobs, create, copy, delete, push, log-probabilities, tools, images and `/v1`, which answers
the plain 404 of an unknown path. Raw templates and `suffix` are ignored.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from doubles.answers import expected_answer
from doubles.faults import KINDS
from doubles.prompts import prompt_tokens
from doubles.record import Log, Record, answered, read_log
from doubles.server import ACTIONS, Server
from doubles.spec import Event, Model, Spec, spec_from_json

__all__ = [
    "ACTIONS",
    "KINDS",
    "Event",
    "Model",
    "OllamaDouble",
    "Record",
    "Spec",
    "double_process",
    "expected_answer",
    "prompt_tokens",
    "read_log",
    "spec_from_json",
]

START_TIMEOUT_S = 30.0
WAIT_TIMEOUT_S = 30.0


class OllamaDouble:
    """A double in a thread of its own, as a context manager.

    The record stays readable after the end. A bug of the double itself is raised on leaving, so no test can pass on
    it. Every control returns once it has taken effect.
    """

    def __init__(self, spec: Spec | None = None, port: int = 0) -> None:
        self.spec = spec or Spec()
        self._log = Log()
        self._port = port
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._server: Server
        self._thread = threading.Thread(target=self._run, name="ollama-double", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(START_TIMEOUT_S)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(WAIT_TIMEOUT_S)
        bugs = [*self._server.bugs, *([self._failure] if self._failure else [])]
        if bugs and error is None:
            raise RuntimeError("the double itself failed") from bugs[0]

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits for it
            self._failure = error
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._server = self._make_server(self._log, self._port)
        await self._server.start()
        self._ready.set()
        await self._stop.wait()
        await self._server.close()

    def _make_server(self, log: Log, port: int) -> Server:
        return Server(self.spec, log, port)

    @property
    def url(self) -> str:
        """The base URL, `http://127.0.0.1:<port>`."""
        return self._server.url

    @property
    def log(self) -> list[Record]:
        """The records so far, in order of arrival; those still open are among them."""
        return list(self._log.records)

    @property
    def generations(self) -> list[Record]:
        """The records of requests that had something to generate."""
        return [record for record in self.log if record.generation is not None]

    @property
    def answered(self) -> dict[str, list[Any]]:
        """Every sound answer that was sent: user text → answers."""
        return answered(self.log)

    def wait_until(self, condition: Callable[["OllamaDouble"], bool], timeout_s: float = WAIT_TIMEOUT_S) -> None:
        """Wait until the condition holds, looking whenever a record changes; raises TimeoutError."""
        self._log.wait_until(lambda: condition(self), timeout_s)

    def set_speed(self, factor: float) -> None:
        """Make all later work `factor` times as fast as the spec says."""
        self._do(self._server.set_speed(factor))

    def go_down(self, for_s: float | None = None) -> None:
        """Refuse connections, reset the open ones, unload; come back after `for_s` simulated seconds, if given."""
        self._do(self._server.go_down(for_s))

    def stop_listening(self) -> None:
        """Refuse new connections and leave the open ones alone."""

        async def stop() -> None:
            self._server.stop_listening()

        self._do(stop())

    def come_back(self) -> None:
        """Listen again on the same port."""
        self._do(self._server.come_back())

    def restart(self) -> None:
        """Unload everything and reset what is in flight; idle connections are stale: reset at their next use."""
        self._do(self._server.restart())

    def change_digest(self, name: str | None = None) -> None:
        """Give one model, or all, another digest."""
        self._do(self._server.change_digest(name))

    def change_version(self, version: str) -> None:
        """Be another version from now on."""
        self._do(self._server.change_version(version))

    def set_models(self, *models: Model) -> None:
        """Have these models and no others."""
        self._do(self._server.set_models(models))

    def fail_loads(self, text: str | None) -> None:
        """Let every later load end with a 500 of this text; None lets them succeed."""
        self._do(self._server.fail_loads(text))

    def unload_all(self) -> None:
        """Let go of all models at once."""
        self._do(self._server.unload_all())

    def release_hangs(self) -> None:
        """Let everything that hangs now answer."""
        self._do(self._server.release_hangs())

    def _do(self, control: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(control, self._loop).result(WAIT_TIMEOUT_S)


@contextmanager
def double_process(*arguments: str) -> Iterator[str]:
    """Run a double as a process with these command-line arguments; gives its URL, and ends it on leaving."""
    tests = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "doubles.ollama", *arguments]
    environment = os.environ | {"PYTHONPATH": str(tests)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a double until SIGINT or SIGTERM, which close its sockets at once."""
    options = _parser().parse_args(arguments)
    spec = _spec(options)
    with Path(options.log or os.devnull).open("a", encoding="utf-8") as file:
        asyncio.run(_run_process(spec, Log(file), options.port))


async def _run_process(spec: Spec, log: Log, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    server = Server(spec, log, port)
    await server.start()
    sys.stdout.write(server.url + "\n")
    sys.stdout.flush()
    await stop.wait()
    await server.close()
    if server.bugs:
        raise RuntimeError("the double itself failed") from server.bugs[0]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m doubles.ollama", description="a double of Ollama on loopback")
    parser.add_argument("--spec", type=Path, help="a JSON file with the fields of Spec; the options below override it")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--log", type=Path, help="append one JSON line a request to this file")
    parser.add_argument("--model", action="append", help="name of a model it has; may be repeated")
    parser.add_argument("--fault", action="append", metavar="KIND=PROBABILITY", help="may be repeated")
    parser.add_argument("--version", help="the version it claims to be")
    for name in ("slots", "output-tokens", "seed"):
        parser.add_argument(f"--{name}", type=int)
    for name in ("prefill-tps", "decode-tps", "overhead-s", "load-s", "contention", "time-scale"):
        parser.add_argument(f"--{name}", type=float)
    return parser


def _spec(options: argparse.Namespace) -> Spec:
    document = json.loads(options.spec.read_text("utf-8")) if options.spec else {}
    given = {key: value for key, value in vars(options).items() if value is not None}
    document |= {key: given[key] for key in given.keys() - {"spec", "port", "log", "model", "fault"}}
    if options.model:
        document["models"] = [{"name": name} for name in options.model]
    if options.fault:
        pairs = (text.split("=", 1) for text in options.fault)
        document["faults"] = {kind: float(probability) for kind, probability in pairs}
    return spec_from_json(document)


if __name__ == "__main__":
    main()
