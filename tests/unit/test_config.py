import dataclasses
from datetime import time
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from scorer.config import (
    HostConfig,
    HostsFile,
    default_hosts,
    embedded_hosts,
    load_hosts,
    parse_hosts,
    read_text,
    read_token,
)
from scorer.core.hours import Hours
from scorer.errors import UsageError

P40 = '[[hosts]]\nname = "p40"\nurl = "http://192.168.1.10:11434"\n'
SECRET = "sk-plant3d"


def parse(text: str, folder: Path = Path()) -> HostsFile:
    return parse_hosts(text, "hosts.toml", folder)


def parse_one(lines: str, folder: Path = Path()) -> HostConfig:
    """Parse the table of a single host, called p40 unless the lines say otherwise."""
    (host,) = parse(
        (P40 if "url" not in lines and "embedded" not in lines else '[[hosts]]\nname = "p40"\n') + lines, folder
    ).hosts
    return host


def refusal(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse(text)
    message = str(caught.value)
    assert message.startswith("hosts.toml: ")
    assert SECRET not in message
    assert message.count("\n") <= 1
    return message.removeprefix("hosts.toml: ")


def test_the_documented_file_is_read_word_for_word(tmp_path: Path) -> None:
    (tmp_path / "lan-ca.pem").write_text("ca")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "qwen2.5-0.5b-q4.gguf").write_text("gguf")
    path = tmp_path / "hosts.toml"
    path.write_text(
        """
[defaults]
model = "qwen2.5-coder:7b"

[[hosts]]
name = "p40"
url = "http://192.168.1.10:11434"

[[hosts]]
name = "macbook"
url = "http://192.168.1.21:11434"
slots = 1                    # default "auto"
hours = "22:00-08:00"        # local time; outside it the host takes no rows
max_context = 8192           # longer rows go elsewhere
enabled = true               # false: finish what is running there and take no more

[[hosts]]
name = "two-old-pcs"
url = "https://cluster.lan:8443"
api = "openai"               # default "ollama"
model = "llama-13b-q4"       # this host's own name for the model
model_digest = "sha256:ABC123"
token_env = "CLUSTER_TOKEN"
ca = "lan-ca.pem"
headers = { X-Team = "eval" }

[[hosts]]
name = "this-machine"
api = "embedded"
gguf = "models/qwen2.5-0.5b-q4.gguf"
threads = 2
"""
    )
    model = "qwen2.5-coder:7b"
    assert load_hosts(path) == HostsFile(
        str(path),
        model,
        (
            HostConfig(name="p40", url="http://192.168.1.10:11434", model=model),
            HostConfig(
                name="macbook",
                url="http://192.168.1.21:11434",
                model=model,
                slots=1,
                hours=Hours(time(22), time(8)),
                max_context=8192,
            ),
            HostConfig(
                name="two-old-pcs",
                url="https://cluster.lan:8443",
                api="openai",
                model="llama-13b-q4",
                own_model=True,
                default_model="qwen2.5-coder:7b",
                model_digest="abc123",
                token_env="CLUSTER_TOKEN",
                ca=str(tmp_path / "lan-ca.pem"),
                headers=(("X-Team", "eval"),),
            ),
            HostConfig(
                name="this-machine",
                url="",
                api="embedded",
                model=model,
                gguf=str(tmp_path / "models" / "qwen2.5-0.5b-q4.gguf"),
                threads=2,
            ),
        ),
    )


def test_what_is_left_out_has_its_documented_default() -> None:
    host = parse_one("")
    assert host.slots is None
    assert host.enabled
    assert not host.allow_cloud
    assert host.min_deadline_s == 120
    assert host.model is None
    assert parse(P40).default_model is None


def test_a_host_overrides_the_defaults() -> None:
    file = parse(
        '[defaults]\nslots = 2\nmax_context = 4096\nmodel = "a"\nenabled = false\n'
        + P40
        + 'slots = "auto"\nmodel = "b"'
    )
    (host,) = file.hosts
    assert (host.slots, host.max_context, host.model, host.own_model, host.enabled) == (None, 4096, "b", True, False)
    assert file.default_model == host.default_model == "a"


def test_the_defaults_take_every_key_but_name_and_url() -> None:
    keys = {field.name for field in dataclasses.fields(HostConfig)} - {"name", "url", "own_model", "default_model"}
    values = {"slots": 1, "max_context": 512, "threads": 1, "min_deadline_s": 5, "enabled": True, "allow_cloud": True}
    values |= {"api": "ollama", "hours": "01:00-02:00", "headers": {"X-A": "b"}, "model": "m", "model_digest": "abc"}
    values |= {"ca": "ca.pem", "gguf": "m.gguf", "token_env": "T"}
    assert keys - values.keys() == {"token_file"}
    only_embedded = '[[hosts]]\nname = "e"\napi = "embedded"\nenabled = false\ngguf = "' + __file__ + '"'
    for key, value in values.items():
        assert parse(tomlkit.dumps({"defaults": {key: value}}) + "\n" + only_embedded).hosts
    assert parse('[defaults]\ntoken_file = "t"\n' + only_embedded).hosts


