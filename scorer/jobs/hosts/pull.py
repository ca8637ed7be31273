"""Fetch models on all Ollama hosts at once, and look afterwards whether they all have the same.

A pull that stalls or breaks is taken up again where it stopped, as long as each try gets further than the one before; a
failure on one host is none of the others'. Ending the command ends the pulls; what was fetched stays on the hosts.
"""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import anyio

from scorer.config import HostConfig, HostsFile
from scorer.errors import Fault, FaultKind, HostFault, HostUnusable, UsageError
from scorer.hosts.ollama_admin import SUCCESS, OllamaAdmin, PullStep
from scorer.jobs.hosts.advice import advice
from scorer.jobs.hosts.check import HostReport, Report, check
from scorer.jobs.hosts.opened import Opened, Outside, chosen, opened
from scorer.jobs.hosts.steps import Step, Tell
from scorer.locks import holder_of

TRIES = 3
PAUSE_S = 2.0
STALL_S = 120.0
# a server says nothing while it checks a large file, on a slow disk for long
CHECKING_S = 1800.0
CHECKING = ("verifying", "writing", "removing")
# whatever the server has by then it keeps
BROKEN_OFF = (FaultKind.DROPPED, FaultKind.DEADLINE)
AGAIN = "the same command goes on from there; if it breaks off again, that server's log says why"

WHY_NOT = {
    "embedded": "the embedded engine has the one GGUF file it is given",
    "openai": "an OpenAI-style server has the model it was started with",
    "petals": "a Petals gateway has the models of its swarm",
}


@dataclass(frozen=True, slots=True)
class Pulled:
    """How a pull of everything ended: `failed` maps hosts to what was wrong, `skipped` those that cannot pull to why.

    `report` is how the Ollama hosts stand afterwards.
    """

    failed: dict[str, str]
    skipped: dict[str, str]
    report: Report

    @property
    def all_usable(self) -> bool:
        """Whether every host that can pull has the models, and all have the same."""
        return not self.failed and self.report.all_usable


async def pull(file: HostsFile, models: Sequence[str], names: Sequence[str], tell: Tell, outside: Outside) -> Pulled:
    """Fetch the models, or those of the file if there are none, on the named hosts or all that are enabled.

    UsageError if a name is unknown, no model is known, or no host can pull.
    """
    configs = [config for config in chosen(file, names) if config.enabled or names]
    wanted = {config.name: _wanted(config, models) for config in configs if config.api == "ollama"}
    skipped = {config.name: WHY_NOT[config.api] for config in configs if config.api != "ollama"}
    for name, reason in skipped.items():
        tell(Step(name, "", f"cannot pull: {reason}", "skipped"))
    if not wanted:
        raise UsageError("no host here can pull: only Ollama fetches models by itself")
    failed: dict[str, str] = {}
    pulling = [config for config in configs if config.name in wanted]
    async with opened(pulling, outside) as hosts, anyio.create_task_group() as group:
        for host in hosts:
            group.start_soon(_pull_all, host, wanted[host.config.name], _Telling(tell, outside, failed))
    report = await _verified(file, models, list(wanted), outside)
    after = tuple(_after(host, failed.get(host.name)) for host in report.hosts)
    return Pulled(failed, skipped, replace(report, hosts=after))


def _wanted(config: HostConfig, models: Sequence[str]) -> tuple[str, ...]:
    wanted = tuple(models) or ((config.model,) if config.model else ())
    if not wanted:
        raise UsageError('which model? scorer hosts pull MODEL, or model = "NAME" under [defaults] in the hosts file')
    return tuple(dict.fromkeys(wanted))


@dataclass(frozen=True, slots=True)
class _Telling:
    tell: Tell
    outside: Outside
    failed: dict[str, str]


