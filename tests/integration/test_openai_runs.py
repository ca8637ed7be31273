"""`scorer run` on hosts with an OpenAI-style API and a Petals gateway, beside Ollama: the doubles keep the record."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from doubles.ollama import Model, OllamaDouble, Spec
from doubles.openai import Face, OpenAIDouble
from doubles.petals import PetalsDouble, PetalsSpec
from running import JUDGE, MODEL, OTHER_DIGEST, TEMPLATE, Desk, finished, texts, wait_for

from scorer.core.score import Field, json_schema

SCHEMA = json_schema([Field("score", "integer", minimum=1, maximum=10), Field("reason", "string", max_length=60)])
DIGEST = Model(name=MODEL).hex_digest


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.write("judge.toml", TEMPLATE)
    return desk


def seconds_a_row(seconds: float, **more: object) -> Spec:
    return Spec(overhead_s=seconds, models=(Model(name=MODEL),), default_num_ctx=1024, **more)  # type: ignore[arg-type]


@contextmanager
def serving(**doubles: OllamaDouble) -> Iterator[dict[str, OllamaDouble]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(double) for name, double in doubles.items()}


def hosts(desk: Desk, doubles: Mapping[str, OllamaDouble], **defaults: object) -> None:
    """Write the hosts file; each double's kind decides its `api`."""
    lines = ["[defaults]", *(f"{key} = {json.dumps(value)}" for key, value in {"slots": 1, **defaults}.items())]
    for name, double in doubles.items():
        lines += ["", "[[hosts]]", f'name = "{name}"', f'url = "{double.url}"', f'model = "{MODEL}"']
        if isinstance(double, (OpenAIDouble, PetalsDouble)):
            api = "petals" if isinstance(double, PetalsDouble) else "openai"
            lines += [f'api = "{api}"', f'model_digest = "{DIGEST}"']
    desk.write("hosts.toml", "\n".join(lines) + "\n")


def rows_by_host(results: list[dict[str, object]]) -> set[object]:
    return {row["host"] for row in results}


def test_every_kind_of_server_works_on_one_job(desk: Desk) -> None:
    rows = texts(150)
    desk.dataset(rows)
    with serving(
        ollama=OllamaDouble(seconds_a_row(0.02)),
        llama=OpenAIDouble(seconds_a_row(0.02), "llama_cpp"),
        vllm=OpenAIDouble(seconds_a_row(0.02), "vllm"),
        studio=OpenAIDouble(seconds_a_row(0.02), "lm_studio"),
        exo=OpenAIDouble(seconds_a_row(0.02), "exo"),
        swarm=PetalsDouble(seconds_a_row(0.02), PetalsSpec(SCHEMA, "\n\nUser: go on")),
    ) as doubles:
        hosts(desk, doubles)
        desk.judge("--model", MODEL)
        results = desk.check(rows, doubles)
    assert {row["status"] for row in results} == {"done"}
    assert rows_by_host(results) == set(doubles)
    counted = {row["host"]: row["prompt_tokens"] is not None for row in results}
    assert counted.pop("swarm") is False
    assert all(counted.values())


def test_a_look_at_the_hosts_sends_no_prompt_and_loads_nothing(desk: Desk) -> None:
    faces: tuple[Face, ...] = ("llama_cpp", "vllm", "lm_studio", "exo")
    with serving(**{face: OpenAIDouble(seconds_a_row(0.02), face) for face in faces}) as doubles:
        hosts(desk, doubles)
        found = desk.scorer("hosts", "check", "--model", MODEL, "--json").json["hosts"]
        assert {host["name"]: host["state"] for host in found} == dict.fromkeys(faces, "loaded") | {
            "lm_studio": "ready"
        }
        assert [host["models"][0]["context"] for host in found] == [1024, 1024, None, None]
        assert [double.generations for double in doubles.values()] == [[]] * 4


