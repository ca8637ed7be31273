"""A host on a machine of its own that vanishes from the network without a word: `unshare -rn python vanishing.py`.

Two network namespaces are the two machines, a pair of virtual cards the cable between them. Prints what the client
makes of the request.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import anyio

from scorer.config import HostConfig
from scorer.errors import Fault
from scorer.hosts import transport
from scorer.hosts.http import Http

HERE, THERE = "10.9.9.1", "10.9.9.2"
PORT = 8000
GIVEN_UP_S = 60
SERVER = f"""
import http.server, sys

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        print("asked", flush=True)
        sys.stdin.read()
    def log_message(self, *_):
        pass

server = http.server.HTTPServer(("{THERE}", {PORT}), Handler)
print("ready", flush=True)
server.serve_forever()
"""
MACHINE = f'echo $$; read go; ip addr add {THERE}/24 dev cable; ip link set cable up; exec "$0" -c "$1"'


@contextmanager
def another_machine() -> Iterator[tuple[str, IO[str]]]:
    """Yield the process id of a server on a machine of its own, and what it says."""
    command = ["unshare", "-n", "sh", "-c", MACHINE, sys.executable, SERVER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pid = process.stdout.readline().strip()
            ip("link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", pid)
            ip("addr", "add", f"{HERE}/24", "dev", "cable")
            ip("link", "set", "cable", "up")
            process.stdin.write("go\n")
            process.stdin.flush()
            assert process.stdout.readline() == "ready\n"
            yield pid, process.stdout
        finally:
            process.kill()


def ip(*arguments: str) -> None:
    """Change the network of this machine."""
    subprocess.run(["ip", *arguments], check=True)


def vanish(pid: str) -> None:
    """Pull the other machine's cable out."""
    subprocess.run(["nsenter", "-t", pid, "-n", "ip", "link", "set", "cable", "down"], check=True)


async def ask(http: Http) -> str:
    """Return what becomes of a request that takes its time."""
    try:
        with anyio.fail_after(GIVEN_UP_S):
            await http.json("POST", "/api/chat", {"model": "m"})
    except Fault as fault:
        return f"{type(fault).__name__} {fault.kind}: {fault.message}"
    except TimeoutError:
        return f"nothing for {GIVEN_UP_S} s"
    return "answered"


async def main() -> str:
    """Return what becomes of a request when the machine vanishes while it works on it."""
    config = HostConfig(name="laptop", url=f"http://{THERE}:{PORT}")
    with another_machine() as (pid, said):
        http = Http(config, transport.aiohttp_transport(config))

        async def pull() -> None:
            await asyncio.to_thread(said.readline)
            vanish(pid)

        async with anyio.create_task_group() as group:
            group.start_soon(pull)
            became = await ask(http)
        await http.close()
        return became


if __name__ == "__main__":
    # seconds, where it takes minutes in earnest
    transport.SILENT_S, transport.ASKED_EVERY_S, transport.ASKED_TIMES = 1, 1, 2
    print(asyncio.run(main()))  # noqa: T201
