"""What a run demands of every host, and what a host has to offer.

Invariant: a host's own name for a model stands for one of the run's, never for several.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from scorer.config import HostConfig
from scorer.dispatch.served import short
from scorer.errors import FaultKind, HostUnusable
from scorer.hosts.base import Frame, HostInfo, ModelInfo

SHOWN_MODELS = 6


def same_model(one: str, other: str) -> bool:
    """Whether two model names mean the same: Ollama adds `:latest` where there is no tag, and tells no case."""
    return one.casefold().removesuffix(":latest") == other.casefold().removesuffix(":latest")


def same_twice(models: Sequence[str]) -> tuple[str, str] | None:
    """Return two of these names that mean one model; None if there are none."""
    return next(((one, other) for one, other in combinations(models, 2) if same_model(one, other)), None)


def own_name(config: HostConfig, name: str, models: Sequence[str]) -> str:
    """Return what a host calls one of a run's `models`.

    Its table's `model` stands for the one of [defaults], and without that for the only one of the run. Never for all of
    several, nor for one beside which it is in the run itself: they would be one model under two names.
    """
    renamed = config.default_model or (name if len(models) == 1 else None)
    if not (config.own_model and config.model and renamed and same_model(name, renamed)):
        return name
    is_another = any(same_model(config.model, other) for other in models if not same_model(other, name))
    return name if is_another else config.model


def own_names(config: HostConfig, models: Sequence[str]) -> tuple[str, ...]:
    """Return what a host calls a run's models, each once."""
    return tuple(dict.fromkeys(own_name(config, name, models) for name in models))


@dataclass(frozen=True, slots=True)
class Terms:
    """What a run demands of every host, frozen at its start.

    `digests` maps each of the run's models to the digest all hosts must have (empty: they report none); a model that no
    host had yet is not in it.
    """

    models: tuple[str, ...]
    digests: Mapping[str, str]
    allow_mixed: bool
    system: str
    schema: Mapping[str, object] | None
    num_ctx: int
    think: bool | str = False

    def serves(self, config: HostConfig, info: HostInfo) -> dict[str, ModelInfo]:
        """Map those of the run's models that the host has to its own; HostUnusable when none may be used."""
        found = {name: model for name in self.models if (model := self.find(name, config, info))}
        if not found:
            has = _listed([model.name for model in info.models]) or "no model at all"
            wanted = ", ".join(own_names(config, self.models))
            raise HostUnusable(
                FaultKind.MODEL_MISSING, f"lacks the model {wanted} (it has {has}){self._not_meant(config)}"
            )
        return {name: model for name, model in found.items() if self._check(name, config, model)}

    def unheard_of(self, found: Mapping[str, ModelInfo]) -> dict[str, str]:
        """Return the digests of those models of a host that all hosts are to be held to from now on."""
        if self.allow_mixed:
            return {}
        return {name: model.digest or "" for name, model in found.items() if name not in self.digests}

    def frame(self, config: HostConfig, model: ModelInfo) -> Frame:
        """Return what all requests for one model to one host share."""
        num_ctx = min(self.num_ctx, config.max_context or self.num_ctx)
        return Frame(model.name, self.system, self.schema, num_ctx, self.think)

    def find(self, name: str, config: HostConfig, info: HostInfo) -> ModelInfo | None:
        """Return what a host has under the run's name of a model, whether or not it may be used."""
        if config.api == "embedded" and len(self.models) == 1:
            # it serves the one file it was given; the digest says whether that is the same model
            return next(iter(info.models), None)
        wanted = own_name(config, name, self.models)
        exact = (model for model in info.models if model.name == wanted)
        return next(exact, None) or next((model for model in info.models if same_model(model.name, wanted)), None)

    def _not_meant(self, config: HostConfig) -> str:
        """Say why a host's own name for a model did not count."""
        if not config.own_model or any(own_name(config, name, self.models) == config.model for name in self.models):
            return ""
        if config.default_model:
            return f"; {config.model} is its name for {config.default_model}, the model of [defaults]"
        return f"; name under [defaults] the model that it calls {config.model}"

    def _check(self, name: str, config: HostConfig, model: ModelInfo) -> bool:
        if model.remote and not config.allow_cloud:
            raise HostUnusable(FaultKind.CLOUD, f"{model.name} runs in a cloud: rows would leave this network")
        expected = self.digests.get(name)
        if not self.allow_mixed and name in self.digests and (model.digest or "") != expected:
            raise HostUnusable(
                FaultKind.WRONG_MODEL,
                f"its {model.name} has digest {short(model.digest)}, the job's is {short(expected)}",
            )
        return True


def _listed(names: Sequence[str]) -> str:
    more = len(names) - SHOWN_MODELS
    return ", ".join(sorted(names)[:SHOWN_MODELS]) + (f" and {more} more" if more > 0 else "")
