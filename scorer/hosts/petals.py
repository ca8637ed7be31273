"""A Petals gateway: large models on a swarm of machines, behind one form.

Its API is a single form, POST /api/v1/generate, which always answers HTTP 200: `{"ok": true, "outputs": text}` or
`{"ok": false, "traceback": text}`. It knows no chat template, stop texts, seed, log-probabilities, schema or usage, and
tells neither its models nor their context. So the prompt is the rubric, a blank line and the row; the answer ends where
a grammar or a stop text would have ended it, found here; whether it is any good, the template's own check decides; and
the lengths of prompt and answer in tokens stay unknown.

`warm` asks for one token, which alone proves that the model is there and that the swarm holds all of its blocks.
"""

import json

from scorer.config import HostConfig
from scorer.core.task import Reply
from scorer.errors import Fault, FaultKind, HostFault, HostUnusable, RowFault, UnclearFault
from scorer.hosts.base import Frame, HostInfo, Loaded, ModelInfo, Request
from scorer.hosts.classify import Rule, by_status, by_text, host, plain_text, row, unusable
from scorer.hosts.http import QUESTION_TIMEOUT_S, Answer, Http, excerpt, in_time, only_host_faults

GENERATE = "/api/v1/generate"
TRIAL = "Answer:"

# the gateway leaves these in the text: only they tell an answer that was finished from one that was cut
ENDS = ("</s>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "<|im_end|>", "<eos>")

# looked for in the last line of a traceback, which names the exception; the lines before quote the gateway's program
RULES: tuple[Rule, ...] = (
    Rule(r"do not provide public API", unusable(FaultKind.UNAUTHORISED)),
    Rule(r"MissingBlocksError|no servers holding blocks", host(FaultKind.LOAD_FAILED)),
    Rule(r"exceeds pre-allocated maximum|cannot allocate KV cache", row(FaultKind.CONTEXT_OVERFLOW, permanent=True)),
)


class PetalsHost:
    """One gateway, with the one model that its configuration names."""

    def __init__(self, config: HostConfig, http: Http) -> None:
        self.name = config.name
        self._model = config.model
        self._digest = config.model_digest
        self._http = http

    def hushed(self, text: str) -> str:
        """Return a text without the token."""
        return self._http.hushed(text)

    async def alive(self) -> None:
        """Send the form empty: the gateway complains at once, and has nothing to compute."""
        with only_host_faults():
            with in_time(f"POST {GENERATE}", QUESTION_TIMEOUT_S):
                answer = await self._http.form(GENERATE, {})
            if not isinstance(_document(answer).get("ok"), bool):
                raise HostUnusable(FaultKind.WRONG_ENDPOINT, f"not a Petals gateway: {excerpt(answer.body, 80)}")

    async def probe(self) -> HostInfo:
        """Return the model of the configuration, since a gateway lists none. Raises HostUnusable if it is none."""
        await self.alive()
        if self._model is None:
            raise HostUnusable(FaultKind.MODEL_MISSING, 'a Petals gateway lists no models: name one with model = "…"')
        return HostInfo(version="Petals gateway", models=(ModelInfo(self._model, self._digest),))

    async def warm(self, frame: Frame) -> Loaded:
        """Ask for one token. What context and how many slots there are, nobody tells."""
        with only_host_faults():
            _outputs(await self._http.form(GENERATE, _form(Request(frame, TRIAL, num_predict=1))), frame.model)
        return Loaded()

    async def generate(self, request: Request) -> Reply:
        """One completion."""
        answer = await self._http.form(GENERATE, _form(request))
        said = plain_text(_outputs(answer, request.frame.model))
        text, finish = _ended(said, request)
        if not text.strip() and finish == "stop" and request.frame.schema is not None:
            raise RowFault(FaultKind.INVALID_OUTPUT, "the answer is empty", completion=text)
        return Reply(text=text, finish=finish)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()


def _form(request: Request) -> dict[str, str]:
    frame = request.frame
    sampling = (
        {"do_sample": "1", "temperature": str(request.temperature)} if request.temperature else {"do_sample": "0"}
    )
    return {
        "model": frame.model,
        "inputs": "\n\n".join(message["content"] for message in request.messages()) + "\n\n",
        "max_new_tokens": str(request.num_predict),
        **sampling,
    }


def _document(answer: Answer) -> dict[str, object]:
    if answer.status in (404, 405):
        raise HostUnusable(
            FaultKind.WRONG_ENDPOINT, f"no Petals gateway at this url: HTTP {answer.status} to {GENERATE}"
        )
    plain = by_status(answer)
    if plain is not None:
        raise plain
    if answer.status != 200:
        raise UnclearFault(FaultKind.SERVER_ERROR, f"HTTP {answer.status}: {excerpt(answer.body)}")
    return answer.required()


def _outputs(answer: Answer, model: str) -> object:
    document = _document(answer)
    if document.get("ok") is False:
        raise fault_of_traceback(plain_text(document.get("traceback")), model)
    if document.get("ok") is not True or not isinstance(document.get("outputs"), str):
        raise HostFault(FaultKind.BAD_BODY, f"not a gateway's answer: {excerpt(', '.join(document), 80)}")
    return answer.as_said()["outputs"]


def fault_of_traceback(traceback: str, model: str) -> Fault:
    """Return the fault that a gateway's traceback stands for: mostly nobody knows whose doing it was."""
    last = traceback.rstrip().rpartition("\n")[2]
    if last == f"KeyError: {model!r}":
        return HostUnusable(FaultKind.MODEL_MISSING, f"the gateway has no model {model}")
    return by_text(RULES, last) or UnclearFault(FaultKind.SERVER_ERROR, excerpt(last))


def _ended(said: str, request: Request) -> tuple[str, str]:
    """Return the answer and how it ended: `stop` where the model, a stop text or its JSON ended it, else `length`."""
    ends = [at for end in (*ENDS, *request.stop) if end and (at := said.find(end)) >= 0]
    text = said[: min(ends)] if ends else said
    if request.frame.schema is None:
        return text, "stop" if ends else "length"
    start = len(text) - len(text.lstrip())
    if not text.startswith("{", start):
        # a retry with more room for it would not make it JSON
        return text, "stop"
    try:
        _, end = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return text, "stop" if ends else "length"
    return text[start:end], "stop"
