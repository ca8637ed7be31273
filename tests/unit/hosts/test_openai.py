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
            "/v1/models": {"object": "list", "data": [{"id": "llama-13b-q4", "owned_by": "llamacpp"}]},
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


@pytest.mark.parametrize(
    ("owner", "extra"),
    [
        ("llamacpp", {"chat_template_kwargs": {"enable_thinking": False}, "cache_prompt": True}),
        ("vllm", {"chat_template_kwargs": {"enable_thinking": False}}),
        ("sglang", {"chat_template_kwargs": {"enable_thinking": False}}),
        ("exo", {"enable_thinking": False}),
        ("organization_owner", {}),
        ("somebody", {}),
        (None, {}),
        (["vllm"], {}),
    ],
)
async def test_thinking_is_switched_off_as_each_server_understands_and_others_are_asked_nothing_more(
    owner: object, extra: dict[str, object]
) -> None:
    models = {"data": [{"id": "llama-13b-q4", "owned_by": owner}]}
    script = Script({"/props": NOT_FOUND, "/v1/models": models})
    adapter = host(script)
    await adapter.probe()
    await adapter.generate(REQUEST)
    common = {"model", "messages", "stream", "max_tokens", "temperature", "seed", "response_format"}
    assert {key: value for key, value in script.asked[-1][1].items() if key not in common} == extra


async def test_free_text_with_stop_texts_and_log_probabilities_asks_for_just_that() -> None:
    script = Script({"/props": NOT_FOUND, "/v1/models": {"data": []}})
    frame = Frame(model="m", system="", schema=None, num_ctx=512)
    await host(script).generate(Request(frame, "the row", num_predict=1, stop=("\n", "###"), top_logprobs=5))
    assert script.asked[-1][1] == {
        "model": "m",
        "messages": [{"role": "user", "content": "the row"}],
        "stream": False,
        "max_tokens": 1,
        "temperature": 0.0,
        "seed": 0,
        "stop": ["\n", "###"],
        "logprobs": True,
        "top_logprobs": 5,
    }


async def test_the_first_tokens_candidates_come_with_the_reply() -> None:
    listed = [{"token": "The", "logprob": -1.26}, {"token": "A", "logprob": -1.46}]
    content = [{"token": "A", "logprob": -1.46, "top_logprobs": listed}, {"token": ".", "logprob": -0.9}]
    chat = {"choices": [{**DONE["choices"][0], "logprobs": {"content": content}}]}
    reply = await host(Script({"/v1/chat/completions": chat})).generate(REQUEST)
    assert reply.first_token == (("The", -1.26), ("A", -1.46))


async def test_an_empty_answer_is_one_where_free_text_is_asked_for_unless_the_model_only_thought() -> None:
    request = Request(Frame("m", "", None, 512), "the row", num_predict=9)
    chat = {"choices": [{"finish_reason": "stop", "message": {"content": ""}}]}
    assert (await host(Script({"/v1/chat/completions": chat})).generate(request)).text == ""
    chat = {"choices": [{"finish_reason": "stop", "message": {"content": "", "reasoning": "hm"}}]}
    with pytest.raises(RowFault, match="reasoning"):
        await host(Script({"/v1/chat/completions": chat})).generate(request)


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
        (httpx.Response(200, text=""), UnclearFault, FaultKind.DROPPED),
        (httpx.Response(200, text="nonsense"), HostFault, FaultKind.BAD_BODY),
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


async def test_warming_up_tries_the_runs_own_options_on_one_token() -> None:
    script = Script()
    await host(script).warm(FRAME)
    tried = next(body for path, body in script.asked if path == "/v1/chat/completions")
    assert tried["max_tokens"] == 1
    assert tried["messages"][0] == {"role": "system", "content": "the rubric"}
    assert tried["response_format"]["json_schema"]["schema"] == SCHEMA
    assert tried["chat_template_kwargs"] == {"enable_thinking": False}


