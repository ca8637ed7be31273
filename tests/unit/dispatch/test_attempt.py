"""One try against hosts that end it in every way there is."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import anyio
import httpx
import pytest
from virtual import virtually

from scorer.config import HostConfig
from scorer.core.estimate import TokenRatio
from scorer.core.fleet import Slot
from scorer.core.task import Attempt, Blame, Failed, Outcome, Reply, Scored, Task, TaskKey
from scorer.dispatch.attempt import Sampling, attempt
from scorer.dispatch.lives import Life
from scorer.errors import Fault, FaultKind, HostFault, HostUnusable, RowFault, UnclearFault
from scorer.hosts.base import Frame, HostInfo, Loaded, Request
from scorer.hosts.http import Answer
from scorer.hosts.openai_errors import fault_of_answer

FRAME = Frame("judge:7b", "system", {}, 2048)


class OneAnswer:
    """A host that answers in one way."""

    name = "a"

    def __init__(self, answer: Callable[[], Awaitable[Reply]], *, alive: Exception | None = None) -> None:
        self._answer = answer
        self._alive = alive
        self.requests: list[Request] = []

    def hushed(self, text: str) -> str:
        return text.replace("hush-hush", "[token]")

    async def alive(self) -> None:
        if self._alive:
            raise self._alive

    async def probe(self) -> HostInfo:
        return HostInfo("1", ())

    async def warm(self, frame: Frame) -> Loaded:
        return Loaded()

    async def generate(self, request: Request) -> Reply:
        self.requests.append(request)
        return await self._answer()

    async def close(self) -> None:
        pass


def raising(fault: Exception) -> Callable[[], Awaitable[Reply]]:
    async def answer() -> Reply:
        raise fault

    return answer


def saying(text: str, **fields: int) -> Callable[[], Awaitable[Reply]]:
    async def answer() -> Reply:
        await anyio.sleep(3)
        return Reply(text, "stop", **fields)  # type: ignore[arg-type]

    return answer


def good(_task: Task, reply: Reply) -> dict[str, object]:
    if reply.text != "good":
        raise RowFault(FaultKind.INVALID_OUTPUT, "not good", completion=reply.text)
    return {"score": 7}


ASKING = Sampling(32, 0.0, 5, good)


def outcome_of(
    host: OneAnswer,
    history: tuple[Attempt, ...] = (),
    sample: int = 0,
    context: int | None = None,
    asking: Sampling = ASKING,
    expected_s: float = 0.0,
) -> tuple[Outcome, list[str]]:
    reasons: list[str] = []

    async def main() -> Outcome:
        life = Life(HostConfig(name="a", url="http://a.test:1"), host, context=context)
        slot = Slot(1, "a", Task(TaskKey("m", 0, sample), "the row", 400, history=history), 0.0, 120.0, expected_s)
        return await attempt(life, slot, FRAME, asking, TokenRatio(), reasons.append)

    return virtually(main), reasons


def failed(outcome: Outcome) -> Attempt:
    assert isinstance(outcome, Failed)
    return outcome.attempt


def test_a_good_answer_is_scored_with_the_time_it_took() -> None:
    outcome, _ = outcome_of(OneAnswer(saying("good")))
    assert isinstance(outcome, Scored)
    assert outcome.fields == {"score": 7}
    assert outcome.duration_s == pytest.approx(3.0)


def test_a_bad_answer_is_the_rows_and_its_text_is_kept() -> None:
    outcome, _ = outcome_of(OneAnswer(saying("bad")))
    assert failed(outcome) == Attempt("a", Blame.ROW, FaultKind.INVALID_OUTPUT, "not good", completion="bad")


def test_a_hosts_fault_is_the_hosts_and_its_wish_to_wait_is_passed_on() -> None:
    outcome, _ = outcome_of(OneAnswer(raising(HostFault(FaultKind.BUSY, "busy", retry_after_s=7.0))))
    assert isinstance(outcome, Failed)
    assert (outcome.attempt.blame, outcome.retry_after_s) == (Blame.HOST, 7.0)


def test_what_never_reached_the_server_was_not_sent() -> None:
    outcome, reasons = outcome_of(OneAnswer(raising(HostFault(FaultKind.UNREACHABLE, "refused", sent=False))))
    assert not failed(outcome).sent
    assert reasons == []


def test_a_host_that_is_not_fit_for_the_run_is_reported_as_such() -> None:
    outcome, reasons = outcome_of(OneAnswer(raising(HostUnusable(FaultKind.MODEL_MISSING, "no such model"))))
    assert failed(outcome).blame is Blame.HOST
    assert reasons == ["no such model"]


def test_an_unclear_fault_stays_unclear_while_the_host_answers() -> None:
    outcome, _ = outcome_of(OneAnswer(raising(UnclearFault(FaultKind.DROPPED, "lost"))))
    assert (failed(outcome).blame, failed(outcome).downed) == (Blame.UNCLEAR, False)


@pytest.mark.parametrize(
    "alive", [HostFault(FaultKind.UNREACHABLE, "refused"), UnclearFault(FaultKind.DROPPED, "lost"), TimeoutError()]
)
def test_an_unclear_fault_is_the_hosts_when_it_no_longer_answers(alive: Exception) -> None:
    outcome, _ = outcome_of(OneAnswer(raising(UnclearFault(FaultKind.DROPPED, "lost")), alive=alive))
    assert (failed(outcome).blame, failed(outcome).downed) == (Blame.HOST, True)
    assert failed(outcome).message == "lost; the host does not answer"


def quoting(_task: Task, reply: Reply) -> dict[str, object]:
    raise RowFault(FaultKind.INVALID_OUTPUT, f"not {reply.text}", completion=reply.text)


def test_a_completion_that_was_refused_and_what_quotes_it_are_freed_of_the_token() -> None:
    """What is no score may be no completion either, but a page with the headers of the request."""
    attempt = failed(outcome_of(OneAnswer(saying("hush-hush!")), asking=replace(ASKING, parse=quoting))[0])
    assert (attempt.message, attempt.completion) == ("not [token]!", "[token]!")


@pytest.mark.parametrize("kind", [HostFault, HostUnusable, RowFault, UnclearFault])
@pytest.mark.parametrize("alive", [None, HostFault(FaultKind.UNREACHABLE, "refused")])
def test_no_fault_is_told_with_the_hosts_token(kind: type[Fault], alive: Exception | None) -> None:
    host = OneAnswer(raising(kind(FaultKind.SERVER_ERROR, "hush-hush")), alive=alive)
    outcome, reasons = outcome_of(host)
    assert failed(outcome).message.startswith("[token]")
    assert reasons == (["[token]"] if kind is HostUnusable else [])


def test_an_answer_that_never_comes_ends_at_the_deadline() -> None:
    async def never() -> Reply:
        await anyio.sleep_forever()
        raise AssertionError

    outcome, _ = outcome_of(OneAnswer(never))
    assert isinstance(outcome, Failed)
    assert outcome.attempt.kind is FaultKind.DEADLINE
    assert (outcome.attempt.blame, outcome.attempt.downed) == (Blame.UNCLEAR, False), "the host answers: row or host"
    assert outcome.duration_s == pytest.approx(120.0)
    assert (
        outcome.attempt.message
        == "no answer within 120 s; it gets longer next time, and at once with a larger min_deadline_s"
    )
    outcome, _ = outcome_of(OneAnswer(never), expected_s=12.0)
    assert failed(outcome).message == "no answer within 120 s", "it has shown what it needs"


def test_a_bug_in_an_adapter_is_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError):
        outcome_of(OneAnswer(raising(ZeroDivisionError())))


def test_the_request_is_the_templates_and_each_sample_has_its_own_seed() -> None:
    host = OneAnswer(saying("good"))
    outcome_of(host, sample=3)
    assert host.requests == [Request(FRAME, "the row", num_predict=32, temperature=0.0, seed=8)]


def test_a_recipe_may_have_its_own_system_text_and_stops() -> None:
    host = OneAnswer(saying("good"))
    outcome_of(host, asking=replace(ASKING, system="count", stop=("\n\n",), top_logprobs=5))
    assert host.requests == [
        Request(replace(FRAME, system="count"), "the row", num_predict=32, seed=5, stop=("\n\n",), top_logprobs=5)
    ]


def test_a_row_that_failed_is_asked_differently_and_one_that_was_cut_gets_more_room_and_time() -> None:
    cut = Attempt("a", Blame.ROW, FaultKind.CUT_OUTPUT, "cut")
    host = OneAnswer(saying("good"))
    outcome_of(host, history=(cut,))
    (request,) = host.requests
    assert (request.num_predict, request.seed) == (64, 6)
    assert request.temperature == pytest.approx(0.1)

    async def slow() -> Reply:
        await anyio.sleep(200)
        return Reply("good", "stop")

    assert isinstance(outcome_of(OneAnswer(slow), history=(cut,))[0], Scored)


class Strict(OneAnswer):
    """A server that refuses what prompt and cap do not leave room for, in vLLM's words. Contexts in tokens."""

    def __init__(self, context: int, prompt: int, finish: str = "stop") -> None:
        super().__init__(saying("good"))
        self._context, self._prompt, self._finish = context, prompt, finish

    async def generate(self, request: Request) -> Reply:
        self.requests.append(request)
        cap, context, prompt = request.num_predict, self._context, self._prompt
        if prompt + cap > context:
            said = (
                f"'max_tokens' or 'max_completion_tokens' is too large: {cap}. This model's maximum context length is "
                f"{context} tokens and your request has {prompt} input tokens ({cap} > {context} - {prompt})."
            )
            document: dict[str, object] = {"error": {"message": said, "type": "BadRequestError", "code": 400}}
            raise fault_of_answer(Answer(400, httpx.Headers(), b"", document), request.frame.num_ctx)
        return Reply("good", self._finish, prompt_tokens=prompt, output_tokens=cap)


