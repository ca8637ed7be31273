"""Ollama through its native chat API, which alone can be told the context and to refuse what does not fit.

Every request of a run carries the same load-time options, `keep_alive`, `shift` and `think`: a difference would reload
the model, or hang a busy server. `truncate: false` makes the server refuse an over-long prompt instead of cutting the
front of the rubric away; versions before MIN_VERSION ignore it, so they are refused.

An answer becomes a Reply only if it is whole (`done` with a `done_reason` of stop or length), comes from the model that
was asked for, was computed on that machine (unless `allow_cloud`), and says something.
"""

import json
import re
from collections.abc import Mapping
from typing import NamedTuple

from scorer.config import HostConfig
from scorer.core.task import Reply
from scorer.errors import FaultKind, HostFault, HostUnusable, RowFault
from scorer.hosts.base import Frame, HostInfo, Loaded, ModelInfo, Request
from scorer.hosts.classify import complaint, count, plain_text, proper_name, seconds
from scorer.hosts.http import Answer, Http, excerpt, only_host_faults
from scorer.hosts.logprobs import first_token
from scorer.hosts.ollama_errors import fault_of_answer, fault_of_text, wrong_endpoint

NANOSECONDS = 1e9
ACCEPTED_REASONS = ("stop", "length")


class Version(NamedTuple):
    """A version of Ollama; a pre-release comes before its release."""

    major: int
    minor: int
    patch: int
    released: bool = True

    @classmethod
    def parse(cls, text: str) -> "Version | None":
        """Read "0.12.6", "v0.30.1", "0.12.6-rc1" or "0.5.7-3-gabcdef"; None if there is no number in it."""
        found = re.match(r"v?(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?(-(?:rc|alpha|beta|pre))?", text.strip())
        if found is None:
            return None
        major, minor, patch, pre_release = found.groups()
        return cls(int(major), int(minor), int(patch or 0), pre_release is None)


MIN_VERSION = Version(0, 12, 6)
# this one version counts only the prompt tokens that its cache did not have
COUNTS_WITHOUT_CACHE = Version(0, 30, 0)


class OllamaHost:
    """One Ollama server."""

    def __init__(self, config: HostConfig, http: Http) -> None:
        self.name = config.name
        self._allow_cloud = config.allow_cloud
        self._http = http
        self._version: Version | None = None
        self._remote: frozenset[str] = frozenset()

    def hushed(self, text: str) -> str:
        """Return a text without the token."""
        return self._http.hushed(text)

    async def alive(self) -> None:
        """GET /api/version."""
        with only_host_faults():
            await self._ask("/api/version")

    async def probe(self) -> HostInfo:
        """Return version and models. Raises HostUnusable if it is too old, not Ollama, or does not let us in."""
        with only_host_faults():
            said = (await self._ask("/api/version")).get("version")
            self._version = _acceptable(said)
            models = tuple(_models(await self._ask("/api/tags")))
        self._remote = frozenset(_full_name(m.name) for m in models if m.remote)
        return HostInfo(version=excerpt(str(said), 40), models=models)

    async def warm(self, frame: Frame) -> Loaded:
        """Load the model by Ollama's empty chat; what it took is read from /api/ps."""
        self._refuse_cloud(frame.model)
        with only_host_faults():
            answer = await self._http.json("POST", "/api/chat", _frame_body(frame, messages=[]))
            document = self._document(answer, frame)
            self._check_origin(document, frame.model)
            if document.get("done") is not True:
                raise HostFault(FaultKind.LOAD_FAILED, f"the load command was not done: {excerpt(answer.body)}")
            return running_model(await self._ask("/api/ps"), frame.model)

    async def generate(self, request: Request) -> Reply:
        """One chat completion, not streamed."""
        frame = request.frame
        self._refuse_cloud(frame.model)
        answer = await self._http.json("POST", "/api/chat", chat_body(request))
        document = self._document(answer, frame)
        self._check_origin(document, frame.model)
        return self._reply(document, answer.as_said(), free_text=frame.schema is None)

    async def close(self) -> None:
        """Close the connections; the model stays loaded for its keep_alive."""
        await self._http.close()

    async def _ask(self, path: str) -> dict[str, object]:
        answer = await self._http.ask(path)
        if answer.status in (404, 405):
            raise wrong_endpoint(answer)
        if answer.status != 200:
            raise fault_of_answer(answer, model="", num_ctx=0)
        return answer.required()

    def _document(self, answer: Answer, frame: Frame) -> dict[str, object]:
        """Return the JSON object of a 200 that holds no error, whole or in the last line of a stream."""
        if answer.status != 200:
            raise fault_of_answer(answer, frame.model, frame.num_ctx)
        said = complaint(answer.document) or complaint(_last_line(answer))
        if said is not None:
            raise fault_of_text(500, said.text, said.details, frame.num_ctx)
        return answer.required()

    def _refuse_cloud(self, model: str) -> None:
        if not self._allow_cloud and (_cloud_name(model) or _full_name(model) in self._remote):
            raise HostUnusable(
                FaultKind.CLOUD, f"{model} would send the rows off the machine; allow_cloud = true if you want that"
            )

    def _check_origin(self, document: Mapping[str, object], model: str) -> None:
        """Refuse what another model or another machine has said."""
        remote = document.get("remote_host") or document.get("remote_model")
        if remote and not self._allow_cloud:
            raise HostUnusable(
                FaultKind.CLOUD,
                f"the answer came from {excerpt(str(remote), 80)}; allow_cloud = true if rows may leave the machine",
            )
        answered = document.get("model")
        if not isinstance(answered, str):
            raise HostFault(FaultKind.BAD_BODY, f"not a chat answer: {excerpt(', '.join(document), 80)}")
        if not remote and answered != model and _full_name(answered) != _full_name(model):
            raise HostUnusable(FaultKind.WRONG_MODEL, f"asked for {model}, answered by {excerpt(answered, 80)}")

    def _reply(self, document: Mapping[str, object], as_said: Mapping[str, object], *, free_text: bool) -> Reply:
        message = as_said.get("message")
        said = message if isinstance(message, dict) else {}
        text = plain_text(said.get("content"))
        reason = document.get("done_reason")
        if document.get("done") is not True or reason not in ACCEPTED_REASONS:
            done = excerpt(str(document.get("done")), 40)
            raise RowFault(
                FaultKind.ABORTED_OUTPUT,
                f"the answer is not whole: done = {done}, done_reason = {excerpt(str(reason), 40)}",
                completion=text,
            )
        thought = bool(said.get("thinking"))
        if not text.strip() and reason == "stop" and (thought or not free_text):
            where = "; there was text in `thinking`" if thought else ""
            raise RowFault(FaultKind.INVALID_OUTPUT, f"the answer is empty{where}", completion=text)
        prompt_tokens = count(document.get("prompt_eval_count"))
        return Reply(
            text=text,
            finish=str(reason),
            prompt_tokens=None if self._version == COUNTS_WITHOUT_CACHE else prompt_tokens,
            reported_prompt_tokens=prompt_tokens,
            output_tokens=count(document.get("eval_count")),
            prefill_s=seconds(document.get("prompt_eval_duration"), NANOSECONDS),
            decode_s=seconds(document.get("eval_duration"), NANOSECONDS),
            load_s=seconds(document.get("load_duration"), NANOSECONDS),
            first_token=first_token(as_said.get("logprobs")),
        )


