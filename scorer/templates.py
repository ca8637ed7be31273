"""Templates: what is asked of the model about each row, and what it has to answer.

A template is a TOML file: a constant `system` text (the rubric, first in every prompt, so that every host's prefix
cache keeps it), a `user` text into which the row's columns are put, the fields of the answer and the sampling options.
Both texts are Jinja, compiled once; rows are values and never compiled. A prompt depends on nothing but the template
and the row: no global functions, no randomness, no other files.

Autoescape is off on purpose: prompts are not HTML, and `&lt;` where the row says `<` would change what is judged.
Control tokens are broken in the finished prompt, wherever a row has a part in them, so that no filter and no neighbour
brings one back.
With `nonce = true` a text can put marks around the row that the row cannot hold (see core/nonce.py).

Invariants: `load` and `loads` raise nothing but `UsageError`; `render` raises nothing but `RowFault`, and equal values
give equal prompts in every process.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import jinja2
import pydantic
from pydantic.dataclasses import dataclass as table

from scorer.config import read_text
from scorer.core.checked import STRICT, check, nearest, parse_toml, quoted
from scorer.core.control_tokens import neutralise
from scorer.core.nonce import nonce_of
from scorer.core.output import RESERVED as RESERVED
from scorer.core.output import fields_from
from scorer.core.score import Field
from scorer.errors import FaultKind, RowFault, UsageError
from scorer.sandbox import RENDER_ERRORS, compile_text, constant, first_line

_IN_PACKAGE = Path(__file__).parent / "prompts"  # an installed wheel
_IN_CHECKOUT = Path(__file__).parent.parent / "prompts"  # an editable install
_THINK_LEVELS = ("low", "medium", "high", "max")
_NONCE = "nonce"
_NAME = re.compile("[a-z0-9][a-z0-9._-]{0,63}")  # also part of the job's name, hence of a folder's


def _think(value: object) -> object:
    if not isinstance(value, bool) and value not in _THINK_LEVELS:
        raise ValueError(f"must be true, false or one of {', '.join(_THINK_LEVELS)}")
    return value


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("may hold small letters, digits, dots, dashes and _, at most 64, a letter or digit first")
    return value


def _filled(value: str) -> str:
    if not value.strip():
        raise ValueError("is empty")
    return value


@table(frozen=True, slots=True, config=STRICT)
class Options:
    """Sampling options. Lengths are in tokens; `num_ctx` holds the system text, the row and the answer together."""

    temperature: Annotated[float, pydantic.Field(ge=0, le=2)] = 0.0
    num_predict: Annotated[int, pydantic.Field(ge=1)] = 96
    num_ctx: Annotated[int, pydantic.Field(ge=256, le=1 << 24)] = 4096
    seed: Annotated[int, pydantic.Field(ge=0, lt=1 << 31)] = 0
    think: Annotated[bool | str, pydantic.PlainValidator(_think)] = False


@table(frozen=True, slots=True, config=STRICT)
class _File:
    """A template file's top level; the tables in it are checked one by one, so that errors can name them."""

    name: Annotated[str, pydantic.AfterValidator(_name)]
    system: Annotated[str, pydantic.AfterValidator(_filled)]
    user: Annotated[str, pydantic.AfterValidator(_filled)]
    output: dict[str, Any]
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    control_tokens: Literal["neutralise", "keep"] = "neutralise"
    nonce: bool = False


@dataclass(frozen=True, slots=True)
class Rendered:
    """A row's prompt, and how many control tokens in it were broken.

    `chars` counts the system text as well. `recipe` says in which way it is asked, where a job has several.
    """

    user: str
    neutralised: int
    chars: int
    recipe: str = ""


class Asking(Protocol):
    """What a job has to know of how its rows are asked: a template, or what stands in a template's place."""

    @property
    def name(self) -> str:
        """What the job is named after."""

    @property
    def system(self) -> str:
        """The text that is the same for every row; empty where there is none, or where it is not the same."""

    @property
    def user(self) -> str:
        """The text around a row's values."""

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields of an answer, score first."""

    @property
    def options(self) -> Options:
        """The sampling options."""

    @property
    def fingerprint(self) -> str:
        """A SHA-256 over all that affects prompts and answers."""

    def render(self, values: Mapping[str, object]) -> Rendered:
        """Return a row's prompt; raises RowFault."""

    def is_empty(self, values: Mapping[str, object]) -> bool:
        """Whether there is nothing to send in a row."""


