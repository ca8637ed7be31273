"""Servers with an OpenAI-style API: llama.cpp's, which the embedded engine is too, vLLM, LM Studio, exo.

This API cannot be told the context of a request, so the server has to have been started with it; `warm` reports what it
has. Ollama is refused behind this door, because it would cut long prompts silently here. The server names no digest:
the one of the configuration is taken on the user's word. Which model answered is not checked either: llama.cpp repeats
whatever name it was asked for.

`warm` waits while the server loads its model and then asks for one token with the run's own options, so that a model
which is loaded by its first request, a cluster that lacks a machine or a schema that is refused show before any row.
"""

from collections.abc import Mapping
from typing import NamedTuple

import anyio

from scorer.config import HostConfig
from scorer.core.task import Reply
from scorer.errors import FaultKind, HostFault, HostUnusable, RowFault, UnclearFault
from scorer.hosts.base import Frame, HostInfo, Loaded, ModelInfo, Request
from scorer.hosts.classify import complaint, count, plain_text, proper_name, seconds
from scorer.hosts.dialects import NAMES, Dialect, context_of, dialect_of, extras
from scorer.hosts.http import Answer, Http, excerpt, only_host_faults
from scorer.hosts.logprobs import first_token
from scorer.hosts.openai_errors import fault_of_answer, is_loading, refuse_error

MILLISECONDS = 1e3
LOADING_POLL_S = 2.0
TRIAL = "Answer."


class Properties(NamedTuple):
    """What llama.cpp tells of itself: its build, the context of one slot in tokens, the number of slots."""

    build: str | None = None
    context: int | None = None
    slots: int | None = None


