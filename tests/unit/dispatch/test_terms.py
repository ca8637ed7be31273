"""Which of a host's models answers for which of a run's."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.config import HostConfig
from scorer.dispatch.terms import Terms, own_name, same_model, same_twice
from scorer.errors import HostUnusable
from scorer.hosts.base import HostInfo, ModelInfo

ONE = Terms(("m:7b",), {}, False, "system", {}, 4096)
TWO = replace(ONE, models=("m:7b", "tuned:v2"))
Q4 = HostConfig(name="c", url="https://c.test", api="openai", model="llama-q4", own_model=True)


def has(*models: str) -> HostInfo:
    return HostInfo("1", tuple(ModelInfo(model, None) for model in models))


def served(terms: Terms, config: HostConfig, info: HostInfo) -> dict[str, str]:
    return {name: model.name for name, model in terms.serves(config, info).items()}


def test_names_of_models_mean_the_same_with_and_without_latest() -> None:
    assert same_model("x", "x:latest")
    assert same_model("x:latest", "x")
    assert not same_model("x:7b", "x")
    assert same_model("Llama3.2:3B", "llama3.2:3b")
    assert same_twice(["a", "b:latest", "B"]) == ("b:latest", "B")
    assert same_twice(["a", "b:1b", "b"]) is None


def test_of_names_that_differ_in_case_only_the_exact_one_is_taken() -> None:
    assert served(ONE, HostConfig(name="c", url="u"), has("M:7B", "m:7b")) == {"m:7b": "m:7b"}
    assert served(ONE, HostConfig(name="c", url="u"), has("M:7B")) == {"m:7b": "M:7B"}


def test_a_hosts_own_name_stands_for_the_runs_only_model_and_the_embedded_engine_for_any() -> None:
    assert served(ONE, Q4, has("llama-q4")) == {"m:7b": "llama-q4"}
    assert served(ONE, HostConfig(name="e", url="", api="embedded"), has("llama-q4")) == {"m:7b": "llama-q4"}
    with pytest.raises(HostUnusable, match=r"lacks the model llama-q4 \(it has other\)$"):
        ONE.serves(Q4, has("other"))
    with pytest.raises(HostUnusable, match="lacks the model m:7b"):
        ONE.serves(HostConfig(name="c", url="u"), has("llama-q4"))


def test_a_hosts_own_name_stands_for_the_model_of_the_defaults_and_for_no_other() -> None:
    host = replace(Q4, default_model="m:7b")
    assert served(TWO, host, has("llama-q4", "tuned:v2")) == {"m:7b": "llama-q4", "tuned:v2": "tuned:v2"}
    assert served(TWO, host, has("llama-q4")) == {"m:7b": "llama-q4"}
    other = replace(ONE, models=("phi4:14b",))
    with pytest.raises(HostUnusable, match=r"phi4:14b.*; llama-q4 is its name for m:7b, the model of \[defaults\]"):
        other.serves(host, has("llama-q4"))


def test_one_name_never_stands_for_several_models() -> None:
    assert {own_name(Q4, name, TWO.models) for name in TWO.models} == {*TWO.models}
    assert served(TWO, Q4, has("llama-q4", "tuned:v2")) == {"tuned:v2": "tuned:v2"}
    with pytest.raises(HostUnusable, match=r"name under \[defaults\] the model that it calls llama-q4"):
        TWO.serves(Q4, has("llama-q4"))


def test_a_name_that_is_in_the_run_itself_stands_for_no_other_model() -> None:
    both = replace(ONE, models=("m:7b", "llama-q4"))
    host = replace(Q4, default_model="m:7b")
    assert served(both, host, has("m:7b", "llama-q4")) == {"m:7b": "m:7b", "llama-q4": "llama-q4"}
    assert served(both, host, has("llama-q4")) == {"llama-q4": "llama-q4"}


@given(
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=4, unique=True),
    st.sampled_from("abcd"),
    st.none() | st.sampled_from("abcd"),
)
def test_no_model_of_a_host_answers_for_two_of_the_run(models: list[str], own: str, default: str | None) -> None:
    host = replace(Q4, model=own, default_model=default)
    found = served(replace(ONE, models=tuple(models)), host, has(*"abcd"))
    assert len(set(found.values())) == len(found) == len(models)
