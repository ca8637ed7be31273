"""What a double of Ollama is like: its version, models, speeds and faults, as frozen values.

Nothing here does anything. All seconds and tokens a second are simulated ones; `Spec.time_scale` says how many of them
pass in one real second. What changes at run time (speed, digests, version) is a control of the server, not a new Spec.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from hashlib import sha256
from typing import Any, Literal

Inference = Literal["rendered", "native", "mlx"]
FaultScript = Callable[[int, Mapping[str, Any]], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model as `/api/tags` shows it.

    `inference` is who renders and runs the prompt, which decides about truncation: `rendered` (Ollama's own templates,
    most library models), `native` (the template inside the GGUF) or `mlx`. A model with the capability `thinking`
    thinks unless told not to, for `thinking_tokens`; one that is not `silenceable` thinks whatever it is told.
    A `remote_host` makes it a cloud model.
    """

    name: str = "llama3.2:3b"
    digest: str = ""  # 64 hex digits; left out: the sha256 of the name
    capabilities: tuple[str, ...] = ("completion", "tools")
    inference: Inference = "rendered"
    size_bytes: int = 2_019_393_189
    max_context: int = 131_072
    quantisation: str = "Q4_K_M"
    family: str = "llama"
    thinking_tokens: int = 40
    silenceable: bool = True
    remote_host: str = ""
    remote_model: str = ""

    @property
    def full_name(self) -> str:
        """The name with its tag, as the server lists it."""
        return with_tag(self.name)

    @property
    def hex_digest(self) -> str:
        """The digest, 64 hex digits without a prefix."""
        return self.digest or sha256(self.full_name.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A control that is worked by itself: just before generation `at_request` (0-based), or at `at_s` seconds.

    `action` is a key of `doubles.server.ACTIONS`, `value` its argument, if it takes one.
    """

    action: str
    at_request: int | None = None
    at_s: float | None = None
    value: Any = None  # a number, a string or nothing, as the action wants it


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A whole server. The defaults are a fast, faultless one with a single slot and no load time.

    `speeds`: one request takes `overhead_s + new prompt tokens / prefill_tps + output tokens / decode_tps` in a slot,
    times `1 + contention * (other busy slots)`; `contention` 0 means that slots do not slow each other, 1 that they
    gain nothing together.
    `faults` gives each kind of `doubles.faults.KINDS` a probability, drawn from `seed`, the user text and how often
    that text was seen, so the same rows fail in the same way whatever the order of arrival. `fault_for` is called with
    the 0-based number of the generation and its body, and is asked first.
    A pull takes `pull_s`; each one's fate is the next of `pull_script`: `ok`, `stall`, `drop`, or the text of the error
    line that ends it half-way; those beyond the script are `ok`.
    `token`: as behind a proxy that wants `Authorization: Bearer`. `salt` makes this server's answers its own.
    """

    version: str = "0.34.0"
    models: tuple[Model, ...] = (Model(),)
    pullable: tuple[Model, ...] = ()
    pull_s: float = 0.0
    pull_script: tuple[str, ...] = ()
    prefill_tps: float = 200_000.0
    decode_tps: float = 20_000.0
    overhead_s: float = 0.0
    output_tokens: int | None = None  # None: a quarter of the answer's length
    slots: int = 1
    contention: float = 0.0
    prefix_cache: bool = True
    load_s: float = 0.0
    load_error: str = ""  # every load fails with this text
    max_queue: int = 512
    max_loaded: int = 3
    default_num_ctx: int = 4096
    default_keep_alive_s: float = 300.0
    gpu_share: float = 1.0
    cancel_poll_s: float = 1.0  # how often era B notices that a client has gone
    fast_fail_s: float = 0.005
    trickle_s: float = 0.05  # between two bytes
    retry_after_s: int = 1
    faults: Mapping[str, float] = field(default_factory=dict)
    fault_for: FaultScript | None = None
    seed: int = 0
    salt: str = ""
    token: str = ""
    events: tuple[Event, ...] = ()
    time_scale: float = 1.0


def spec_from_json(document: Mapping[str, Any]) -> Spec:
    """Build a Spec from the object in a `--spec` file; unknown keys raise TypeError, as for the constructor."""
    values = dict(document)
    for key, kind in (("models", Model), ("pullable", Model), ("events", Event)):
        if key in values:
            values[key] = tuple(kind(**_tuples(kind, entry)) for entry in values[key])
    if "pull_script" in values:
        values["pull_script"] = tuple(values["pull_script"])
    return Spec(**values)


def _tuples(kind: type[Model] | type[Event], entry: Mapping[str, Any]) -> dict[str, Any]:
    known = {f.name for f in fields(kind)}
    if unknown := set(entry) - known:
        raise TypeError(f"{kind.__name__} has no {', '.join(sorted(unknown))}")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}


def with_tag(name: str) -> str:
    """The name as Ollama completes it: a missing tag means `latest`."""
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"


def version_tuple(version: str) -> tuple[int, ...]:
    """`0.30.11-rc1` as (0, 30, 11)."""
    return tuple(int(part) for part in version.split("-", 1)[0].split("."))


def is_era_b(version: str) -> bool:
    """Whether llama-server runs the models (0.30 and later) instead of Ollama's own runner."""
    return version_tuple(version) >= (0, 30)
