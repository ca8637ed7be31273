"""The OpenAI-style adapter, against answers that llama.cpp's server really gave, and some of its relatives'."""

import json
from typing import Any

import httpx
import pytest

from scorer.config import HostConfig
from scorer.core.task import Reply
from scorer.errors import Fault, FaultKind, HostFault, HostUnusable, RowFault, UnclearFault
from scorer.hosts.base import Frame, Loaded, Request
from scorer.hosts.http import Http
from scorer.hosts.openai import OpenAIHost

pytestmark = pytest.mark.anyio

SCHEMA = {"type": "object", "properties": {"score": {"type": "integer", "minimum": 1, "maximum": 10}}}
FRAME = Frame(model="llama-13b-q4", system="the rubric", schema=SCHEMA, num_ctx=4096)
REQUEST = Request(frame=FRAME, user="the row", num_predict=96, seed=3)
DIGEST = "cd" * 32
PROPS = {"default_generation_settings": {"n_ctx": 4096}, "total_slots": 2, "build_info": "b10488-abc"}
DONE: dict[str, Any] = {
    "choices": [
        {"finish_reason": "stop", "index": 0, "message": {"role": "assistant", "content": '{"score": 1}'}},
    ],
    "model": "whatever.gguf",
    "usage": {"completion_tokens": 24, "prompt_tokens": 34, "total_tokens": 58},
    "timings": {"cache_n": 0, "prompt_n": 34, "prompt_ms": 230.0, "predicted_n": 24, "predicted_ms": 486.0},
}
NOT_FOUND = httpx.Response(404, json={"error": {"message": "File Not Found", "type": "not_found_error", "code": 404}})

Answer = httpx.Response | dict[str, Any]


class Script:
    """llama.cpp's server by the book; other servers by leaving things out."""

    def __init__(self, answers: dict[str, Answer] | None = None) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.answers: dict[str, Answer] = {
            "/health": {"status": "ok"},
            "/v1/models": {"object": "list", "data": [{"id": "llama-13b-q4", "object": "model"}]},
            "/props": PROPS,
            "/v1/chat/completions": DONE,
            **(answers or {}),
        }

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((request.url.path, json.loads(request.content) if request.content else None))
        answer = self.answers.get(request.url.path, NOT_FOUND)
        if isinstance(answer, httpx.Response):
            return httpx.Response(answer.status_code, content=answer.content, headers=answer.headers)
        return httpx.Response(200, json=answer)


def host(script: Script) -> OpenAIHost:
    config = HostConfig(name="cluster", url="http://cluster:8080", api="openai", model_digest=DIGEST)
    return OpenAIHost(config, Http(config, httpx.MockTransport(script)))


def failing(status: int, message: str, kind: str = "invalid_request_error", **details: object) -> httpx.Response:
    return httpx.Response(status, json={"error": {"code": status, "message": message, "type": kind, **details}})


async def fault_of(chat: Answer) -> Fault:
    with pytest.raises(Fault) as caught:
        await host(Script({"/v1/chat/completions": chat})).generate(REQUEST)
    return caught.value


async def test_llama_cpp_is_asked_with_its_own_extras() -> None:
    script = Script()
    adapter = host(script)
    await adapter.probe()
    await adapter.generate(REQUEST)
    assert script.asked[-1] == (
        "/v1/chat/completions",
        {
            "model": "llama-13b-q4",
            "messages": [{"role": "system", "content": "the rubric"}, {"role": "user", "content": "the row"}],
            "stream": False,
            "max_tokens": 96,
            "temperature": 0.0,
            "seed": 3,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA},
            },
            "chat_template_kwargs": {"enable_thinking": False},
            "cache_prompt": True,
        },
    )


async def test_others_are_asked_nothing_they_may_not_know() -> None:
    script = Script({"/props": NOT_FOUND})
    adapter = host(script)
    await adapter.probe()
    await adapter.generate(REQUEST)
    assert not {"chat_template_kwargs", "cache_prompt", "reasoning_effort"} & script.asked[-1][1].keys()


