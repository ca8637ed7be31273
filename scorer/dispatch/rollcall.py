"""The first look at the hosts: who is there, which model they share, and whether it is the same one.

Nothing is sent to a host here but questions; a run that cannot be trusted ends before its first row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import anyio
from tenacity import AsyncRetrying, retry_if_result, stop_after_attempt, wait_fixed

from scorer.config import HostConfig
from scorer.dispatch.lives import PROBE_S, Life, LifeState, Terms, reason_of, same_model, short
from scorer.errors import Fault, HostUnusable, UsageError

TRIES = 3
PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Answers:
    """What the hosts said: those that are there, and why others are not or may not take part, by name."""

    present: tuple[Life, ...]
    left_out: dict[str, str]
    absent: dict[str, str]

    def lines(self) -> list[str]:
        """Return one line a host that is not taking part."""
        left_out = [f"{name} is left out: {reason}" for name, reason in self.left_out.items()]
        return left_out + [f"{name} cannot be reached: {reason}" for name, reason in self.absent.items()]


async def call(lives: Sequence[Life], *, first_start: bool) -> Answers:
    """Ask all hosts at once; at a job's first start up to three times while none at all can be reached."""
    tries = TRIES if first_start else 1
    retrying = AsyncRetrying(
        stop=stop_after_attempt(tries),
        wait=wait_fixed(PAUSE_S),
        retry=retry_if_result(lambda answers: not answers.present and not answers.left_out),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        sleep=anyio.sleep,
    )
    answers: Answers = await retrying(_ask_all, lives)
    if first_start and not answers.present:
        what = "no host may be used" if answers.left_out else f"no host can be reached ({TRIES} tries)"
        raise UsageError(f"{what}:\n" + "\n".join(f"  {line}" for line in answers.lines()))
    return answers


async def _ask_all(lives: Sequence[Life]) -> Answers:
    answers = Answers((), {}, {})
    async with anyio.create_task_group() as group:
        for life in lives:
            group.start_soon(_ask, life, answers)
    return Answers(tuple(life for life in lives if life.info is not None), answers.left_out, answers.absent)


async def _ask(life: Life, answers: Answers) -> None:
    name = life.config.name
    try:
        with anyio.fail_after(PROBE_S):
            life.info = await life.host.probe()
    except HostUnusable as fault:
        life.state, life.reason = LifeState.LEFT_OUT, fault.message
        answers.left_out[name] = life.reason
    except (Fault, TimeoutError) as fault:
        life.reason = reason_of(fault)
        answers.absent[name] = life.reason


def common_model(present: Sequence[Life]) -> str:
    """Return the one model that every host has; UsageError lists what there is when it is none or several."""
    named = [life for life in present if life.config.api != "embedded"] or list(present)
    has: dict[str, list[str]] = {life.config.name: _offers(life) for life in named}
    first, *others = has.values()
    common = [m for m in first if all(any(same_model(m, other) for other in offer) for offer in others)]
    if len(common) == 1:
        return common[0]
    problem = f"they share {len(common)}: {', '.join(common)}" if common else "no model is on every host"
    listing = "\n".join(f"  {name}: {', '.join(models) or 'no model'}" for name, models in has.items())
    raise UsageError(
        f'which model? Say --model NAME, or model = "NAME" under [defaults] in the hosts file; {problem}\n{listing}'
    )


def _offers(life: Life) -> list[str]:
    if life.config.own_model and life.config.model:
        return [life.config.model]
    return sorted(model.name for model in life.info.models) if life.info else []


def admit(answers: Answers, terms: Terms) -> dict[str, str]:
    """Return the digest of each model that all present hosts share, empty where none of them reports one.

    Sets the models of each life that may take part and moves the others to `left_out`. UsageError if digests are mixed.
    """
    digests: dict[str, dict[str, str]] = {model: {} for model in terms.models}
    open_terms = Terms(terms.models, {}, True, terms.system, terms.schema, terms.num_ctx, terms.think)
    for life in answers.present:
        if life.info is None:
            continue
        try:
            for model, info in open_terms.serves(life.config, life.info).items():
                digests[model][life.config.name] = info.digest or ""
        except HostUnusable as fault:
            life.state, life.reason, life.info = LifeState.LEFT_OUT, fault.message, None
            answers.left_out[life.config.name] = fault.message
    if not terms.allow_mixed:
        for model, by_host in digests.items():
            _refuse_mixed(model, by_host, terms.digests)
    agreed = {model: set(by_host.values()) for model, by_host in digests.items()}
    return {model: found.pop() for model, found in agreed.items() if len(found) == 1}


def _refuse_mixed(model: str, by_host: Mapping[str, str], frozen: Mapping[str, str]) -> None:
    known = {"the job's earlier rows": frozen[model]} if model in frozen else {}
    everywhere = {**known, **by_host}
    if len(set(everywhere.values())) <= 1:
        return
    listing = "\n".join(f"  {name}: {short(digest)}" for name, digest in everywhere.items())
    raise UsageError(
        f"the hosts do not have the same {model} (digests differ): their scores would not be comparable\n{listing}\n"
        "Pull it anew where it is old, give model_digest for hosts that report none, "
        "or go on with --allow-mixed-models"
    )


def configs_of(hosts: Sequence[HostConfig]) -> list[HostConfig]:
    """Return the hosts that are switched on; UsageError if there is none."""
    enabled = [config for config in hosts if config.enabled]
    if not enabled:
        raise UsageError("every host in the hosts file has enabled = false")
    return enabled
