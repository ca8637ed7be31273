"""The examples do what they say: their hosts files load, their scripts run."""

import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scorer.config import load_hosts

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_example_of_three_machines_loads_and_keeps_its_limits() -> None:
    hosts = load_hosts(EXAMPLES / "hosts.toml")
    assert hosts.default_model == "qwen2.5-coder:7b"
    by_name = {host.name: host for host in hosts.hosts}
    assert list(by_name) == ["p40", "macbook-anna", "macbook-ben"]
    assert by_name["p40"].slots is None
    assert by_name["macbook-anna"].hours is not None
    ben = by_name["macbook-ben"]
    assert (ben.slots, ben.max_context, ben.min_deadline_s, ben.enabled) == (1, 4096, 300, True)


def test_the_host_that_the_example_leaves_commented_out_is_valid_too(tmp_path: Path) -> None:
    text = (EXAMPLES / "hosts.toml").read_text(encoding="utf-8")
    before, found, commented = text.partition("# [[hosts]]")
    assert found
    uncommented = re.sub(r"^# ?", "", found + commented, flags=re.MULTILINE).replace('"…"', f'"{"0a" * 32}"')
    (tmp_path / "lan-ca.pem").touch()
    (tmp_path / "hosts.toml").write_text(before + uncommented, encoding="utf-8")
    cluster = load_hosts(tmp_path / "hosts.toml").hosts[-1]
    assert (cluster.name, cluster.api, cluster.token_env) == ("cluster", "openai", "CLUSTER_TOKEN")


def test_the_demo_needs_no_server() -> None:
    hosts = load_hosts(EXAMPLES / "embedded.toml").hosts
    assert len(hosts) > 1
    assert {(host.api, host.threads, host.gguf) for host in hosts} == {("embedded", 1, None)}


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A job's folder as it is at the end: rows in the order they were done, the dead ones in a file of their own."""
    schema = pa.schema(
        [
            ("row", pa.int64()),
            ("score", pa.int64()),
            ("reason", pa.string()),
            ("status", pa.string()),
            ("host", pa.string()),
        ]
    )
    done = {"row": [2, 0], "score": [7, 9], "reason": ["of two\nlines", "clear"], "status": ["done"] * 2}
    dead = {"row": [1], "score": [None], "reason": [None], "status": ["dead"]}
    (tmp_path / "results").mkdir()
    for name, columns in (("part-00000", done), ("dead", dead)):
        columns["host"] = ["p40"] * len(columns["row"])
        pq.write_table(pa.table(columns, schema=schema), tmp_path / "results" / f"{name}.parquet")
    return tmp_path


def test_the_first_rows_are_printed_one_a_line_in_the_datasets_order(job: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "first_rows.py"), str(job)]
    title, header, *rows = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert "The first of 3 rows" in title
    assert header.split() == ["row", "score", "reason", "status", "host"]
    assert [row.split()[:2] for row in rows] == [["0", "9"], ["1", "<NA>"], ["2", "7"]]
    assert "dead" in rows[1]