def test_a_default_that_means_nothing_for_a_host_is_passed_over() -> None:
    file = parse('[defaults]\ntoken_env = "T"\nheaders = {X-A = "b"}\n[[hosts]]\nname = "e"\napi = "embedded"\n')
    assert file.hosts == (HostConfig(name="e", url="", api="embedded"),)
    assert parse("[defaults]\nthreads = 4\n" + P40).hosts[0].threads is None


def test_a_hosts_own_token_source_replaces_the_default_one(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("x")
    host = parse(
        '[defaults]\ntoken_env = "T"\n[[hosts]]\nname = "a"\nurl = "https://a"\ntoken_file = "t"', tmp_path
    ).hosts[0]
    assert (host.token_env, host.token_file) == (None, str(tmp_path / "t"))


def test_the_home_folder_may_be_written_as_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "ca.pem").write_text("x")
    assert parse_one('url = "https://a"\nca = "~/ca.pem"').ca == str(tmp_path / "ca.pem")
    assert "Could not determine home" in refusal('[[hosts]]\nname="a"\nurl="https://a"\nca = "~nobody-such/ca.pem"')


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "hosts.toml"
    path.write_bytes(b"\xef\xbb\xbf" + P40.replace("\n", "\r\n").encode())
    assert load_hosts(path).hosts[0].name == "p40"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no hosts; add a table [[hosts]]"),
        ("hosts = []", "no hosts"),
        ("[defaults]\n", "no hosts"),
        ("[hosts]\nname = 'a'", "write [[hosts]] with two brackets"),
        ("hosts = 3", "hosts must be a list"),
        ("hosts = [3]", "hosts.0 must be a table"),
        ("[[host]]\nname = 'a'", 'unknown key "host"; did you mean "hosts"?'),
        ("defaults = 1\n" + P40, "defaults must be a table"),
        ("[default]\n" + P40, 'unknown key "default"; did you mean "defaults"?'),
        ("[defaults]\nmodle = 'x'\n" + P40, '[defaults]: unknown key "modle"; did you mean "model"?'),
        ("[defaults]\nslots = 0\n" + P40, "[defaults]: slots must be a whole number from 1"),
        ("[defaults]\nurl = 'http://a'\n" + P40, "[defaults]: url differs from host to host"),
        ("[defaults]\nname = 'a'\n" + P40, "[defaults]: name differs from host to host"),
        ("[[hosts]\n", "not valid TOML: "),
        ("x = [" + "[" * 5000, "nested too deeply"),
        ("x = " + "9" * 5000, "not valid TOML: "),
        (P40 + P40, 'two [[hosts]] have the name "p40"'),
        (P40 + P40.replace("p40", "b") + "", 'two [[hosts]] have the url "http://192.168.1.10:11434"'),
        (P40 + P40.replace("p40", "b").replace("11434", "11434/"), "two [[hosts]] have the url"),
        ("[[hosts]]\nurl = 'http://a'", "[[hosts]] number 1: name is missing"),
        (P40 + "[[hosts]]\nname = 7", "[[hosts]] number 2: name must be a text in quotes"),
        ("[[hosts]]\nname = ' '", "[[hosts]] number 1: name must be one line of text"),
        ("[[hosts]]\nname = '" + "x" * 65 + "'", "name is longer than 64 characters"),
        ('[[hosts]]\nname = "a\\nb"', "name must be one line of text"),
        ("[[hosts]]\nname = 'a'", '[[hosts]] "a": url is missing, such as'),
        ("[[hosts]]\nname = 'a'\nurl = '192.168.1.10:11434'", '[[hosts]] "a": url must begin with http://'),
        ("[[hosts]]\nname = 'a'\nurl = 'http://u:sk-plant3d@h'", "holds a user name or password"),
        ("[[hosts]]\nname = 'a'\nurl = 'http://h:1/api'", "url must end before /api"),
        ("[[hosts]]\nname = 'a'\nurl = 'http://h:1/v1'\napi = 'openai'", "url must end before /v1"),
        (P40 + "slot = 1", '[[hosts]] "p40": unknown key "slot"; did you mean "slots"?'),
        (P40 + "xyzzy = 1", 'unknown key "xyzzy"; valid: api, model, '),
        (P40 + "slots = true", "slots must be a whole number"),
        (P40 + "slots = 'Auto'", "slots must be a whole number"),
        (P40 + "slots = 1.0", "slots must be a whole number"),
        (P40 + "hours = '22-8'", 'hours must look like "22:00-08:00"'),
        (P40 + "hours = 22:00:00", "hours must look like"),
        (P40 + "max_context = '8k'", "max_context must be a whole number"),
        (P40 + "max_context = 8", "max_context must be greater than or equal to 256"),
        (P40 + "enabled = 'yes'", "enabled must be true or false"),
        (P40 + "enabled = 1", "enabled must be true or false"),
        (P40 + "model = ''", "model must be one line of text"),
        (P40 + "min_deadline_s = 0", "min_deadline_s must be greater than 0"),
        (P40 + "min_deadline_s = inf", "min_deadline_s must be a number"),
        (P40 + "api = 'petal'", "api must be 'ollama', 'openai', 'petals' or 'embedded'"),
        (P40 + "api = 'openai'\nmodel_digest = 'sha256: '", "model_digest must be a digest"),
        (P40 + "gguf = 'x.gguf'", 'gguf means nothing for api = "ollama"'),
        (P40 + "model_digest = 'abc'", 'model_digest means nothing for api = "ollama"'),
        (P40 + "api = 'embedded'", 'url means nothing for api = "embedded"'),
        ("[[hosts]]\nname = 'a'\napi = 'embedded'\nthreads = 0", "threads must be greater than or equal to 1"),
        ("[[hosts]]\nname = 'a'\napi = 'embedded'\ngguf = 'no.gguf'", "gguf: there is no file"),
        ("[[hosts]]\nname = 'a'\nurl = 'https://a'\nca = 'no.pem'", "ca: there is no file"),
        ("[[hosts]]\nname = 'a'\nurl = 'https://a'\ntoken_file = 'no'", "token_file: there is no file"),
        (P40 + "headers = {Authorization = 'sk-plant3d'}", "headers has Authorization, a secret in the file"),
        (P40 + "headers = {content-length = '1'}", 'headers cannot set "content-length"'),
        (P40 + "headers = {'a b' = '1'}", 'headers cannot set "a b"'),
        (P40 + "headers = {a = '1', A = '2'}", "headers has A twice"),
        (P40 + 'headers = {a = "1\\nb: 2"}', "headers has a value for a that is not one line"),
        (P40 + "headers = {a = 1}", "headers.a must be a text in quotes"),
        (P40 + "token = 'sk-plant3d'", "token would be a secret in a file"),
        (P40 + "API_KEY = 'sk-plant3d'", "API_KEY would be a secret in a file"),
        ("[defaults]\npassword = 'sk-plant3d'\n" + P40, "[defaults]: password would be a secret"),
        (P40 + "token_env = 'sk-plant3d'", "token_env must be the name of an environment variable"),
        (P40 + "token_env = 'T'", '[[hosts]] "p40": a token would travel unencrypted'),
        ("[defaults]\ntoken_env = 'T'\n" + P40, '[[hosts]] "p40": a token would travel unencrypted'),
        (
            "[defaults]\ntoken_env = 'T'\ntoken_file = 'f'\n" + P40,
            "[defaults]: token_env and token_file are both given",
        ),
        (P40 + "token_env = 'T'\ntoken_file = 'f'", "token_env and token_file are both given"),
    ],
)
def test_a_mistake_is_refused_with_its_table_and_key(text: str, message: str) -> None:
    assert message in refusal(text)


