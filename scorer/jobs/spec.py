"""job.toml: everything that was decided when a job was submitted.

A job goes on from what it froze, whatever has changed around it since. Written atomically, rewritten only to add what
was not known before (the selection grows, hosts are met for the first time).

Invariant: no token or other secret is ever in it.
"""

import base64
import errno
import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.ipc
import tomlkit
from pydantic import ConfigDict, TypeAdapter, ValidationError

from scorer.errors import DiskFull, StoreError, UsageError
from scorer.results import results_schema, sync_folder
from scorer.templates import Asking

FILE = "job.toml"

# a key that is left out when a newer scorer's file is read would be lost when it is written, and make another job of it
_ALL_KNOWN = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class DatasetSpec:
    """Which dataset: where it was, and the fingerprint by which it is known wherever it is now.

    A file of the job's own folder is written to job.toml by its name alone, since it moves with the folder.

    `schema` is its Arrow schema (IPC, base64), so that going on with a job needs no look at every row. `files` and
    `revision` are those of a dataset of the Hub, so that it needs no network either; otherwise empty.
    """

    __pydantic_config__ = _ALL_KNOWN

    source: str
    format: str
    rows: int
    fingerprint: str
    schema: str
    files: tuple[str, ...] = ()
    revision: str = ""


@dataclass(frozen=True, slots=True)
class TemplateSpec:
    """Which template: its whole text, so that the file may change or go.

    `kind` is "template", or "suites" for the suites of a benchmark (`jobs/asking.py` reads both).
    """

    __pydantic_config__ = _ALL_KNOWN

    name: str
    source: str
    fingerprint: str
    text: str
    kind: str = "template"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows: all, the first `count`, or `count` spread over the dataset."""

    __pydantic_config__ = _ALL_KNOWN

    kind: str = "all"
    count: int = 0

    def __str__(self) -> str:
        words = {"all": "all rows", "limit": f"the first {self.count} rows"}
        return words.get(self.kind, f"{self.count} rows spread over the dataset")


@dataclass(frozen=True, slots=True)
class HostRecord:
    """A host as it was met: its version and digest by model."""

    __pydantic_config__ = _ALL_KNOWN

    url: str
    version: str
    digests: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One job as submitted.

    `digests` maps models to the digest all hosts must have, empty where they report none. `kept_schema` is the Arrow
    schema of the kept columns (IPC, base64), so that parts can be made without the dataset.
    """

    __pydantic_config__ = _ALL_KNOWN

    name: str
    scorer_version: str
    created_at: str
    models: tuple[str, ...]
    dataset: DatasetSpec
    template: TemplateSpec
    columns: dict[str, str]
    keep: tuple[str, ...] = ()
    kept_schema: str = ""
    samples: int = 1
    selection: Selection = Selection()
    hosts_file: str | None = None
    model_was_chosen: bool = False
    allow_mixed_models: bool = False
    digests: dict[str, str] = field(default_factory=dict)
    hosts: dict[str, HostRecord] = field(default_factory=dict)

    @property
    def tasks(self) -> int:
        """How many tasks the selection makes; a pilot that has grown may have more."""
        rows, count = self.dataset.rows, self.selection.count
        return (rows if self.selection.kind == "all" else min(count, rows)) * self.samples * len(self.models)

    def differences(self, other: Self) -> list[str]:
        """Say in what another spec would be another job, one line each."""
        pairs = [
            ("dataset", self.dataset.fingerprint, other.dataset.fingerprint, self.dataset.source, other.dataset.source),
            (
                "template",
                self.template.fingerprint,
                other.template.fingerprint,
                f"{self.template.name} ({self.template.fingerprint[:12]})",
                f"{other.template.name} ({other.template.fingerprint[:12]})",
            ),
            ("model", self.models, other.models, ", ".join(self.models), ", ".join(other.models)),
            ("columns", self.columns, other.columns, _mapping(self.columns), _mapping(other.columns)),
            ("kept columns", self.keep, other.keep, _listing(self.keep), _listing(other.keep)),
            ("samples", self.samples, other.samples, str(self.samples), str(other.samples)),
        ]
        return [
            f"{what}: the job has {mine}, this run {theirs}"
            + (" (same place, other content)" if mine == theirs else "")
            for what, one, two, mine, theirs in pairs
            if one != two
        ]

    def met(self, digests: dict[str, str], hosts: dict[str, HostRecord]) -> Self:
        """Return the spec with what was learned of models and hosts."""
        return replace(self, digests={**digests, **self.digests}, hosts={**self.hosts, **hosts})


def frozen_types(types: Mapping[str, pa.DataType]) -> str:
    """Return the types of columns as job.toml holds them."""
    return base64.b64encode(pa.schema(list(types.items())).serialize().to_pybytes()).decode() if types else ""


def thawed_types(frozen: str) -> pa.Schema:
    """Return as a schema what `frozen_types` made."""
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(frozen))) if frozen else pa.schema([])


def schema_of(spec: JobSpec, template: Asking) -> pa.Schema:
    """Return the schema that all parts of a job have."""
    kept = {field.name: field.type for field in thawed_types(spec.kept_schema)}
    return results_schema(template.fields, kept)


def _mapping(columns: dict[str, str]) -> str:
    return ", ".join(f"{variable}={column}" for variable, column in sorted(columns.items())) or "none"


def _listing(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none"


def write_spec(folder: Path, spec: JobSpec) -> None:
    """Write job.toml whole or not at all."""
    document = tomlkit.document()
    document.add(tomlkit.comment("What this job froze when it was submitted. scorer reads it; change nothing here."))
    frozen = asdict(spec).items()
    plain: dict[str, Any] = {key: list(value) if isinstance(value, tuple) else value for key, value in frozen}
    plain["template"]["text"] = tomlkit.string(spec.template.text, multiline=True)
    for key, value in plain.items():
        if value is not None:
            document.add(key, tomlkit.item(value))
    if (inside := Path(spec.dataset.source)).parent == folder.absolute():
        document["dataset"]["source"] = inside.name
    path, temporary = folder / FILE, folder / f"{FILE}.tmp"
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(tomlkit.dumps(document))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(folder)
    except OSError as error:
        kind = DiskFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StoreError
        raise kind(f"cannot write {path}: {error.strerror}") from None


@cache
def _validator() -> TypeAdapter[JobSpec]:
    """Made once: a listing of jobs reads many specs, and making it takes longer than reading one."""
    return TypeAdapter(JobSpec)


def read_spec(folder: Path) -> JobSpec:
    """Read job.toml; UsageError if this is no job, or the file was damaged or may not be read."""
    path = folder / FILE
    try:
        spec = _validator().validate_python(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UsageError(f"no job in {folder}: {FILE} is missing") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, ValidationError, UnicodeDecodeError) as error:
        if unknown := _unknown(error):
            raise UsageError(
                f"{path} was written by a newer scorer: this one does not know {unknown}\n"
                "Upgrade scorer to go on with this job."
            ) from None
        first = str(error).splitlines()[0]
        raise UsageError(f"{path} is damaged ({first}); it is written by scorer and not to be edited") from None
    source = spec.dataset.source
    if "://" in source or Path(source).is_absolute():
        return spec
    return replace(spec, dataset=replace(spec.dataset, source=str((folder / source).absolute())))


def _unknown(error: Exception) -> str:
    """Return the first key, with the tables it is in, that no scorer up to this one writes; empty if there is none."""
    found = error.errors() if isinstance(error, ValidationError) else []
    keys = [one["loc"] for one in found if one["type"] == "unexpected_keyword_argument"]
    return ".".join(map(str, min(keys))) if keys else ""
