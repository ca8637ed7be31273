"""Every fault of the double as a client meets it, what each era does with a long prompt, and the answers' schema."""

import json
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest
from doubles.ollama import KINDS, Model, OllamaDouble, Spec, expected_answer, prompt_tokens
from hypothesis import given
from hypothesis import strategies as st

SCHEMA = {
    "type": "object",
    "properties": {
        "score": {"type": "integer", "minimum": 1, "maximum": 10},
        "reason": {"type": "string", "maxLength": 200},
    },
}
EXPECTED = expected_answer("row", SCHEMA)


def body(text: str = "row", **more: object) -> dict[str, Any]:
    messages = [{"role": "system", "content": "rubric"}, {"role": "user", "content": text}]
    document = {"model": "llama3.2:3b", "messages": messages, "stream": False, "format": SCHEMA}
    return document | {"options": {"num_ctx": 4096}, "truncate": False} | more


def ask(spec: Spec, document: dict[str, Any] | None = None) -> tuple[httpx.Response, OllamaDouble]:
    with OllamaDouble(spec) as double, httpx.Client(base_url=double.url, timeout=30, trust_env=False) as client:
        return client.post("/api/chat", json=document or body()), double


def always(fault: str) -> Callable[[int, object], str]:
    return lambda _number, _body: fault


def read_until_reset(raw: socket.socket) -> bytes:
    received = b""
    try:
        while part := raw.recv(65536):
            received += part
    except ConnectionResetError:
        return received
    pytest.fail("closed in order")


def ask_with(fault: str, **more: object) -> tuple[httpx.Response, OllamaDouble]:
    return ask(Spec(fault_for=always(fault)), body() | more)


@pytest.mark.parametrize(
    ("fault", "status", "text"),
    [
        ("fast_500", 500, "something went wrong"),
        ("busy_503", 503, "server busy"),
        ("limited_429", 429, "too many"),
        ("html_502", 502, "<html>"),
        ("html_504", 504, "<html>"),
        ("redirect", 307, ""),
        ("load_failed", 500, "model requires more system memory"),
        ("server_error", 500, "model runner has unexpectedly stopped"),
        ("cuda_error", 500, "CUDA error"),
        ("parser_error", 500, "error parsing tool call"),
    ],
)
def test_a_refusing_fault_has_its_status_and_text(fault: str, status: int, text: str) -> None:
    reply, double = ask_with(fault)
    assert reply.status_code == status
    assert text in reply.text
    record = double.generations[0]
    assert (record.fault, record.outcome, record.sound) == (fault, "refused", False)


def test_a_busy_server_says_when_to_come_back() -> None:
    reply, _ = ask_with("busy_503")
    assert reply.headers["retry-after"] == "1"


