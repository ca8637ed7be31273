"""The endpoints that only tell: version, tags, show, ps.

No faults and no slots here: a real server goes on answering these while generation is stuck.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from doubles.calls import Call, decode, find_model, parse_call
from doubles.engine import Clock, Engine
from doubles.exchange import TEXT, Exchange
from doubles.record import Log
from doubles.spec import Model, Spec

_FOR_EVER_S = 292 * 365 * 86_400.0
_MODIFIED = "2026-05-01T12:00:00.000000000Z"


@dataclass(slots=True)
class State:
    """What one server knows. `models` is by full name in lower case and changes at run time.

    `pulls` counts them, `fetched` is how far each digest has come in steps of `doubles.pulling.STEPS`.
    """

    spec: Spec
    log: Log
    clock: Clock
    engine: Engine
    models: dict[str, Model] = field(default_factory=dict)
    pulls: int = 0
    fetched: dict[str, int] = field(default_factory=dict)

    def call(self, kind: str, body: dict[str, Any]) -> Call:
        """The body of a chat or generate request, checked; raises Refusal."""
        return parse_call(kind, body, self.models, self.engine.version)


async def root(_state: State, exchange: Exchange) -> None:
    """Say that the process lives, which says nothing of its models."""
    exchange.send(200, b"Ollama is running", TEXT)


async def version(state: State, exchange: Exchange) -> None:
    """Tell the version."""
    exchange.json(200, {"version": state.engine.version})


async def tags(state: State, exchange: Exchange) -> None:
    """List the models that are on disk."""
    exchange.json(200, {"models": [_listed(model) for model in state.models.values()]})


async def show(state: State, exchange: Exchange) -> None:
    """Describe one model."""
    body = decode(exchange.request.body)
    exchange.record.body = body
    model = find_model(body.get("model") or body.get("name") or "", state.models, state.engine.version)
    exchange.json(
        200,
        {
            "modelfile": f"FROM /models/blobs/sha256-{model.hex_digest}\n",
            "parameters": 'stop "<|eot_id|>"',
            "template": "{{ .System }}{{ .Prompt }}",
            "details": _details(model),
            "model_info": {
                "general.architecture": model.family,
                f"{model.family}.context_length": model.max_context,
            },
            "capabilities": list(model.capabilities),
            "modified_at": _MODIFIED,
            **_remote(model),
        },
    )


async def ps(state: State, exchange: Exchange) -> None:
    """List the models that are in memory, with the context they were loaded with."""
    now_s = state.clock.now_s()
    listed = []
    for runner in state.engine.loaded():
        left_s = min((runner.expires_s if not runner.users else runner.keep_alive_s + now_s) - now_s, _FOR_EVER_S)
        size = runner.model.size_bytes
        listed.append(
            {
                "name": runner.model.full_name,
                "model": runner.model.full_name,
                "size": size,
                "size_vram": round(size * state.spec.gpu_share),
                "digest": runner.model.hex_digest,
                "details": _details(runner.model),
                "expires_at": (datetime.now(UTC) + timedelta(seconds=left_s)).isoformat(),
                "context_length": runner.num_ctx,
            }
        )
    exchange.json(200, {"models": listed})


def _listed(model: Model) -> dict[str, Any]:
    return {
        "name": model.full_name,
        "model": model.full_name,
        "modified_at": _MODIFIED,
        "size": model.size_bytes,
        "digest": model.hex_digest,
        "details": _details(model),
        "capabilities": list(model.capabilities),
        **_remote(model),
    }


def _remote(model: Model) -> dict[str, str]:
    if not model.remote_host:
        return {}
    return {"remote_host": model.remote_host, "remote_model": model.remote_model or model.name}


def _details(model: Model) -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "safetensors" if model.inference == "mlx" else "gguf",
        "family": model.family,
        "families": [model.family],
        "parameter_size": "3.2B",
        "quantization_level": model.quantisation,
    }
