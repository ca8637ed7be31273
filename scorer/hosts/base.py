"""What the dispatcher asks of a server, whatever its API.

An adapter never retries a generation (the dispatcher decides where the next try goes), never logs a token, and raises
nothing but the faults of `scorer.errors`; cancelling any of its calls closes the connection, which is what stops the
work on the server.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from scorer.core.task import Reply

CONNECT_TIMEOUT_S = 5.0
MAX_BODY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Frame:
    """What all requests of a run to one host share, byte for byte: a difference would reload the model.

    `model` is the host's own name for it. `schema` is the JSON Schema of the answer, None where it is free text.
    `think` is false, or a level for models that cannot be silenced. An empty `system` sends no system message.
    """

    model: str
    system: str
    schema: Mapping[str, object] | None
    num_ctx: int
    think: bool | str = False
    keep_alive: str = "30m"


class Request(NamedTuple):
    """One row's request: the frame, the text of the row and the sampling options.

    `stop`: the answer ends before any of these texts. `top_logprobs`: how many candidates for the first token are
    wanted with their log-probabilities; servers that cannot tell send none.
    """

    frame: Frame
    user: str
    num_predict: int
    temperature: float = 0.0
    seed: int = 0
    extra: Mapping[str, object] | None = None
    stop: tuple[str, ...] = ()
    top_logprobs: int = 0

    def messages(self) -> list[dict[str, str]]:
        """Return the chat: the constant system text, if there is one, and then the row."""
        system = [{"role": "system", "content": self.frame.system}] if self.frame.system else []
        return [*system, {"role": "user", "content": self.user}]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model as a host reports it. `digest` is 64 hex digits without a prefix, or None where the API has none."""

    name: str
    digest: str | None
    remote: bool = False
    max_context: int | None = None


@dataclass(frozen=True, slots=True)
class HostInfo:
    """What a probe found: the server's version as it says it, and its models."""

    version: str
    models: tuple[ModelInfo, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A loaded model: its effective context in tokens and the share of it that sits in GPU memory, where known."""

    context: int | None = None
    gpu_share: float | None = None
    slots: int | None = None


class Host(Protocol):
    """One endpoint. Every method raises only `Fault`s (or is cancelled)."""

    name: str

    def hushed(self, text: str) -> str:
        """Return a text for people without the host's token: whatever quotes a completion, which may hold it."""

    async def alive(self) -> None:
        """Ask the cheapest question that proves the server answers; within CONNECT_TIMEOUT_S and a little."""

    async def probe(self) -> HostInfo:
        """Version and models. Raises HostUnusable when the API, version or authorisation is wrong."""

    async def warm(self, frame: Frame) -> Loaded:
        """Load the model with exactly the run's load-time options: many minutes perhaps, the caller sets a deadline."""

    async def generate(self, request: Request) -> Reply:
        """One completion, not streamed. The caller sets the deadline by cancelling."""

    async def close(self) -> None:
        """Let go of connections, and of the process if there is one."""