@pytest.mark.parametrize("fault", ["drop", "reset_mid_body", "short_body"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_breaking_fault_breaks_the_connection(fault: str, stream: bool) -> None:
    with OllamaDouble(Spec(fault_for=always(fault))) as double:
        with httpx.Client(base_url=double.url, trust_env=False) as client, pytest.raises(httpx.TransportError):
            client.post("/api/chat", json=body(stream=stream))
        assert double.generations[0].outcome == "dropped"
        assert double.answered == {}


def test_a_reset_comes_after_the_headers_and_half_of_the_body() -> None:
    content = json.dumps(body()).encode()
    with OllamaDouble(Spec(fault_for=always("reset_mid_body"))) as double:
        port = int(double.url.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port), timeout=30) as raw:
            raw.sendall(b"POST /api/chat HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
            head, half = read_until_reset(raw).split(b"\r\n\r\n")
    promised = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert len(half) == promised // 2


@pytest.mark.parametrize(
    ("fault", "field", "value"),
    [
        ("garbage", "message.content", "G" * 64),
        ("empty", "message.content", ""),
        ("length", "done_reason", "length"),
        ("odd_reason", "done_reason", "load"),
        ("done_false", "done", False),
        ("wrong_model", "model", "somebody-else:latest"),
        ("remote", "remote_host", "https://ollama.com:443"),
        ("thinking_only", "message.content", ""),
        ("truncate_half", "prompt_eval_count", 2050),
        ("truncate_full", "prompt_eval_count", 4095),
    ],
)
def test_a_spoiling_fault_is_a_200_that_must_not_be_believed(fault: str, field: str, value: object) -> None:
    reply, double = ask_with(fault)
    found = reply.json()
    for key in field.split("."):
        found = found[key]
    assert (reply.status_code, found) == (200, value)
    assert double.generations[0].outcome == "answered"
    assert double.answered == {}


def test_an_aborted_generation_has_no_reason_no_metrics_and_in_a_stream_no_last_line() -> None:
    document = ask_with("done_false")[0].json()
    assert not {"done_reason", "total_duration", "eval_count"} & document.keys()
    lines = [json.loads(line) for line in ask_with("done_false", stream=True)[0].text.splitlines()]
    assert lines
    assert not any(line["done"] for line in lines)


def test_an_invalid_answer_is_json_that_is_out_of_the_schemas_bounds() -> None:
    reply, _ = ask_with("invalid")
    assert json.loads(reply.json()["message"]["content"]) == EXPECTED | {"score": 11}


@pytest.mark.parametrize(("fault", "found"), [("not_a_number", "NaN"), ("nul", "\0"), ("deep", "[" * 1000)])
def test_a_hostile_completion_is_passed_on_as_it_is(fault: str, found: str) -> None:
    reply, _ = ask_with(fault)
    assert found in reply.json()["message"]["content"]


@pytest.mark.parametrize(("stream", "lines"), [(False, 1), (True, 8)])
def test_an_error_line_ends_a_200(stream: bool, lines: int) -> None:
    reply, _ = ask_with("error_line", stream=stream)
    parsed = [json.loads(line) for line in reply.text.splitlines()]
    assert (reply.status_code, list(parsed[-1]), len(parsed)) == (200, ["error"], lines)


@pytest.mark.parametrize("fault", ["half_json", "wrong_type", "deep_json"])
def test_a_body_can_be_whole_and_yet_no_json(fault: str) -> None:
    reply, _ = ask_with(fault)
    assert reply.status_code == 200
    with pytest.raises((ValueError, RecursionError)):
        reply.json()


def test_encoded_bodies_come_although_nobody_asked() -> None:
    reply, double = ask_with("gzip")
    assert reply.headers["content-encoding"] == "gzip"
    assert json.loads(reply.json()["message"]["content"]) == EXPECTED
    assert not double.generations[0].sound
    bomb, _ = ask_with("bomb")
    assert int(bomb.headers["content-length"]) < 100_000 < 1 << 24 == len(bomb.content)


def test_a_huge_body_never_ends_by_itself() -> None:
    with OllamaDouble(Spec(fault_for=always("huge"))) as double:
        with httpx.stream("POST", f"{double.url}/api/chat", json=body(), trust_env=False) as reply:
            received = 0
            for part in reply.iter_bytes():
                received += len(part)
                if received > 4 << 20:
                    break
        double.wait_until(lambda d: d.generations[0].outcome == "cancelled")


def test_a_trickle_brings_a_sound_answer_byte_by_byte() -> None:
    reply, double = ask(Spec(fault_for=always("trickle"), trickle_s=1e-6))
    assert json.loads(reply.json()["message"]["content"]) == EXPECTED
    assert double.answered == {"row": [EXPECTED]}


def test_a_script_sees_the_number_and_the_body_of_each_generation_and_no_load_command() -> None:
    seen = []

    def script(number: int, document: Any) -> None:  # noqa: ANN401 - parsed JSON
        seen.append((number, document["messages"][-1]["content"]))

    with OllamaDouble(Spec(fault_for=script)) as double, httpx.Client(base_url=double.url, trust_env=False) as client:
        client.post("/api/chat", json={"model": "llama3.2:3b"})
        for text in ("a", "b"):
            client.post("/api/chat", json=body(text))
    assert seen == [(0, "a"), (1, "b")]


def test_faults_come_as_often_as_asked_and_for_the_same_rows_whatever_the_order() -> None:
    drawn = []
    for texts in (range(400), reversed(range(400))):
        spec = Spec(faults={"garbage": 0.2, "empty": 0.1}, seed=7)
        with OllamaDouble(spec) as double, httpx.Client(base_url=double.url, trust_env=False) as client:
            for text in texts:
                client.post("/api/chat", json=body(str(text)))
        drawn.append({r.user_text: r.fault for r in double.generations})
    assert drawn[0] == drawn[1]
    counts = Counter(drawn[0].values())
    assert 50 <= counts["garbage"] <= 110
    assert 20 <= counts["empty"] <= 60


def test_a_row_that_failed_draws_afresh() -> None:
    spec = Spec(faults={"garbage": 0.5})
    with OllamaDouble(spec) as double, httpx.Client(base_url=double.url, trust_env=False) as client:
        for _ in range(20):
            client.post("/api/chat", json=body())
    assert {r.fault for r in double.generations} == {None, "garbage"}
    assert [r.nth for r in double.generations] == list(range(20))


def test_a_fault_that_does_not_exist_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="gabrage"), OllamaDouble(Spec(faults={"gabrage": 1})):
        pass


def test_every_kind_of_fault_leaves_an_outcome() -> None:
    for kind in sorted(KINDS - {"hang", "huge", "gigabyte"}):
        spec = Spec(fault_for=always(kind), trickle_s=1e-9)
        with OllamaDouble(spec) as double, httpx.Client(base_url=double.url, trust_env=False) as client:
            with suppress(httpx.TransportError):
                client.post("/api/chat", json=body())
            assert double.generations[0].outcome in {"answered", "refused", "dropped"}, kind


LONG = "x" * 40_000  # 10,000 tokens
RENDERED, NATIVE, MLX = Model(), Model(inference="native"), Model(inference="mlx", max_context=8192)


@pytest.mark.parametrize(
    ("version", "model", "more", "count"),
    [
        ("0.12.5", RENDERED, {"truncate": False}, 4096),  # ignores the field
        ("0.24.0", RENDERED, {"truncate": True}, 4096),
        ("0.30.10", RENDERED, {"truncate": True}, 4095),
        ("0.30.11", RENDERED, {"truncate": True}, 2050),
        ("0.34.0", RENDERED, {"truncate": None}, 2050),  # the default
    ],
)
def test_a_silent_cut_shows_only_in_the_prompt_count(
    version: str, model: Model, more: dict[str, Any], count: int
) -> None:
    reply, double = ask(Spec(version=version, models=(model,)), body(LONG, **more))
    document = reply.json()
    assert (reply.status_code, document["done_reason"], document["prompt_eval_count"]) == (200, "stop", count)
    record = double.generations[0]
    assert (record.truncated, record.sound, double.answered) == (True, False, {})
    assert json.loads(document["message"]["content"]) != expected_answer(LONG, SCHEMA)


@pytest.mark.parametrize(
    ("version", "model", "more", "text"),
    [
        ("0.24.0", RENDERED, {"truncate": False}, "the input length exceeds the context length"),
        ("0.34.0", RENDERED, {"truncate": False}, "request (10010 tokens) exceeds the available context size"),
        ("0.34.0", NATIVE, {"truncate": True}, "exceed_context_size_error"),
        ("0.34.0", RENDERED, {"truncate": True, "shift": False}, "the prompt is longer than the context length"),
        ("0.34.0", MLX, {}, "input length (10010 tokens) exceeds the model's maximum context length (8192 tokens)"),
    ],
)
def test_a_refused_long_prompt_has_the_text_of_its_era(
    version: str, model: Model, more: dict[str, Any], text: str
) -> None:
    reply, _ = ask(Spec(version=version, models=(model,)), body(LONG, **more))
    assert reply.status_code == 400
    assert text in reply.json()["error"]


def test_old_messages_are_dropped_before_anything_is_cut() -> None:
    messages = [
        {"role": "system", "content": "rubric"},
        {"role": "user", "content": LONG},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "row"},
    ]
    reply, double = ask(Spec(version="0.34.0"), body(messages=messages, truncate=True))
    assert reply.json()["prompt_eval_count"] == prompt_tokens(["rubric", "yes", "row"])
    assert double.answered == {"row": [EXPECTED]}