def test_this_machine_under_two_names_is_one_url() -> None:
    text = (
        '[[hosts]]\nname = "a"\nurl = "http://localhost:11434"\n[[hosts]]\nname = "b"\nurl = "http://127.0.0.1:11434"'
    )
    assert "two [[hosts]] have the url" in refusal(text)


@pytest.mark.parametrize(
    "url", ["https://far.example", "http://localhost:11434", "http://127.0.0.1:1", "http://[::1]:1"]
)
def test_a_token_may_travel_encrypted_or_within_this_machine(url: str) -> None:
    assert parse_one(f'url = "{url}"\ntoken_env = "T"').token_env == "T"


def test_without_a_file_there_is_a_local_ollama_or_the_embedded_engine() -> None:
    (ollama,) = default_hosts().hosts
    (engine,) = embedded_hosts().hosts
    assert (ollama.url, ollama.api) == ("http://127.0.0.1:11434", "ollama")
    assert (engine.url, engine.api, engine.gguf) == ("", "embedded", None)


# --- tokens


def test_a_host_without_a_token_has_none() -> None:
    assert read_token(parse_one(""), {"TOKEN": SECRET}) is None


def test_a_token_comes_from_the_environment_and_is_not_in_the_configuration() -> None:
    host = parse_one('url = "https://a"\ntoken_env = "T"')
    assert read_token(host, {"T": f" {SECRET}\n"}) == SECRET
    assert SECRET not in repr(host)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({}, "T (token_env) is not set; export T="),
        ({"T": ""}, "must hold the token and nothing else"),
        ({"T": f"{SECRET}\nX-Evil: 1"}, "must hold the token and nothing else"),
        ({"T": f"{SECRET}é"}, "must hold the token and nothing else"),
    ],
)
def test_a_variable_without_a_usable_token_is_refused(environ: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_token(parse_one('url = "https://a"\ntoken_env = "T"'), environ)
    assert message in str(caught.value)
    assert 'host "p40"' in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.fixture
def token_host(tmp_path: Path) -> tuple[Path, HostConfig]:
    path = tmp_path / "token"
    path.write_text(f"{SECRET}\n")
    path.chmod(0o600)
    return path, parse_one('url = "https://a"\ntoken_file = "token"', tmp_path)


def test_a_token_comes_from_a_private_file(token_host: tuple[Path, HostConfig]) -> None:
    path, host = token_host
    assert read_token(host, {}) == SECRET
    path.chmod(0o400)
    assert read_token(host, {}) == SECRET


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o601])
def test_a_token_file_that_others_may_use_is_refused(token_host: tuple[Path, HostConfig], mode: int) -> None:
    path, host = token_host
    path.chmod(mode)
    with pytest.raises(UsageError, match=f"mode 0{mode:o}.*chmod 600") as caught:
        read_token(host, {})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b" \n", b"one\ntwo", b"\xff\xfe", b"a\0b"])
