"""Add a host to a hosts file without touching what is in it: comments, order and spacing stay.

Invariants: the whole new text is read as a run would read it before anything is written; the file is replaced in one
step, so that a run which watches it never sees half of it; a host that is off now is no reason to refuse it.
"""

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import tomlkit
from tomlkit.items import Array

from scorer.config import HostsFile, parse_hosts, read_text
from scorer.core.checked import parse_toml, quoted
from scorer.core.url import normal_url, same_place
from scorer.errors import UsageError

OLLAMA_PORT = 11434
NEW_FILE = "# The hosts that score: every key is described in docs/hosts.md\n"


def add(path: Path, keys: Mapping[str, object]) -> HostsFile:
    """Write one more table [[hosts]] of these keys, in their order, into the file, which is made if it is not there.

    UsageError, and the file as it was, if the new file could not be used or the host is in it already.
    """
    # the file that a link leads to is replaced, not the link
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise UsageError(f"cannot write the hosts file {path}: its links lead in a circle")
    before = read_text(path, "hosts file") if target.exists() else NEW_FILE
    if target.exists():
        _refuse_known(before, path, keys)
    text = _with_table(before, keys, str(path))
    hosts = parse_hosts(text, str(path), path.parent)
    _replace(target, text)
    return hosts


def completed(url: str, api: str) -> str:
    """Return the URL that somebody means who types a bare address: http, and Ollama's port where it is Ollama."""
    if "://" in url or not url:
        return url
    guess = f"http://{url}"
    parts = urlsplit(guess)
    try:
        port = parts.port
    except ValueError:
        return guess
    if port is not None or api != "ollama":
        return guess
    return urlunsplit(parts._replace(netloc=f"{parts.netloc}:{OLLAMA_PORT}", path=parts.path.rstrip("/")))


def _refuse_known(text: str, path: Path, keys: Mapping[str, object]) -> None:
    """Say so in the user's words if the host is there already; what else is wrong with the file is said later."""
    tables = parse_toml(text, str(path)).get("hosts", [])
    if isinstance(tables, dict):
        raise UsageError(f"{path}: write [[hosts]] with two brackets, once for each host")
    for table in tables if isinstance(tables, list) else []:
        if not isinstance(table, dict):
            continue
        if table.get("name") == keys["name"]:
            raise UsageError(
                f"{path} has a host {quoted(str(keys['name']))} already: {table.get('url', 'without url')}"
            )
        if "url" in keys and _same(table.get("url"), keys["url"]):
            raise UsageError(f"{path} has this url already, as host {quoted(str(table.get('name')))}")


def _same(one: object, other: object) -> bool:
    with suppress(ValueError):
        return same_place(normal_url(str(one))) == same_place(normal_url(str(other)))
    return False


def _with_table(text: str, keys: Mapping[str, object], source: str) -> str:
    parse_toml(text, source)
    document = tomlkit.parse(text)
    listed = document.get("hosts")
    if isinstance(listed, Array):
        inline = tomlkit.inline_table()
        inline.update(keys)
        listed.append(inline)
        return tomlkit.dumps(document)
    # at the end of the file a table of a list may always stand, whatever is between the others
    table = tomlkit.table()
    table.update(keys)
    tables = tomlkit.aot()
    tables.append(table)
    return f"{text.rstrip()}\n\n{tomlkit.dumps({'hosts': tables}).strip()}\n"


def _replace(target: Path, text: str) -> None:
    """Put the text in the file's place, with the file's mode."""
    temporary: Path | None = None
    try:
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o644
        target.parent.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        temporary = Path(name)
        with os.fdopen(number, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(target)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise UsageError(f"cannot write {target}: {error.strerror}") from None