@pytest.mark.parametrize(("version", "longest"), [("0.24.0", 4096), ("0.34.0", 4095)])
def test_the_longest_prompt_that_fits_is_answered(version: str, longest: int) -> None:
    text = "x" * ((longest - prompt_tokens(["rubric"])) * 4)
    for extra, status in (("", 200), ("xxxx", 400)):
        assert ask(Spec(version=version), body(text + extra))[0].status_code == status


def test_without_shift_the_context_end_cuts_the_output() -> None:
    text = "x" * (4096 - 30) * 4
    for shift, reason in ((True, "stop"), (False, "length")):
        assert ask(Spec(output_tokens=60), body(text, shift=shift))[0].json()["done_reason"] == reason


THINKER = Model(capabilities=("completion", "thinking"))


def test_a_thinking_model_thinks_unless_told_not_to_and_pays_for_it() -> None:
    loud = ask(Spec(models=(THINKER,)))[0].json()
    quiet = ask(Spec(models=(THINKER,)), body(think=False))[0].json()
    assert loud["message"]["thinking"]
    assert loud["message"]["content"] == quiet["message"]["content"]
    assert "thinking" not in quiet["message"]
    assert loud["eval_count"] == quiet["eval_count"] + 40
    short = ask(Spec(models=(THINKER,)), body(options={"num_predict": 30}))[0].json()
    assert (short["message"]["content"], short["done_reason"], short["eval_count"]) == ("", "length", 30)


