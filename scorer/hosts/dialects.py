"""What the servers behind the OpenAI-style API are, and what each understands beyond it.

The API has no way to switch a model's thinking off, and thinking eats the answer's tokens; each server has a way of its
own. One is used only where the server has said who it is: others may refuse a request over a field they do not know.
"""

from collections.abc import Mapping
from enum import StrEnum

from scorer.hosts.classify import count


class Dialect(StrEnum):
    """A server, by what it writes into `owned_by` of its list of models."""

    LLAMA_CPP = "llamacpp"
    VLLM = "vllm"
    SGLANG = "sglang"
    EXO = "exo"
    LM_STUDIO = "organization_owner"
    OTHER = ""


NAMES: Mapping[Dialect, str] = {
    Dialect.LLAMA_CPP: "llama.cpp",
    Dialect.VLLM: "vLLM",
    Dialect.SGLANG: "SGLang",
    Dialect.EXO: "exo",
    Dialect.LM_STUDIO: "LM Studio",
}
_BY_TEMPLATE = frozenset({Dialect.LLAMA_CPP, Dialect.VLLM, Dialect.SGLANG})


def dialect_of(entries: list[dict[str, object]]) -> Dialect:
    """Say which server it is by its list of models."""
    known = {str(dialect): dialect for dialect in Dialect}
    found = [known[owner] for entry in entries if isinstance(owner := entry.get("owned_by"), str) and owner in known]
    return found[0] if found else Dialect.OTHER


def extras(dialect: Dialect, think: bool | str) -> dict[str, object]:
    """Return the fields that a request to this server gets beyond the common ones. `think` is as in `Frame`."""
    fields: dict[str, object] = {}
    if isinstance(think, str):
        fields["reasoning_effort"] = think
    elif dialect in _BY_TEMPLATE:
        fields["chat_template_kwargs"] = {"enable_thinking": think}
    elif dialect is Dialect.EXO:
        fields["enable_thinking"] = think
    if dialect is Dialect.LLAMA_CPP:
        fields["cache_prompt"] = True
    return fields


def context_of(entry: Mapping[str, object]) -> int | None:
    """Return the context in tokens that a request gets, as one entry of a list of models tells it, if it does.

    `max_model_len` is vLLM's, `meta.n_ctx` llama.cpp's (what one slot has), `loaded_context_length` LM Studio's and
    `context_length` exo's, which writes 0 where it does not know.
    """
    meta = entry.get("meta")
    told = (
        entry.get("max_model_len"),
        meta.get("n_ctx") if isinstance(meta, dict) else None,
        entry.get("loaded_context_length"),
        entry.get("context_length"),
    )
    return next((tokens for value in told if (tokens := count(value))), None)
