"""What to do about a host that cannot be used: one line for its owner, by the kind of its fault."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from scorer.config import HostConfig, HostsFile
from scorer.core.url import is_loopback
from scorer.errors import Fault, FaultKind


def pull_command(file: HostsFile, models: Sequence[str]) -> str:
    """Return the command line that fetches these models on the hosts of this file; empty without models."""
    if not models:
        return ""
    by_default = file.path is None or Path(file.path).absolute() == Path("hosts.toml").absolute()
    where = [] if by_default else ["--hosts", str(file.path)]
    return shlex.join(["scorer", "hosts", "pull", *models, *where])


def advice(config: HostConfig, fault: Fault, pull: str) -> str:
    """Return what to try next, empty where the fault's own message says it. `pull`: the command that gets the model."""
    match fault.kind:
        case FaultKind.UNREACHABLE:
            return _reach(config, fault.message)
        case FaultKind.MODEL_MISSING if config.api == "ollama" and pull:
            return f"{pull} --host {shlex.quote(config.name)}"
        case FaultKind.MODEL_MISSING if config.api == "openai":
            return 'model = "…" in its table says what this host calls the model'
        case FaultKind.TOO_OLD:
            return "update Ollama on that machine"
        case FaultKind.CLOUD:
            return "allow_cloud = true in its table, if rows may leave this network"
        case FaultKind.GATEWAY:
            return "a proxy answers in its place: check the url, and whether the server behind it runs"
        case FaultKind.BUSY:
            return "it is loading or overloaded: try again in a minute"
        case _:
            return ""


def _reach(config: HostConfig, message: str) -> str:
    if message.startswith("TLS"):
        return 'if its certificate is your own: ca = "file.pem" in its table'
    if message.startswith("host name"):
        return "check the name in its url"
    if config.api != "ollama":
        return "is its server running, and at this url?"
    if is_loopback(config.url):
        return "start it: ollama serve"
    return "is that machine on, and does its Ollama listen on the network (OLLAMA_HOST=0.0.0.0)?"
