"""The first look at the hosts: who is there, which model they share, and whether it is the same one.

Nothing is sent to a host here but questions, and nothing at all to one that another run has; a run that cannot be
trusted ends before its first row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import anyio
from tenacity import AsyncRetrying, retry_if_result, stop_after_attempt, wait_fixed

from scorer.config import HostConfig
from scorer.dispatch.lives import PROBE_S, Life, reason_of
from scorer.dispatch.served import short
from scorer.dispatch.terms import Terms, same_model
from scorer.errors import Fault, FaultKind, HostFault, HostUnusable, UsageError
from scorer.locks import NO_CLAIMS, Claims

TRIES = 3
PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Answers:
    """What the hosts said: those that are there, and why others are not or may not take part, by name."""

    present: tuple[Life, ...]
    left_out: dict[str, str]
    absent: dict[str, str]
    in_use: dict[str, str] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """Return one line a host that is not taking part."""
        return [
            *(f"{name} is left out: {reason}" for name, reason in self.left_out.items()),
            *(f"{name} is {reason}" for name, reason in self.in_use.items()),
            *(f"{name} cannot be reached: {reason}" for name, reason in self.absent.items()),
        ]

    @property
    def decided(self) -> bool:
        """Whether asking again at once could change nothing."""
        return bool(self.present or self.left_out or self.in_use)

    def refusal(self) -> UsageError:
        """Return the error of a run that no host can begin."""
        what = "no host may be used" if self.left_out or self.in_use else f"no host can be reached ({TRIES} tries)"
        hint = "\nWait until that run has ended, or share its hosts with --share-hosts" if self.in_use else ""
        return UsageError(f"{what}:\n" + "\n".join(f"  {line}" for line in self.lines()) + hint)


async def call(lives: Sequence[Life], claims: Claims = NO_CLAIMS, *, first_start: bool) -> Answers:
    """Ask all hosts at once; at a job's first start up to three times while none at all can be reached."""
    tries = TRIES if first_start else 1
    retrying = AsyncRetrying(
        stop=stop_after_attempt(tries),
        wait=wait_fixed(PAUSE_S),
        retry=retry_if_result(lambda answers: not answers.decided),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        sleep=anyio.sleep,
    )
    answers: Answers = await retrying(ask, lives, claims)
    if first_start and not answers.present:
        raise answers.refusal()
    return answers


async def ask(lives: Sequence[Life], claims: Claims = NO_CLAIMS) -> Answers:
    """Ask all hosts at once, each once and within PROBE_S; those that answer have their `info`, others a `fault`."""
    answers = Answers((), {}, {})
    async with anyio.create_task_group() as group:
        for life in lives:
            if life.claimed(claims):
                group.start_soon(_ask, life, answers)
            else:
                answers.in_use[life.config.name] = life.reason
    return replace(answers, present=tuple(life for life in lives if life.info is not None))


async def _ask(life: Life, answers: Answers) -> None:
    name = life.config.name
    try:
        with anyio.fail_after(PROBE_S):
            life.info = await life.host.probe()
    except HostUnusable as fault:
        life.leave_out(fault)
        answers.left_out[name] = life.reason
    except (Fault, TimeoutError) as fault:
        life.reason = reason_of(fault)
        life.fault = fault if isinstance(fault, Fault) else HostFault(FaultKind.UNREACHABLE, life.reason, sent=False)
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

    Moves to `left_out` who may not take part, also those with another digest than the job has frozen. UsageError if
    digests are mixed and none is frozen, or if nobody has the frozen ones and nobody else may yet come.
    """
    digests = survey(answers, terms)
    if not terms.allow_mixed:
        _leave_out_others(answers, terms, digests)
        for model, by_host in digests.items():
            _refuse_mixed(model, by_host)
    agreed = {model: set(by_host.values()) for model, by_host in digests.items()}
    return {model: found.pop() for model, found in agreed.items() if len(found) == 1}


def survey(answers: Answers, terms: Terms) -> dict[str, dict[str, str]]:
    """Return the digest of each model on each present host that may take part, empty where it reports none.

    Moves to `left_out` who may not.
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
            _leave_out(life, fault, answers)
    return digests


def _leave_out(life: Life, fault: HostUnusable, answers: Answers) -> None:
    life.leave_out(fault)
    life.info = None
    answers.left_out[life.config.name] = fault.message


def _leave_out_others(answers: Answers, terms: Terms, digests: Mapping[str, dict[str, str]]) -> None:
    """Take out of `digests` who has another than the job has frozen: the earlier rows say who is wrong."""
    others = set()
    for life in answers.present:
        if life.info is None:
            continue
        try:
            terms.serves(life.config, life.info)
        except HostUnusable as fault:
            _leave_out(life, fault, answers)
            others.add(life.config.name)
    for model, by_host in digests.items():
        hopeless = not (by_host.keys() - others or answers.absent or answers.in_use)
        if hopeless and model in terms.digests:
            _refuse_mixed(model, {"the job's earlier rows": terms.digests[model], **by_host})
        for name in others:
            by_host.pop(name, None)


def _refuse_mixed(model: str, by_host: Mapping[str, str]) -> None:
    if len(set(by_host.values())) <= 1:
        return
    listing = "\n".join(f"  {name}: {short(digest)}" for name, digest in by_host.items())
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