def _frame_body(frame: Frame, messages: list[dict[str, str]]) -> dict[str, object]:
    """What warm-up and rows have in common, so that the one loads exactly what the others need."""
    return {
        "model": frame.model,
        "messages": messages,
        "stream": False,
        "think": frame.think,
        "truncate": False,
        "shift": False,
        "keep_alive": frame.keep_alive,
        "options": {"num_ctx": frame.num_ctx},
    }


def chat_body(request: Request) -> dict[str, object]:
    """Return what is sent for a row, as JSON has it."""
    frame = request.frame
    body = _frame_body(frame, request.messages())
    if frame.schema is not None:
        body["format"] = frame.schema
    if request.top_logprobs:
        body["logprobs"] = True
        body["top_logprobs"] = request.top_logprobs
    options: dict[str, object] = {
        **(request.extra or {}),
        "num_ctx": frame.num_ctx,
        "num_predict": request.num_predict,
        "temperature": request.temperature,
        "seed": request.seed,
    }
    if request.stop:
        options["stop"] = list(request.stop)
    body["options"] = options
    return body


def _last_line(answer: Answer) -> dict[str, object] | None:
    """Return the last line of a reply that came as a stream after all: that is where its error would be."""
    if answer.document is not None:
        return None
    try:
        line = json.loads(answer.body.rstrip().rpartition(b"\n")[2])
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) else None


def _acceptable(said: object) -> Version:
    if not isinstance(said, str):
        raise HostUnusable(FaultKind.WRONG_ENDPOINT, "/api/version names no version: this is not Ollama")
    version = Version.parse(said)
    if version is None or version < MIN_VERSION:
        least = ".".join(map(str, MIN_VERSION[:3]))
        raise HostUnusable(
            FaultKind.TOO_OLD,
            f"Ollama {excerpt(said, 40)} cannot be told to refuse prompts that do not fit; it needs {least} or newer"
            + (" (0.0.0 is a build without a version)" if version == (0, 0, 0, True) else ""),
            version=excerpt(said, 40) or None,
        )
    return version


def _models(tags: Mapping[str, object]) -> list[ModelInfo]:
    listed = tags.get("models")
    found = []
    for entry in listed if isinstance(listed, list) else []:
        name = _name_of(entry)
        if name is not None:
            digest = str(entry.get("digest", "")).removeprefix("sha256:").lower()
            remote = bool(entry.get("remote_host") or entry.get("remote_model")) or _cloud_name(name)
            found.append(ModelInfo(name, digest if re.fullmatch("[0-9a-f]{64}", digest) else None, remote=remote))
    return found


def running_model(running: Mapping[str, object], model: str) -> Loaded:
    """Find the model in what /api/ps says. An unknown is None, not a guess."""
    listed = running.get("models")
    for entry in listed if isinstance(listed, list) else []:
        name = _name_of(entry)
        if name is not None and _full_name(name) == _full_name(model):
            size, in_gpu = entry.get("size"), entry.get("size_vram")
            known = isinstance(size, int) and isinstance(in_gpu, int) and size > 0
            return Loaded(context=count(entry.get("context_length")), gpu_share=in_gpu / size if known else None)
    return Loaded()


def _name_of(entry: object) -> str | None:
    return proper_name(entry.get("name") or entry.get("model")) if isinstance(entry, dict) else None


def _full_name(model: str) -> str:
    """Spell a model as Ollama lists it: with its tag; names do not depend on case."""
    return (model if ":" in model.rpartition("/")[2] else f"{model}:latest").casefold()


def _cloud_name(model: str) -> bool:
    return _full_name(model).removesuffix(":latest").endswith((":cloud", "-cloud"))
