"""Load a model on all hosts with exactly the options of a run, so that the run finds it there, and say how it sits.

The context is one of these options: a model that was loaded with another one would be loaded again. After the load the
host is asked for a few words, since a server can list a model as loaded that it no longer answers with.

Not even a question goes to a host that another run uses: that run has its model loaded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median

import anyio

from scorer.config import HostConfig, HostsFile
from scorer.core.score import json_schema
from scorer.dispatch.lives import Life, reason_of
from scorer.dispatch.rollcall import Answers, ask, common_model, survey
from scorer.dispatch.terms import Terms, own_names
from scorer.errors import Fault, FaultKind, HostFault, HostUnusable, RowFault
from scorer.hosts.base import Frame, Loaded, Request
from scorer.jobs.hosts.advice import advice, pull_command
from scorer.jobs.hosts.digests import advice_on_digest, odd_ones
from scorer.jobs.hosts.opened import Opened, Outside, chosen, opened
from scorer.jobs.hosts.steps import Step, Tell
from scorer.locks import Claims, HostLocks
from scorer.templates import Template

WORDS = "Say hello."
NUM_PREDICT = 32
WHOLE = 0.995
SLOW_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Wish:
    """What to load: the model (None: as a run would choose it), the template whose options count, and for how long.

    `num_ctx` replaces the template's; `timeout_s` is for one host's load; `allow_mixed` is for digests that differ.
    """

    model: str | None
    template: Template
    num_ctx: int | None = None
    timeout_s: float = 1800.0
    allow_mixed: bool = False


@dataclass(frozen=True, slots=True)
class Warmth:
    """How a model sits on one host. `notes` say what is not as one would wish; `problem` is empty if it is loaded."""

    host: str
    model: str = ""
    num_ctx: int | None = None
    context: int | None = None
    slots: int | None = None
    gpu_share: float | None = None
    load_s: float | None = None
    output_tps: float | None = None
    notes: tuple[str, ...] = ()
    problem: str = ""
    advice: str = ""

    @property
    def usable(self) -> bool:
        """Whether the model is loaded and answers."""
        return not self.problem

    def as_json(self) -> dict[str, object]:
        """Return everything as JSON holds it."""
        return {**asdict(self), "usable": self.usable}


def percent(share: float) -> str:
    """Return a share as people read it; 100 % only when all of it is there."""
    return f"{100 if share >= WHOLE else min(round(share * 100), 99)} %"


async def warm(file: HostsFile, wish: Wish, names: Sequence[str], tell: Tell, outside: Outside) -> tuple[Warmth, ...]:
    """Load the model on the named hosts, or all that are enabled.

    A host whose digest differs from most others' is left as it is. UsageError if a name is unknown, or the hosts share
    no one model.
    """
    configs = [config for config in chosen(file, names) if config.enabled or names]
    claims = HostLocks(outside.locks, "`scorer hosts warm`")
    async with opened(configs, outside) as hosts:
        try:
            return await _warm_all(hosts, file, wish, tell, claims)
        finally:
            claims.close()


async def _warm_all(
    hosts: Sequence[Opened], file: HostsFile, wish: Wish, tell: Tell, claims: Claims
) -> tuple[Warmth, ...]:
    lives = [host.life for host in hosts if host.life is not None]
    answers = await ask(lives, claims)
    model = wish.model or file.default_model or (common_model(answers.present) if answers.present else "")
    terms = _terms(wish, model)
    digests = survey(answers, terms) if model else {}
    odd = {} if wish.allow_mixed else odd_ones(digests)

    def fetch(host: Opened) -> str:
        return pull_command(file, own_names(host.config, (model,)) if model else ())

    found = {host.config.name: _cold(host, answers, fetch(host)) for host in hosts}
    found |= {host.config.name: _odd(host, odd, fetch(host)) for host in hosts if host.config.name in odd}
    for warmth in found.values():
        if warmth.problem:
            tell(Step(warmth.host, model, warmth.problem, "failed"))

    async def one(life: Life) -> None:
        name = life.config.name
        warmth = await _warm_one(life, terms, wish.timeout_s, tell)
        text = warmth.problem or f"loaded in {warmth.load_s:.1f} s"
        tell(Step(name, warmth.model, text, "done" if warmth.usable else "failed"))
        found[name] = warmth

    async with anyio.create_task_group() as group:
        for life in answers.present:
            if life.info is not None and life.config.name not in odd:
                group.start_soon(one, life)
    return tuple(_compared(list(found.values())))


def _terms(wish: Wish, model: str) -> Terms:
    options = wish.template.options
    return Terms(
        models=(model,),
        digests={},
        allow_mixed=wish.allow_mixed,
        system=wish.template.system,
        schema=json_schema(wish.template.fields),
        num_ctx=wish.num_ctx or options.num_ctx,
        think=options.think,
    )


def _cold(host: Opened, answers: Answers, fetch: str) -> Warmth:
    """Return why a host cannot be asked to load anything, if it cannot."""
    config, life = host.config, host.life
    if life is None:
        return Warmth(config.name, problem=host.problem)
    if config.name in answers.in_use:
        return Warmth(config.name, problem=life.reason, advice="that run has its model loaded")
    if life.fault is not None:
        return Warmth(config.name, problem=life.reason, advice=advice(config, life.fault, fetch))
    return Warmth(config.name)


def _odd(host: Opened, odd: Mapping[str, str], fetch: str) -> Warmth:
    what_to_do = f"{advice_on_digest(host.config.api, fetch)}, or --allow-mixed-models"
    return Warmth(host.config.name, problem=odd[host.config.name], advice=what_to_do)


async def _warm_one(life: Life, terms: Terms, timeout_s: float, tell: Tell) -> Warmth:
    if life.info is None:
        raise AssertionError("only hosts that answered are warmed")
    config = life.config
    [model] = terms.serves(config, life.info).values()
    frame = terms.frame(config, model)
    tell(Step(config.name, model.name, f"loading, context {frame.num_ctx}"))
    warmth = Warmth(config.name, model.name, frame.num_ctx)
    began = anyio.current_time()
    try:
        with anyio.fail_after(timeout_s):
            loaded = await life.host.warm(frame)
        load_s = anyio.current_time() - began
        tell(Step(config.name, model.name, "trying it"))
        output_tps = await _try_out(life, frame)
    except TimeoutError:
        return replace(warmth, problem=f"not loaded within {timeout_s:.0f} s", advice="a longer --timeout")
    except Fault as fault:
        return replace(warmth, problem=_reason(fault), advice=advice(config, fault, ""))
    warmth = replace(warmth, load_s=load_s, output_tps=output_tps)
    return replace(_with(warmth, loaded), notes=tuple(_notes(loaded, frame, config)))


def _with(warmth: Warmth, loaded: Loaded) -> Warmth:
    return replace(warmth, context=loaded.context, gpu_share=loaded.gpu_share, slots=loaded.slots)


def _reason(fault: Fault) -> str:
    return fault.message if isinstance(fault, HostUnusable) else reason_of(fault)


async def _try_out(life: Life, frame: Frame) -> float | None:
    """Return the tokens a second of a short answer, None if the host does not tell; raises HostFault if none comes."""
    request = Request(frame, WORDS, NUM_PREDICT)
    try:
        with anyio.move_on_after(life.config.min_deadline_s):
            reply = await life.host.generate(request)
            return reply.output_tokens / reply.decode_s if reply.output_tokens and reply.decode_s else None
    except RowFault:
        # it answered: what it said to a greeting does not matter
        return None
    raise HostFault(
        FaultKind.DEADLINE,
        f"it is loaded, but gave no answer within {life.config.min_deadline_s:.0f} s: restart its server",
    )


def _notes(loaded: Loaded, frame: Frame, config: HostConfig) -> list[str]:
    notes = []
    if loaded.gpu_share is not None and loaded.gpu_share < WHOLE:
        where = f"{percent(loaded.gpu_share)} on the GPU" if loaded.gpu_share else "on the CPU alone"
        notes.append(f"{where}: a smaller context or quantisation, or OLLAMA_NUM_PARALLEL=1, makes room")
    if loaded.context is not None and loaded.context < frame.num_ctx:
        notes.append(f"holds {loaded.context} tokens, not {frame.num_ctx}: longer rows go elsewhere")
    if config.max_context is not None and config.max_context == frame.num_ctx:
        notes.append(f"max_context = {config.max_context}: longer rows go elsewhere")
    if config.api == "embedded":
        notes.append("this engine ends with this command: each run starts its own")
    return notes


def _compared(found: Sequence[Warmth]) -> list[Warmth]:
    """Flag the hosts that answer much more slowly than the middle one."""
    speeds = [warmth.output_tps for warmth in found if warmth.output_tps]
    middle = median(speeds) if len(speeds) > 1 else 0.0
    return [
        replace(one, notes=(*one.notes, f"{one.output_tps:.0f} tok/s, where the middle host has {middle:.0f}"))
        if one.output_tps and one.output_tps < SLOW_SHARE * middle
        else one
        for one in found
    ]
