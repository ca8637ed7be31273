import json

import pytest

from scorer.core.estimate import CALIBRATED_AFTER, TokenRatio
from scorer.core.judge import CONTEXT_SLACK, Asked, judge
from scorer.core.task import Reply
from scorer.errors import FaultKind, RowFault

ASKED = Asked(num_ctx=2048, num_predict=32, chars=400)
GOOD = '{"score": 7}'


def reply(text: str = GOOD, finish: str = "stop", **fields: int | None) -> Reply:
    return Reply(text, finish, **fields)  # type: ignore[arg-type]


def record(answer: Reply) -> dict[str, object]:
    parsed: dict[str, object] = json.loads(answer.text)
    return parsed


def fault_of(answer: Reply, asked: Asked = ASKED, ratio: TokenRatio | None = None) -> RowFault:
    with pytest.raises(RowFault) as raised:
        judge(answer, asked, ratio or TokenRatio(), record)
    return raised.value


def test_a_whole_answer_is_parsed() -> None:
    answer = reply(prompt_tokens=100, output_tokens=8)
    assert judge(answer, ASKED, TokenRatio(), record) == {"score": 7}


def test_what_the_parser_refuses_is_refused() -> None:
    def refuse(_: Reply) -> dict[str, object]:
        raise RowFault(FaultKind.INVALID_OUTPUT, "not JSON")

    with pytest.raises(RowFault, match="not JSON"):
        judge(reply("nonsense"), ASKED, TokenRatio(), refuse)


def test_a_silently_cut_prompt_is_an_overflow_though_its_answer_is_valid() -> None:
    fault = fault_of(reply(prompt_tokens=2048), Asked(2048, 32, chars=100_000))
    assert (fault.kind, fault.permanent, fault.completion) == (FaultKind.CONTEXT_OVERFLOW, True, GOOD)


def test_the_servers_own_figure_is_what_betrays_a_cut() -> None:
    long = Asked(2048, 32, chars=100_000)
    fault = fault_of(reply(prompt_tokens=9000, reported_prompt_tokens=2048), long)
    assert fault.kind is FaultKind.CONTEXT_OVERFLOW
    assert judge(reply(prompt_tokens=2048, reported_prompt_tokens=60), long, TokenRatio(), record)


def test_a_count_far_below_a_calibrated_estimate_is_an_overflow_too() -> None:
    asked, half = Asked(2048, 32, chars=8000), reply(prompt_tokens=1026)
    assert judge(half, asked, TokenRatio(), record), "4 characters a token are only a guess"
    ratio = TokenRatio()
    for _ in range(CALIBRATED_AFTER):
        ratio.learn(4000, 1000)
    assert fault_of(half, asked, ratio).kind is FaultKind.CONTEXT_OVERFLOW


def test_an_answer_cut_at_its_cap_is_one_where_free_text_is_read() -> None:
    asked = Asked(num_ctx=2048, num_predict=32, chars=400, accept_cut=True)
    assert judge(reply(finish="length", prompt_tokens=100, output_tokens=32), asked, TokenRatio(), record)
    full = reply(finish="length", prompt_tokens=2030, output_tokens=18)
    assert fault_of(full, asked).kind is FaultKind.CONTEXT_OVERFLOW


def test_an_answer_cut_at_its_cap_may_be_tried_again() -> None:
    fault = fault_of(reply('{"sc', "length", prompt_tokens=100, output_tokens=32))
    assert (fault.kind, fault.permanent, fault.completion) == (FaultKind.CUT_OUTPUT, False, '{"sc')


def test_an_answer_cut_by_the_end_of_the_context_is_an_overflow() -> None:
    full = reply('{"sc', "length", prompt_tokens=2048 - CONTEXT_SLACK - 10, output_tokens=10)
    fault = fault_of(full)
    assert (fault.kind, fault.permanent) == (FaultKind.CONTEXT_OVERFLOW, True)


@pytest.mark.parametrize(
    ("prompt_tokens", "output_tokens", "kind"),
    [
        (None, 10, FaultKind.CONTEXT_OVERFLOW),  # ended early, and nothing contradicts the context
        (100, 10, FaultKind.CUT_OUTPUT),  # ended early with room left: the server's own cap
        (100, None, FaultKind.CUT_OUTPUT),
        (2040, 32, FaultKind.CUT_OUTPUT),
    ],
)
def test_one_word_for_two_reasons_is_told_apart_by_the_counts(
    prompt_tokens: int | None, output_tokens: int | None, kind: FaultKind
) -> None:
    assert fault_of(reply("{", "length", prompt_tokens=prompt_tokens, output_tokens=output_tokens)).kind is kind


def test_a_cut_answer_never_passes_even_if_it_is_valid() -> None:
    assert fault_of(reply(GOOD, "length", output_tokens=32)).kind is FaultKind.CUT_OUTPUT
