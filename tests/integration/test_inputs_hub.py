"""Datasets of the Hub, loaded by the real `datasets` from a double of the Hub on a loopback socket."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from doubles.ollama import OllamaDouble, Spec
from hub_double import HubDouble
from running import TEMPLATE, Desk

OPEN = """
import json, sys
from scorer.errors import ScorerError
from scorer.inputs import open_dataset
for source in sys.argv[1:]:
    try:
        found = open_dataset(source)
        rows = [row for _, batch in found.read(["text"]) for row in batch.column(0).to_pylist()]
        print(json.dumps([found.revision, rows]))
    except ScorerError as error:
        print(json.dumps(f"{type(error).__name__}: {error}"))
"""

CARD = b"""---
configs:
- config_name: small
  data_files: [{split: train, path: small/*.jsonl}]
- config_name: large
  data_files: [{split: train, path: large/*.jsonl}]
---
"""


def lines(*texts: str) -> bytes:
    return b"".join(json.dumps({"text": text}).encode() + b"\n" for text in texts)


def parquet(*texts: str) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": texts}), buffer)
    return buffer.getvalue()


@dataclass(frozen=True)
class Client:
    """A user with a cache of their own."""

    hub: HubDouble
    home: Path

    def environment(self, *, offline: bool) -> dict[str, str]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "COV_"))}
        extra = {"HF_HUB_OFFLINE": "1"} if offline else {}
        telemetry = {"HF_HUB_DISABLE_TELEMETRY": "1"}
        return {**clean, **telemetry, **extra, "HF_HOME": str(self.home), "HF_ENDPOINT": self.hub.url}

    def open(self, *sources: str, offline: bool = False) -> list[object]:
        """Open sources in a process of their own, as the environment is read when `datasets` is imported."""
        done = subprocess.run(
            [sys.executable, "-c", OPEN, *sources],
            env=self.environment(offline=offline),
            capture_output=True,
            text=True,
            check=True,
        )
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    repositories = {
        "org/one": {"train.jsonl": lines("a", "b")},
        "org/two": {
            "README.md": b"splits",
            "data/train-00000-of-00002.parquet": parquet("a", "b"),
            "data/train-00001-of-00002.parquet": parquet("c"),
            "data/test-00000-of-00001.parquet": parquet("d"),
        },
        "org/configs": {"README.md": CARD, "small/x.jsonl": lines("s"), "large/x.jsonl": lines("l")},
        "org/scripted": {"scripted.py": b"import os"},
        "org/locked": {},
        "org/bare": {"weights.bin": b"x"},
    }
    with HubDouble(repositories, gated=frozenset({"org/locked"})).serving() as hub:
        yield Client(hub, tmp_path_factory.mktemp("hf"))


def test_a_dataset_of_the_hub_is_read_from_the_cache_and_its_commit_is_known(client: Client) -> None:
    two = client.hub.commit("org/two")
    assert client.open(
        "hf://org/one", "hf://org/two/train", "hf://org/configs:large/train", f"hf://org/two@{two}/test"
    ) == [
        [client.hub.commit("org/one"), ["a", "b"]],
        [two, ["a", "b", "c"]],
        [client.hub.commit("org/configs"), ["l"]],
        [two, ["d"]],
    ]
    # once it is in the cache, no network is needed; another revision is not taken for the one asked for
    other = "a" * 40
    sources = ("hf://org/two/train", f"hf://org/two@{two}/train", f"hf://org/two@{other}/train", "hf://org/never")
    first, second, wrong, never = client.open(*sources, offline=True)
    assert first == second == [two, ["a", "b", "c"]]
    assert isinstance(wrong, str)
    assert f"the Hub cannot be reached, and the cache has but revision {two}" in wrong
    assert isinstance(never, str)
    assert "hf://org/never is not in the cache and the Hugging Face Hub cannot be reached" in never


def test_what_the_hub_refuses_is_said_in_a_line_or_two(client: Client) -> None:
    expected = {
        "hf://org/two": "has several splits; it has train, test: name one, like hf://org/two/train",
        "hf://org/two/tran": "has no split `tran`; it has train, test: name one, like hf://org/two/train",
        "hf://org/configs": "has several configurations; it has small, large: name one, like hf://org/configs:small",
        "hf://org/configs:larg": "no configuration `larg`; it has small, large: name one, like hf://org/configs:large",
        "hf://org/scripted": "is made by a script, which is code that is not run here",
        "hf://org/locked": "is gated: ask for access on its page, then log in with `hf auth login`",
        "hf://org/nothing": "Dataset 'org/nothing' doesn't exist on the Hub",
        "hf://org/two@v9": "Revision 'v9' doesn't exist",
        "hf://org/bare": "cannot be loaded: DataFilesNotFoundError",
    }
    said = client.open(*expected)
    for (source, words), message in zip(expected.items(), said, strict=True):
        assert isinstance(message, str), source
        assert message.startswith(f"UsageError: {source}")
        assert words in message
        assert len(message) < 500


def test_a_job_on_a_hub_dataset_goes_on_without_network(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tmp_path)
    desk.write("judge.toml", TEMPLATE)
    command = ("run", "hf://org/two/train", "--prompt", "judge.toml")
    for key, value in client.environment(offline=False).items():
        monkeypatch.setenv(key, value)
    with OllamaDouble(Spec()) as double:
        desk.hosts({"a": double.url})
        said = desk.scorer(*command, "--limit", "1")
        assert f"is revision {client.hub.commit('org/two')}" in said.err
        asked = len(client.hub.asked)
        # neither the Hub nor `datasets` is needed for the rest, even by a command that does not know its job's name
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "nowhere"))
        desk.scorer(*command)
    assert len(client.hub.asked) == asked
    (job,) = (tmp_path / "runs").iterdir()
    assert job.name.startswith("org-two-train-judge-")
    parts = sorted((job / "results").glob("part-*.parquet"))
    assert sorted(row for part in parts for row in pq.read_table(part)["row"].to_pylist()) == [0, 1, 2]
