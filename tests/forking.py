"""Python commands, forked from a process that has already imported what they need.

`scorer` imports what it needs in a second or two, and most of what tests do with it takes far less. A forked command
is a process like any other, with its own session, folder, environment, pipes, signals and end. What differs is the
memory it begins with, and what Python does as it starts and ends: tests of these start a fresh one.

Run as a program this is the server: it has one thread, and forks a process for each message.
"""

import atexit
import gc
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from scorer import failpoints

POSSIBLE = hasattr(os, "pidfd_open")
"""Whether this system has what it takes."""

# what the common commands need; pyarrow imports pandas at its first array
IMPORTED = """
scorer.cli scorer.cli.run scorer.jobs.run scorer.jobs.submit scorer.jobs.writers scorer.jobs.mend scorer.jobs.export
scorer.live scorer.show scorer.jobs.hosts.check anyio._backends._asyncio pyarrow.dataset pandas duckdb
"""
# what Python and these modules look at when they are imported: another environment of these takes another server
AT_START = ("PYTHON", "LC_", "LANG", "TZ", "SSL_")
ORDER_BYTES = 1 << 18


class Command(subprocess.Popen[str]):
    """A forked command, with what tests use of `Popen`: no stdin, and stdout and stderr as text."""

    def __init__(
        self,
        server: tuple[socket.socket, subprocess.Popen[str]],
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
    ) -> None:
        self.args, self.stdin, self.returncode = arguments, None, None
        order = {"arguments": arguments, "folder": str(folder), "environment": dict(environment)}
        self._told, telling = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        out, out_end = os.pipe()
        err, err_end = os.pipe()
        self.stdout, self.stderr = open(out, encoding="utf-8"), open(err, encoding="utf-8")  # noqa: SIM115
        with telling:
            socket.send_fds(server[0], [json.dumps(order).encode()], [out_end, err_end, telling.fileno()])
        os.close(out_end)
        os.close(err_end)
        pid, received, *_ = socket.recv_fds(self._told, ORDER_BYTES, 1)
        if not received:
            raise RuntimeError(f"the server of forked commands has ended: {server[1].communicate()[1]}")
        self.pid, (self._pidfd,) = int(pid), received

    def __exit__(self, *_: object) -> None:
        self.stdout.close()
        self.stderr.close()
        self.wait()
        self._told.close()
        os.close(self._pidfd)

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._told.settimeout(timeout)
            try:
                said = self._told.recv(ORDER_BYTES)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0) from None
            self.returncode = int(said)
        return self.returncode

    def send_signal(self, sig: int) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, sig)

    def communicate(self, input: None = None, timeout: float | None = None) -> tuple[str, str]:
        """Read both pipes while waiting for the end; past the timeout the command is killed."""
        with ThreadPoolExecutor(2) as pool:
            out, err = pool.submit(self.stdout.read), pool.submit(self.stderr.read)
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
            return out.result(), err.result()


def forked(arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Command:
    """Start `python *arguments`, which name a module (`-m`) or a file."""
    at_start = {name: value for name, value in environment.items() if name.startswith(AT_START)}
    return Command(_server(frozenset(at_start.items())), arguments, folder, environment)


@cache
def _server(at_start: frozenset[tuple[str, str]]) -> tuple[socket.socket, subprocess.Popen[str]]:
    """Start a server; it lives as long as this process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith((*AT_START, "COV_"))}
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with there:
        # its output is of the kind that a command's is
        server = subprocess.Popen(
            [sys.executable, __file__, str(there.fileno())],
            env={**environment, **dict(at_start)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=[there.fileno()],
            start_new_session=True,
        )
    atexit.register(_end, here, server)
    return here, server


def _end(here: socket.socket, server: subprocess.Popen[str]) -> None:
    here.close()
    server.communicate()


def serve(orders: socket.socket) -> Sequence[str]:
    """Fork a process for each order and return its arguments there; here, end when nobody orders any more."""
    ready = selectors.DefaultSelector()
    ready.register(orders, selectors.EVENT_READ)
    while True:
        for key, _ in ready.select():
            if key.data is not None:
                ready.unregister(key.fd)
                _tell_end(key.fd, key.data)
                continue
            message, received, *_ = socket.recv_fds(orders, ORDER_BYTES, 3)
            if not message:
                sys.exit()
            out, err, telling = received
            if not (pid := os.fork()):
                for other in list(ready.get_map().values()):
                    os.close(other.fd)
                    if other.data is not None:
                        os.close(other.data)
                orders.detach()
                ready.close()
                os.close(telling)
                return _become(json.loads(message), out, err)
            os.close(out)
            os.close(err)
            pidfd = os.pidfd_open(pid)
            with socket.socket(fileno=os.dup(telling)) as client:
                socket.send_fds(client, [str(pid).encode()], [pidfd])
            ready.register(pidfd, selectors.EVENT_READ, telling)


def _tell_end(pidfd: int, telling: int) -> None:
    ended = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    os.close(pidfd)
    code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
    with socket.socket(fileno=telling) as client, suppress(BrokenPipeError):
        client.send(str(code).encode())


def _become(order: Mapping[str, object], out: int, err: int) -> Sequence[str]:
    os.setsid()
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.close(out)
    os.close(err)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    # read when it was imported
    failpoints.arm(os.environ.get("SCORER_FAILPOINT", ""))
    return order["arguments"]


def main() -> None:
    """Serve; in a forked process, be what was ordered."""
    for name in IMPORTED.split():
        import_module(name)
    gc.collect()
    gc.freeze()
    arguments = serve(socket.socket(fileno=int(sys.argv[1])))
    try:
        if arguments[0] == "-m":
            sys.argv, sys.path[0] = list(arguments[1:]), os.getcwd()
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv, sys.path[0] = list(arguments), str(Path(arguments[0]).parent)
            runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, int):
            _exit(end.code)
        raise


def _exit(code: int) -> NoReturn:
    """End as Python does, but for the memory: to take apart what was there before takes longer than most commands."""
    threading._shutdown()
    atexit._run_exitfuncs()
    # what warns of its own end, as a socket does that nobody has closed
    gc.collect()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