def test_a_slow_gateway_that_counts_no_tokens_gets_a_small_share(desk: Desk) -> None:
    rows = texts(120)
    desk.dataset(rows)
    with serving(
        ollama=OllamaDouble(seconds_a_row(0.03)), swarm=PetalsDouble(seconds_a_row(0.3), PetalsSpec(SCHEMA))
    ) as doubles:
        hosts(desk, doubles)
        desk.judge("--model", MODEL)
        results = desk.check(rows, doubles)
    share = sum(row["host"] == "swarm" for row in results)
    assert 3 <= share <= 25, share


def test_bad_openai_style_hosts_cost_no_row(desk: Desk) -> None:
    rows = texts(200)
    desk.dataset(rows)
    faults = {
        "half_json": 0.03,
        "head_only": 0.03,
        "empty_body": 0.03,
        "server_error": 0.03,
        "garbage": 0.03,
        "bomb": 0.03,
    }
    with serving(
        honest=OllamaDouble(seconds_a_row(0.02)),
        messy=OpenAIDouble(seconds_a_row(0.01, faults=faults), "exo"),
        cluster=OpenAIDouble(seconds_a_row(0.02), "exo"),
    ) as doubles:
        hosts(desk, doubles)
        cluster = doubles["cluster"]
        assert isinstance(cluster, OpenAIDouble)
        with desk.started(*JUDGE, "--model", MODEL) as process:
            wait_for(process, cluster, lambda double: sum(r.outcome == "answered" for r in double.generations) >= 10)
            cluster.lose_instance()
            finished(process, 0)
        results = desk.check(rows, doubles)
    assert {row["status"] for row in results} == {"done"}


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("garbage", "invalid_output"), ("done_false", "aborted_output"), ("head_only", "dropped")],
)
def test_rows_that_the_only_host_cannot_answer_die_with_the_reason(desk: Desk, fault: str, kind: str) -> None:
    rows = ["a good row", "a bad row", "another good row", "a third", "a fourth", "a fifth"]
    desk.dataset(rows)

    def bad(_number: int, body: Mapping[str, object]) -> str | None:
        return fault if "bad" in json.dumps(body["messages"]) else None

    with serving(only=OpenAIDouble(seconds_a_row(0.0, fault_for=bad), "vllm")) as doubles:
        hosts(desk, doubles)
        desk.judge("--model", MODEL, code=3)
        results = desk.check(rows, doubles)
    assert [(row["row"], row["error"].split(":")[0]) for row in results if row["status"] == "dead"] == [(1, kind)]


def test_rows_longer_than_an_openai_style_hosts_context_are_dead_at_once(desk: Desk) -> None:
    rows = [*texts(6), "some words " * 2000]
    desk.dataset(rows)
    with serving(only=OpenAIDouble(seconds_a_row(0.0), "vllm")) as doubles:
        hosts(desk, doubles)
        desk.judge("--model", MODEL, code=3)
        results = desk.check(rows, doubles)
    dead = [row for row in results if row["status"] == "dead"]
    assert [(row["row"], row["error"].split(":")[0]) for row in dead] == [(6, "context_overflow")]


def test_a_digest_given_for_a_host_that_reports_none_must_be_the_others(desk: Desk) -> None:
    desk.dataset(texts(3))
    with serving(a=OllamaDouble(seconds_a_row(0.0)), b=OpenAIDouble(seconds_a_row(0.0), "vllm")) as doubles:
        hosts(desk, doubles)
        path = desk.folder / "hosts.toml"
        path.write_text(path.read_text().replace(DIGEST, OTHER_DIGEST))
        said = desk.judge("--model", MODEL, code=2)
    assert "digests differ" in said.err


def test_ollama_behind_the_openai_door_is_left_out_with_the_way_out(desk: Desk) -> None:
    desk.dataset(texts(3))
    with serving(a=OllamaDouble(seconds_a_row(0.0))) as doubles:
        desk.write("hosts.toml", f'[[hosts]]\nname = "a"\nurl = "{doubles["a"].url}"\napi = "openai"\n')
        said = desk.judge("--model", MODEL, code=2)
    assert 'drop the line api = "openai"' in said.err