async def test_a_level_of_thinking_is_an_effort() -> None:
    script = Script()
    frame = Frame(model="m", system="s", schema=SCHEMA, num_ctx=512, think="low")
    adapter = host(script)
    await adapter.probe()
    await adapter.generate(Request(frame=frame, user="u", num_predict=9))
    assert script.asked[-1][1]["reasoning_effort"] == "low"
    assert "chat_template_kwargs" not in script.asked[-1][1]


async def test_a_whole_answer_becomes_a_reply_in_seconds() -> None:
    assert await host(Script()).generate(REQUEST) == Reply(
        text='{"score": 1}', finish="stop", prompt_tokens=34, output_tokens=24, prefill_s=0.23, decode_s=0.486
    )


async def test_an_answer_without_figures_is_a_reply_all_the_same() -> None:
    reply = await host(Script({"/v1/chat/completions": {"choices": DONE["choices"], "usage": None}})).generate(REQUEST)
    assert reply == Reply(text='{"score": 1}', finish="stop")


async def test_a_cut_answer_is_left_to_the_caller() -> None:
    chat = {**DONE, "choices": [{"finish_reason": "length", "message": {"content": '{"sc'}}]}
    reply = await host(Script({"/v1/chat/completions": chat})).generate(REQUEST)
    assert (reply.finish, reply.text) == ("length", '{"sc')


@pytest.mark.parametrize("finish", [None, "", "content_filter", "tool_calls", ["stop"]], ids=repr)
async def test_an_answer_that_is_not_whole_is_never_a_reply(finish: object) -> None:
    fault = await fault_of({"choices": [{"finish_reason": finish, "message": {"content": "text"}}]})
    assert isinstance(fault, RowFault)
    assert (fault.kind, fault.completion) == (FaultKind.ABORTED_OUTPUT, "text")


@pytest.mark.parametrize("message", [{"content": ""}, {"content": None, "reasoning_content": "hm"}, None])
async def test_an_empty_answer_is_invalid_output(message: object) -> None:
    fault = await fault_of({"choices": [{"finish_reason": "stop", "message": message}]})
    assert (type(fault), fault.kind) == (RowFault, FaultKind.INVALID_OUTPUT)
    assert ("reasoning" in fault.message) == (isinstance(message, dict) and "reasoning_content" in message)


@pytest.mark.parametrize("document", [{}, {"choices": []}, {"choices": None}, {"choices": ["text"]}], ids=repr)
async def test_an_object_that_is_no_chat_answer_is_the_hosts_fault(document: dict[str, Any]) -> None:
    fault = await fault_of(document)
    assert (type(fault), fault.kind) == (HostFault, FaultKind.BAD_BODY)


