"""The examples of the home lab, the clusters, the corpus and one's own template hold together."""

import configparser
import os
import plistlib
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from scorer import templates
from scorer.config import load_hosts

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_home_labs_hosts_load() -> None:
    hosts = load_hosts(EXAMPLES / "home-lab" / "hosts.toml")
    assert [host.name for host in hosts.hosts] == ["p40", "mac-studio", "macbook"]


def test_the_clusters_hosts_are_servers_of_the_other_api_with_a_digest_each() -> None:
    hosts = load_hosts(EXAMPLES / "clusters" / "hosts.toml").hosts
    assert [(host.name, host.api) for host in hosts] == [
        ("two-old-pcs", "openai"),
        ("exo-ring", "openai"),
        ("vllm", "openai"),
    ]
    assert all(host.model_digest for host in hosts)


def test_the_launch_agent_keeps_the_mac_awake_and_serves_the_lan() -> None:
    agent = plistlib.loads((EXAMPLES / "home-lab" / "lan.ollama.serve.plist").read_bytes())
    assert agent["ProgramArguments"][:2] == ["/usr/bin/caffeinate", "-is"]
    assert agent["EnvironmentVariables"]["OLLAMA_HOST"].startswith("0.0.0.0:")
    assert agent["KeepAlive"] is True


def test_the_service_goes_on_after_a_crash_and_rests_when_the_job_is_finished() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.read(EXAMPLES / "home-lab" / "scorer-run.service")
    service = unit["Service"]
    assert service["ExecStart"].split()[1] == "resume"
    assert service["Restart"] == "always"
    assert set(service["RestartPreventExitStatus"].split()) == {"0", "2", "3"}


def test_the_template_of_ones_own_renders() -> None:
    template = templates.load(str(EXAMPLES / "own-template" / "docstring.toml"))
    assert template.variables == {"name", "code"}
    assert "def f" in template.render({"name": "f", "code": "def f(): ..."}).user


def test_the_shipped_functions_have_the_columns_that_the_example_needs() -> None:
    data = EXAMPLES.parent / "data" / "functions.parquet"
    assert {"name", "code"} <= set(pq.read_schema(data).names)


@pytest.fixture
def best(tmp_path: Path) -> Path:
    rows = [{"text": f"text {i}", "domain": "web" if i % 3 else "code", "score": 4} for i in range(300)]
    rows += [{"text": f"  TEXT {i} ", "domain": "web", "score": 5} for i in range(50)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "best.parquet")
    return tmp_path / "best.parquet"


def shards(best: Path, *options: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / "corpus" / "shards.py"), str(best), str(best.parent / "shards"), *options]
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(best.parent),
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    }
    said = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert said.returncode == code, said.stderr
    return said


def test_the_corpus_is_deduplicated_and_mixed_into_shards(best: Path) -> None:
    said = shards(best, "--weight", "web=0.5", "--weight", "code=0.5", "--rows-per-shard", "60")
    assert "350 rows, 50 of them there twice" in said.stdout
    found = ds.dataset(best.parent / "shards", format="parquet").to_table().to_pydict()
    texts = [" ".join(text.lower().split()) for text in found["text"]]
    assert len(texts) == len(set(texts))
    share = found["domain"].count("code") / len(texts)
    assert 0.4 < share < 0.6
    assert len(list((best.parent / "shards").iterdir())) > 1


def test_a_domain_that_is_not_there_is_named_with_those_that_are(best: Path) -> None:
    said = shards(best, "--weight", "books=1", code=1)
    assert "no rows of books; there are code, web" in said.stderr
