"""What a suite file says: a benchmark as a TOML file, checked as strictly as a template.

A suite names its data, how a row becomes a question (Jinja texts over the row's columns), what the right answer is, how
the answer is read out of a completion and what counts as right. docs/bench.md describes every key.

Invariant: `load` and `loads` raise nothing but `UsageError`, which names the file and the key.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import jinja2
import pydantic
from pydantic.dataclasses import dataclass as table

from scorer.core.checked import STRICT, check, parse_toml, quoted
from scorer.errors import UsageError
from scorer.sandbox import compile_text, constant, make_environment

MAX_SHOTS = 64
TEXTS = ("user", "worked", "gold", "question", "intro", "group", "id")
EXPRESSIONS = ("choices", "labels")
_NAME = re.compile("[a-z0-9][a-z0-9._-]{0,63}")  # also part of the job's name, hence of a folder's

Text = jinja2.Template
Expression = Callable[..., object]


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("may hold small letters, digits, dots, dashes and _, at most 64, a letter or digit first")
    return value


def _filled(value: str) -> str:
    if not value.strip():
        raise ValueError("is empty")
    return value


Filled = Annotated[str, pydantic.AfterValidator(_filled)]


@table(frozen=True, slots=True, config=STRICT)
class SuiteOptions:
    """How a suite is asked. Lengths are in tokens; `num_ctx` holds the examples, the question and the answer together.

    `stop`: the answer ends before any of these texts. `sampling_temperature` is that of several samples a question.
    """

    num_predict: Annotated[int, pydantic.Field(ge=1)] = 256
    num_ctx: Annotated[int, pydantic.Field(ge=256, le=1 << 24)] = 4096
    temperature: Annotated[float, pydantic.Field(ge=0, le=2)] = 0.0
    sampling_temperature: Annotated[float, pydantic.Field(gt=0, le=2)] = 0.7
    seed: Annotated[int, pydantic.Field(ge=0, lt=1 << 31)] = 0
    stop: list[Annotated[str, pydantic.Field(min_length=1)]] = dataclasses.field(default_factory=list)


@table(frozen=True, slots=True, config=STRICT)
class Pair:
    """Two answers to be judged in both orders: expressions for each, and for which is the better one ("a" or "b")."""

    a: Filled
    b: Filled
    better: Filled


@table(frozen=True, slots=True, config=STRICT)
class _File:
    """A suite file's top level; its tables are checked one by one, so that errors can name them."""

    name: Annotated[str, pydantic.AfterValidator(_name)]
    source: Filled
    data: Filled
    user: Filled
    metric: Literal["exact", "choice"]
    gold: str = ""
    title: str = ""
    examples: str = ""
    shots: Annotated[int, pydantic.Field(ge=0, le=MAX_SHOTS)] = 0
    seed: Annotated[int, pydantic.Field(ge=0, lt=1 << 31)] = 0
    worked: str = " {{ gold }}"
    separator: str = "\n\n"
    intro: str = ""
    system: str = ""
    question: str = ""
    group: str = ""
    examples_of_group: bool = False
    id: str = ""
    choices: str = ""
    labels: str = ""
    answer: Literal["number", "text", "pattern"] | None = None
    pattern: str = ""
    logprobs: bool = True
    header: list[str] = dataclasses.field(default_factory=list)
    pair: dict[str, Any] = dataclasses.field(default_factory=dict)
    subsets: dict[str, Any] = dataclasses.field(default_factory=dict)
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Suite:
    """A checked suite. `texts` and `expressions` are compiled, by key; an empty key is in neither.

    `data` and `examples` may hold `{subset}`; `subsets` maps each to its value, which the texts know as `words`.
    `pattern` is set for answer = "pattern". `text` is the whole file, `place` where it came from, `fingerprint` a
    SHA-256 over all that affects prompts and scores.
    """

    name: str
    title: str
    source: str
    data: str
    examples: str
    shots: int
    examples_of_group: bool
    seed: int
    separator: str
    system: str
    metric: Literal["exact", "choice"]
    answer: Literal["number", "text", "pattern", "choice"]
    pattern: re.Pattern[str] | None
    logprobs: bool
    header: tuple[str, ...]
    subsets: Mapping[str, object]
    options: SuiteOptions
    text: str
    place: str
    fingerprint: str
    texts: Mapping[str, Text] = dataclasses.field(repr=False, compare=False)
    expressions: Mapping[str, Expression] = dataclasses.field(repr=False, compare=False)

    @property
    def paired(self) -> bool:
        """Whether each row is asked twice, its two answers in both orders."""
        return "better" in self.expressions