@pytest.mark.parametrize(
    ("chat", "blame", "kind"),
    [
        (failing(404, "No instance found for model x"), HostFault, FaultKind.LOAD_FAILED),
        (failing(400, "JSON schema error at #: unrecognized type wat"), HostUnusable, FaultKind.REFUSED_OPTIONS),
        (failing(400, "System role not supported"), HostUnusable, FaultKind.REFUSED_OPTIONS),
        (failing(400, "request (900 tokens) exceeds the context size (512 tokens)"), HostUnusable, None),
        (httpx.Response(200, json={"error": "No models loaded. Please load one"}), HostFault, FaultKind.LOAD_FAILED),
        ({"object": "chat.completion"}, HostFault, FaultKind.BAD_BODY),
        (httpx.Response(500, text="Internal Server Error"), HostFault, FaultKind.SERVER_ERROR),
    ],
)
async def test_what_a_row_would_fail_on_fails_the_warm_up_and_is_the_hosts_fault(
    chat: Answer, blame: type, kind: FaultKind | None
) -> None:
    with pytest.raises(HostFault) as caught:
        await host(Script({"/v1/chat/completions": chat})).warm(FRAME)
    assert (type(caught.value), caught.value.kind) == (blame, kind or FaultKind.REFUSED_OPTIONS)