async def _pull_all(host: Opened, models: Sequence[str], telling: _Telling) -> None:
    """Fetch one model after the other on one host."""
    name = host.config.name
    if host.admin is None:
        telling.failed[name] = host.problem
        telling.tell(Step(name, models[0], host.problem, "failed"))
        return
    holder = holder_of(telling.outside.locks, host.config.url)
    for model in models:
        if holder is not None:
            warning = f"in use by {holder}: should the model change, that run leaves this host out"
            telling.tell(Step(name, model, warning))
        try:
            await _Pull(host.admin, model, telling.tell).run()
        except Fault as fault:
            what_to_do = advice(host.config, fault, "") or (AGAIN if fault.kind in BROKEN_OFF else "")
            text = f"{fault.message}{f'; {what_to_do}' if what_to_do else ''}"
            telling.failed[name] = "; ".join(filter(None, (telling.failed.get(name), f"{model}: {text}")))
            telling.tell(Step(name, model, text, "failed"))


@dataclass(slots=True)
class _Pull:
    """One model on one host. `layers` maps what is being fetched to (completed, total) bytes."""

    admin: OllamaAdmin
    model: str
    tell: Tell
    layers: dict[str, tuple[int, int]] = field(default_factory=dict)

    async def run(self) -> None:
        """Try until it is there; raises the last Fault when TRIES in a row brought nothing."""
        failures = 0
        while True:
            before = self._completed()
            try:
                await self._once()
            except HostUnusable:
                raise
            except Fault as fault:
                failures = 1 if self._completed() > before else failures + 1
                if failures >= TRIES:
                    raise
                self._say(f"{fault.message}; going on")
                await anyio.sleep(PAUSE_S)
            else:
                self.tell(Step(self.admin.name, self.model, "is there", "done", *self._sizes()))
                return

    async def _once(self) -> None:
        last: PullStep | None = None
        with anyio.move_on_after(STALL_S) as scope:
            async with aclosing(self.admin.pull(self.model)) as steps:
                async for step in steps:
                    if step != last:
                        # a stalled server repeats its last line for ever
                        allowed_s = CHECKING_S if step.status.startswith(CHECKING) else STALL_S
                        scope.deadline = anyio.current_time() + allowed_s
                        last = step
                    self._note(step)
                    if step.status != SUCCESS:
                        self._say(step.status)
        if scope.cancelled_caught:
            raise HostFault(FaultKind.DEADLINE, f"no progress for {STALL_S:.0f} s")

    def _note(self, step: PullStep) -> None:
        if step.layer is not None and step.total_bytes is not None:
            done, _ = self.layers.get(step.layer, (0, 0))
            self.layers[step.layer] = max(done, step.completed_bytes or 0), step.total_bytes

    def _completed(self) -> int:
        return sum(completed for completed, _ in self.layers.values())

    def _sizes(self) -> tuple[int | None, int | None]:
        if not self.layers:
            return None, None
        return self._completed(), sum(total for _, total in self.layers.values())

    def _say(self, text: str) -> None:
        self.tell(Step(self.admin.name, self.model, text, "working", *self._sizes()))


async def _verified(file: HostsFile, models: Sequence[str], names: Sequence[str], outside: Outside) -> Report:
    """Look at the Ollama hosts again: those that pulled, and for their digests all others that have the models."""
    # by the names that were pulled, whatever a host's own table calls its model
    hosts = tuple(
        replace(host, model=None, own_model=False) if models else host for host in file.hosts if host.api == "ollama"
    )
    others = [host.name for host in hosts if host.enabled and host.name not in names]
    report = await check(replace(file, hosts=hosts), models, [*names, *others], outside)
    return replace(report, hosts=tuple(host for host in report.hosts if host.name in names or _has(host)))


def _after(host: HostReport, failure: str | None) -> HostReport:
    """Say of a host whose pull failed why, rather than only what it lacks, or beside what it still has."""
    if failure is None:
        return host
    words = f"the pull failed: {failure}"
    return replace(host, note=words) if host.usable else replace(host, problem=words, advice="")


def _has(host: HostReport) -> bool:
    return bool(host.models)
