"""The embedded engine's own process: llama.cpp's HTTP server on a loopback port, for as long as the parent lives.

Started as `python -m scorer.hosts.engine`. The first line of standard input is a JSON object with the settings; the
first and only line of standard output is `{"port": …}` when the model is loaded, or `{"error": …}`. The end of standard
input ends the process, so that no way for the parent to die, `kill -9` included, leaves it behind. (The engine holds
the interpreter while it loads; a parent that dies then is noticed right after.)

It must never write anything else to standard output, nor to the terminal.
"""

import contextlib
import json
import os
import sys
import threading
from typing import NoReturn, TextIO, TypedDict
from urllib.parse import urlsplit


class Settings(TypedDict):
    """What the parent decides. `context` is in tokens for each slot; `key` is what requests must bring."""

    gguf: str
    context: int
    slots: int
    threads: int
    key: str


def main() -> NoReturn:
    """Serve until standard input ends."""
    report = _claim_stdout()
    settings: Settings = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        server, port = _serve(settings)
    except (ImportError, RuntimeError, ValueError) as error:
        _say(report, {"error": f"{type(error).__name__}: {error}"})
        os._exit(1)
    _say(report, {"port": port})
    threading.Event().wait()
    # never reached: the thread that reads standard input ends the process, and until then the server must live
    raise SystemExit(repr(server))


def _claim_stdout() -> TextIO:
    """Keep standard output for the one report: whatever else llama.cpp prints goes where errors go."""
    report = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return report


def _say(report: TextIO, message: dict[str, object]) -> None:
    with contextlib.suppress(BrokenPipeError):  # the parent is gone, and so are we
        report.write(json.dumps(message) + "\n")
        report.flush()


def _end_with_parent() -> NoReturn:
    while sys.stdin.buffer.read(1024):
        pass
    # the engine's threads would take their time, and have nothing to save
    os._exit(0)


def _serve(settings: Settings) -> tuple[object, int | None]:
    """Load the model and start serving; the server lives as long as the object returned beside its port."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["gguf"]
    params.n_ctx = settings["context"] * settings["slots"]
    params.n_parallel = settings["slots"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings["threads"]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [settings["key"]]
    params.ui = False
    params.endpoint_slots = False
    # up to 8 GiB by default, for nothing: each slot keeps the rubric's prefix by itself
    params.cache_ram_mib = 0
    params.verbosity = -1
    server = xllamacpp.Server(params)
    return server, urlsplit(server.listening_address).port


if __name__ == "__main__":
    main()
