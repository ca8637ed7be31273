"""The hosts of a hosts file, ready to be asked: what `check`, `pull` and `warm` begin with.

Nothing is sent to any of them here. A host whose token is missing or whose CA cannot be used is not an error for the
others: it says so in its own line.
"""

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, time
from pathlib import Path

from scorer.config import HostConfig, HostsFile, read_token
from scorer.core.checked import nearest, quoted
from scorer.dispatch.lives import Life
from scorer.errors import UsageError
from scorer.hosts.factory import make_host
from scorer.hosts.ollama_admin import OllamaAdmin
from scorer.locks import state_folder


@dataclass(frozen=True, slots=True)
class Outside:
    """What these commands see of the machine: its variables, its local time of day, and the folder of the locks."""

    environ: Mapping[str, str]
    local_time: Callable[[], time]
    locks: Path


@dataclass(frozen=True, slots=True)
class Opened:
    """One host. Without a `life` it cannot be asked, and `problem` says why; `admin` is for Ollama only."""

    config: HostConfig
    life: Life | None = None
    admin: OllamaAdmin | None = None
    problem: str = ""


def this_machine() -> Outside:
    """Return the real one."""
    return Outside(os.environ, lambda: datetime.now().astimezone().time(), state_folder(os.environ))


def chosen(file: HostsFile, names: Sequence[str]) -> tuple[HostConfig, ...]:
    """Return the hosts of these names, all of the file if there are none; UsageError names the nearest."""
    known = {host.name: host for host in file.hosts}
    for name in names:
        if name not in known:
            raise UsageError(
                f"--host {quoted(name)}: {file.path or 'the hosts'} has no such host; {nearest(name, known)}"
            )
    return tuple(known[name] for name in dict.fromkeys(names)) if names else file.hosts


@asynccontextmanager
async def opened(configs: Sequence[HostConfig], outside: Outside) -> AsyncIterator[tuple[Opened, ...]]:
    """Make the adapters of these hosts, and close them in the end."""
    async with AsyncExitStack() as stack:
        yield tuple([_open(config, outside, stack) for config in configs])


def _open(config: HostConfig, outside: Outside, stack: AsyncExitStack) -> Opened:
    try:
        token = read_token(config, outside.environ)
        host = make_host(config, token=token)
    except UsageError as error:
        return Opened(config, problem=str(error).removeprefix(f"host {quoted(config.name)}: "))
    life = Life(config, host)
    stack.push_async_callback(life.close)
    if config.api != "ollama":
        return Opened(config, life)
    admin = OllamaAdmin(config, token=token)
    stack.push_async_callback(admin.close)
    return Opened(config, life, admin)
