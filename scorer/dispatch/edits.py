"""Edits of the hosts file while a run goes on: hosts come, go, and change their terms.

A file that cannot be read changes nothing: the last good version stays in force. A host whose entry has changed at all
leaves and comes back as another one; what is in flight there may still end.
"""

from collections.abc import Callable

from anyio.abc import TaskGroup

from scorer.config import HostConfig, HostsFile
from scorer.dispatch.events import Event
from scorer.dispatch.lives import Life, Lives
from scorer.dispatch.seams import RunBlocking
from scorer.errors import UsageError
from scorer.hosts.base import Host


class Edits:
    """Follows the hosts file. `watch` returns it when it has changed, `make_host` opens an entry's host."""

    def __init__(
        self,
        watch: Callable[[], HostsFile | None],
        make_host: Callable[[HostConfig], Host],
        lives: Lives,
        read: RunBlocking,
    ) -> None:
        self._watch = watch
        self._make_host = make_host
        self._lives = lives
        self._read = read
        self.observe: Callable[[Event], None] = lambda _: None

    async def look(self, group: TaskGroup) -> None:
        """Let an edit take effect; new hosts live in `group`. A broken file is reported."""
        try:
            hosts = await self._read(self._watch)
            if hosts is not None:
                await self._change(hosts, group)
        except UsageError as error:
            self.observe(Event("hosts_file_broken", f"{error} (the last good version stays in force)", "warning"))

    async def _change(self, hosts: HostsFile, group: TaskGroup) -> None:
        wanted = {config.name: config for config in hosts.hosts if config.enabled}
        # all of them before anything is changed: one may be refused
        made = {name: self._make_host(c) for name, c in wanted.items() if self._is_new(c)}
        for name, life in list(self._lives.by_name.items()):
            if wanted.get(name) != life.config:
                self._lives.retire(name)
                self.observe(Event("host_removed", f"{name} is out of the run", details={"host": name}))
                if not life.in_flight:
                    await life.close()
        for name, host in made.items():
            life = Life(wanted[name], host)
            self._lives.add(life)
            group.start_soon(self._lives.run, life)
            self.observe(Event("host_added", f"{name} is in the run", details={"host": name}))

    def _is_new(self, config: HostConfig) -> bool:
        life = self._lives.by_name.get(config.name)
        return life is None or life.config != config
