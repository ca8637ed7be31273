"""Fleet files: the simulated hosts of `scorer simulate`, with their true speeds and what happens to them.

Reading is as strict as that of hosts.toml: an unknown key, a wrong type or a duplicate is a `UsageError` with the file,
the table, the key and the nearest valid one. Speeds are per slot, in tokens a second; times in seconds.

Invariant: names are unique, and at least one host is there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic.dataclasses import dataclass as table

from scorer.config import read_text
from scorer.core.checked import STRICT, check, nearest, parse_toml, quoted
from scorer.core.simulated import EventKind, SimEvent, SimHost
from scorer.errors import UsageError

Positive = Annotated[float, pydantic.Field(gt=0)]
NotNegative = Annotated[float, pydantic.Field(ge=0)]
Name = Annotated[str, pydantic.Field(min_length=1, max_length=64)]


@table(config=STRICT, kw_only=True)
class _EventKeys:
    at_s: NotNegative
    kind: EventKind
    factor: Annotated[float, pydantic.Field(ge=1)] | None = None
    until_s: Positive | None = None


@table(config=STRICT, kw_only=True)
class _HostKeys:
    name: Name
    prefill_tps: Positive
    decode_tps: Positive
    overhead_s: NotNegative = 0.05
    slots: Annotated[int, pydantic.Field(ge=1, le=1024)] = 1
    max_context: Annotated[int, pydantic.Field(ge=1)] | None = None
    models: list[Name] = pydantic.Field(default_factory=list)
    load_s: NotNegative = 0.0
    climb: bool = False
    events: list[dict[str, Any]] = pydantic.Field(default_factory=list)


@table(config=STRICT, kw_only=True)
class _FleetTables:
    # checked one by one, so that a message can name the host
    hosts: list[dict[str, Any]] = pydantic.Field(default_factory=list)


def load_fleet(path: Path) -> tuple[SimHost, ...]:
    """Read a fleet file; UsageError says what is wrong with it."""
    return parse_fleet(read_text(path, "fleet file"), str(path))


def parse_fleet(text: str, source: str) -> tuple[SimHost, ...]:
    """Read the text of a fleet file; `source` is its name in messages."""
    tables = parse_toml(text, source)
    if isinstance(tables.get("hosts"), dict):
        raise UsageError(f"{source}: write [[hosts]] with two brackets, once for each host")
    file = check(_FleetTables, tables, source)
    if not file.hosts:
        raise UsageError(f"{source}: no hosts; add a table [[hosts]] with name, prefill_tps and decode_tps")
    return _unique([_host(keys, _place(source, i, keys)) for i, keys in enumerate(file.hosts)], source)


def with_host(fleet: Sequence[SimHost], text: str) -> tuple[SimHost, ...]:
    """Add a host as `--add` writes it: `name=…,prefill_tps=…,decode_tps=…` and any other key but lists."""
    place = "--add"
    keys: dict[str, object] = {}
    for pair in text.split(","):
        key, found, value = (part.strip() for part in pair.partition("="))
        if not (key and found and value):
            raise UsageError(f'{place} {quoted(text)}: write it as --add "name=…,prefill_tps=…,decode_tps=…"')
        keys[key] = value if key == "name" else parse_toml(f"value = {value}", f"{place} {key}")["value"]
    return _unique([*fleet, _host(keys, place)], place)


def without_host(fleet: Sequence[SimHost], name: str) -> tuple[SimHost, ...]:
    """Take a host out, by name; UsageError if there is none, or no other."""
    names = [host.name for host in fleet]
    if name not in names:
        raise UsageError(f"--remove {quoted(name)}: there is no such host; {nearest(name, names)}")
    if len(names) == 1:
        raise UsageError(f"--remove {quoted(name)}: it is the only host")
    return tuple(host for host in fleet if host.name != name)


def _unique(hosts: Sequence[SimHost], source: str) -> tuple[SimHost, ...]:
    names = [host.name for host in hosts]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"{source}: two hosts have the name {quoted(twice)}")
    return tuple(hosts)


def _place(source: str, index: int, keys: Mapping[str, object]) -> str:
    name = keys.get("name")
    return f"{source}: [[hosts]] {quoted(name) if isinstance(name, str) and name else f'number {index + 1}'}"


def _host(given: Mapping[str, object], place: str) -> SimHost:
    keys = check(_HostKeys, given, place)
    events = tuple(_event(event, f"{place}: events number {i + 1}") for i, event in enumerate(keys.events))
    values = {field.name: getattr(keys, field.name) for field in fields(keys)}
    return SimHost(**{**values, "models": tuple(keys.models), "events": events})


def _event(given: Mapping[str, object], place: str) -> SimEvent:
    keys = check(_EventKeys, given, place)
    if keys.until_s is not None and keys.until_s <= keys.at_s:
        raise UsageError(f"{place}: until_s must be later than at_s")
    if keys.kind == "joins" and keys.until_s is not None:
        raise UsageError(f'{place}: until_s means nothing for kind = "joins"; add an event of kind = "dies"')
    if (keys.kind == "slows") != (keys.factor is not None):
        raise UsageError(f'{place}: factor belongs to kind = "slows", and to no other')
    event = SimEvent(keys.at_s, keys.kind, until_s=keys.until_s)
    return event if keys.factor is None else replace(event, factor=keys.factor)
