"""hosts.toml: which hosts there are, how to reach them and how far each may be used.

Reading is strict: an unknown key, a wrong type or a duplicate is a `UsageError` with the file, the table, the key and
the nearest valid one. Tokens are never part of the configuration: a host names an environment variable or a file, and
`read_token` looks there when a connection is made. So no `HostConfig`, log or job folder can hold one.

Invariants: host names are unique, and so are URLs; a token never goes over plain HTTP except to this machine.
"""

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from scorer.core.checked import check, parse_toml, quoted
from scorer.core.host_table import TOKEN_KEYS, USELESS, Api, DefaultKeys, HostKeys, HostsTables, refuse_secrets
from scorer.core.hours import Hours
from scorer.core.url import is_loopback, same_place
from scorer.errors import UsageError

_MAX_FILE_BYTES = 1 << 20
_MAX_TOKEN_BYTES = 1 << 14
_PATHS = frozenset({"ca", "gguf", "token_file"})


@dataclass(frozen=True, slots=True, kw_only=True)
class HostConfig:
    """One host as configured.

    `url` is normalised, and empty for the embedded engine. `own_model`: `model` is from the host's own table, its name
    for `default_model`, which is that of [defaults]; None if that has none. `slots` None is "auto". `max_context` is in
    tokens. `ca`, `gguf` and `token_file` are absolute paths.
    """

    name: str
    url: str
    api: Api = "ollama"
    model: str | None = None
    own_model: bool = False
    default_model: str | None = None
    model_digest: str | None = None
    slots: int | None = None
    hours: Hours | None = None
    max_context: int | None = None
    enabled: bool = True
    token_env: str | None = None
    token_file: str | None = None
    ca: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    gguf: str | None = None
    threads: int | None = None
    allow_cloud: bool = False
    min_deadline_s: float = 120.0


Signature = tuple[int, int, int]
"""By which a file's content is known to have changed: time of the last change, size, inode."""


@dataclass(frozen=True, slots=True)
class HostsFile:
    """All hosts, in the file's order; `path` is None when there is no file. `default_model` is that of [defaults].

    `signature` is no younger than what was read: whatever was written since then has another one.
    """

    path: str | None
    default_model: str | None
    hosts: tuple[HostConfig, ...]
    signature: Signature | None = field(default=None, compare=False)


def default_hosts(url: str = "http://127.0.0.1:11434") -> HostsFile:
    """One Ollama on this machine."""
    return HostsFile(None, None, (HostConfig(name="local", url=url),))


def embedded_hosts() -> HostsFile:
    """The embedded engine with its demo model."""
    return HostsFile(None, None, (HostConfig(name="this-machine", url="", api="embedded"),))


def load_hosts(path: Path) -> HostsFile:
    """Read hosts.toml; UsageError says what is wrong with it."""
    # first: an edit while it is read must be seen as one
    signature = signature_of(path)
    return replace(parse_hosts(read_text(path, "hosts file"), str(path), path.parent), signature=signature)


def signature_of(path: Path) -> Signature | None:
    """Return the signature that a file has now, None if it is gone."""
    try:
        found = path.stat()
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def parse_hosts(text: str, source: str, folder: Path) -> HostsFile:
    """Read the text of a hosts.toml; relative paths in it are taken from `folder`."""
    tables = parse_toml(text, source)
    if isinstance(tables.get("hosts"), dict):
        raise UsageError(f"{source}: write [[hosts]] with two brackets, once for each host")
    file = check(HostsTables, tables, source)
    if not file.hosts:
        raise UsageError(f'{source}: no hosts; add a table [[hosts]] with name = "…" and url = "http://…:11434"')
    place = f"{source}: [defaults]"
    if misplaced := {"name", "url"} & file.defaults.keys():
        raise UsageError(f"{place}: {min(misplaced)} differs from host to host and belongs in [[hosts]]")
    refuse_secrets(file.defaults, place)
    defaults = check(DefaultKeys, file.defaults, place)
    hosts = tuple(
        _renaming(_host(table, file.defaults, _place(source, i, table), folder), defaults.model)
        for i, table in enumerate(file.hosts)
    )
    _refuse_duplicates("name", (host.name for host in hosts), source)
    _refuse_duplicates("url", (same_place(host.url) for host in hosts if host.url), source)
    return HostsFile(source, defaults.model, hosts)


