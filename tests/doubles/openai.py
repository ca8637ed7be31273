"""A double of the servers with an OpenAI-style API: a real HTTP server on a loopback socket.

It is the double of Ollama with another face: slots, speeds, faults, record and controls are the same. A face is
`llama_cpp`, `vllm`, `lm_studio` or `exo`; they differ in what they tell of themselves, how they word an error, and
what they do with the name of a model. `Spec.default_num_ctx` is the context of each slot, `Spec.token` the API key.

    with OpenAIDouble(Spec(slots=2), "vllm") as double:
        ...  # talk to double.url, which has no /v1 in it

Not imitated: streams, embeddings, log-probabilities, several answers at once.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal

from doubles import answers
from doubles.calls import Call, Refusal
from doubles.catalogue import State
from doubles.exchange import JSON, TEXT, Exchange
from doubles.generation import Generations
from doubles.ollama import OllamaDouble
from doubles.prompts import prompt_tokens
from doubles.record import Log
from doubles.replies import Reply
from doubles.server import Handler, Server
from doubles.spec import Spec

Face = Literal["llama_cpp", "vllm", "lm_studio", "exo"]

OWNERS: Mapping[Face, str] = {
    "llama_cpp": "llamacpp",
    "vllm": "vllm",
    "lm_studio": "organization_owner",
    "exo": "exo",
}
BUILD = "b6800-5ee9a1b7"
VLLM_VERSION = "0.11.0"


class OpenAIDouble(OllamaDouble):
    """A double in a thread of its own, as a context manager; see `OllamaDouble`."""

    def __init__(self, spec: Spec | None = None, face: Face = "llama_cpp", port: int = 0) -> None:
        super().__init__(spec, port)
        self._face = face

    def _make_server(self, log: Log, port: int) -> Server:
        return _Server(self.spec, log, port, self._face)

    def set_loading(self, loading: bool) -> None:
        """Be loading the model from now on, or be ready."""
        self._set("loading", loading)

    def lose_instance(self, lost: bool = True) -> None:
        """Have no instance of the model any more, as when a machine of the cluster is switched off; or have it back."""
        self._set("lost", lost)

    def _set(self, name: str, value: bool) -> None:
        async def change() -> None:
            setattr(self._server, name, value)

        self._do(change())


class _Exchange(Exchange):
    def error(self, status: int, text: str) -> None:
        """Send an error as most servers word it."""
        self.json(status, {"error": {"message": text, "type": _TYPES.get(status, "server_error"), "code": status}})


_TYPES = {400: "invalid_request_error", 404: "not_found_error", 503: "unavailable_error"}


class _Refusal(Refusal):
    """A refusal that says more than its text."""

    def __init__(self, status: int, document: Mapping[str, Any]) -> None:
        super().__init__(status, "")
        self.document = document


class _Generations(Generations):
    server: "_Server"

    async def complete(self, _state: State, exchange: Exchange) -> None:
        """Answer /v1/chat/completions."""
        try:
            await self.chat(_state, exchange)
        except _Refusal as refusal:
            exchange.json(refusal.status, refusal.document)

    def _call(self, kind: str, body: dict[str, Any]) -> Call:
        server, spec = self.server, self._state.spec
        model = server.model_of(str(body.get("model", "")))
        asked = body.get("response_format")
        schema = asked["json_schema"]["schema"] if asked else None
        if schema is not None and not answers.is_usable(schema):
            raise Refusal(400, "JSON schema error at #: unrecognized type")
        messages = [{"role": m["role"], "content": m["content"]} for m in body["messages"]]
        tokens, cap = prompt_tokens([m["content"] for m in messages]), int(body.get("max_tokens", 4096))
        if refusal := _overflow(server.face, tokens, cap, spec.default_num_ctx):
            raise refusal
        native = {
            "model": model,
            "messages": messages,
            "stream": False,
            "format": schema,
            "think": _thinks(server.face, body),
            "truncate": False,
            "shift": False,
            "keep_alive": -1,
            "options": {"num_ctx": spec.default_num_ctx, "num_predict": cap},
        }
        return super()._call(kind, {key: value for key, value in native.items() if value is not None})

    def _document(self, reply: Reply, version: str) -> dict[str, Any]:
        face = self.server.face
        message: dict[str, Any] = {"role": "assistant", "content": reply.content}
        if reply.thinking:
            message["reasoning" if face == "vllm" else "reasoning_content"] = reply.thinking
        finish = reply.done_reason if reply.done else None
        used = {"prompt_tokens": reply.prompt_tokens, "completion_tokens": reply.output_tokens}
        document: dict[str, Any] = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "model": reply.model,
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": used | {"total_tokens": sum(used.values())},
        }
        if face == "llama_cpp":
            document["timings"] = {
                "cache_n": reply.cached_tokens,
                "prompt_n": reply.prompt_tokens - reply.cached_tokens,
                "prompt_ms": 1e3 * reply.prefill_s,
                "predicted_n": reply.output_tokens,
                "predicted_ms": 1e3 * reply.decode_s,
            }
        return document


class _Server(Server):
    generations_type = _Generations

    def __init__(self, spec: Spec, log: Log, port: int, face: Face) -> None:
        self.face = face
        self.loading = self.lost = False
        self.exchange_type = Exchange if face == "lm_studio" else _Exchange
        super().__init__(spec, log, port)
        assert isinstance(self.generations, _Generations)
        self.generations.server = self

    def model_of(self, name: str) -> str:
        """The model that answers to this name, or a refusal."""
        names = [model.name for model in self.state.models.values()]
        if self.face == "llama_cpp" and names:
            return names[0]
        if self.lost or (self.face == "exo" and name not in names):
            raise Refusal(404, f"No instance found for model {name}")
        if name in names:
            return name
        if self.face == "lm_studio":
            raise Refusal(400, f'Invalid model identifier "{name}". Please specify a valid downloaded model')
        raise Refusal(404, f"The model `{name}` does not exist.")

    async def _route(self, exchange: Exchange) -> None:
        token, path = self.state.spec.token, exchange.request.path
        if token and path != "/health" and exchange.request.headers.get("authorization") != f"Bearer {token}":
            exchange.json(401, {"error": {"message": "Invalid API Key", "type": "authentication_error", "code": 401}})
        elif self.loading and path != "/v1/models":
            exchange.error(503, "Loading model")
        elif self._routes.get(path) is None and self.face == "lm_studio":
            exchange.json(200, {"error": f"Unexpected endpoint or method. ({exchange.request.method} {path})"})
        elif self._routes.get(path) is None and self.face != "llama_cpp":
            exchange.json(404, {"detail": "Not Found"})
        elif self._routes.get(path) is None:
            exchange.error(404, "File Not Found")
        else:
            await self._routes[path][exchange.request.method](self.state, exchange)

    def _make_routes(self) -> dict[str, dict[str, Handler]]:
        assert isinstance(self.generations, _Generations)
        routes: dict[str, dict[str, Handler]] = {
            "/v1/models": {"GET": self._models},
            "/v1/chat/completions": {"POST": self.generations.complete},
        }
        if self.face == "llama_cpp":
            routes |= {"/health": {"GET": _healthy}, "/props": {"GET": self._props}}
        elif self.face == "vllm":
            routes |= {"/health": {"GET": _silent}, "/version": {"GET": _vllm_version}}
        elif self.face == "lm_studio":
            routes |= {"/api/v0/models": {"GET": self._models}}
        return routes

    async def _models(self, state: State, exchange: Exchange) -> None:
        contexts: dict[Face, dict[str, object]] = {
            "llama_cpp": {"meta": {"n_ctx": state.spec.default_num_ctx, "n_ctx_train": 131_072}},
            "vllm": {"max_model_len": state.spec.default_num_ctx},
            "lm_studio": {},
            "exo": {"context_length": 0},
        }
        context = contexts[self.face]
        if exchange.request.path == "/api/v0/models":
            # it loads a model when it is first asked something
            context = {"state": "not-loaded"}
            if self.generations.begun:
                context = {"state": "loaded", "loaded_context_length": state.spec.default_num_ctx}
        common = {"object": "model", "created": 1_790_000_000, "owned_by": OWNERS[self.face]}
        data = [{"id": model.name, **common, **context} for model in state.models.values()]
        exchange.json(200, {"object": "list", "data": data})

    async def _props(self, state: State, exchange: Exchange) -> None:
        settings = {"n_ctx": state.spec.default_num_ctx}
        slots = state.spec.slots
        exchange.json(
            200, {"default_generation_settings": settings, "total_slots": slots, "build_info": BUILD, "model_path": "m"}
        )


async def _healthy(_state: State, exchange: Exchange) -> None:
    exchange.json(200, {"status": "ok"})


async def _silent(_state: State, exchange: Exchange) -> None:
    exchange.send(200, b"", TEXT)


async def _vllm_version(_state: State, exchange: Exchange) -> None:
    exchange.send(200, json.dumps({"version": VLLM_VERSION}).encode(), JSON)


def _thinks(face: Face, body: Mapping[str, Any]) -> bool | None:
    """Whether the model is told not to think, by the face's own switch; None leaves it to the model."""
    switch = body.get("chat_template_kwargs", {}) if face in ("llama_cpp", "vllm") else body
    return None if switch.get("enable_thinking", True) else False


def _overflow(face: Face, tokens: int, cap: int, context: int) -> _Refusal | None:
    if tokens < context and not (face == "vllm" and tokens + cap > context):
        return None
    message = f"request ({tokens} tokens) exceeds the available context size ({context} tokens), try increasing it"
    kind = {"code": 400, "type": "exceed_context_size_error", "n_prompt_tokens": tokens, "n_ctx": context}
    if face == "vllm":
        message = f"This model's maximum context length is {context} tokens. However, your request has {tokens} input "
        message += "tokens. Please reduce the length of the input messages."
        kind = {"type": "BadRequestError", "param": None, "code": 400}
    if face == "lm_studio":
        text = f"Trying to keep the first {tokens} tokens when context the overflows. However, the model is loaded "
        text += f"with context length of only {context} tokens, which is not enough."
        return _Refusal(200, {"error": text})
    return _Refusal(400, {"error": {"message": message, **kind}})