CUT = Attempt("a", Blame.ROW, FaultKind.CUT_OUTPUT, "cut")


@pytest.mark.parametrize(
    ("prompt", "history", "asked"),
    [
        (100, (CUT,), [2000]),
        (110, (CUT,), [2000, 1925]),  # twice the room does not fit: what the context is expected to have left
        (140, (CUT,), [2000, 1925, 1000]),  # neither does that: the prompt is longer than it seems
        (100, (CUT, CUT), [4000, 1925]),
        (100, (), [1000]),
    ],
)
def test_more_room_than_the_context_has_is_not_insisted_on(
    prompt: int, history: tuple[Attempt, ...], asked: list[int]
) -> None:
    host = Strict(2100 if prompt < 140 else 2060, prompt)
    outcome, _ = outcome_of(host, history, asking=replace(ASKING, num_predict=1000))
    assert isinstance(outcome, Scored)
    assert [request.num_predict for request in host.requests] == asked


def test_an_answer_cut_in_the_room_that_was_left_is_told_with_that_room() -> None:
    cut = failed(outcome_of(Strict(2100, 110, "length"), (CUT,), asking=replace(ASKING, num_predict=1000))[0])
    assert (cut.kind, cut.permanent) == (FaultKind.CUT_OUTPUT, False)
    assert cut.message == "the answer was cut at num_predict = 1925"


