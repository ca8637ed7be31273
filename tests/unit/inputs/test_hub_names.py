import pytest

from scorer.errors import UsageError
from scorer.inputs.hub import HubName, parse


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("hf://squad", HubName("squad")),
        ("hf://org/name", HubName("org/name")),
        ("hf://datasets/org/name", HubName("org/name")),
        ("hf://org/name/train", HubName("org/name", split="train")),
        ("hf://org/name:config", HubName("org/name", config="config")),
        ("hf://org/name:config/train", HubName("org/name", config="config", split="train")),
        ("hf://squad:plain_text/train", HubName("squad", config="plain_text", split="train")),
        ("hf://squad:/train", HubName("squad", split="train")),
        ("hf://org/name@v1.0", HubName("org/name", revision="v1.0")),
        ("hf://squad@main/train", HubName("squad", revision="main", split="train")),
        ("hf://org/name@abc:config/train", HubName("org/name", "abc", "config", "train")),
        ("hf://wikimedia/wikipedia:20231101.en/train", HubName("wikimedia/wikipedia", "", "20231101.en", "train")),
        ("hf://org/name@refs%2Fconvert%2Fparquet/train", HubName("org/name", "refs%2Fconvert%2Fparquet", "", "train")),
    ],
)
def test_a_name_is_taken_apart_and_put_together_again(source: str, name: HubName) -> None:
    assert parse(source) == name
    assert parse(str(name)) == name


@pytest.mark.parametrize(
    "source",
    ["hf://", "hf:///x", "hf://a/b/c/d", "hf://a b", "hf://a:b/c/d", "hf://a::b", "hf://a@b@c", "hf://../x/y/z"],
)
def test_what_is_no_name_is_told_the_grammar(source: str) -> None:
    with pytest.raises(UsageError, match=r"is not hf://NAME\[@REVISION\]\[:CONFIG\]\[/SPLIT\]"):
        parse(source)


def test_a_part_of_a_split_is_told_of_limit_and_sample() -> None:
    with pytest.raises(UsageError, match="--limit and --sample"):
        parse("hf://org/name/train[:10%]")
