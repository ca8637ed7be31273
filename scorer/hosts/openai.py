"""Servers with an OpenAI-style API; today mostly llama.cpp's, which the embedded engine is.

This API cannot be told the context of a request, so the server has to have been started with it; `warm` reports what it
has. Ollama is refused behind this door, because it would cut long prompts silently here. The server names no digest:
the one of the configuration is taken on the user's word.

What only llama.cpp understands (`cache_prompt`, switching thinking off in the chat template) is sent only where
/props showed that it is llama.cpp; others may refuse a request over an unknown field.
"""

from collections.abc import Mapping

from scorer.config import HostConfig
from scorer.core.task import Reply
from scorer.errors import Fault, FaultKind, HostFault, HostUnusable, RowFault, UnclearFault
from scorer.hosts.base import Frame, HostInfo, Loaded, ModelInfo, Request
from scorer.hosts.classify import (
    Rule,
    by_status,
    by_text,
    complaint,
    count,
    host,
    overflow,
    plain_text,
    proper_name,
    row,
    seconds,
    unusable,
)
from scorer.hosts.http import Answer, Http, excerpt, only_host_faults
from scorer.hosts.logprobs import first_token

MILLISECONDS = 1e3

# these quote what the model said, which a row can influence: looked at first, and by how they begin
QUOTING: tuple[Rule, ...] = (Rule(r"^(error parsing|failed to parse input|parse error)", row(FaultKind.PARSER_ERROR)),)

RULES: tuple[Rule, ...] = (
    Rule(r"no instance found for model", host(FaultKind.LOAD_FAILED)),
    Rule(r"json schema|json_schema|response_format|grammar|template", unusable(FaultKind.REFUSED_OPTIONS)),
    Rule(r"field '\w+': |unsupported (param|value)|unrecognized request argument", unusable(FaultKind.REFUSED_OPTIONS)),
    Rule(r"model.{0,200}(does not exist|not found)", unusable(FaultKind.MODEL_MISSING)),
)


class OpenAIHost:
    """One server with /v1/chat/completions."""

    def __init__(self, config: HostConfig, http: Http) -> None:
        self.name = config.name
        self._digest = config.model_digest
        self._http = http
        self._llama_cpp = False

    async def alive(self) -> None:
        """GET /health, or the list of models where there is no such thing."""
        with only_host_faults():
            answer = await self._http.ask("/health")
            if answer.status == 404:
                answer = await self._http.ask("/v1/models")
            _refuse_error(answer)

    async def probe(self) -> HostInfo:
        """Return the models. Raises HostUnusable if it is Ollama, or not this API, or does not let us in."""
        with only_host_faults():
            await self._refuse_ollama()
            listed = await self._http.ask("/v1/models")
            if listed.status in (404, 405):
                raise HostUnusable(FaultKind.WRONG_ENDPOINT, "no OpenAI-style API at this url: /v1/models is not there")
            _refuse_error(listed)
            props = await self._props()
        build = props.get("build_info") if props else None
        version = build or listed.headers.get("server") or "unknown"
        return HostInfo(version=excerpt(str(version), 40), models=tuple(self._models(listed.required())))

    async def warm(self, frame: Frame) -> Loaded:
        """Report the context and slots the server was started with; there is nothing to load by this API."""
        with only_host_faults():
            await self.alive()
            props = await self._props()
            if props is not None:
                settings = props.get("default_generation_settings")
                context = settings.get("n_ctx") if isinstance(settings, dict) else None
                return Loaded(context=count(context), slots=count(props.get("total_slots")))
            listed = await self._http.ask("/v1/models")
            _refuse_error(listed)
        models = {m.name: m for m in self._models(listed.required())}
        return Loaded(context=models[frame.model].max_context if frame.model in models else None)

    async def generate(self, request: Request) -> Reply:
        """One chat completion, not streamed."""
        answer = await self._http.json("POST", "/v1/chat/completions", self._body(request))
        if answer.status != 200 or complaint(answer.document) is not None:
            raise fault_of_answer(answer, request.frame.num_ctx)
        return _reply(answer.required(), free_text=request.frame.schema is None)

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

    async def _props(self) -> dict[str, object] | None:
        """Return llama.cpp's properties, None where it is something else."""
        answer = await self._http.ask("/props")
        props = answer.document if answer.status == 200 else None
        self._llama_cpp = props is not None and "total_slots" in props
        return props if self._llama_cpp else None

    def _models(self, document: Mapping[str, object]) -> list[ModelInfo]:
        data = document.get("data")
        found = []
        for entry in data if isinstance(data, list) else []:
            name = proper_name(entry.get("id")) if isinstance(entry, dict) else None
            if name is not None:
                found.append(ModelInfo(name, self._digest, max_context=count(entry.get("max_model_len"))))
        return found

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
        }
        if frame.schema is not None:
            answer = {"name": "answer", "strict": True, "schema": frame.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": answer}
        if request.stop:
            body["stop"] = list(request.stop)
        if request.top_logprobs:
            body |= {"logprobs": True, "top_logprobs": request.top_logprobs}
        if isinstance(frame.think, str):
            body["reasoning_effort"] = frame.think
        elif self._llama_cpp:
            body["chat_template_kwargs"] = {"enable_thinking": frame.think}
        if self._llama_cpp:
            body["cache_prompt"] = True
        return body


def fault_of_answer(answer: Answer, num_ctx: int) -> Fault:
    """Return the fault that an answer with an error stands for, whatever its status says."""
    said = complaint(answer.document)
    text = said.text if said is not None else excerpt(answer.body)
    if answer.status == 404 and by_text(RULES, text) is None:
        return HostUnusable(FaultKind.WRONG_ENDPOINT, f"HTTP 404: {excerpt(text)}; check url and api")
    plain = by_status(answer)
    if plain is not None:
        return plain
    details = said.details if said is not None else {}
    return (
        by_text(QUOTING, text)
        or overflow(text, details, num_ctx)
        or by_text(RULES, text)
        or _by_default(answer.status, excerpt(text))
    )


def _by_default(status: int, said: str) -> Fault:
    message = f"HTTP {status}: {said}"
    if 400 <= status < 500:
        return RowFault(FaultKind.BAD_REQUEST, message, permanent=True)
    return UnclearFault(FaultKind.SERVER_ERROR, message)


def _refuse_error(answer: Answer) -> None:
    if answer.status != 200:
        raise fault_of_answer(answer, num_ctx=0)


def _reply(document: Mapping[str, object], *, free_text: bool) -> Reply:
    choices = document.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None
    if choice is None:
        raise HostFault(FaultKind.BAD_BODY, f"not a chat answer: {excerpt(', '.join(document), 80)}")
    message = choice.get("message")
    said: dict[str, object] = message if isinstance(message, dict) else {}
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
        first_token=first_token(_object(choice.get("logprobs")).get("content")),
    )


def _object(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}
