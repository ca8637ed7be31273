"""docs/hosts.md names every key and every state there is, and its file can be read."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from scorer.config import parse_hosts
from scorer.core.host_table import HostKeys

PAGE = (Path(__file__).parents[2] / "docs" / "hosts.md").read_text(encoding="utf-8")


def test_the_whole_file_is_valid_and_the_table_describes_every_key(tmp_path: Path) -> None:
    [toml] = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "models").mkdir()
    for name in ("lan-ca.pem", "models/qwen2.5-0.5b-q4.gguf"):
        (tmp_path / name).touch()
    hosts = parse_hosts(toml, "docs/hosts.md", tmp_path).hosts
    assert [host.name for host in hosts] == ["p40", "macbook", "two-old-pcs", "this-machine"]
    rows = PAGE.partition("| key |")[2].partition("\n\n")[0].splitlines()[2:]
    described = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert described == {field.name for field in fields(HostKeys)}


@pytest.mark.parametrize("state", ["loaded", "ready", "resting", "in use", "off", "differs", "left out", "away"])
def test_every_state_of_check_is_explained(state: str) -> None:
    assert f"\n| {state} |" in PAGE
