"""The contract: what these tests say of the double must also hold of a real server.

The same assertions run against the double in both eras and, if $OLLAMA_TEST_URL is set, against that server with the
model $OLLAMA_TEST_MODEL (default: its first one that completes). Overflow texts are those of the server's version.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from doubles.ollama import OllamaDouble, Spec
from doubles.spec import is_era_b

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "score": {"type": "integer", "minimum": 1, "maximum": 10},
        "verdict": {"type": "string", "enum": ["good", "bad"]},
        "sure": {"type": "boolean"},
    },
    "required": ["score", "verdict", "sure"],
    "additionalProperties": False,
}
OPTIONS = {"num_ctx": 2048, "num_predict": 96, "temperature": 0, "seed": 0}


@dataclass
class Server:
    """A server under test."""

    client: httpx.Client
    model: str
    version: str

    def chat(self, text: str, **more: object) -> httpx.Response:
        return self.client.post("/api/chat", json=self.body(text) | more)

    def body(self, text: str) -> dict[str, Any]:
        return {
            "model": self.model,
            "messages": [
                {"role": "system", "content": "You judge short texts. Answer in JSON."},
                {"role": "user", "content": text},
            ],
            "stream": False,
            "format": SCHEMA,
            "options": OPTIONS,
            "truncate": False,
            "think": False,
            "keep_alive": "5m",
        }


URL = os.environ.get("OLLAMA_TEST_URL", "")
REAL = [pytest.param("real", marks=pytest.mark.real_ollama)] if URL else []


@pytest.fixture(params=["0.24.0", "0.34.0", *REAL])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    if request.param != "real":
        with OllamaDouble(Spec(version=request.param)) as double, _client(double.url) as client:
            yield Server(client, double.spec.models[0].name, request.param)
        return
    with _client(URL) as client:
        models = client.get("/api/tags").json()["models"]
        model = os.environ.get("OLLAMA_TEST_MODEL") or models[0]["name"]
        yield Server(client, model, client.get("/api/version").json()["version"])


def _client(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=300, trust_env=False, headers={"Accept-Encoding": "identity"})


def test_the_root_says_that_it_is_running(server: Server) -> None:
    reply = server.client.get("/")
    assert (reply.status_code, reply.text) == (200, "Ollama is running")
    head = server.client.head("/")
    assert (head.status_code, head.content) == (200, b"")


def test_the_version_is_three_numbers(server: Server) -> None:
    assert re.match(r"\d+\.\d+\.\d+", server.client.get("/api/version").json()["version"])


def test_each_model_has_a_bare_digest_of_64_hex_digits(server: Server) -> None:
    models = server.client.get("/api/tags").json()["models"]
    assert models
    for model in models:
        assert re.fullmatch(r"[0-9a-f]{64}", model["digest"])
        assert model["name"] == model["model"]
        assert model["size"] > 0


def test_show_tells_capabilities_and_the_largest_context(server: Server) -> None:
    shown = server.client.post("/api/show", json={"model": server.model}).json()
    architecture = shown["model_info"]["general.architecture"]
    assert shown["model_info"][f"{architecture}.context_length"] > 0
    assert "completion" in shown["capabilities"]


def test_an_unknown_path_is_a_plain_404_and_a_wrong_method_a_405(server: Server) -> None:
    missing = server.client.get("/api/nothing")
    assert missing.status_code == 404
    assert missing.headers["content-type"].startswith("text/plain")
    assert server.client.get("/api/chat").status_code == 405


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/api/show"])
def test_an_absent_model_is_a_json_404(server: Server, path: str) -> None:
    reply = server.client.post(path, json={"model": "no-such-model", "prompt": "x", "messages": [{"role": "user"}]})
    assert reply.status_code == 404
    assert "no-such-model" in reply.json()["error"]
    assert "not found" in reply.json()["error"]


def test_a_chat_answers_one_object_with_json_of_the_schema_and_durations_in_nanoseconds(server: Server) -> None:
    reply = server.chat("the sea is blue")
    document = reply.json()
    assert reply.headers["content-type"].startswith("application/json")
    assert (document["done"], document["done_reason"], document["model"]) == (True, "stop", server.model)
    answer = json.loads(document["message"]["content"])
    assert answer.keys() == SCHEMA["properties"].keys()
    assert answer["score"] in range(1, 11)
    assert all(isinstance(document[key], int) for key in ("total_duration", "prompt_eval_count", "eval_count"))
    parts = sum(document.get(f"{part}_duration", 0) for part in ("load", "prompt_eval", "eval"))
    assert parts <= document["total_duration"] < 300e9


def test_a_stream_is_lines_of_json_whose_texts_join_to_the_answer(server: Server) -> None:
    with server.client.stream("POST", "/api/chat", json=server.body("the sea is blue") | {"stream": True}) as reply:
        assert reply.headers["content-type"].startswith("application/x-ndjson")
        lines = [json.loads(line) for line in reply.iter_lines()]
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    assert json.loads("".join(line["message"]["content"] for line in lines)).keys() == SCHEMA["properties"].keys()
    assert lines[-1]["done_reason"] == "stop"


def test_generate_answers_in_response(server: Server) -> None:
    body = {"model": server.model, "prompt": "the sea is blue", "stream": False, "format": SCHEMA, "options": OPTIONS}
    document = server.client.post("/api/generate", json=body | {"think": False}).json()
    assert json.loads(document["response"]).keys() == SCHEMA["properties"].keys()
    assert len(document["context"]) > 0


def test_num_predict_cuts_the_answer_and_says_length(server: Server) -> None:
    document = server.chat("the sea is blue", options=OPTIONS | {"num_predict": 2}).json()
    assert (document["done"], document["done_reason"], document["eval_count"]) == (True, "length", 2)


def test_a_chat_without_messages_loads_and_with_keep_alive_0_unloads(server: Server) -> None:
    base = {"model": server.model, "options": OPTIONS}
    loaded = server.client.post("/api/chat", json=base | {"keep_alive": "5m"}).json()
    assert (loaded["done"], loaded["done_reason"], loaded["message"]["content"]) == (True, "load", "")
    running = server.client.get("/api/ps").json()["models"]
    assert [model["context_length"] for model in running if model["name"].startswith(server.model)] == [2048]
    unloaded = server.client.post("/api/chat", json=base | {"keep_alive": 0}).json()
    assert (unloaded["done"], unloaded["done_reason"]) == (True, "unload")


def test_an_empty_prompt_is_a_load_command_and_not_a_generation(server: Server) -> None:
    body = {"model": server.model, "prompt": "", "stream": False, "options": OPTIONS}
    document = server.client.post("/api/generate", json=body).json()
    assert (document["response"], document["done_reason"]) == ("", "load")


@pytest.mark.parametrize(
    ("more", "status", "text"),
    [
        ({"options": {"num_ctx": "big"}}, 500, 'option "num_ctx" must be of type integer'),
        ({"options": {"stop": "x"}}, 500, 'option "stop" must be of type array'),
        ({"keep_alive": "300"}, 400, "missing unit in duration"),
        ({"format": "xml"}, 500, "invalid format"),
        ({"top_logprobs": 21}, 400, "top_logprobs"),
        ({"model": ""}, 400, ""),
        ({"stream": "no"}, 400, "cannot unmarshal"),
    ],
)
def test_a_wrong_field_is_refused_in_the_servers_words(
    server: Server, more: dict[str, Any], status: int, text: str
) -> None:
    reply = server.chat("the sea is blue", **more)
    assert reply.status_code == status
    assert text in reply.json()["error"]


def test_unknown_fields_and_options_are_ignored(server: Server) -> None:
    reply = server.chat("the sea is blue", num_predict=1, options=OPTIONS | {"flux": 3})
    assert reply.json()["done_reason"] == "stop"


@pytest.mark.parametrize("content", [b"", b"{", b"[1]"])
def test_a_body_that_is_no_json_object_is_a_400(server: Server, content: bytes) -> None:
    reply = server.client.post("/api/chat", content=content)
    assert reply.status_code == 400
    assert reply.json()["error"]


def test_without_truncate_a_prompt_beyond_the_context_is_a_400_that_says_so(server: Server) -> None:
    reply = server.chat("sea " * 4000, options=OPTIONS)
    assert reply.status_code == 400
    error = reply.json()["error"]
    if not is_era_b(server.version):
        assert error == "the input length exceeds the context length"
        return
    inner = json.loads(error)["error"]
    assert (inner["code"], inner["type"], inner["n_ctx"]) == (400, "exceed_context_size_error", 2048)
    assert inner["n_prompt_tokens"] > 2048