def read_token(host: HostConfig, environ: Mapping[str, str]) -> str | None:
    """Fetch the host's token from where its configuration says; None if it needs none.

    UsageError if it is not there, empty, not one line of ASCII, or in a file that others may read.
    """
    if host.token_env:
        place = f"host {quoted(host.name)}: the variable {host.token_env} (token_env)"
        token = environ.get(host.token_env)
        if token is None:
            raise UsageError(f"{place} is not set; export {host.token_env}=… and try again")
    elif host.token_file:
        place = f"host {quoted(host.name)}: {host.token_file} (token_file)"
        token = _private_text(Path(host.token_file), place)
    else:
        return None
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable():
        raise UsageError(f"{place} must hold the token and nothing else, on one line")
    return token


def read_text(path: Path, what: str) -> str:
    """Read a small UTF-8 file that a person wrote; UsageError calls it `what`."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise UsageError(f"cannot read the {what} {path}: {reason}") from None
    if len(content) > _MAX_FILE_BYTES:
        raise UsageError(f"{path} is larger than {_MAX_FILE_BYTES >> 20} MiB; is it really a {what}?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text; is it really a {what}?") from None


def _place(source: str, index: int, table: Mapping[str, object]) -> str:
    name = table.get("name")
    known = isinstance(name, str) and name.strip()
    return f"{source}: [[hosts]] {quoted(str(name)) if known else f'number {index + 1}'}"


def _host(own: Mapping[str, object], defaults: Mapping[str, object], place: str, folder: Path) -> HostConfig:
    inherited = {key: value for key, value in defaults.items() if not (key in TOKEN_KEYS and own.keys() & TOKEN_KEYS)}
    refuse_secrets(own, place)
    keys = check(HostKeys, {**inherited, **own}, place)
    useless = USELESS[keys.api]
    if wrong := useless & own.keys():
        raise UsageError(f'{place}: {min(wrong)} means nothing for api = "{keys.api}"')
    given = {f.name: getattr(keys, f.name) for f in fields(keys) if f.name not in useless}
    for key in _PATHS & given.keys():
        if given[key] is not None:
            given[key] = _absolute(given[key], folder, f"{place}: {key}")
    given["headers"] = tuple(given.get("headers", {}).items())
    host = HostConfig(**{"url": "", **given, "own_model": "model" in own})
    _check_url(host, place)
    return host


def _renaming(host: HostConfig, default_model: str | None) -> HostConfig:
    return replace(host, default_model=default_model) if host.own_model else host


def _absolute(path: str, folder: Path, place: str) -> str:
    try:
        absolute = folder.absolute() / Path(path).expanduser()
    except RuntimeError as error:  # ~somebody who does not exist
        raise UsageError(f"{place}: {error}") from None
    if not absolute.is_file():
        raise UsageError(f"{place}: there is no file {absolute}")
    return str(absolute)


def _check_url(host: HostConfig, place: str) -> None:
    if host.api == "embedded":
        return
    if not host.url:
        raise UsageError(f'{place}: url is missing, such as url = "http://192.168.1.10:11434"')
    suffix = "/api" if host.api == "ollama" else "/v1"
    if host.url.endswith(suffix):
        raise UsageError(f"{place}: url must end before {suffix}, which is added to it")
    if (host.token_env or host.token_file) and host.url.startswith("http://") and not is_loopback(host.url):
        raise UsageError(
            f"{place}: a token would travel unencrypted to {host.url}; use https or a tunnel to this machine"
        )


def _refuse_duplicates(key: str, values: Iterable[str], source: str) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise UsageError(f"{source}: two [[hosts]] have the {key} {quoted(value)}")
        seen.add(value)


def _private_text(path: Path, place: str) -> str:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(_MAX_TOKEN_BYTES)
    except OSError as error:
        raise UsageError(f"{place} cannot be read: {error.strerror}") from None
    if mode & 0o077:
        raise UsageError(f"{place} may be read by others (mode {mode:04o}); run: chmod 600 {path}")
    return content.decode("latin-1")
