import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.core.url import is_loopback, normal_url, same_place


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("http://192.168.1.10:11434", "http://192.168.1.10:11434"),
        ("http://192.168.1.10:11434/", "http://192.168.1.10:11434"),
        ("HTTP://MacBook.local:11434", "http://macbook.local:11434"),
        ("http://gateway:80/ollama//", "http://gateway/ollama"),
        ("https://cluster.lan:443", "https://cluster.lan"),
        ("https://cluster.lan:80", "https://cluster.lan:80"),
        ("https://cluster.lan:8443/Team-A", "https://cluster.lan:8443/Team-A"),
        ("http://[::1]:11434", "http://[::1]:11434"),
        ("http://[0:0:0:0:0:0:0:1]", "http://[::1]"),
        ("http://under_score:1", "http://under_score:1"),
    ],
)
def test_a_url_gets_one_spelling(text: str, normal: str) -> None:
    assert normal_url(text) == normal
    assert normal_url(normal) == normal


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("192.168.1.10:11434", "must begin with http:// or https://"),
        ("localhost:11434", "must begin with http:// or https://"),
        ("ftp://host", "must begin with http:// or https://"),
        ("", "must begin with http:// or https://"),
        ("http://", "has no valid host name"),
        ("http:///api", "has no valid host name"),
        ("http://-x", "has no valid host name"),
        ("http://a,b", "has no valid host name"),
        ("http://[::zz]", "has a bad address or port"),
        ("http://192.168.1.300:11434", "has a bad address or port"),
        ("http://10.0.0.010", "has a bad address or port"),
        ("http://[::1", "has a bad address or port"),
        ("http://host:99999", "has a bad address or port"),
        ("http://host:eleven", "has a bad address or port"),
        ("http://me:hunter2", "has a bad address or port"),
        ("http://[fe80:x]", "has a bad address or port"),
        ("http://[v1.a]", "has a bad address or port"),
        ("http://[v1.a:b]", "has a bad address or port"),
        ("http://host:0", "has port 0"),
        ("http://me:hunter2@host", "token_env"),
        ("http://host?x=1", "before any"),
        ("http://host#top", "before any"),
        ("http://ho st", "a character"),
        ("http://host\n", "a character"),
        ("http://höst", "a character"),
        ("http://host\0", "a character"),
    ],
)
def test_a_bad_url_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        normal_url(text)
    assert "hunter2" not in str(caught.value)


THIS_MACHINE = ["localhost", "127.0.0.1", "127.8.9.1", "[::1]", "0.0.0.0", "[::]", "[::ffff:7f00:1]", "[::ffff:0:0]"]  # noqa: S104


@pytest.mark.parametrize("host", THIS_MACHINE)
def test_this_machine_is_loopback(host: str) -> None:
    assert is_loopback(f"http://{host}:11434")
    assert same_place(f"http://{host}:11434/x") == "http://localhost:11434/x"


@pytest.mark.parametrize(
    "host",
    ["192.168.1.10", "localhost.example.org", "127.0.0.1.example.org", "[::2]", "127.1", "[::ffff:a00:1]", "0.0.0.1"],
)
def test_another_machine_is_not(host: str) -> None:
    assert not is_loopback(f"http://{host}")
    assert same_place(f"http://{host}") == f"http://{host}"


def test_ports_tell_servers_on_this_machine_apart() -> None:
    assert same_place("http://localhost") == same_place("http://127.0.0.1")
    assert same_place("http://localhost") != same_place("http://localhost:11434")
    assert same_place("http://localhost:1") != same_place("https://localhost:1")


@given(st.text() | st.text("htps:/[]@.?#%0123456789abz-_").map("http://".__add__))
def test_no_text_raises_anything_but_a_value_error_and_the_spelling_is_stable(text: str) -> None:
    try:
        normal = normal_url(text)
    except ValueError:
        return
    assert normal_url(normal) == normal
    assert same_place(normal)