def loads(text: str, place: str) -> Suite:
    """Read a suite from TOML; UsageError names `place` and the key."""
    file = check(_File, parse_toml(text, place), place)
    pair = check(Pair, file.pair, f"{place}: [pair]") if file.pair else None
    options = check(SuiteOptions, file.options, f"{place}: [options]")
    if options.num_predict >= options.num_ctx:
        raise UsageError(
            f"{place}: [options]: num_predict ({options.num_predict}) leaves no room in num_ctx ({options.num_ctx})"
        )
    _check_together(file, pair, place)
    expressions = {key: source for key in EXPRESSIONS if (source := getattr(file, key))}
    if pair is not None:
        expressions |= {key: getattr(pair, key) for key in ("a", "b", "better")}
    return Suite(
        name=file.name,
        title=file.title or file.name,
        source=file.source,
        data=file.data,
        examples=file.examples,
        shots=file.shots,
        examples_of_group=file.examples_of_group,
        seed=file.seed,
        separator=file.separator,
        system=constant(file.system, f"{place}: system"),
        metric=file.metric,
        answer=file.answer or "choice",
        pattern=_regular(file.pattern, place) if file.pattern else None,
        logprobs=file.logprobs,
        header=tuple(file.header),
        subsets=file.subsets,
        options=options,
        text=text,
        place=place,
        fingerprint=_fingerprint(file, options),
        texts={key: _text(key, source, place) for key in TEXTS if (source := getattr(file, key))},
        expressions={key: _expression(source, f"{place}: {key}") for key, source in expressions.items()},
    )


def _check_together(file: _File, pair: Pair | None, place: str) -> None:
    """Refuse keys that mean nothing beside each other, and say which one is missing."""
    rules = (
        (
            file.metric == "exact" and file.answer is None,
            'metric = "exact" needs answer = "number", "text" or "pattern"',
        ),
        (
            file.metric == "choice" and file.answer is not None,
            'answer belongs to metric = "exact"; of a choice, the label is read',
        ),
        ((file.answer == "pattern") != bool(file.pattern), 'answer = "pattern" and pattern belong together'),
        (
            pair is not None and (file.metric != "choice" or bool(file.gold or file.choices or file.labels)),
            '[pair] says what is right: metric = "choice", without gold, choices or labels',
        ),
        (pair is None and not file.gold, 'gold is missing: the right answer, such as gold = "{{ answer }}"'),
        (
            pair is None and file.metric == "choice" and not (file.choices or file.labels),
            'choices is missing: a list of the options\' texts, such as choices = "[good, bad]"',
        ),
        (
            file.examples_of_group and not file.group,
            'examples_of_group needs group, such as group = "{{ subject }}"',
        ),
        (
            ("{subset}" in file.data + file.examples) != bool(file.subsets),
            "[subsets] and {subset} in data belong together",
        ),
    )
    for broken, words in rules:
        if broken:
            raise UsageError(f"{place}: {words}")
    for subset in file.subsets:
        if not _NAME.fullmatch(subset):
            raise UsageError(f"{place}: [subsets]: {quoted(subset)} may hold small letters, digits, dots, dashes and _")


def _text(key: str, source: str, place: str) -> Text:
    compiled, variables = compile_text(source, f"{place}: {key}", _ENVIRONMENT)
    if not variables and key in ("user", "gold"):
        raise UsageError(f"{place}: {key} takes nothing from the row; write a column's name as {{{{ question }}}}")
    return compiled


def _expression(source: str, place: str) -> Expression:
    try:
        return _ENVIRONMENT.compile_expression(source, undefined_to_none=False)
    except jinja2.TemplateSyntaxError as error:
        raise UsageError(f"{place}: {error.message} (an expression stands here without braces)") from None
    except (RecursionError, SyntaxError):
        raise UsageError(f"{place}: nested too deeply") from None


def _regular(source: str, place: str) -> re.Pattern[str]:
    try:
        return re.compile(source)
    except re.error as error:
        raise UsageError(f"{place}: pattern is no regular expression: {error}") from None


def _find(text: object, expression: str) -> list[Any]:
    """Jinja filter: everything in a text that a regular expression matches, its group if it has one."""
    try:
        return re.findall(expression, str(text))
    except re.error as error:
        raise jinja2.TemplateRuntimeError(f"find: no regular expression: {error}") from None


def _make_environment() -> jinja2.Environment:
    environment = make_environment()
    environment.keep_trailing_newline = True  # the line break between an introduction and a question
    environment.filters["find"] = _find
    return environment


_ENVIRONMENT = _make_environment()


def _fingerprint(file: _File, options: SuiteOptions) -> str:
    content = dataclasses.asdict(file) | {"options": dataclasses.asdict(options), "title": "", "source": ""}
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
