"""What is asked of an Ollama server besides scores: what a model is like, what is in memory, and to fetch a model.

A pull answers 200 before it has looked for anything, so that its failures come as a line among the others; only the
line `success` means that the model is there. Leaving a pull closes the connection, upon which the server stops and
keeps what it has: the next pull goes on from there.
"""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from scorer.config import HostConfig
from scorer.errors import Fault, FaultKind, HostFault, HostUnusable
from scorer.hosts.base import Loaded
from scorer.hosts.classify import Rule, by_text, complaint, count, proper_name, unusable
from scorer.hosts.http import Answer, Connect, Http, aiohttp_transport, excerpt, only_host_faults
from scorer.hosts.ollama import running_model
from scorer.hosts.ollama_errors import fault_of_answer

SUCCESS = "success"
LONGEST_STATUS = 80

# what no second try can help; everything else a registry or a network may get over
PERMANENT: tuple[Rule, ...] = (
    Rule(r"file does not exist|manifest unknown|not found", unusable(FaultKind.MODEL_MISSING)),
    Rule(r"invalid model name|requires a newer version|no space left|disk quota|permission denied|read-only",
         unusable(FaultKind.LOAD_FAILED)),
    Rule(r"unauthori[sz]ed|access denied|forbidden", unusable(FaultKind.UNAUTHORISED)),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ModelDetails:
    """What a server says of a model on its disk; None where it does not say. `max_context` is in tokens."""

    quantisation: str | None = None
    parameters: str | None = None
    max_context: int | None = None


@dataclass(frozen=True, slots=True)
class PullStep:
    """One line of a pull. `layer` is the digest of the file being fetched, sizes are its bytes; None: not said."""

    status: str
    layer: str | None = None
    total_bytes: int | None = None
    completed_bytes: int | None = None


class OllamaAdmin:
    """One Ollama server, as its owner uses it."""

    def __init__(self, config: HostConfig, *, token: str | None = None, connect: Connect = aiohttp_transport) -> None:
        self.name = config.name
        self._http = Http(config, connect(config), token=token)

    async def show(self, model: str) -> ModelDetails:
        """Return what a model on the server's disk is like."""
        with only_host_faults():
            document = self._good(await self._http.json("POST", "/api/show", {"model": model}), model)
        details, info = document.get("details"), document.get("model_info")
        details = details if isinstance(details, dict) else {}
        info = info if isinstance(info, dict) else {}
        return ModelDetails(
            quantisation=proper_name(details.get("quantization_level")),
            parameters=proper_name(details.get("parameter_size")),
            max_context=count(info.get(f"{info.get('general.architecture')}.context_length")),
        )

    async def loaded(self, model: str) -> Loaded | None:
        """Return how a model sits in the server's memory, None if it does not."""
        with only_host_faults():
            loaded = running_model(self._good(await self._http.ask("/api/ps"), model), model)
        return None if loaded == Loaded() else loaded

    async def pull(self, model: str) -> AsyncGenerator[PullStep, None]:
        """Fetch a model, and yield each step; returns once the server has it.

        Raises HostUnusable where trying again cannot help. The caller watches for stalls: a server may say nothing for
        minutes while it checks a large file.
        """
        last = ""
        with only_host_faults():
            lines = self._http.lines("/api/pull", {"model": model}, lambda answer: fault_of_answer(answer, model, 0))
            async with aclosing(lines) as stream:
                async for line in stream:
                    if (said := complaint(line)) is not None:
                        raise _failure(said.text, model)
                    step = _step(line)
                    last = step.status
                    yield step
        if last != SUCCESS:
            raise HostFault(FaultKind.BAD_BODY, f"the pull ended without success, after: {last or 'nothing'}")

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    def _good(self, answer: Answer, model: str) -> dict[str, object]:
        if answer.status != 200:
            raise fault_of_answer(answer, model, 0)
        return answer.required()


def _step(line: dict[str, object]) -> PullStep:
    layer = proper_name(line.get("digest"))
    return PullStep(
        excerpt(str(line.get("status", "")), LONGEST_STATUS), layer, _bytes(line, "total"), _bytes(line, "completed")
    )


def _bytes(line: dict[str, object], key: str) -> int | None:
    value = line.get(key)
    known = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 60
    return value if known and isinstance(value, int) else None


def _failure(text: str, model: str) -> Fault:
    permanent = by_text(PERMANENT, text)
    if isinstance(permanent, HostUnusable) and permanent.kind is FaultKind.MODEL_MISSING:
        return HostUnusable(permanent.kind, f"the registry has no {model} ({excerpt(text)})")
    return permanent or HostFault(FaultKind.SERVER_ERROR, re.sub(r"^error:\s*", "", excerpt(text), flags=re.IGNORECASE))
