"""How the hosts stand: who answers, with which version and model, and who could take part in a run now.

The rules are those of a run, and so is the code (`dispatch/rollcall.py`): what passes here is admitted there. Hosts are
asked at once, each within a bounded time; nothing is loaded, and no row or prompt is sent. An unknown is None.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import anyio

from scorer.config import HostConfig, HostsFile
from scorer.dispatch.lives import Life, LifeState
from scorer.dispatch.rollcall import Answers, ask, common_model, survey
from scorer.dispatch.terms import Terms, own_names
from scorer.errors import Fault, HostUnusable, UsageError
from scorer.hosts.base import Loaded, ModelInfo
from scorer.hosts.ollama_admin import ModelDetails
from scorer.hosts.openai import OpenAIHost
from scorer.jobs.hosts.advice import advice, pull_command
from scorer.jobs.hosts.digests import advice_on_digest, odd_ones
from scorer.jobs.hosts.opened import Opened, Outside, chosen, opened
from scorer.locks import holder_of

DETAILS_S = 10.0
# no prompt is sent, so that any context would do
ANY_CONTEXT = 4096


@dataclass(frozen=True, slots=True)
class ModelReport:
    """One model on one host, by the host's own name for it. `context`: of the loaded model, `max_context`: of any."""

    name: str
    digest: str | None
    quantisation: str | None = None
    loaded: bool | None = None
    context: int | None = None
    max_context: int | None = None
    gpu_share: float | None = None


