"""Before a benchmark job: which suites it asks, where their rows are, and the file of cases that it freezes.

Everything that depends on files of suites, data sets or the network happens here, once. A job goes on from its
`cases.parquet` alone, in which each row is one question just as it is sent.

Invariant: the same suites, rows and options give the same file, byte for byte but for the writer's own version.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from scorer import inputs
from scorer.bench.answers import CASES_FILE
from scorer.bench.rows import read_rows
from scorer.core.checked import nearest, quoted
from scorer.errors import StoreError, UsageError
from scorer.jobs.folder import make_lasting
from scorer.results import sync_folder
from scorer.suites.battery import AskedSuite
from scorer.suites.cases import Case, Wanted, make_cases
from scorer.suites.catalogue import Part

SCHEMA = pa.schema(
    [("row", pa.int64())]
    + [(name, pa.string()) for name in ("suite", "case", "group", "question", "gold", "metric", "prompt", "choices")]
)


def asked_suite(part: Part, shots: int | None, data: Mapping[str, str], examples: Mapping[str, str]) -> AskedSuite:
    """Return a suite as it is to be asked; `data` and `examples` map suites' names to files that replace their own.

    With a file for its data and none for its examples, a suite takes its worked examples out of that file.
    """
    suite = part.suite
    own_file = _local(part, data)
    example_file = _local(part, examples)
    shots = suite.shots if shots is None else shots
    from_split = part.examples and not own_file and shots
    return AskedSuite(
        part,
        shots,
        data=own_file or _beside(part.data, suite.place),
        examples=example_file or (_beside(part.examples, suite.place) if from_split else ""),
    )


def files_by_suite(given: Sequence[str], parts: Sequence[Part], option: str) -> dict[str, str]:
    """Read what `--data` or `--examples` said: `SUITE=PATH`, or PATH alone if there is only one suite."""
    known = dict.fromkeys([name for part in parts for name in (part.name, part.suite.name)])
    found: dict[str, str] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if equals and name in known:
            found[name] = path
        elif Path(text).exists() or "://" in text or not equals:
            if len({part.suite.name for part in parts}) > 1:
                raise UsageError(f"{option} {text}: of which suite? write {option} {next(iter(known))}={text}")
            found[parts[0].suite.name] = text
        else:
            raise UsageError(f"{option} {quoted(name)}=…: no such suite is asked; {nearest(name, known)}")
    return found


def all_cases(suites: Sequence[AskedSuite], limit: int | None) -> tuple[list[Case], list[str]]:
    """Read every suite's rows and return their cases, in order, and what ought to be said about them."""
    cases: list[Case] = []
    notes: list[str] = []
    for asked in suites:
        rows = _rows(asked, asked.data, "--data")
        examples = _rows(asked, asked.examples, "--examples") if asked.examples and asked.shots else None
        made, said = make_cases(asked.part, rows, examples, Wanted(asked.shots, limit))
        cases += made
        notes += [*said, f"{asked.part.name}: {len(made):,} questions from {asked.data}"]
    return cases, notes


def _rows(asked: AskedSuite, source: str, option: str) -> list[dict[str, object]]:
    try:
        return read_rows(source, asked.part.suite.header)
    except UsageError as error:
        if "://" not in source:
            raise
        hint = f"A file in the published format does as well: {option} {asked.part.name}=FILE"
        raise UsageError(f"{error}\n{hint}") from None


def write_cases(folder: Path, cases: Sequence[Case]) -> Path:
    """Write a job's file of cases whole or not at all, safe from a power cut, and return its path.

    A job without it can neither go on nor be reported, and the suites may give other questions by then.
    """
    lines = [{"row": row, **asdict(case)} for row, case in enumerate(cases)]
    path = folder / CASES_FILE
    temporary = path.with_suffix(".tmp")
    try:
        make_lasting(folder)
        with temporary.open("wb") as file:
            pq.write_table(pa.Table.from_pylist(lines, SCHEMA), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(folder)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from None
    return path


def _local(part: Part, given: Mapping[str, str]) -> str:
    """Return the file given for a suite, "" if none; of a folder for all subsets, the one file that has its name."""
    if part.name in given:
        return _absolute(given[part.name])
    path = given.get(part.suite.name, "")
    if not (path and part.subset and Path(path).is_dir()):
        return _absolute(path) if path else ""
    found = sorted(file for file in Path(path).iterdir() if file.name.split(".")[0].endswith(part.subset))
    if len(found) != 1:
        many = ", ".join(file.name for file in found) or "no file"
        raise UsageError(f"{path} has {many} for {part.name}; name it: --data {part.name}=FILE")
    return _absolute(str(found[0]))


def _absolute(source: str) -> str:
    return inputs.normal_source(source)


def _beside(source: str, place: str) -> str:
    """Return where a suite's own rows are: relative paths begin at the suite's file."""
    return inputs.normal_source(source if "://" in source else str(Path(place).parent / source))
