"""The suites of one job: how each of them is asked, frozen as text, and what a job needs of it to ask.

A battery stands where a job that scores a dataset has its template. The prompts are not its own: they were made when
the job was submitted and are rows of the job's dataset; the battery knows how a row of each suite is sent and how its
answer is read.

Invariant: `loads(battery.text)` gives an equal battery, in every process and without any of the suites' files.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import pydantic
import tomlkit
from pydantic.dataclasses import dataclass as table

from scorer.core.checked import STRICT, check, parse_toml, quoted
from scorer.core.score import Field
from scorer.core.task import Reply
from scorer.errors import UsageError
from scorer.suites import form
from scorer.suites.catalogue import Part
from scorer.suites.scoring import FIELDS, TOP_LOGPROBS, scored
from scorer.templates import Options, Rendered, checked_options

NAME_COLUMN = "suite"
PROMPT_COLUMN = "prompt"
KEPT_COLUMNS = ("suite", "case", "gold", "choices")

KIND = "suites"
_SHOWN_NAMES = 4


@dataclass(frozen=True, slots=True)
class AskedSuite:
    """A suite as a job asks it. `data` and `examples` say where its rows were; `examples` is "" if among the data."""

    part: Part
    shots: int
    data: str
    examples: str


@table(frozen=True, slots=True, kw_only=True, config=STRICT)
class Terms:
    """What holds for all suites of a job: rows of each (None: all), and the temperature (None: each suite's own).

    `sampling`: each question is asked several times, at the suites' sampling temperature.
    """

    limit: int | None = None
    sampling: bool = False
    temperature: float | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """How the rows of one suite are sent, and how a reply to one becomes its score, given the row's kept columns."""

    num_predict: int
    temperature: float
    seed: int
    system: str
    stop: tuple[str, ...]
    top_logprobs: int
    score: Callable[[str, Reply], dict[str, object]]


@dataclass(frozen=True)
class Battery:
    """The suites of a job. `changed` are options that `scorer retry` has set for all of them."""

    suites: tuple[AskedSuite, ...]
    terms: Terms
    changed: Mapping[str, int] = field(default_factory=dict)

    system = ""
    user = ""
    source = "scorer bench"
    fields: tuple[Field, ...] = FIELDS

    @property
    def name(self) -> str:
        """What a job is named after: the suites, and how many rows and examples if that is not the usual."""
        names = [asked.part.name.replace("/", "-") for asked in self.suites]
        shown = names if len(names) <= _SHOWN_NAMES else [*names[: _SHOWN_NAMES - 1], f"{len(names)}-suites"]
        shots = {asked.shots for asked in self.suites if asked.shots != asked.part.suite.shots}
        changed = [f"k{min(shots)}"] if shots else []
        return "-".join([*shown, *changed, *([f"n{self.terms.limit}"] if self.terms.limit else [])])

    @property
    def options(self) -> Options:
        """The options that all suites share: one context for the whole job, since another would reload the model."""
        own = [asked.part.suite.options for asked in self.suites]
        return checked_options(
            {
                "num_ctx": self.changed.get("num_ctx", max(one.num_ctx for one in own)),
                "num_predict": self.changed.get("num_predict", max(one.num_predict for one in own)),
            },
            "benchmark options",
        )

    @property
    def fingerprint(self) -> str:
        """A SHA-256 over all that affects prompts and scores but the data's content."""
        content = [
            [(one.part.name, one.part.suite.fingerprint, one.shots, one.data, one.examples) for one in self.suites],
            [self.terms.limit, self.terms.sampling, self.terms.temperature],
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @property
    def text(self) -> str:
        """All of it as TOML."""
        document = tomlkit.document()
        terms = {"limit": self.terms.limit, "sampling": self.terms.sampling, "temperature": self.terms.temperature}
        document.add("terms", tomlkit.item({key: value for key, value in terms.items() if value is not None}))
        if self.changed:
            document.add("options", tomlkit.item(dict(self.changed)))
        suites = tomlkit.aot()
        for asked in self.suites:
            one = tomlkit.table()
            keys = {"subset": asked.part.subset, "shots": asked.shots, "data": asked.data, "examples": asked.examples}
            one.update(keys)
            one.add("text", tomlkit.string(asked.part.suite.text, multiline=True))
            suites.append(one)
        document.add("suites", suites)
        return tomlkit.dumps(document)

    def render(self, values: Mapping[str, object]) -> Rendered:
        """Return the prompt that a row holds, and which suite it is of."""
        name, prompt = str(values[NAME_COLUMN]), str(values[PROMPT_COLUMN])
        return Rendered(prompt, 0, len(self._by_name[name].part.suite.system) + len(prompt), name)

    def is_empty(self, values: Mapping[str, object]) -> bool:
        """Whether a row has no prompt."""
        return not str(values[PROMPT_COLUMN] or "").strip()

    def ways(self) -> dict[str, Way]:
        """Return how each suite is asked, by name."""
        return {name: self._way(asked) for name, asked in self._by_name.items()}

    def differences(self, other: "Battery") -> list[str]:
        """Say in what another battery differs, one line each."""
        lines = [
            f"{what}: the job has {mine}, this run {theirs}"
            for what, mine, theirs in (
                ("suites", ", ".join(self._by_name), ", ".join(other._by_name)),
                ("limit", self.terms.limit or "all rows", other.terms.limit or "all rows"),
                ("temperature", self.terms.temperature, other.terms.temperature),
            )
            if mine != theirs
        ]
        for name, mine in self._by_name.items():
            theirs = other._by_name.get(name, mine)
            pairs: list[tuple[str, object, object]] = [
                (key, getattr(mine, key), getattr(theirs, key)) for key in ("shots", "data", "examples")
            ]
            lines += [f"{name}: {what}: the job has {one}, this run {two}" for what, one, two in pairs if one != two]
            if mine.part.suite.fingerprint != theirs.part.suite.fingerprint:
                lines.append(f"{name}: the suite's file has changed since")
        return lines

    @property
    def _by_name(self) -> dict[str, AskedSuite]:
        return {asked.part.name: asked for asked in self.suites}

    def _way(self, asked: AskedSuite) -> Way:
        suite, options = asked.part.suite, asked.part.suite.options
        temperature = options.sampling_temperature if self.terms.sampling else options.temperature

        def score(kept: str, reply: Reply) -> dict[str, object]:
            row = json.loads(kept)
            return scored(suite, row["gold"], row["choices"], reply)

        # the first token's log-probabilities are the same for each sample: samples have to be read
        by_logprob = suite.metric == "choice" and suite.logprobs and not self.terms.sampling
        return Way(
            num_predict=self.changed.get("num_predict", options.num_predict),
            temperature=temperature if self.terms.temperature is None else self.terms.temperature,
            seed=options.seed,
            system=suite.system,
            stop=tuple(options.stop),
            top_logprobs=TOP_LOGPROBS if by_logprob else 0,
            score=score,
        )


@table(frozen=True, slots=True, config=STRICT)
class _SuiteKeys:
    subset: str
    shots: int
    data: str
    examples: str
    text: str


@table(frozen=True, slots=True, config=STRICT)
class _ChangedKeys:
    num_ctx: int | None = None
    num_predict: int | None = None


@table(frozen=True, slots=True, config=STRICT)
class _Document:
    terms: dict[str, Any]
    suites: Annotated[list[dict[str, Any]], pydantic.Field(min_length=1)]
    options: dict[str, Any] = field(default_factory=dict)


def loads(text: str, place: str) -> Battery:
    """Read a battery from what `Battery.text` made; UsageError begins with `place`."""
    document = check(_Document, parse_toml(text, place), place)
    terms = check(Terms, document.terms, f"{place}: [terms]")
    suites = [_suite(check(_SuiteKeys, keys, f"{place}: [[suites]]"), place) for keys in document.suites]
    keys = check(_ChangedKeys, document.options, f"{place}: [options]")
    given = {"num_ctx": keys.num_ctx, "num_predict": keys.num_predict}
    changed = {key: value for key, value in given.items() if value is not None}
    return battery(suites, terms, changed)


def battery(suites: Sequence[AskedSuite], terms: Terms, changed: Mapping[str, int] | None = None) -> Battery:
    """Put suites together; UsageError if one is there twice, or sampling would give the same answer each time."""
    names = [asked.part.name for asked in suites]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"suite {quoted(twice)} is named twice: results are told apart by the suite's name")
    if terms.sampling and terms.temperature == 0:
        raise UsageError("several samples at temperature 0 are the same answer several times: give a --temperature")
    made = Battery(tuple(suites), terms, changed or {})
    _ = made.options  # whatever is wrong with them should show now
    return made


def _suite(keys: _SuiteKeys, place: str) -> AskedSuite:
    suite = form.loads(keys.text, place)
    return AskedSuite(Part(suite, keys.subset), keys.shots, keys.data, keys.examples)