def test_a_token_file_without_a_usable_token_is_refused(token_host: tuple[Path, HostConfig], content: bytes) -> None:
    path, host = token_host
    path.write_bytes(content)
    with pytest.raises(UsageError, match="must hold the token and nothing else"):
        read_token(host, {})


def test_a_token_file_that_is_gone_is_refused(token_host: tuple[Path, HostConfig]) -> None:
    path, host = token_host
    path.unlink()
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_token(host, {})


# --- files


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read the hosts file .*nowhere\.toml.*: No such file"):
        load_hosts(tmp_path / "nowhere.toml")


def test_what_is_no_text_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read the template .*: Is a directory"):
        read_text(tmp_path, "template")
    with pytest.raises(UsageError, match=r"cannot read the template .*null byte"):
        read_text(Path("a\0b"), "template")
    binary = tmp_path / "rows.parquet"
    binary.write_bytes(b"PAR1\xff\xfe")
    with pytest.raises(UsageError, match="is not UTF-8 text; is it really a hosts file"):
        load_hosts(binary)
    binary.write_bytes(b"#" * (1 << 20) + b"\n")
    with pytest.raises(UsageError, match="larger than 1 MiB; is it really a hosts file"):
        load_hosts(binary)


# --- properties

keys = st.sampled_from(
    [field.name for field in dataclasses.fields(HostConfig)]
    + ["token", "hosts", "__dataclass_self__", "self", "", "x y"]
)
words = st.sampled_from(
    [
        "auto",
        "ollama",
        "openai",
        "embedded",
        "T",
        "22:00-08:00",
        "http://a:1",
        "https://b/v1",
        "http://localhost",
        "m:7b",
        __file__,
    ]
)


def lists_and_tables(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=2) | st.dictionaries(st.text(min_size=1, max_size=5), inner, max_size=2)


values = st.recursive(
    words
    | st.text(max_size=5)
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.integers(0, 4)
    | st.floats()
    | st.datetimes(),
    lists_and_tables,
    max_leaves=3,
)
tables = st.dictionaries(keys, values, max_size=5)
named = st.builds(lambda table, name: {**table, "name": name, "url": f"http://h{name}"}, tables, st.sampled_from("abc"))
files = st.fixed_dictionaries(
    {"hosts": st.lists(named | tables, max_size=3) | values}, optional={"defaults": tables | values}
)


def raises_only_usage_errors(text: str) -> None:
    try:
        file = parse(text)
    except UsageError:
        return
    assert file.hosts
    assert len({host.name for host in file.hosts}) == len(file.hosts)
    for host in file.hosts:
        assert bool(host.url) == (host.api != "embedded")
        hash(host)


@settings(max_examples=200)
@given(files)
def test_no_table_raises_anything_but_a_usage_error(file: dict[str, Any]) -> None:
    raises_only_usage_errors(tomlkit.dumps(file))


@given(st.text() | st.text("[]host=\"'\n.#{},019:-aeu\\"))
def test_no_text_raises_anything_but_a_usage_error(text: str) -> None:
    raises_only_usage_errors(text)
    raises_only_usage_errors(P40 + text)


@given(st.sampled_from(["slots", "hours", "max_context", "enabled", "headers", "token_env", "api", "model"]), values)
def test_no_value_of_a_known_key_raises_anything_but_a_usage_error(key: str, value: object) -> None:
    raises_only_usage_errors(P40 + tomlkit.dumps({key: value}))