def test_a_prompt_that_leaves_no_room_for_a_first_try_is_an_overflow_however_it_is_asked() -> None:
    for history in ((), (CUT,)):
        host = Strict(1050, 100)
        over = failed(outcome_of(host, history, asking=replace(ASKING, num_predict=1000))[0])
        assert (over.kind, over.permanent) == (FaultKind.CONTEXT_OVERFLOW, True)
        assert over.message == "prompt of 100 tokens, context 1050: too little room for the answer"
        assert host.requests[-1].num_predict == 1000


def test_what_is_wrong_beside_the_room_is_not_asked_again() -> None:
    host = OneAnswer(raising(RowFault(FaultKind.BAD_REQUEST, "odd")))
    assert failed(outcome_of(host, (CUT,))[0]).kind is FaultKind.BAD_REQUEST
    assert len(host.requests) == 1


def test_the_context_that_the_server_really_has_is_what_a_cut_is_judged_by() -> None:
    long = OneAnswer(saying("good", prompt_tokens=90))
    assert isinstance(outcome_of(long)[0], Scored)
    assert failed(outcome_of(OneAnswer(saying("good", prompt_tokens=90)), context=90)[0]).kind is (
        FaultKind.CONTEXT_OVERFLOW
    )


def test_every_branch_of_faults_becomes_an_outcome() -> None:
    for fault in Fault.__subclasses__():
        made = fault(FaultKind.SERVER_ERROR, "x")
        assert isinstance(outcome_of(OneAnswer(raising(made)))[0], Failed), fault