async def test_warming_up_waits_while_the_server_says_that_it_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scorer.hosts.openai.LOADING_POLL_S", 0)
    script = Script()
    loading = iter([failing(503, "Loading model", "unavailable_error")] * 3)

    def respond(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/health" and (answer := next(loading, None)):
            return answer
        return script(request)

    config = HostConfig(name="cluster", url="http://cluster:8080", api="openai")
    assert await OpenAIHost(config, Http(config, httpx.MockTransport(respond))).warm(FRAME) == Loaded(4096, slots=2)


async def test_a_503_that_does_not_speak_of_loading_is_not_waited_for() -> None:
    with pytest.raises(HostFault) as caught:
        await host(Script({"/health": failing(503, "engine is gone")})).warm(FRAME)
    assert caught.value.kind is FaultKind.BUSY


@pytest.mark.parametrize(
    ("entry", "context"),
    [
        ({"max_model_len": 8192}, 8192),
        ({"owned_by": "llamacpp", "meta": {"n_ctx": 2048, "n_ctx_train": 131072}}, 2048),
        ({"owned_by": "exo", "context_length": 0}, None),
        ({"owned_by": "exo", "context_length": 32768}, 32768),
        ({"meta": None, "max_model_len": "many"}, None),
        ({}, None),
    ],
    ids=str,
)
async def test_warming_up_reports_the_context_that_the_list_of_models_gives(
    entry: dict[str, object], context: int | None
) -> None:
    models = {"data": [{"id": "other", "max_model_len": 77}, {"id": "llama-13b-q4", **entry}, {"id": None}, 7]}
    assert await host(Script({"/props": NOT_FOUND, "/v1/models": models})).warm(FRAME) == Loaded(context=context)


async def test_lm_studios_own_list_tells_the_context_once_the_model_is_loaded() -> None:
    listed = {"data": [{"id": "llama-13b-q4", "owned_by": "organization_owner"}]}
    own = {"data": [{"id": "llama-13b-q4", "state": "loaded", "loaded_context_length": 4096, "max_context_length": 9}]}
    unknown = {"error": "Unexpected endpoint or method. (GET /health)"}
    script = Script({"/health": unknown, "/props": unknown, "/v1/models": listed, "/api/v0/models": own})
    assert await host(script).warm(FRAME) == Loaded(context=4096)
    paths = [path for path, _ in script.asked]
    assert paths.index("/v1/chat/completions") < paths.index("/api/v0/models")


async def test_a_model_that_lm_studio_has_on_its_disk_only_is_not_loaded_and_nothing_is_asked_of_it() -> None:
    listed = {"data": [{"id": "llama-13b-q4", "owned_by": "organization_owner"}]}
    own = {"data": [{"id": "llama-13b-q4", "state": "not-loaded", "max_context_length": 9}]}
    script = Script({"/props": NOT_FOUND, "/v1/models": listed, "/api/v0/models": own})
    assert await host(script).loaded("llama-13b-q4") is None
    assert "/v1/chat/completions" not in [path for path, _ in script.asked]


@pytest.mark.parametrize("own", [NOT_FOUND, {"data": None}, httpx.Response(200, text="[]")])
async def test_an_lm_studio_without_that_list_has_an_unknown_context(own: Answer) -> None:
    listed = {"data": [{"id": "llama-13b-q4", "owned_by": "organization_owner"}]}
    script = Script({"/props": NOT_FOUND, "/v1/models": listed, "/api/v0/models": own})
    assert await host(script).warm(FRAME) == Loaded()


@pytest.mark.parametrize(
    ("owner", "answers", "version"),
    [
        ("vllm", {"/version": {"version": "0.11.0"}}, "vLLM 0.11.0"),
        ("vllm", {"/version": {"version": 7}}, "vLLM"),
        ("vllm", {}, "vLLM"),
        ("exo", {}, "exo"),
        ("organization_owner", {}, "LM Studio"),
        ("somebody", {"/v1/models": httpx.Response(200, json={"data": []}, headers={"server": "uvicorn"})}, "uvicorn"),
        ("somebody", {}, "unknown"),
        ("llamacpp", {"/props": {"total_slots": 1}}, "llama.cpp"),
    ],
)
async def test_a_probe_says_which_server_it_is_and_its_version_where_there_is_one(
    owner: str, answers: dict[str, Answer], version: str
) -> None:
    models = {"data": [{"id": "m", "owned_by": owner}]}
    script = Script({"/props": NOT_FOUND, "/v1/models": models, **answers})
    assert (await host(script).probe()).version == version


async def test_a_wrong_path_is_the_wrong_endpoint_even_where_the_server_answers_200_to_it() -> None:
    unknown = {"error": "Unexpected endpoint or method. (GET /lan/v1/models)"}
    with pytest.raises(HostUnusable) as caught:
        await host(Script({"/v1/models": unknown})).probe()
    assert caught.value.kind is FaultKind.WRONG_ENDPOINT
    fault = await fault_of({"error": "Unexpected endpoint or method. (POST /lan/v1/chat/completions)"})
    assert (type(fault), fault.kind) == (HostUnusable, FaultKind.WRONG_ENDPOINT)


async def test_a_server_that_is_still_loading_is_busy() -> None:
    with pytest.raises(HostFault) as caught:
        await host(Script({"/health": failing(503, "Loading model", "unavailable_error")})).alive()
    assert caught.value.kind is FaultKind.BUSY


async def test_a_server_without_a_health_page_is_alive_if_it_lists_models() -> None:
    script = Script({"/health": NOT_FOUND})
    await host(script).alive()
    assert [path for path, _ in script.asked] == ["/health", "/v1/models"]


async def test_lm_studio_is_alive_though_it_knows_no_health_page() -> None:
    script = Script({"/health": {"error": "Unexpected endpoint or method. (GET /health)"}})
    await host(script).alive()
    assert [path for path, _ in script.asked] == ["/health", "/v1/models"]


VLLM = "This model's maximum context length is 16384 tokens. However, "
LM_STUDIO = (
    "Trying to keep the first 6269 tokens when context the overflows. However, the model is loaded with context length "
    "of only 4096 tokens, which is not enough."
)


@pytest.mark.parametrize(
    ("answer", "prompt", "limit"),
    [
        (
            failing(400, VLLM + "you requested 20000 tokens (19904 in the messages, 96 in the completion)."),
            19904,
            16384,
        ),
        (failing(400, VLLM + "your request has 20000 input tokens. Please reduce the length"), 20000, 16384),
        (
            failing(400, VLLM + "you requested 96 output tokens and your prompt contains at least 16289 input tokens"),
            16289,
            16384,
        ),
        (failing(400, VLLM + "your messages resulted in 17000 tokens."), 17000, 16384),
        (
            failing(
                400,
                "'max_tokens' or 'max_completion_tokens' is too large: 96. This model's maximum context length is 4096 "
                "tokens and your request has 4050 input tokens (96 > 4096 - 4050).",
            ),
            4050,
            4096,
        ),
        (
            httpx.Response(
                400, json={"object": "error", "message": VLLM + "your request has 20000 input tokens", "code": 400}
            ),
            20000,
            16384,
        ),
        (failing(400, "The decoder prompt (length 5000) is longer than the maximum model length of 4096."), 5000, 4096),
        (httpx.Response(400, json={"error": LM_STUDIO}), 6269, 4096),
        (httpx.Response(200, json={"error": LM_STUDIO}), 6269, 4096),
        (failing(400, "Prompt tokens (9000) exceeds context size (8192)", "context_exceeded"), 9000, 8192),
    ],
    ids=lambda value: value.text[-60:] if isinstance(value, httpx.Response) else None,
)
async def test_every_servers_refusal_of_a_long_prompt_is_understood_with_its_numbers(
    answer: httpx.Response, prompt: int, limit: int
) -> None:
    fault = await fault_of(answer)
    assert isinstance(fault, RowFault)
    assert (fault.kind, fault.permanent) == (FaultKind.CONTEXT_OVERFLOW, True)
    room = "" if prompt >= limit else ": too little room for the answer"
    assert fault.message == f"prompt of {prompt} tokens, context {limit}{room}"


@pytest.mark.parametrize(
    ("answer", "blame", "kind"),
    [
        (failing(400, "max_tokens must be at least 1, got -186."), RowFault, FaultKind.CONTEXT_OVERFLOW),
        (httpx.Response(200, json={"error": "Context size has been exceeded."}), RowFault, FaultKind.CONTEXT_OVERFLOW),
        # of llama.cpp, whose slots may share their memory: this row or another one has filled it
        (failing(500, "Context size has been exceeded."), UnclearFault, FaultKind.SERVER_ERROR),
        (failing(400, "The model has crashed without additional information."), UnclearFault, FaultKind.SERVER_ERROR),
        (failing(400, "Error in channel: Channel Error"), UnclearFault, FaultKind.SERVER_ERROR),
        (failing(500, "EngineDeadError"), UnclearFault, FaultKind.SERVER_ERROR),
        (failing(400, "Failed to load model: insufficient system resources"), HostFault, FaultKind.LOAD_FAILED),
        (failing(400, "Model was unloaded while the request was still in queue"), HostFault, FaultKind.LOAD_FAILED),
        (failing(400, "Invalid model identifier", code="model_not_found"), HostUnusable, FaultKind.MODEL_MISSING),
        (httpx.Response(404, json={"detail": "No instance found for model x"}), HostFault, FaultKind.LOAD_FAILED),
        (httpx.Response(404, json={"detail": "Not Found"}), HostUnusable, FaultKind.WRONG_ENDPOINT),
        (httpx.Response(401, json={"error": "Unauthorized"}), HostUnusable, FaultKind.UNAUTHORISED),
        (
            httpx.Response(422, json={"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}),
            HostUnusable,
            FaultKind.REFUSED_OPTIONS,
        ),
        (httpx.Response(499, text=""), HostFault, FaultKind.GATEWAY),
        (httpx.Response(504, text="<html>"), HostFault, FaultKind.GATEWAY),
        (httpx.Response(500, text="Internal Server Error"), UnclearFault, FaultKind.SERVER_ERROR),
    ],
    ids=lambda value: value.text[:70] if isinstance(value, httpx.Response) else None,
)
async def test_each_servers_words_are_understood(answer: httpx.Response, blame: type, kind: FaultKind) -> None:
    fault = await fault_of(answer)
    assert (type(fault), fault.kind) == (blame, kind)


@pytest.mark.parametrize("words", ["grammar", "No models loaded", "model x not found", "maximum context length"])
@pytest.mark.parametrize(
    "document",
    [
        {"detail": [{"loc": ["body", "messages"], "msg": "Value error", "ctx": {"given": "{}"}, "input": "{}"}]},
        {"error": {"message": "1 validation error: {{'msg': 'Value error', 'input': '{}'}}", "code": 400}},
        {"error": {"message": "Failed to parse input at pos 4: {}", "code": 500}},
        {"error": {"message": "error parsing tool call: {}"}},
    ],
)
async def test_no_words_of_a_row_or_a_model_get_a_host_left_out(document: dict[str, Any], words: str) -> None:
    """All of these quote what was sent or what the model said, which a hostile row can choose."""
    fault = await fault_of(httpx.Response(400, json=json.loads(json.dumps(document).replace("{}", words))))
    assert isinstance(fault, RowFault)
    assert fault.kind in (FaultKind.BAD_REQUEST, FaultKind.PARSER_ERROR)
