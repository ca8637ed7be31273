from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer import templates
from scorer.errors import StoreError, UsageError
from scorer.jobs.spec import (
    FILE,
    DatasetSpec,
    HostRecord,
    JobSpec,
    Selection,
    TemplateSpec,
    frozen_types,
    read_spec,
    schema_of,
    write_spec,
)

TEXT = 'name = "t"\nsystem = """a\n\\"b\\" """\nuser = "{{ text }}"\n[output.score]\ntype = "number"\n'
SPEC = JobSpec(
    name="job",
    scorer_version="1",
    created_at="2026-01-01T00:00:00+00:00",
    models=("m:7b", "n:1b"),
    dataset=DatasetSpec("/data/rows.parquet", "parquet", 10, "f" * 64, ""),
    template=TemplateSpec("t", "t.toml", "e" * 64, TEXT),
    columns={"text": "code"},
    keep=("id",),
    selection=Selection("sample", 5),
    hosts_file="/etc/hosts.toml",
    digests={"m:7b": "ab" * 32},
    hosts={"a b": HostRecord("http://a:1", "0.32", {"m:7b": "ab" * 32})},
)


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    for spec in (SPEC, replace(SPEC, hosts_file=None, keep=(), digests={}, hosts={}, selection=Selection())):
        write_spec(tmp_path, spec)
        assert read_spec(tmp_path) == spec
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@given(
    text=st.text(st.characters(exclude_categories=["Cs"])), name=st.text(st.characters(exclude_categories=["Cs", "Cc"]))
)
def test_any_template_text_and_column_survive(tmp_path_factory: pytest.TempPathFactory, text: str, name: str) -> None:
    folder = tmp_path_factory.mktemp("job")
    spec = replace(SPEC, template=replace(SPEC.template, text=text), columns={"text": name})
    write_spec(folder, spec)
    assert read_spec(folder) == spec


def test_a_spec_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    write_spec(tmp_path, SPEC)
    (tmp_path / f"{FILE}.tmp").mkdir()
    with pytest.raises(StoreError, match="cannot write"):
        write_spec(tmp_path, replace(SPEC, samples=2))
    assert read_spec(tmp_path) == SPEC


@pytest.mark.parametrize("content", [b"name = ", b'name = "x"', b"\xff\xfe", b""])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(UsageError, match=r"job\.toml is damaged"):
        read_spec(tmp_path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(UsageError, match=r"cannot read .*job\.toml: Is a directory"):
        read_spec(tmp_path)


@pytest.mark.parametrize(
    ("before", "key"),
    [
        ("name = ", "second_opinion"),
        ("source = ", "dataset.second_opinion"),
        ('fingerprint = "eee', "template.second_opinion"),
        ("count = ", "selection.second_opinion"),
        ("url = ", "hosts.a b.second_opinion"),
    ],
)
def test_a_key_that_only_a_newer_scorer_knows_is_named_and_not_left_out(tmp_path: Path, before: str, key: str) -> None:
    write_spec(tmp_path, SPEC)
    path = tmp_path / FILE
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, 'second_opinion = "yes"\n' + before, 1))
    with pytest.raises(UsageError, match=rf"newer scorer: this one does not know {key}\nUpgrade scorer"):
        read_spec(tmp_path)


def test_what_a_newer_scorer_wrote_is_not_called_damaged(tmp_path: Path) -> None:
    write_spec(tmp_path, SPEC)
    path = tmp_path / FILE
    path.write_text('second_opinion = "yes"\n' + path.read_text().replace("samples = 1", 'samples = "many"'))
    with pytest.raises(UsageError, match="newer scorer"):
        read_spec(tmp_path)


def test_a_folder_without_the_file_is_no_job(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no job in"):
        read_spec(tmp_path)


def test_equal_specs_are_the_same_job_wherever_the_dataset_and_template_lie_now() -> None:
    moved = replace(
        SPEC,
        name="other",
        dataset=replace(SPEC.dataset, source="/elsewhere"),
        template=replace(SPEC.template, source="/tmp/t.toml", text="# a comment more"),  # noqa: S108
        selection=Selection(),
        hosts_file=None,
        hosts={},
    )
    assert SPEC.differences(moved) == []


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            {"dataset": replace(SPEC.dataset, fingerprint="0")},
            "dataset: the job has /data/rows.parquet, this run /data/rows.parquet (same place, other content)",
        ),
        (
            {"template": replace(SPEC.template, fingerprint="0" * 64)},
            "template: the job has t (eeeeeeeeeeee), this run t (000000000000)",
        ),
        ({"models": ("x:1b",)}, "model: the job has m:7b, n:1b, this run x:1b"),
        ({"columns": {}}, "columns: the job has text=code, this run none"),
        ({"keep": ()}, "kept columns: the job has id, this run none"),
        ({"samples": 3}, "samples: the job has 1, this run 3"),
    ],
)
def test_what_makes_it_another_job_is_said_in_one_line(change: dict[str, object], line: str) -> None:
    assert SPEC.differences(replace(SPEC, **change)) == [line]  # type: ignore[arg-type]


def test_what_was_agreed_first_stays_and_what_is_met_is_added() -> None:
    met = SPEC.met({"m:7b": "cd" * 32, "n:1b": "ef" * 32}, {"c": HostRecord("u", "1")})
    assert met.digests == {"m:7b": "ab" * 32, "n:1b": "ef" * 32}
    assert set(met.hosts) == {"a b", "c"}


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        (Selection(), "all rows"),
        (Selection("limit", 9), "the first 9 rows"),
        (Selection("sample", 9), "9 rows spread over the dataset"),
    ],
)
def test_a_selection_says_what_it_is(selection: Selection, words: str) -> None:
    assert str(selection) == words


def test_the_types_of_kept_columns_travel_with_the_job() -> None:
    template = templates.loads(TEXT, "t")
    kept = {"id": pa.int16(), "tags": pa.list_(pa.string())}
    schema = schema_of(replace(SPEC, kept_schema=frozen_types(kept)), template)
    assert schema.field("id").type == pa.int16()
    assert schema.field("tags").type == pa.list_(pa.string())
    assert frozen_types({}) == ""
    assert "id" not in schema_of(SPEC, template).names
