"""How a job's rows are asked, from what the job froze: its template's one way, or each suite's own.

Invariant: nothing but the frozen text is read, so that a job goes on without the files it was submitted with.
"""

from pathlib import Path

from scorer import templates
from scorer.core.score import json_schema, scorer_for, words_of
from scorer.core.task import Reply, Task
from scorer.dispatch.attempt import Sampling
from scorer.errors import UsageError
from scorer.jobs.spec import FILE, TemplateSpec
from scorer.suites import battery
from scorer.suites.battery import Battery, Way
from scorer.templates import Asking


def thawed(frozen: TemplateSpec, folder: Path) -> Asking:
    """Return what a job's folder froze of how its rows are asked; UsageError if that was damaged."""
    place = f"{folder / FILE}: template"
    if frozen.kind == battery.KIND:
        return battery.loads(frozen.text, place)
    if frozen.kind != "template":
        raise UsageError(
            f"{place}: this version of scorer knows nothing of {frozen.kind!r}; it was made by a newer one"
        )
    return templates.loads(frozen.text, place)


def answer_schema(asking: Asking) -> dict[str, object] | None:
    """Return the JSON Schema that every answer has, None where answers are free text."""
    return None if isinstance(asking, Battery) else json_schema(asking.fields)


def score_words(frozen: TemplateSpec, folder: Path) -> tuple[str, ...]:
    """Return the words that name a job's scores, in the order in which they are counted; none if they are no words."""
    try:
        return words_of(thawed(frozen, folder).fields[0])
    except UsageError:
        # a job whose template was damaged still has progress to tell
        return ()


def choices(frozen: TemplateSpec, folder: Path) -> frozenset[str]:
    """Return the output fields whose values are words of a list."""
    try:
        return frozenset(field.name for field in thawed(frozen, folder).fields if field.type == "choice")
    except UsageError:
        # nor are the results of such a job lost
        return frozenset()


def recipes_of(asking: Asking) -> dict[str, Sampling]:
    """Return the ways in which a job's rows are asked, by name; a template has one, without a name."""
    if isinstance(asking, Battery):
        return {name: _of_suite(way) for name, way in asking.ways().items()}
    score = scorer_for(asking.fields)

    def parse(_task: Task, reply: Reply) -> dict[str, object]:
        return score(reply.text)

    options = asking.options
    words = words_of(asking.fields[0])
    return {"": Sampling(options.num_predict, options.temperature, options.seed, parse, words=words)}


def _of_suite(way: Way) -> Sampling:
    def parse(task: Task, reply: Reply) -> dict[str, object]:
        return way.score(task.kept, reply)

    return Sampling(
        num_predict=way.num_predict,
        temperature=way.temperature,
        seed=way.seed,
        parse=parse,
        system=way.system,
        stop=way.stop,
        top_logprobs=way.top_logprobs,
        # where an answer is read from free text, the cap is an end like any other
        accept_cut=True,
    )
