"""One try of one row on one host: ask, judge, and turn however it ended into a value.

Here, and nowhere else, exceptions of an attempt become outcomes, and all they say is freed of the host's token: a
message may quote a completion, and a completion that was refused may be anything, the headers of the request among it.

A try that ended unclearly is cleared up at once: if the host does not even answer the cheapest question, it was the
host.

A row whose answer was cut gets more room for the next. Some servers, vLLM among them, refuse a request whose prompt and
cap on the answer exceed their context together, where others let the answer run until the context ends. Such a refusal
says nothing against a prompt that fits with the room of a first try, so the row is asked with less room then.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import anyio

from scorer.core.estimate import TokenRatio
from scorer.core.fleet import Slot
from scorer.core.judge import CONTEXT_SLACK, Asked, judge
from scorer.core.task import Attempt, Blame, Failed, Outcome, Reply, Scored, Task, variation
from scorer.dispatch.lives import Life
from scorer.errors import FaultKind, HostFault, HostUnusable, RowFault, UnclearFault
from scorer.hosts.base import CONNECT_TIMEOUT_S, Frame, Request

# our estimates of a prompt's tokens are within 15 % or so
ESTIMATE_MARGIN = 1.15


@dataclass(frozen=True, slots=True)
class Sampling:
    """One way of asking: the options of a first try, and how its replies become scores.

    `system` replaces the frame's for rows that have a rubric of their own. `stop` are the texts at which an answer
    ends, `top_logprobs` how many candidates for the first token are wanted. `words` name the values of a score that is
    no number.
    """

    num_predict: int
    temperature: float
    seed: int
    parse: Callable[[Task, Reply], dict[str, object]]
    system: str | None = None
    stop: tuple[str, ...] = ()
    top_logprobs: int = 0
    accept_cut: bool = False
    words: tuple[str, ...] = ()


async def attempt(
    life: Life, slot: Slot, frame: Frame, sampling: Sampling, ratio: TokenRatio, unusable: Callable[[str], None]
) -> Outcome:
    """Try a row within a frame; `unusable` is told why when the host turns out not to be fit for the run at all."""
    began = anyio.current_time()
    retry_after_s = None
    hushed = life.host.hushed
    try:
        fields, reply = await _ask(life, slot, frame, sampling, ratio)
    except HostFault as fault:
        failed = Attempt(slot.host, Blame.HOST, fault.kind, hushed(fault.message), sent=fault.sent)
        retry_after_s = fault.retry_after_s
        if isinstance(fault, HostUnusable):
            unusable(failed.message)
    except RowFault as fault:
        failed = Attempt(
            slot.host,
            Blame.ROW,
            fault.kind,
            hushed(fault.message),
            permanent=fault.permanent,
            completion=None if fault.completion is None else hushed(fault.completion),
        )
    except UnclearFault as fault:
        failed = await _clear_up(life, slot, fault)
    else:
        return Scored(reply, fields, anyio.current_time() - began)
    return Failed(failed, anyio.current_time() - began, retry_after_s)


async def _ask(
    life: Life, slot: Slot, frame: Frame, sampling: Sampling, ratio: TokenRatio
) -> tuple[dict[str, object], Reply]:
    task = slot.task
    changed = variation(task.history)
    if sampling.system is not None:
        frame = replace(frame, system=sampling.system)
    request = Request(
        frame,
        task.user,
        num_predict=sampling.num_predict * changed.num_predict_factor,
        temperature=sampling.temperature + changed.temperature_step,
        seed=sampling.seed + changed.seed_step + task.key.sample,
        stop=sampling.stop,
        top_logprobs=sampling.top_logprobs,
    )
    context = min(frame.num_ctx, life.context or frame.num_ctx)
    room = int(context - ratio.tokens(task.chars) * ESTIMATE_MARGIN - CONTEXT_SLACK)
    deadline_s = slot.deadline_s * changed.num_predict_factor
    try:
        with anyio.fail_after(deadline_s):
            reply, num_predict = await _generate(life, request, least=sampling.num_predict, room=room)
    except TimeoutError:
        # before its first reply nobody knows how slow a host is
        hint = "" if slot.expected_s else "; it gets longer next time, and at once with a larger min_deadline_s"
        raise UnclearFault(FaultKind.DEADLINE, f"no answer within {deadline_s:.0f} s{hint}") from None
    asked = Asked(context, num_predict, task.chars, sampling.accept_cut)
    return judge(reply, asked, ratio, partial(sampling.parse, task)), reply


async def _generate(life: Life, request: Request, *, least: int, room: int) -> tuple[Reply, int]:
    """Ask, with less room for the answer where that much is refused; return the reply and the room it had.

    Tokens all of them: `least` is the room of a first try, `room` what the context is expected to have left.
    """
    tried = {request.num_predict, max(least, min(room, request.num_predict)), least}
    *larger, least = sorted(tried, reverse=True)
    for num_predict in larger:
        try:
            return await life.host.generate(request._replace(num_predict=num_predict)), num_predict
        except RowFault as fault:
            if fault.kind is not FaultKind.CONTEXT_OVERFLOW:
                raise
    return await life.host.generate(request._replace(num_predict=least)), least


async def _clear_up(life: Life, slot: Slot, fault: UnclearFault) -> Attempt:
    """Ask the host beside the failed request whether it is down itself."""
    said = life.host.hushed(fault.message)
    try:
        with anyio.fail_after(2 * CONNECT_TIMEOUT_S):
            await life.host.alive()
    except (HostFault, UnclearFault, TimeoutError):
        message = f"{said}; the host does not answer"
        return Attempt(slot.host, Blame.HOST, fault.kind, message, downed=True, sent=fault.sent)
    return Attempt(slot.host, Blame.UNCLEAR, fault.kind, said, sent=fault.sent)