@dataclass(frozen=True, slots=True)
class HostReport:
    """One host. `state` is a word; a host that is not `usable` has a `problem`, and `advice` if there is any.

    The words: loaded, ready, resting (outside its hours), in use (by another run), off (enabled = false), differs
    (another digest than the other hosts), left out (may not be used as it is), away.
    """

    name: str
    url: str
    api: str
    state: str
    usable: bool
    version: str | None = None
    models: tuple[ModelReport, ...] = ()
    problem: str = ""
    advice: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All hosts, in the file's order, and the models they were looked at for.

    `question` is what only the user can say, if the models are not known: then nothing could be said of them.
    """

    hosts: tuple[HostReport, ...]
    models: tuple[str, ...]
    question: str = ""

    @property
    def all_usable(self) -> bool:
        """Whether every host that is switched on can be used, and there is one."""
        asked = [host for host in self.hosts if host.state != "off"]
        return bool(asked) and all(host.usable for host in asked)

    def as_json(self) -> dict[str, object]:
        """Return everything as JSON holds it."""
        return {"models": list(self.models), "hosts": [asdict(host) for host in self.hosts]}


async def check(
    file: HostsFile, models: Sequence[str], names: Sequence[str], outside: Outside, *, allow_mixed: bool = False
) -> Report:
    """Ask the named hosts, or all that are enabled, for the models; UsageError if a name is unknown.

    `allow_mixed`: their digests may differ, as a run may allow it.
    """
    configs = chosen(file, names)
    asked = [config for config in configs if config.enabled or names]
    async with opened(asked, outside) as hosts:
        lives = [host.life for host in hosts if host.life is not None]
        answers = await ask(lives)
        versions = {life.config.name: _version(life) for life in lives}
        wanted, question = _models(file, models, answers)
        terms = Terms(wanted, {}, False, "", None, ANY_CONTEXT)
        digests = survey(answers, terms) if wanted else {}
        found: dict[str, tuple[ModelReport, ...]] = {}
        async with anyio.create_task_group() as group:
            for host in hosts:
                group.start_soon(_look_closer, host, terms, found)
    reports = {
        host.config.name: replace(
            _report(host, found.get(host.config.name, ()), _Looked(file, wanted, outside)),
            version=versions.get(host.config.name),
        )
        for host in hosts
    }
    odd = {} if allow_mixed else odd_ones(digests)
    for config in configs:
        if config.name in odd:
            fetch = pull_command(file, own_names(config, wanted))
            reports[config.name] = _differing(reports[config.name], odd[config.name], fetch)
    off = {config.name: _off(config) for config in configs}
    return Report(tuple((off | reports).values()), wanted, question)


def _version(life: Life) -> str | None:
    """Return the version of a host that answered, also of one that is left out because of it."""
    if life.info is not None:
        return life.info.version
    return life.fault.version if isinstance(life.fault, HostUnusable) else None


def _models(file: HostsFile, models: Sequence[str], answers: Answers) -> tuple[tuple[str, ...], str]:
    """Return the models as a run would choose them, and else what the user has to say."""
    if models or file.default_model:
        return tuple(models) or (file.default_model or "",), ""
    if not answers.present:
        return (), ""
    try:
        return (common_model(answers.present),), ""
    except UsageError as error:
        return (), str(error)


async def _look_closer(host: Opened, terms: Terms, found: dict[str, tuple[ModelReport, ...]]) -> None:
    """Ask a host that may take part what its models are like."""
    life = host.life
    if life is None or life.info is None or not terms.models:
        return
    models = terms.serves(life.config, life.info).values()
    found[life.config.name] = tuple([await _details(host, life, model) for model in models])


async def _details(host: Opened, life: Life, model: ModelInfo) -> ModelReport:
    about, loaded = ModelDetails(max_context=model.max_context), None
    in_memory: bool | None = None
    try:
        with anyio.move_on_after(DETAILS_S):
            if host.admin is not None:
                about = await host.admin.show(model.name)
                loaded = await host.admin.loaded(model.name)
                in_memory = loaded is not None
            elif isinstance(life.host, OpenAIHost):
                loaded = await life.host.loaded(model.name)
                in_memory = loaded is not None
    except Fault:
        # it answered a moment ago and may be used: what it is like stays unknown
        in_memory = None
    loaded = loaded or Loaded()
    return ModelReport(
        name=model.name,
        digest=model.digest,
        quantisation=about.quantisation,
        loaded=in_memory,
        context=loaded.context,
        max_context=about.max_context,
        gpu_share=loaded.gpu_share,
    )


@dataclass(frozen=True, slots=True)
class _Looked:
    """What was looked for, and where."""

    file: HostsFile
    models: tuple[str, ...]
    outside: Outside


def _report(host: Opened, mine: tuple[ModelReport, ...], looked: _Looked) -> HostReport:
    config, life = host.config, host.life
    report = HostReport(config.name, config.url, config.api, "ready", usable=True)
    if life is None:
        return replace(report, state="left out", usable=False, problem=host.problem)
    if life.fault is not None:
        what_to_do = advice(config, life.fault, pull_command(looked.file, own_names(config, looked.models)))
        state = "left out" if life.state is LifeState.LEFT_OUT else "away"
        return replace(report, state=state, usable=False, problem=life.reason, advice=what_to_do)
    state, note = _state(config, mine, looked.outside)
    number, lacking = len(looked.models), len(looked.models) - len(mine)
    lacks = f"lacks {lacking} of the {number} models" if lacking else ""
    return replace(report, state=state, models=mine, note="; ".join(filter(None, (note, lacks))))


def _state(config: HostConfig, models: Sequence[ModelReport], outside: Outside) -> tuple[str, str]:
    if (holder := holder_of(outside.locks, config.url)) is not None:
        return "in use", f"in use by {holder}"
    if config.hours is not None and not config.hours.covers(outside.local_time()):
        return "resting", f"outside its hours: it takes rows from {config.hours.start:%H:%M}"
    return ("loaded" if any(model.loaded for model in models) else "ready"), ""


def _off(config: HostConfig) -> HostReport:
    return HostReport(config.name, config.url, config.api, "off", usable=False, note="enabled = false")


def _differing(report: HostReport, problem: str, pull: str) -> HostReport:
    what_to_do = advice_on_digest(report.api, pull)
    return replace(report, state="differs", usable=False, problem=problem, advice=what_to_do)
