"""The Ollama adapter: what it asks, what it accepts as an answer, and what each refusal of the server becomes."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from scorer.config import HostConfig
from scorer.core.task import Reply
from scorer.errors import Fault, FaultKind, HostFault, HostUnusable, RowFault, UnclearFault
from scorer.hosts.base import Frame, Loaded, Request
from scorer.hosts.http import Http
from scorer.hosts.ollama import MIN_VERSION, OllamaHost, Version

pytestmark = pytest.mark.anyio

SCHEMA = {"type": "object", "properties": {"score": {"type": "integer", "minimum": 1, "maximum": 10}}}
FRAME = Frame(model="qwen2.5-coder:7b", system="the rubric", schema=SCHEMA, num_ctx=4096)
REQUEST = Request(frame=FRAME, user="the row", num_predict=96, seed=3)
DIGEST = "ab" * 32
DONE: dict[str, Any] = {
    "model": "qwen2.5-coder:7b",
    "created_at": "2026-11-21T03:00:00Z",
    "message": {"role": "assistant", "content": '{"score": 7}'},
    "done": True,
    "done_reason": "stop",
    "total_duration": 2_000_000_000,
    "load_duration": 100_000_000,
    "prompt_eval_count": 512,
    "prompt_eval_duration": 640_000_000,
    "eval_count": 9,
    "eval_duration": 225_000_000,
}

Respond = Callable[[httpx.Request], httpx.Response]


class Script:
    """A server by the book: what it answers to each path, and what it was asked."""

    def __init__(self, **answers: httpx.Response | dict[str, Any]) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.answers: dict[str, httpx.Response | dict[str, Any]] = {
            "version": {"version": "0.30.11"},
            "tags": {"models": [{"name": "qwen2.5-coder:7b", "digest": DIGEST}]},
            "ps": {"models": []},
            "chat": DONE,
            **answers,
        }

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/")
        self.asked.append((path, json.loads(request.content) if request.content else None))
        answer = self.answers[path]
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)


def host(respond: Respond, *, allow_cloud: bool = False) -> OllamaHost:
    config = HostConfig(name="p40", url="http://p40:11434", allow_cloud=allow_cloud)
    return OllamaHost(config, Http(config, httpx.MockTransport(respond)))


def answering(status: int, body: str | bytes | dict[str, Any], **headers: str) -> httpx.Response:
    content = json.dumps(body).encode() if isinstance(body, dict) else body
    return httpx.Response(status, content=content, headers={k.replace("_", "-"): v for k, v in headers.items()})


async def fault_of(chat: httpx.Response | dict[str, Any]) -> Fault:
    with pytest.raises(Fault) as caught:
        await host(Script(chat=chat)).generate(REQUEST)
    return caught.value


async def test_a_row_is_asked_for_exactly_as_recommended_and_nothing_else() -> None:
    script = Script()
    await host(script).generate(REQUEST)
    assert script.asked == [
        (
            "chat",
            {
                "model": "qwen2.5-coder:7b",
                "messages": [
                    {"role": "system", "content": "the rubric"},
                    {"role": "user", "content": "the row"},
                ],
                "stream": False,
                "format": SCHEMA,
                "think": False,
                "truncate": False,
                "shift": False,
                "keep_alive": "30m",
                "options": {"num_ctx": 4096, "num_predict": 96, "temperature": 0.0, "seed": 3},
            },
        )
    ]


async def test_further_sampling_options_go_with_the_others_and_cannot_replace_them() -> None:
    script = Script()
    request = Request(frame=FRAME, user="the row", num_predict=96, extra={"top_k": 1, "num_ctx": 9})
    await host(script).generate(request)
    assert script.asked[0][1]["options"] == {
        "top_k": 1,
        "num_ctx": 4096,
        "num_predict": 96,
        "temperature": 0.0,
        "seed": 0,
    }


async def test_warming_up_sends_the_rows_load_time_settings_and_no_message() -> None:
    script = Script(chat={**DONE, "message": {"role": "assistant", "content": ""}, "done_reason": "load"})
    adapter = host(script)
    await adapter.warm(FRAME)
    warm = script.asked[0][1]
    script.answers["chat"] = DONE
    await adapter.generate(REQUEST)
    row = script.asked[-1][1]
    assert warm["messages"] == []
    for setting in ("model", "think", "truncate", "shift", "keep_alive", "stream"):
        assert warm[setting] == row[setting]
    assert warm["options"] == {"num_ctx": row["options"]["num_ctx"]}


async def test_a_whole_answer_becomes_a_reply_in_seconds() -> None:
    assert await host(Script()).generate(REQUEST) == Reply(
        text='{"score": 7}',
        finish="stop",
        prompt_tokens=512,
        output_tokens=9,
        prefill_s=0.64,
        decode_s=0.225,
        load_s=0.1,
        reported_prompt_tokens=512,
    )


async def test_metrics_that_are_missing_or_nonsense_are_unknown() -> None:
    bare = {k: v for k, v in DONE.items() if "eval" not in k and "duration" not in k}
    nonsense = {"prompt_eval_count": "many", "eval_count": -1, "eval_duration": None, "load_duration": 1e300}
    for chat in (bare, bare | nonsense):
        reply = await host(Script(chat=chat)).generate(REQUEST)
        assert reply == Reply(text='{"score": 7}', finish="stop")


async def test_a_cut_answer_is_left_to_the_caller_even_if_nothing_came() -> None:
    for content in ('{"sco', ""):
        chat = {**DONE, "done_reason": "length", "message": {"content": content}}
        reply = await host(Script(chat=chat)).generate(REQUEST)
        assert (reply.finish, reply.text) == ("length", content)


async def test_a_version_that_counts_only_uncached_tokens_is_not_believed() -> None:
    for version, counted in (("0.30.0", None), ("0.30.1", 512)):
        adapter = host(Script(version={"version": version}))
        await adapter.probe()
        reply = await adapter.generate(REQUEST)
        assert (reply.prompt_tokens, reply.reported_prompt_tokens) == (counted, 512)


@pytest.mark.parametrize(
    "changes",
    [
        {"done": False},
        {"done": None},
        {"done": "true"},
        {"done_reason": "load"},
        {"done_reason": "unload"},
        {"done_reason": None},
        {"done_reason": ""},
        {"done_reason": "something new"},
        {"done_reason": ["stop"]},
    ],
    ids=repr,
)
async def test_an_answer_that_is_not_whole_is_never_a_reply(changes: dict[str, Any]) -> None:
    fault = await fault_of({**DONE, **changes})
    assert isinstance(fault, RowFault)
    assert (fault.kind, fault.permanent, fault.completion) == (FaultKind.ABORTED_OUTPUT, False, '{"score": 7}')


async def test_an_answer_without_done_reason_is_never_a_reply() -> None:
    fault = await fault_of({k: v for k, v in DONE.items() if k != "done_reason"})
    assert (type(fault), fault.kind) == (RowFault, FaultKind.ABORTED_OUTPUT)


@pytest.mark.parametrize("message", [{"content": ""}, {"content": " \n"}, {"content": None}, {}, None, "text"])
async def test_an_empty_answer_is_invalid_output(message: object) -> None:
    fault = await fault_of({**DONE, "message": message})
    assert isinstance(fault, RowFault)
    assert (fault.kind, fault.permanent) == (FaultKind.INVALID_OUTPUT, False)


async def test_an_empty_answer_says_so_if_the_model_thought_instead() -> None:
    fault = await fault_of({**DONE, "message": {"content": "", "thinking": "hm"}})
    assert "thinking" in fault.message


async def test_another_models_answer_is_refused() -> None:
    fault = await fault_of({**DONE, "model": "llama3:8b"})
    assert (type(fault), fault.kind) == (HostUnusable, FaultKind.WRONG_MODEL)
    assert "llama3:8b" in fault.message


@pytest.mark.parametrize(
    ("asked", "answered"), [("smol", "smol:latest"), ("smol:latest", "smol"), ("Smol:1B", "smol:1b")]
)
async def test_a_model_is_the_same_by_each_of_its_spellings(asked: str, answered: str) -> None:
    frame = Frame(model=asked, system="s", schema=SCHEMA, num_ctx=512)
    adapter = host(Script(chat={**DONE, "model": answered}))
    assert (await adapter.generate(Request(frame=frame, user="u", num_predict=9))).finish == "stop"


async def test_a_port_in_a_registrys_name_is_no_tag() -> None:
    frame = Frame(model="hub.lan:5000/smol", system="s", schema=SCHEMA, num_ctx=512)
    adapter = host(Script(chat={**DONE, "model": "hub.lan:5000/smol:latest"}))
    assert (await adapter.generate(Request(frame=frame, user="u", num_predict=9))).finish == "stop"


@pytest.mark.parametrize("document", [{}, {"ok": True}, {"done": True, "done_reason": "stop"}])
async def test_an_object_that_is_no_chat_answer_is_the_hosts_fault(document: dict[str, Any]) -> None:
    fault = await fault_of(document)
    assert (type(fault), fault.kind) == (HostFault, FaultKind.BAD_BODY)


@pytest.mark.parametrize("trace", [{"remote_host": "https://ollama.com:443"}, {"remote_model": "gpt-oss:120b"}])
async def test_an_answer_from_the_cloud_is_refused_unless_allowed(trace: dict[str, str]) -> None:
    fault = await fault_of({**DONE, **trace})
    assert (type(fault), fault.kind) == (HostUnusable, FaultKind.CLOUD)
    assert "allow_cloud" in fault.message
    assert await host(Script(chat={**DONE, **trace}), allow_cloud=True).generate(REQUEST)


@pytest.mark.parametrize("name", ["gpt-oss:120b-cloud", "kimi:cloud", "Kimi:Cloud", "some-cloud"])
async def test_a_cloud_model_is_refused_before_a_row_is_sent(name: str) -> None:
    frame = Frame(model=name, system="s", schema=SCHEMA, num_ctx=512)
    script = Script(chat={**DONE, "model": name})
    for ask in (host(script).warm(frame), host(script).generate(Request(frame=frame, user="u", num_predict=9))):
        with pytest.raises(HostUnusable) as caught:
            await ask
        assert caught.value.kind is FaultKind.CLOUD
    assert script.asked == []
    allowed = host(script, allow_cloud=True)
    assert (await allowed.generate(Request(frame=frame, user="u", num_predict=9))).finish == "stop"


async def test_a_model_that_the_server_lists_as_remote_is_refused_before_a_row_is_sent() -> None:
    script = Script(tags={"models": [{"name": "qwen2.5-coder:7b", "digest": DIGEST, "remote_host": "https://x"}]})
    adapter = host(script)
    info = await adapter.probe()
    assert info.models[0].remote
    with pytest.raises(HostUnusable) as caught:
        await adapter.generate(REQUEST)
    assert caught.value.kind is FaultKind.CLOUD
    assert [path for path, _ in script.asked] == ["version", "tags"]


async def test_a_probe_reports_version_and_models_with_their_digests() -> None:
    tags = {
        "models": [
            {"name": "a:1b", "digest": DIGEST},
            {"name": "b:1b", "digest": "sha256:" + DIGEST.upper()},
            {"name": "c:cloud", "digest": "short"},
            {"model": "d:1b"},
            {"name": "evil\x1b[2J"},
            "nonsense",
            None,
        ]
    }
    info = await host(Script(tags=tags)).probe()
    assert info.version == "0.30.11"
    assert [(m.name, m.digest, m.remote) for m in info.models] == [
        ("a:1b", DIGEST, False),
        ("b:1b", DIGEST, False),
        ("c:cloud", None, True),
        ("d:1b", None, False),
    ]


@pytest.mark.parametrize("tags", [{}, {"models": None}, {"models": {}}])
async def test_a_server_without_models_has_none(tags: dict[str, Any]) -> None:
    assert (await host(Script(tags=tags)).probe()).models == ()


@pytest.mark.parametrize(
    "version", ["0.12.5", "0.5.7-3-gabcdef", "0.12.6-rc1", "0.0.0", "v0.9.0", "dev", "0.12", "", "zero"]
)
async def test_a_version_that_would_cut_prompts_silently_is_refused(version: str) -> None:
    with pytest.raises(HostUnusable) as caught:
        await host(Script(version={"version": version})).probe()
    assert caught.value.kind is FaultKind.TOO_OLD
    assert "0.12.6" in caught.value.message


@pytest.mark.parametrize("version", ["0.12.6", "v0.30.1", "0.12.7-rc0", "0.13.0", "1.0", "0.12.6-1-gabcdef", "0.34.1"])
async def test_a_version_that_can_refuse_prompts_is_accepted(version: str) -> None:
    assert (await host(Script(version={"version": version})).probe()).version == version


def test_a_release_comes_after_its_candidates() -> None:
    candidate, release = Version.parse("0.12.6-rc9"), Version.parse("0.12.6")
    assert candidate is not None
    assert release is not None
    assert candidate < release == MIN_VERSION


@pytest.mark.parametrize(
    "answer",
    [
        answering(404, "404 page not found"),
        answering(404, {"error": {"message": "File Not Found", "code": 404}}),
        answering(404, "<html>nothing here</html>"),
        answering(405, "method not allowed"),
        answering(200, {"error": "Unexpected endpoint"}),
        answering(200, {"version": 3}),
    ],
    ids=lambda a: f"{a.status_code} {a.text[:20]}",
)
async def test_what_is_no_ollama_is_the_wrong_endpoint(answer: httpx.Response) -> None:
    with pytest.raises(HostUnusable) as caught:
        await host(Script(version=answer)).probe()
    assert caught.value.kind is FaultKind.WRONG_ENDPOINT


async def test_a_warm_up_reports_what_the_model_really_got() -> None:
    running = {
        "models": [
            {"name": "other:1b", "context_length": 2048, "size": 10, "size_vram": 10},
            {"name": "qwen2.5-coder:7b", "context_length": 4096, "size": 8000, "size_vram": 6000},
        ]
    }
    script = Script(ps=running, chat={**DONE, "done_reason": "load", "message": {"content": ""}})
    assert await host(script).warm(FRAME) == Loaded(context=4096, gpu_share=0.75)


@pytest.mark.parametrize(
    "entry",
    [{"name": "qwen2.5-coder:7b"}, {"name": "qwen2.5-coder:7b", "size": 0, "size_vram": 0}, {"name": "x"}, None],
)
async def test_what_the_server_does_not_tell_about_a_loaded_model_is_unknown(entry: object) -> None:
    assert await host(Script(ps={"models": [entry]})).warm(FRAME) == Loaded()


async def test_a_load_that_was_not_done_has_failed() -> None:
    with pytest.raises(HostFault) as caught:
        await host(Script(chat={**DONE, "done": False})).warm(FRAME)
    assert caught.value.kind is FaultKind.LOAD_FAILED


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (answering(400, {"error": "something odd"}), FaultKind.REFUSED_OPTIONS),
        (answering(500, {"error": "something odd"}), FaultKind.SERVER_ERROR),
        (answering(404, {"error": "model 'm' not found"}), FaultKind.MODEL_MISSING),
        (answering(500, {"error": "model requires more system memory (9 GiB)"}), FaultKind.LOAD_FAILED),
    ],
)
async def test_a_warm_up_blames_the_host_since_there_is_no_row(answer: httpx.Response, kind: FaultKind) -> None:
    with pytest.raises(HostFault) as caught:
        await host(Script(chat=answer)).warm(FRAME)
    assert caught.value.kind is kind


async def test_being_alive_costs_one_small_question() -> None:
    script = Script()
    await host(script).alive()
    assert [path for path, _ in script.asked] == ["version"]


async def test_a_server_that_is_down_is_not_alive() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(HostFault) as caught:
        await host(refuse).alive()
    assert (caught.value.kind, caught.value.sent) == (FaultKind.UNREACHABLE, False)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (answering(503, {"error": "server busy"}), FaultKind.BUSY),
        (answering(401, "who are you"), FaultKind.UNAUTHORISED),
        (answering(502, "<html>"), FaultKind.GATEWAY),
        (answering(400, {"error": "odd"}), FaultKind.REFUSED_OPTIONS),
        (answering(500, {"error": "odd"}), FaultKind.SERVER_ERROR),
    ],
    ids=lambda value: str(value.status_code) if isinstance(value, httpx.Response) else None,
)
async def test_a_server_that_answers_with_an_error_is_not_alive(answer: httpx.Response, kind: FaultKind) -> None:
    with pytest.raises(HostFault) as caught:
        await host(Script(version=answer)).alive()
    assert caught.value.kind is kind


async def test_a_connection_lost_while_generating_is_unclear() -> None:
    def lose(request: httpx.Request) -> httpx.Response:
        raise httpx.RemoteProtocolError("server disconnected", request=request)

    with pytest.raises(UnclearFault) as caught:
        await host(lose).generate(REQUEST)
    assert (caught.value.kind, caught.value.sent) == (FaultKind.DROPPED, True)


async def test_an_error_in_the_last_line_of_a_stream_counts_and_the_text_before_it_does_not() -> None:
    lines = json.dumps({**DONE, "done": False}) + "\n" + json.dumps({"error": "token repeat limit reached"}) + "\n"
    fault = await fault_of(answering(200, lines, content_type="application/x-ndjson"))
    assert (type(fault), fault.kind) == (RowFault, FaultKind.ABORTED_OUTPUT)


@pytest.mark.parametrize("body", ["garbage", '{"done": tr', "null", '{"a":1}\n[', ""])
async def test_garbage_is_the_hosts_fault(body: str) -> None:
    fault = await fault_of(answering(200, body))
    assert (type(fault), fault.kind) == (HostFault, FaultKind.BAD_BODY)


async def test_halves_of_surrogate_pairs_do_not_get_through() -> None:
    chat = answering(200, {**DONE, "message": {"content": '{"reason": "\ud83d"}'}})
    reply = await host(Script(chat=chat)).generate(REQUEST)
    assert reply.text == '{"reason": "�"}'


async def test_free_text_with_stop_texts_and_log_probabilities_asks_for_just_that() -> None:
    script = Script()
    frame = Frame(model="qwen2.5-coder:7b", system="", schema=None, num_ctx=512)
    await host(script).generate(Request(frame, "the row", num_predict=1, stop=("\n", "###"), top_logprobs=5))
    body = script.asked[0][1]
    assert "format" not in body
    assert body["messages"] == [{"role": "user", "content": "the row"}]
    assert (body["logprobs"], body["top_logprobs"]) == (True, 5)
    assert body["options"] == {"num_ctx": 512, "num_predict": 1, "temperature": 0.0, "seed": 0, "stop": ["\n", "###"]}


async def test_the_first_tokens_candidates_come_with_the_reply() -> None:
    listed = [{"token": "The", "logprob": -1.26, "bytes": [84, 104, 101]}, {"token": "A", "logprob": -1.46}]
    chat = {
        **DONE,
        "logprobs": [{"token": "A", "logprob": -1.46, "top_logprobs": listed}, {"token": ".", "logprob": 0}],
    }
    reply = await host(Script(chat=chat)).generate(REQUEST)
    assert reply.first_token == (("The", -1.26), ("A", -1.46))


async def test_an_empty_answer_is_one_where_free_text_is_asked_for_unless_the_model_only_thought() -> None:
    request = Request(Frame("qwen2.5-coder:7b", "", None, 512), "the row", num_predict=9)
    reply = await host(Script(chat={**DONE, "message": {"content": ""}})).generate(request)
    assert (reply.text, reply.finish) == ("", "stop")
    with pytest.raises(RowFault, match="thinking"):
        await host(Script(chat={**DONE, "message": {"content": "", "thinking": "hm"}})).generate(request)