@pytest.mark.parametrize(
    ("answer", "blame", "kind"),
    [
        (failing(400, "unrecognized type in JSON schema"), HostUnusable, FaultKind.REFUSED_OPTIONS),
        (failing(400, "Field 'temperature': type must be number"), HostUnusable, FaultKind.REFUSED_OPTIONS),
        (failing(400, "This model's maximum context length is 4096 tokens."), RowFault, FaultKind.CONTEXT_OVERFLOW),
        (failing(400, "something odd"), RowFault, FaultKind.BAD_REQUEST),
        (failing(401, "Invalid API Key"), HostUnusable, FaultKind.UNAUTHORISED),
        (failing(404, "The model `x` does not exist."), HostUnusable, FaultKind.MODEL_MISSING),
        (failing(404, "No instance found for model x"), HostFault, FaultKind.LOAD_FAILED),
        (failing(404, "File Not Found"), HostUnusable, FaultKind.WRONG_ENDPOINT),
        (httpx.Response(404, text="not here"), HostUnusable, FaultKind.WRONG_ENDPOINT),
        (httpx.Response(405, text="no"), HostUnusable, FaultKind.WRONG_ENDPOINT),
        (failing(500, "Failed to parse input at pos 4: the grammar of"), RowFault, FaultKind.PARSER_ERROR),
        (failing(500, "Failed to parse input at pos 4: context_length_exceeded"), RowFault, FaultKind.PARSER_ERROR),
        (failing(500, "something odd"), UnclearFault, FaultKind.SERVER_ERROR),
        (failing(503, "Loading model"), HostFault, FaultKind.BUSY),
        (httpx.Response(429, text="slow down"), HostFault, FaultKind.BUSY),
        (httpx.Response(502, text="<html>"), HostFault, FaultKind.GATEWAY),
        (httpx.Response(200, text="<html>hello</html>"), HostFault, FaultKind.GATEWAY),
        (httpx.Response(200, text=""), HostFault, FaultKind.BAD_BODY),
        (httpx.Response(200, json={"error": "it broke"}), UnclearFault, FaultKind.SERVER_ERROR),
    ],
    ids=lambda value: value.text[:40] if isinstance(value, httpx.Response) else None,
)
async def test_each_error_is_blamed_on_whoever_is_to_blame(
    answer: httpx.Response, blame: type, kind: FaultKind
) -> None:
    fault = await fault_of(answer)
    assert (type(fault), fault.kind) == (blame, kind)


async def test_an_overflow_records_the_prompt_and_the_limit() -> None:
    text = "request (3030 tokens) exceeds the available context size (1024 tokens), try increasing it"
    fault = await fault_of(failing(400, text, "exceed_context_size_error", n_prompt_tokens=3030, n_ctx=1024))
    assert isinstance(fault, RowFault)
    assert (fault.kind, fault.message) == (FaultKind.CONTEXT_OVERFLOW, "prompt of 3030 tokens, context 1024")


async def test_ollama_behind_this_door_is_refused_with_the_way_out() -> None:
    with pytest.raises(HostUnusable) as caught:
        await host(Script({"/api/version": {"version": "0.30.1"}})).probe()
    assert caught.value.kind is FaultKind.WRONG_ENDPOINT
    assert 'drop the line api = "openai"' in caught.value.message


async def test_a_server_that_answers_200_to_everything_is_not_taken_for_ollama() -> None:
    info = await host(Script({"/api/version": {"error": "Unexpected endpoint"}})).probe()
    assert [m.name for m in info.models] == ["llama-13b-q4"]


async def test_a_probe_reports_the_models_with_the_digest_that_was_promised() -> None:
    info = await host(Script()).probe()
    assert info.version == "b10488-abc"
    assert [(m.name, m.digest) for m in info.models] == [("llama-13b-q4", DIGEST)]


async def test_what_is_no_such_api_is_the_wrong_endpoint() -> None:
    with pytest.raises(HostUnusable) as caught:
        await host(Script({"/v1/models": NOT_FOUND})).probe()
    assert caught.value.kind is FaultKind.WRONG_ENDPOINT


async def test_warming_up_reports_context_and_slots_of_llama_cpp() -> None:
    assert await host(Script()).warm(FRAME) == Loaded(context=4096, slots=2)


async def test_warming_up_reports_the_context_that_the_list_of_models_gives() -> None:
    models = {"data": [{"id": "llama-13b-q4", "max_model_len": 8192}, {"id": None}, 7]}
    assert await host(Script({"/props": NOT_FOUND, "/v1/models": models})).warm(FRAME) == Loaded(context=8192)


async def test_a_server_that_is_still_loading_is_busy() -> None:
    with pytest.raises(HostFault) as caught:
        await host(Script({"/health": failing(503, "Loading model", "unavailable_error")})).alive()
    assert caught.value.kind is FaultKind.BUSY


async def test_a_server_without_a_health_page_is_alive_if_it_lists_models() -> None:
    script = Script({"/health": NOT_FOUND})
    await host(script).alive()
    assert [path for path, _ in script.asked] == ["/health", "/v1/models"]