@dataclass(frozen=True)
class Template:
    """A checked template, ready to render.

    `variables` are the names that `user` takes from a row; the nonce, if it has one, is not among them. `text` is the
    whole file, `source` where it came from.
    `fingerprint` is a SHA-256 over all that affects prompts and answers: not the name, comments or layout.
    """

    name: str
    system: str
    user: str
    fields: tuple[Field, ...]
    options: Options
    control_tokens: str
    nonce: bool
    variables: frozenset[str]
    text: str
    source: str
    fingerprint: str
    _compiled: jinja2.Template = dataclasses.field(repr=False, compare=False)

    def render(self, values: Mapping[str, object]) -> Rendered:
        """Render the user text from a row's values by variable name; null renders as nothing.

        Raises RowFault (RENDER_FAILED, permanent): the same row would fail the same way everywhere.
        """
        try:
            context: dict[str, object] = {name: _text_of(values[name]) for name in self.variables if name in values}
            if self.nonce:
                context[_NONCE] = nonce_of(context)
            pieces = list(self._compiled.generate(context))
            user, broken = neutralise(*pieces) if self.control_tokens == "neutralise" else ("".join(pieces), 0)
            user.encode()  # a lone surrogate can be neither sent nor stored
        except RENDER_ERRORS as error:
            raise RowFault(FaultKind.RENDER_FAILED, first_line(error), permanent=True) from error
        return Rendered(user, broken, len(self.system) + len(user))

    def is_empty(self, values: Mapping[str, object]) -> bool:
        """Whether every variable the template uses is null or blank: such a row must not be sent."""
        return all(_is_blank(values.get(name)) for name in self.variables)


def load(name_or_path: str) -> Template:
    """Load a shipped template by its name, or any template file by its path; UsageError if there is neither."""
    folder = prompts_folder()
    path = folder / f"{name_or_path}.toml"
    if path.name == f"{name_or_path}.toml" and path.is_file():
        return _load_shipped(path)
    looks_like_path = name_or_path.endswith(".toml") or "/" in name_or_path
    if not looks_like_path and not Path(name_or_path).is_file():
        known = sorted(path.stem for path in folder.glob("*.toml"))
        raise UsageError(
            f"no template called {quoted(name_or_path)}; {nearest(name_or_path, known)}\n"
            "Shipped: " + ", ".join(known) + ". A template of your own is given by its path, such as ./mine.toml."
        )
    return loads(read_text(Path(name_or_path), "template"), name_or_path)


def shipped() -> list[Template]:
    """Load every template in the prompts folder, by name; a user's own file there is one of them."""
    return [_load_shipped(path) for path in sorted(prompts_folder().glob("*.toml"))]


def loads(text: str, source: str) -> Template:
    """Read a template from TOML; UsageError names `source`, the table and the key."""
    file = check(_File, parse_toml(text, source), source)
    system = constant(file.system, f"{source}: system")
    compiled, variables = compile_text(file.user, f"{source}: user")
    if file.nonce:
        if _NONCE not in variables:
            raise UsageError(f"{source}: nonce = true, but user does not say {{{{ nonce }}}} before and after the row")
        variables -= {_NONCE}
    if not variables:
        raise UsageError(f"{source}: user takes nothing from the row; write a column's name as {{{{ text }}}}")
    fields = fields_from(file.output, source)
    options = checked_options(file.options, f"{source}: [options]")
    return Template(
        name=file.name,
        system=system,
        user=file.user,
        fields=fields,
        options=options,
        control_tokens=file.control_tokens,
        nonce=file.nonce,
        variables=variables,
        text=text,
        source=source,
        fingerprint=_fingerprint(system, file, fields, options),
        _compiled=compiled,
    )


def checked_options(table: Mapping[str, object], place: str) -> Options:
    """Make Options from a table of their names; UsageError begins with `place` and names the key."""
    options = check(Options, table, place)
    if options.num_predict >= options.num_ctx:
        raise UsageError(f"{place}: num_predict ({options.num_predict}) leaves no room in num_ctx ({options.num_ctx})")
    return options


def prompts_folder() -> Path:
    """Return where the shipped templates are: in the package, or beside it in an editable install."""
    return _IN_PACKAGE if _IN_PACKAGE.is_dir() else _IN_CHECKOUT


def _load_shipped(path: Path) -> Template:
    template = loads(read_text(path, "template"), str(path))
    if template.name != path.stem:
        raise UsageError(f"{path}: name is {quoted(template.name)} but the file is {path.name}; make them the same")
    return template


def _fingerprint(system: str, file: _File, fields: tuple[Field, ...], options: Options) -> str:
    content: dict[str, object] = {
        "system": system,
        "user": file.user,
        "control_tokens": file.control_tokens,
        "output": [dataclasses.asdict(field) for field in fields],
        "options": dataclasses.asdict(options),
    }
    if file.nonce:  # only then: the fingerprints of before stay what they were
        content["nonce"] = True
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _text_of(value: object) -> object:
    if value is None:
        return ""
    return value.decode() if isinstance(value, bytes) else value


def _is_blank(value: object) -> bool:
    if isinstance(value, (str, bytes)):
        return not value or value.isspace()
    return value is None or (isinstance(value, Sized) and not len(value))
