"""What `scorer bench list` and `show` say of suites."""

from collections.abc import Sequence

from scorer.show.words import table
from scorer.suites.form import Suite


def suite_facts(suite: Suite) -> dict[str, object]:
    """Return what is worth knowing of a suite as plain JSON values."""
    return {
        "name": suite.name,
        "title": suite.title,
        "metric": suite.metric,
        "answer": suite.answer,
        "shots": suite.shots,
        "subsets": sorted(suite.subsets),
        "data": suite.data,
        "examples": suite.examples,
        "source": suite.source,
        "place": suite.place,
    }


def suites_table(suites: Sequence[Suite]) -> str:
    """Return one line a suite."""
    rows = [(suite.name, suite.title, _answer(suite), suite.shots, _data(suite)) for suite in suites]
    return table(("suite", "asks", "answer", "shots", "data"), rows)


def _answer(suite: Suite) -> str:
    if suite.metric == "choice":
        return "label, by log-probability" if suite.logprobs else "label"
    return suite.answer


def _data(suite: Suite) -> str:
    return f"{suite.data} ({len(suite.subsets)} subsets)" if suite.subsets else suite.data
