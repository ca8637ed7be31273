"""The keys of a host's table in hosts.toml, and what each may hold.

Messages never repeat a value: a token may stand where it does not belong.
"""

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Literal

import pydantic
from pydantic.dataclasses import dataclass as table

from scorer.core.checked import STRICT, quoted
from scorer.core.hours import Hours
from scorer.core.url import normal_url
from scorer.errors import UsageError

Api = Literal["ollama", "openai", "petals", "embedded"]

TOKEN_KEYS = frozenset({"token_env", "token_file"})

# What a host has no use for, by its API: an error in its own table, passed over when it comes from [defaults].
USELESS: Mapping[Api, frozenset[str]] = {
    "ollama": frozenset({"gguf", "threads", "model_digest"}),
    "openai": frozenset({"gguf", "threads"}),
    "petals": frozenset({"gguf", "threads", "allow_cloud"}),
    "embedded": TOKEN_KEYS | {"url", "ca", "headers", "model_digest", "allow_cloud"},
}

_LONGEST_NAME = 64
_LITERAL_SECRETS = frozenset({"token", "api_key", "apikey", "api-key", "key", "password", "secret", "bearer"})
_SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-auth-token"})
_OUR_HEADERS = frozenset({"content-type", "content-length", "transfer-encoding", "accept-encoding", "connection"})
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _slots(value: object) -> int | None:
    if value == "auto":
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1024:
        raise ValueError('must be a whole number from 1 to 1024, or "auto"')
    return value


def _hours(value: object) -> Hours:
    return Hours.parse(value if isinstance(value, str) else "")


def _variable(value: str) -> str:
    if not _VARIABLE.fullmatch(value):
        raise ValueError("must be the name of an environment variable, not the token itself")
    return value


def _digest(value: str) -> str:
    digest = value.strip().lower().removeprefix("sha256:")
    if not digest or not digest.isprintable() or " " in digest:
        raise ValueError("must be a digest, such as 64 hexadecimal digits")
    return digest


def _filled(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError("must be one line of text")
    return value.strip()


def _host_name(value: str) -> str:
    if len(value) > _LONGEST_NAME:
        raise ValueError(f"is longer than {_LONGEST_NAME} characters")
    return _filled(value)


def _headers(value: dict[str, str]) -> dict[str, str]:
    seen: set[str] = set()
    for name, content in value.items():
        folded = name.lower()
        if folded in _SECRET_HEADERS:
            raise ValueError(f"has {name}, a secret in the file; use token_env or token_file")
        if folded in _OUR_HEADERS or not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"cannot set {quoted(name)}")
        if folded in seen:
            raise ValueError(f"has {name} twice")
        if not content.isascii() or not content.isprintable():
            raise ValueError(f"has a value for {name} that is not one line of plain ASCII")
        seen.add(folded)
    return value


_Line = Annotated[str, pydantic.AfterValidator(_filled)]


@table(frozen=True, slots=True, kw_only=True, config=STRICT)
class HostsTables:
    """The top level of the file; the tables in it are checked one by one, so that errors can name them."""

    defaults: dict[str, Any] = field(default_factory=dict)
    hosts: list[dict[str, Any]] = field(default_factory=list)


@table(frozen=True, slots=True, kw_only=True, config=STRICT)
class DefaultKeys:
    """What [defaults] may hold: every key but name and url."""

    api: Api = "ollama"
    model: _Line | None = None
    model_digest: Annotated[str, pydantic.AfterValidator(_digest)] | None = None
    slots: Annotated[int | None, pydantic.PlainValidator(_slots)] = None
    hours: Annotated[Hours | None, pydantic.PlainValidator(_hours)] = None
    max_context: Annotated[int, pydantic.Field(ge=256)] | None = None
    enabled: bool = True
    token_env: Annotated[str, pydantic.AfterValidator(_variable)] | None = None
    token_file: _Line | None = None
    ca: _Line | None = None
    headers: Annotated[dict[str, str], pydantic.AfterValidator(_headers)] = field(default_factory=dict)
    gguf: _Line | None = None
    threads: Annotated[int, pydantic.Field(ge=1, le=1024)] | None = None
    allow_cloud: bool = False
    min_deadline_s: Annotated[float, pydantic.Field(gt=0)] = 120.0


@table(frozen=True, slots=True, kw_only=True, config=STRICT)
class HostKeys(DefaultKeys):
    """What a table [[hosts]] may hold."""

    name: Annotated[str, pydantic.AfterValidator(_host_name)]
    url: Annotated[str, pydantic.AfterValidator(normal_url)] = ""


def refuse_secrets(table: Mapping[str, object], place: str) -> None:
    """UsageError for a table, as its user wrote it, that holds a token itself or asks for two."""
    for key in table:
        if key.lower() in _LITERAL_SECRETS:
            raise UsageError(
                f"{place}: {key} would be a secret in a file that gets copied and shared\n"
                'Use token_env = "NAME_OF_A_VARIABLE", or token_file = "path" (mode 0600).'
            )
    if table.keys() >= TOKEN_KEYS:
        raise UsageError(f"{place}: token_env and token_file are both given; keep one")