class OpenAIHost:
    """One server with /v1/chat/completions."""

    def __init__(self, config: HostConfig, http: Http) -> None:
        self.name = config.name
        self._digest = config.model_digest
        self._http = http
        self._dialect = Dialect.OTHER

    def hushed(self, text: str) -> str:
        """Return a text without the token."""
        return self._http.hushed(text)

    async def alive(self) -> None:
        """GET /health, or the list of models where there is no such thing."""
        with only_host_faults():
            answer = await self._http.ask("/health")
            # LM Studio answers 200 to every path, and an error if it does not know it
            if answer.status == 404 or (answer.status == 200 and complaint(answer.document) is not None):
                answer = await self._http.ask("/v1/models")
            refuse_error(answer)

    async def probe(self) -> HostInfo:
        """Return the models. Raises HostUnusable if it is Ollama, or not this API, or does not let us in."""
        with only_host_faults():
            await self._refuse_ollama()
            entries, listed = await self._entries()
            version = await self._version() or NAMES.get(self._dialect) or listed.headers.get("server") or "unknown"
        models = (_model(entry, self._digest) for entry in entries)
        return HostInfo(version=excerpt(version, 40), models=tuple(model for model in models if model is not None))

    async def warm(self, frame: Frame) -> Loaded:
        """Wait until the model is loaded, try it, and report the context and slots the server was started with."""
        with only_host_faults():
            await self._wait_loaded()
            await self._entries()
            await self._try(frame)
        return await self.loaded(frame.model) or Loaded()

    async def loaded(self, model: str) -> Loaded | None:
        """Report the context and slots of a model without a prompt; None if the server has it on its disk only.

        LM Studio alone loads a model when it is first asked something; others are started with theirs.
        """
        with only_host_faults():
            entries, _ = await self._entries()
            props = await self._props()
            if props is not None:
                return Loaded(context=props.context, slots=props.slots)
            if self._dialect is Dialect.LM_STUDIO:
                entries = _listing(await self._http.ask("/api/v0/models"))
        entry = next((entry for entry in entries if entry.get("id") == model), {})
        return None if entry.get("state") == "not-loaded" else Loaded(context=context_of(entry))

    async def generate(self, request: Request) -> Reply:
        """One chat completion, not streamed."""
        answer = await self._http.json("POST", "/v1/chat/completions", self._body(request))
        if answer.status != 200 or complaint(answer.document) is not None:
            raise fault_of_answer(answer, request.frame.num_ctx)
        if not answer.body.strip():
            # exo sends its status before it begins, and nothing more when it fails
            raise UnclearFault(FaultKind.DROPPED, "HTTP 200 and then nothing: the server gave up on the answer")
        return _reply(answer.required(), answer.as_said(), free_text=request.frame.schema is None)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def _refuse_ollama(self) -> None:
        answer = await self._http.ask("/api/version")
        if answer.status == 200 and isinstance((answer.document or {}).get("version"), str):
            raise HostUnusable(
                FaultKind.WRONG_ENDPOINT,
                'this is Ollama: drop the line api = "openai", through which it would cut long prompts silently',
            )

    async def _entries(self) -> tuple[list[dict[str, object]], Answer]:
        """Return the list of models, and learn from it which server this is."""
        listed = await self._http.ask("/v1/models")
        if listed.status in (404, 405):
            raise HostUnusable(FaultKind.WRONG_ENDPOINT, "no OpenAI-style API at this url: /v1/models is not there")
        refuse_error(listed)
        listed.required()
        entries = _listing(listed)
        self._dialect = dialect_of(entries)
        return entries, listed

    async def _version(self) -> str | None:
        props = await self._props()
        if props is not None:
            return props.build
        if self._dialect is not Dialect.VLLM:
            return None
        said = (await self._http.ask("/version")).document or {}
        return f"vLLM {said['version']}" if isinstance(said.get("version"), str) else None

    async def _props(self) -> Properties | None:
        """Return llama.cpp's properties, None where it is something else or keeps them to itself."""
        answer = await self._http.ask("/props")
        props = answer.document if answer.status == 200 else None
        if props is None or "total_slots" not in props:
            return None
        self._dialect = Dialect.LLAMA_CPP
        settings, build = _object(props.get("default_generation_settings")), props.get("build_info")
        known = build if isinstance(build, str) else None
        return Properties(known, count(settings.get("n_ctx")), count(props.get("total_slots")) or None)

    async def _wait_loaded(self) -> None:
        """Wait for as long as the server says that it is loading; the caller has set a deadline."""
        while True:
            try:
                await self.alive()
            except HostFault as fault:
                if not is_loading(fault):
                    raise
                await anyio.sleep(LOADING_POLL_S)
            else:
                return

    async def _try(self, frame: Frame) -> None:
        """Ask for one token, whatever it is."""
        answer = await self._http.json("POST", "/v1/chat/completions", self._body(Request(frame, TRIAL, num_predict=1)))
        if answer.status != 200 or complaint(answer.document) is not None:
            raise fault_of_answer(answer, frame.num_ctx)
        if "choices" not in answer.required():
            raise HostFault(FaultKind.BAD_BODY, f"not a chat answer: {excerpt(answer.body, 80)}")

    def _body(self, request: Request) -> dict[str, object]:
        frame = request.frame
        body: dict[str, object] = {
            **(request.extra or {}),
            "model": frame.model,
            "messages": request.messages(),
            "stream": False,
            "max_tokens": request.num_predict,
            "temperature": request.temperature,
            "seed": request.seed,
            **extras(self._dialect, frame.think),
        }
        if frame.schema is not None:
            answer = {"name": "answer", "strict": True, "schema": frame.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": answer}
        if request.stop:
            body["stop"] = list(request.stop)
        if request.top_logprobs:
            body |= {"logprobs": True, "top_logprobs": request.top_logprobs}
        return body


def _listing(answer: Answer) -> list[dict[str, object]]:
    data = (answer.document or {}).get("data")
    return [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []


def _model(entry: Mapping[str, object], digest: str | None) -> ModelInfo | None:
    name = proper_name(entry.get("id"))
    return None if name is None else ModelInfo(name, digest, max_context=context_of(entry))


def _reply(document: Mapping[str, object], as_said: Mapping[str, object], *, free_text: bool) -> Reply:
    choice, spoken = _first_choice(document), _first_choice(as_said)
    if choice is None or spoken is None:
        raise HostFault(FaultKind.BAD_BODY, f"not a chat answer: {excerpt(', '.join(document), 80)}")
    said = _object(spoken.get("message"))
    text = plain_text(said.get("content"))
    finish = choice.get("finish_reason")
    if finish not in ("stop", "length"):
        raise RowFault(
            FaultKind.ABORTED_OUTPUT,
            f"the answer is not whole: finish_reason = {excerpt(str(finish), 40)}",
            completion=text,
        )
    thought = bool(said.get("reasoning_content") or said.get("reasoning"))
    if not text.strip() and finish == "stop" and (thought or not free_text):
        where = "; there was text in its reasoning" if thought else ""
        raise RowFault(FaultKind.INVALID_OUTPUT, f"the answer is empty{where}", completion=text)
    usage, timings = _object(document.get("usage")), _object(document.get("timings"))
    return Reply(
        text=text,
        finish=finish,
        prompt_tokens=count(usage.get("prompt_tokens")),
        output_tokens=count(usage.get("completion_tokens")),
        prefill_s=seconds(timings.get("prompt_ms"), MILLISECONDS),
        decode_s=seconds(timings.get("predicted_ms"), MILLISECONDS),
        first_token=first_token(_object(spoken.get("logprobs")).get("content")),
    )


def _first_choice(document: Mapping[str, object]) -> dict[str, object] | None:
    choices = document.get("choices")
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None


def _object(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}
