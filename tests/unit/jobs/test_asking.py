"""How a job's rows are asked, made again from what it froze: a template's one way, or each suite's own."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from running import TEMPLATE

from scorer import templates
from scorer.core.task import Reply, Task, TaskKey
from scorer.errors import UsageError
from scorer.jobs.asking import answer_schema, recipes_of, thawed
from scorer.jobs.spec import DatasetSpec, JobSpec, TemplateSpec, read_spec, write_spec
from scorer.suites import battery
from scorer.suites.battery import AskedSuite, Battery, Terms
from scorer.suites.catalogue import find


def suites() -> Battery:
    asked = [AskedSuite(part, 2, part.data, "") for name in ("gsm8k", "llmbar") for part in find(name)]
    return battery.battery(asked, Terms(limit=3))


def frozen(one: Battery) -> TemplateSpec:
    return TemplateSpec(one.name, one.source, one.fingerprint, one.text, battery.KIND)


def test_a_template_has_one_way_and_its_schema() -> None:
    template = templates.loads(TEMPLATE, "judge.toml")
    spec = TemplateSpec("judge", "judge.toml", template.fingerprint, TEMPLATE)

    again = thawed(spec, Path("job"))

    assert again.fingerprint == template.fingerprint
    assert list(recipes_of(again)) == [""]
    assert answer_schema(again) is not None


def test_suites_have_a_way_each_and_answer_in_free_text(tmp_path: Path) -> None:
    again = thawed(frozen(suites()), tmp_path)
    ways = recipes_of(again)

    assert list(ways) == ["gsm8k", "llmbar"]
    assert answer_schema(again) is None
    assert again.system == ""
    assert all(way.accept_cut for way in ways.values())
    assert ways["gsm8k"].stop == ("Question:", "</s>", "<|im_end|>")
    assert (ways["gsm8k"].top_logprobs, ways["llmbar"].top_logprobs) == (0, 20)
    assert str(ways["llmbar"].system).startswith("You compare two answers")
    kept = json.dumps({"gold": "5", "choices": None})
    task = Task(TaskKey("m", 0, 0), "prompt", 6, kept, recipe="gsm8k")
    assert ways["gsm8k"].parse(task, Reply("#### 5", "stop"))["score"] == 1.0


def test_what_a_newer_version_froze_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="made by a newer one"):
        thawed(replace(frozen(suites()), kind="riddles"), tmp_path)


def spec_with(source: str) -> JobSpec:
    return JobSpec(
        name="own",
        scorer_version="0",
        created_at="2026-11-21T00:00:00+00:00",
        models=("m",),
        dataset=DatasetSpec(source, "parquet", 3, "f" * 64, ""),
        template=frozen(suites()),
        columns={},
    )


def test_a_dataset_in_the_job_s_own_folder_moves_with_it(tmp_path: Path) -> None:
    folder, moved = tmp_path / "own", tmp_path / "moved"
    folder.mkdir()
    write_spec(folder, spec_with(str(folder / "cases.parquet")))
    folder.rename(moved)

    assert read_spec(moved).dataset.source == str(moved / "cases.parquet")


@pytest.mark.parametrize("source", ["/elsewhere/rows.parquet", "hf://org/name/train"])
def test_a_dataset_elsewhere_stays_where_it_is(tmp_path: Path, source: str) -> None:
    write_spec(tmp_path, spec_with(source))

    assert read_spec(tmp_path).dataset.source == source
    assert read_spec(tmp_path).template.kind == "suites"
