"""From a host's configuration to the adapter that speaks its API."""

import anyio.to_thread

from scorer.config import HostConfig
from scorer.hosts.base import Host
from scorer.hosts.embedded import EmbeddedHost, RunBlocking
from scorer.hosts.http import Connect, Http, aiohttp_transport
from scorer.hosts.ollama import OllamaHost
from scorer.hosts.openai import OpenAIHost
from scorer.hosts.petals import PetalsHost


def make_host(
    config: HostConfig,
    *,
    connect: Connect = aiohttp_transport,
    token: str | None = None,
    run_blocking: RunBlocking = anyio.to_thread.run_sync,
) -> Host:
    """Return the host, not yet connected. Raises UsageError if its `ca` cannot be used.

    `connect` makes the transport: the network, or a test's own. `token` is never stored but in the client's headers.
    """
    if config.api == "embedded":
        return EmbeddedHost(config, connect, run_blocking)
    http = Http(config, connect(config), token=token)
    if config.api == "openai":
        return OpenAIHost(config, http)
    if config.api == "petals":
        return PetalsHost(config, http)
    return OllamaHost(config, http)
