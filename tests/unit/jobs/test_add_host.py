"""A host is added to a file that its owner has written with care."""

from pathlib import Path

import pytest

from scorer.config import load_hosts
from scorer.errors import UsageError
from scorer.jobs.hosts.add import add, completed

WRITTEN = """\
# our machines
[[hosts]]
name = "p40"      # the loud one
url  = "http://192.168.1.10:11434"

[defaults]
model = "m:7b"

[[hosts]]
name = "macbook"
url = "http://192.168.1.21:11434"
slots = 1
# the end
"""
NEW = {"name": "attic", "url": "http://192.168.1.30:11434"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "hosts.toml"
    path.write_text(WRITTEN)
    return path


def test_what_was_written_stays_and_the_host_comes_last(file: Path) -> None:
    hosts = add(file, {**NEW, "slots": 2})
    assert file.read_text().startswith(WRITTEN)
    assert hosts == load_hosts(file)
    assert [host.name for host in hosts.hosts] == ["p40", "macbook", "attic"]
    assert hosts.hosts[2].slots == 2
    assert hosts.hosts[2].model == "m:7b"


def test_a_file_is_made_if_there_is_none_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "conf" / "hosts.toml"
    assert [host.name for host in add(path, NEW).hosts] == ["attic"]
    assert path.read_text().startswith("# The hosts that score")
    add(path, {"name": "second", "url": "http://192.168.1.31:11434"})
    assert len(load_hosts(path).hosts) == 2


def test_hosts_written_as_one_list_stay_one(tmp_path: Path) -> None:
    path = tmp_path / "hosts.toml"
    path.write_text('hosts = [ # inline\n  { name = "a", url = "http://a:1" },\n]\n')
    assert [host.name for host in add(path, NEW).hosts] == ["a", "attic"]
    assert path.read_text().startswith('hosts = [ # inline\n  { name = "a"')


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({**NEW, "name": "p40"}, 'has a host "p40" already: http://192.168.1.10:11434'),
        ({**NEW, "url": "http://192.168.1.21:11434/"}, 'has this url already, as host "macbook"'),
        ({**NEW, "url": "http://192.168.1.30:11434/api"}, "url must end before /api"),
        ({"name": "attic", "url": "attic"}, "must begin with http"),
        ({**NEW, "slots": 0}, "slots must be a whole number"),
        ({**NEW, "api": "olama"}, "api must be"),
        ({**NEW, "gguf": "m.gguf"}, 'gguf means nothing for api = "ollama"'),
        ({**NEW, "token_env": "T"}, "a token would travel unencrypted"),
        ({"name": "attic", "api": "embedded", "gguf": "none.gguf"}, "there is no file"),
    ],
)
def test_a_host_that_could_not_be_used_leaves_the_file_as_it_was(
    file: Path, keys: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError, match=words.replace("[", r"\[")):
        add(file, keys)
    assert file.read_text() == WRITTEN
    assert list(file.parent.iterdir()) == [file]


def test_a_broken_file_is_not_made_worse(tmp_path: Path) -> None:
    path = tmp_path / "hosts.toml"
    path.write_text("[[hosts]\n")
    with pytest.raises(UsageError, match="not valid TOML"):
        add(path, NEW)
    assert path.read_text() == "[[hosts]\n"


def test_a_file_with_one_pair_of_brackets_is_told_so_in_its_users_words(tmp_path: Path) -> None:
    file = tmp_path / "hosts.toml"
    file.write_text('[hosts]\nname = "a"\n')
    with pytest.raises(UsageError, match=r"hosts\.toml: write \[\[hosts\]\] with two brackets"):
        add(file, NEW)


def test_the_file_behind_a_link_is_changed_and_keeps_its_mode(tmp_path: Path, file: Path) -> None:
    file.chmod(0o600)
    link = tmp_path / "elsewhere" / "hosts.toml"
    link.parent.mkdir()
    link.symlink_to(file)
    add(link, NEW)
    assert link.is_symlink()
    assert len(load_hosts(file).hosts) == 3
    assert file.stat().st_mode & 0o777 == 0o600


def test_links_that_lead_in_a_circle_are_told(tmp_path: Path) -> None:
    (tmp_path / "hosts.toml").symlink_to("hosts.toml")
    with pytest.raises(UsageError, match=r"hosts\.toml: its links lead in a circle"):
        add(tmp_path / "hosts.toml", NEW)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        add(tmp_path / "file" / "hosts.toml", NEW)


@pytest.mark.parametrize(
    ("typed", "api", "meant"),
    [
        ("192.168.1.10", "ollama", "http://192.168.1.10:11434"),
        ("p40.local/", "ollama", "http://p40.local:11434"),
        ("p40:8080", "ollama", "http://p40:8080"),
        ("p40.local/behind/", "ollama", "http://p40.local:11434/behind"),
        ("p40", "openai", "http://p40"),
        ("[::1]", "ollama", "http://[::1]:11434"),
        ("https://p40", "ollama", "https://p40"),
        ("p40:port", "ollama", "http://p40:port"),
        ("", "embedded", ""),
    ],
)
def test_a_bare_address_is_completed_and_a_url_left_alone(typed: str, api: str, meant: str) -> None:
    assert completed(typed, api) == meant