def test_one_that_cannot_think_refuses_to_and_one_that_cannot_stop_goes_on() -> None:
    refused = ask(Spec(), body(think=True))[0]
    assert (refused.status_code, refused.json()["error"]) == (400, '"llama3.2:3b" does not support thinking')
    stubborn = Model(capabilities=("completion", "thinking"), silenceable=False)
    assert ask(Spec(models=(stubborn,)), body(think=False))[0].json()["message"]["thinking"]


def test_generate_puts_json_into_thinking_when_thinking_was_left_on() -> None:
    with OllamaDouble(Spec(models=(THINKER,))) as double, httpx.Client(base_url=double.url) as client:
        document = {"model": THINKER.name, "prompt": "row", "format": SCHEMA, "stream": False}
        reply = client.post("/api/generate", json=document).json()
    assert (reply["response"], json.loads(reply["thinking"])) == ("", EXPECTED)


def test_an_mlx_model_ignores_the_schema() -> None:
    reply, double = ask(Spec(models=(MLX,)))
    assert reply.json()["message"]["content"].startswith("This looks")
    assert double.generations[0].answer is None


def test_a_cloud_model_says_where_it_really_ran() -> None:
    cloud = Model(name="big:cloud", remote_host="https://ollama.com:443")
    reply, _ = ask(Spec(models=(cloud,)), body(model="big:cloud"))
    assert (reply.json()["remote_host"], reply.json()["remote_model"]) == ("https://ollama.com:443", "big:cloud")


@pytest.mark.parametrize(
    ("version", "more", "status", "text"),
    [
        ("0.24.0", {"format": {"type": "integr"}}, 500, "invalid JSON schema in format"),
        ("0.34.0", {"format": {"type": "integr"}}, 400, '{"error": {"code": 400'),
        ("0.34.1", {"options": {"typical_p": 0.9}}, 400, "typical_p is no longer supported"),
        ("0.5.0", {"model": "none"}, 404, 'model "none" not found, try pulling it first'),
        ("0.34.0", {"model": "none"}, 404, "model 'none' not found"),
    ],
)
def test_the_same_mistake_is_worded_as_the_version_words_it(
    version: str, more: dict[str, Any], status: int, text: str
) -> None:
    reply, _ = ask(Spec(version=version), body(**more))
    assert reply.status_code == status
    assert text in reply.json()["error"]


def test_a_model_that_only_embeds_does_not_chat() -> None:
    reply, _ = ask(Spec(models=(Model(capabilities=("embedding",)),)))
    assert (reply.status_code, reply.json()["error"]) == (400, '"llama3.2:3b" does not support chat')


def test_a_salt_gives_a_host_its_own_answers() -> None:
    texts = [f"row {i}" for i in range(20)]
    with OllamaDouble(Spec(salt="other")) as double, httpx.Client(base_url=double.url, trust_env=False) as client:
        for text in texts:
            client.post("/api/chat", json=body(text))
    assert double.answered == {text: [expected_answer(text, SCHEMA, "other")] for text in texts}
    assert double.answered != {text: [expected_answer(text, SCHEMA)] for text in texts}


@given(st.text(), st.integers(-50, 50), st.integers(0, 100), st.lists(st.text(), min_size=1), st.integers(0, 40))
def test_answers_keep_to_their_schema(text: str, low: int, width: int, choices: list[str], longest: int) -> None:
    bounds = {"minimum": low, "maximum": low + width}
    schema = {
        "type": "object",
        "properties": {
            "integer": {"type": "integer"} | bounds,
            "number": {"type": "number"} | bounds,
            "choice": {"enum": choices},
            "string": {"type": "string", "maxLength": longest},
            "flag": {"type": "boolean"},
            "list": {"type": "array", "items": {"type": "null"}, "minItems": 1, "maxItems": 3},
        },
    }
    answer = expected_answer(text, schema)
    assert answer == expected_answer(text, schema)
    assert list(answer) == list(schema["properties"])
    assert type(answer["integer"]) is int
    assert low <= answer["integer"] <= low + width
    assert low <= answer["number"] <= low + width
    assert answer["choice"] in choices
    assert len(answer["string"]) <= longest
    assert type(answer["flag"]) is bool
    assert answer["list"] in ([None], [None] * 2, [None] * 3)


def test_different_rows_get_all_the_scores_there_are() -> None:
    scores = Counter(expected_answer(f"row {i}", SCHEMA)["score"] for i in range(2000))
    assert set(scores) == set(range(1, 11))
    assert min(scores.values()) > 120
