"""The Petals adapter: the form it sends, how it finds the end of an answer, and what a traceback becomes."""

import json
from typing import Any
from urllib.parse import parse_qs

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.config import HostConfig
from scorer.core.task import Reply
from scorer.errors import Fault, FaultKind, HostFault, HostUnusable, RowFault, UnclearFault
from scorer.hosts.base import Frame, Loaded, Request
from scorer.hosts.factory import make_host
from scorer.hosts.http import Http
from scorer.hosts.petals import PetalsHost

pytestmark = pytest.mark.anyio

MODEL = "petals-team/StableBeluga2"
SCHEMA = {"type": "object", "properties": {"score": {"type": "integer", "minimum": 1, "maximum": 10}}}
FRAME = Frame(model=MODEL, system="the rubric", schema=SCHEMA, num_ctx=4096)
REQUEST = Request(frame=FRAME, user="the row", num_predict=96, seed=3)
FREE = Frame(model=MODEL, system="", schema=None, num_ctx=4096)
DIGEST = "ef" * 32

Answer = httpx.Response | dict[str, Any]


class Gateway:
    """Answers everything alike, and keeps the forms it was sent."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.forms: list[dict[str, str]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.path) == ("POST", "/api/v1/generate")
        assert request.headers["content-type"] == "application/x-www-form-urlencoded"
        form = parse_qs(request.content.decode(), keep_blank_values=True)
        self.forms.append({key: values[0] for key, values in form.items()})
        if isinstance(self.answer, httpx.Response):
            return self.answer
        return httpx.Response(200, content=json.dumps(self.answer))


def host(gateway: Gateway, model: str | None = MODEL) -> PetalsHost:
    config = HostConfig(name="swarm", url="http://swarm:5000", api="petals", model=model, model_digest=DIGEST)
    return PetalsHost(config, Http(config, httpx.MockTransport(gateway)))


def failed(last: str) -> dict[str, Any]:
    return {"ok": False, "traceback": f'Traceback (most recent call last):\n  File "http_api.py", line 9\n{last}\n'}


async def reply_to(outputs: str, request: Request = REQUEST) -> Reply:
    return await host(Gateway({"ok": True, "outputs": outputs})).generate(request)


async def fault_of(answer: Answer) -> Fault:
    with pytest.raises(Fault) as caught:
        await host(Gateway(answer)).generate(REQUEST)
    return caught.value


async def test_the_form_holds_rubric_and_row_and_nothing_that_the_gateway_does_not_know() -> None:
    gateway = Gateway({"ok": True, "outputs": '{"score": 7}</s>'})
    await host(gateway).generate(REQUEST)
    inputs = "the rubric\n\nthe row\n\n"
    assert gateway.forms == [{"model": MODEL, "inputs": inputs, "max_new_tokens": "96", "do_sample": "0"}]


async def test_a_retry_with_some_temperature_samples() -> None:
    gateway = Gateway({"ok": True, "outputs": "yes</s>"})
    await host(gateway).generate(Request(FREE, "a & b = 100 % ü \ud800", num_predict=9, temperature=0.1))
    assert gateway.forms == [
        {
            "model": MODEL,
            "inputs": "a & b = 100 % ü ?\n\n",
            "max_new_tokens": "9",
            "do_sample": "1",
            "temperature": "0.1",
        }
    ]


@pytest.mark.parametrize(
    "outputs",
    [
        '{"score": 7}</s>',
        '{"score": 7}',
        ' \n{"score": 7}\n\nUser: and the next one?\n{"score": 2}',
        '{"score": 7}<|eot_id|>',
    ],
)
async def test_an_answer_ends_where_its_json_ends(outputs: str) -> None:
    assert await reply_to(outputs) == Reply(text='{"score": 7}', finish="stop")


async def test_a_json_answer_that_breaks_off_was_cut_unless_the_model_itself_ended_it() -> None:
    assert (await reply_to('{"score": ')).finish == "length"
    assert (await reply_to('{"score": </s>')).finish == "stop"
    assert (await reply_to('{"a":' * 100_000)).finish == "length"


async def test_prose_where_json_was_asked_for_is_left_to_the_templates_check() -> None:
    assert await reply_to("I would say 7.") == Reply(text="I would say 7.", finish="stop")


@pytest.mark.parametrize("outputs", ["", "</s>", " \n</s>"])
async def test_an_empty_answer_is_invalid_output(outputs: str) -> None:
    fault = await fault_of({"ok": True, "outputs": outputs})
    assert (type(fault), fault.kind) == (RowFault, FaultKind.INVALID_OUTPUT)


async def test_free_text_ends_at_the_models_end_or_a_stop_text_and_was_cut_otherwise() -> None:
    request = Request(FREE, "the row", num_predict=9, stop=("\nQ:", "###"))
    assert await reply_to("yes</s> and more", request) == Reply(text="yes", finish="stop")
    assert await reply_to("yes ### no\nQ: next", request) == Reply(text="yes ", finish="stop")
    assert await reply_to("yes and then", request) == Reply(text="yes and then", finish="length")
    assert await reply_to("</s>", request) == Reply(text="", finish="stop")


@pytest.mark.parametrize(
    ("answer", "blame", "kind"),
    [
        (failed(f"KeyError: '{MODEL}'"), HostUnusable, FaultKind.MODEL_MISSING),
        (failed("KeyError: 'block_7'"), UnclearFault, FaultKind.SERVER_ERROR),
        (failed("ValueError: We do not provide public API for x due to"), HostUnusable, FaultKind.UNAUTHORISED),
        (
            failed("petals.MissingBlocksError: No servers holding blocks [3, 4] are online"),
            HostFault,
            FaultKind.LOAD_FAILED,
        ),
        (
            failed("ValueError: Maximum length exceeded: prefix 0 + current 9000 exceeds pre-allocated maximum 8192"),
            RowFault,
            FaultKind.CONTEXT_OVERFLOW,
        ),
        (failed("hivemind.P2PHandlerError: connection reset"), UnclearFault, FaultKind.SERVER_ERROR),
        ({"ok": False}, UnclearFault, FaultKind.SERVER_ERROR),
        ({"ok": False, "traceback": 7}, UnclearFault, FaultKind.SERVER_ERROR),
        ({"ok": True}, HostFault, FaultKind.BAD_BODY),
        ({"ok": True, "outputs": ["text"]}, HostFault, FaultKind.BAD_BODY),
        ({"ok": 1, "outputs": "text"}, HostFault, FaultKind.BAD_BODY),
        ({}, HostFault, FaultKind.BAD_BODY),
        (httpx.Response(200, text="[]"), HostFault, FaultKind.BAD_BODY),
        (httpx.Response(200, text="<html>"), HostFault, FaultKind.GATEWAY),
        (httpx.Response(404, text="<html>"), HostUnusable, FaultKind.WRONG_ENDPOINT),
        (httpx.Response(405), HostUnusable, FaultKind.WRONG_ENDPOINT),
        (httpx.Response(500, text="oops"), UnclearFault, FaultKind.SERVER_ERROR),
        (httpx.Response(502, text="<html>"), HostFault, FaultKind.GATEWAY),
        (httpx.Response(503), HostFault, FaultKind.BUSY),
    ],
    ids=str,
)
async def test_each_failure_is_blamed_on_whoever_is_to_blame(answer: Answer, blame: type, kind: FaultKind) -> None:
    fault = await fault_of(answer)
    assert (type(fault), fault.kind) == (blame, kind)


async def test_only_the_exception_of_a_traceback_counts_and_not_the_program_it_quotes() -> None:
    text = "MissingBlocksError\nKeyError: 'x'\nRuntimeError: odd"
    fault = await fault_of({"ok": False, "traceback": text})
    assert isinstance(fault, UnclearFault)
    assert fault.message == "RuntimeError: odd"


async def test_a_gateway_is_alive_if_it_complains_of_an_empty_form() -> None:
    gateway = Gateway(failed("KeyError: None"))
    await host(gateway).alive()
    assert gateway.forms == [{}]


@pytest.mark.parametrize("answer", [{"version": "0.30.1"}, {"ok": "yes"}])
async def test_what_is_no_gateway_is_the_wrong_endpoint(answer: Answer) -> None:
    with pytest.raises(HostUnusable) as caught:
        await host(Gateway(answer)).probe()
    assert caught.value.kind is FaultKind.WRONG_ENDPOINT


async def test_a_gateway_that_accepts_and_stays_silent_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scorer.hosts.petals.QUESTION_TIMEOUT_S", 0.01)

    async def silent(request: httpx.Request) -> httpx.Response:
        await anyio.sleep_forever()
        raise AssertionError

    config = HostConfig(name="swarm", url="http://swarm:5000", api="petals", model=MODEL)
    with pytest.raises(HostFault) as caught:
        await PetalsHost(config, Http(config, httpx.MockTransport(silent))).alive()
    assert (caught.value.kind, caught.value.sent) == (FaultKind.UNREACHABLE, False)


async def test_a_probe_takes_the_configured_model_on_its_word() -> None:
    info = await host(Gateway(failed("KeyError: None"))).probe()
    assert [(m.name, m.digest) for m in info.models] == [(MODEL, DIGEST)]


async def test_a_gateway_without_a_configured_model_says_what_to_do() -> None:
    with pytest.raises(HostUnusable, match='model = "') as caught:
        await host(Gateway(failed("KeyError: None")), model=None).probe()
    assert caught.value.kind is FaultKind.MODEL_MISSING


async def test_a_warm_up_proves_the_model_by_one_token() -> None:
    gateway = Gateway({"ok": True, "outputs": "a"})
    assert await host(gateway).warm(FRAME) == Loaded()
    assert gateway.forms[0]["max_new_tokens"] == "1"
    with pytest.raises(HostUnusable) as caught:
        await host(Gateway(failed(f"KeyError: '{MODEL}'"))).warm(FRAME)
    assert caught.value.kind is FaultKind.MODEL_MISSING
    with pytest.raises(HostFault) as missing:
        await host(Gateway(failed("RuntimeError: swarm"))).warm(FRAME)
    assert missing.value.kind is FaultKind.SERVER_ERROR


async def test_the_configuration_makes_this_adapter() -> None:
    made = make_host(HostConfig(name="swarm", url="http://swarm:5000", api="petals", model=MODEL))
    assert isinstance(made, PetalsHost)
    await made.close()


@given(st.text(st.characters(codec=None)), st.booleans())
async def test_any_text_becomes_a_reply_or_an_empty_answer(outputs: str, structured: bool) -> None:
    request = REQUEST if structured else Request(FREE, "row", num_predict=3, stop=("a",))
    adapter = host(Gateway({"ok": True, "outputs": outputs}))
    try:
        reply = await adapter.generate(request)
    except RowFault as fault:
        kind = fault.kind
    else:
        reply.text.encode()
        assert reply.finish in ("stop", "length")
        return
    assert kind is FaultKind.INVALID_OUTPUT
