"""The HTTP client against a transport in memory, on both event loops: what hostile or broken answers become."""

import json
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Never

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.config import HostConfig
from scorer.errors import Fault, FaultKind, HostFault, HostUnusable, RowFault, UnclearFault
from scorer.hosts.http import Http, excerpt, only_host_faults

pytestmark = pytest.mark.anyio

Respond = Callable[[httpx.Request], httpx.Response] | Callable[[httpx.Request], Coroutine[None, None, httpx.Response]]
Headers = tuple[tuple[str, str], ...]


def http_for(respond: Respond, token: str | None = None, headers: Headers = ()) -> Http:
    config = HostConfig(name="h", url="http://h:11434", headers=headers)
    return Http(config, httpx.MockTransport(respond), token=token)


def always(content: bytes = b"{}", status: int = 200, **headers: str) -> Respond:
    return lambda request: httpx.Response(
        status, content=content, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )


async def test_an_answer_carries_status_headers_and_the_object() -> None:
    answer = await http_for(always(b'{"a": [1, 2.5, null]}', 418, x_a="1")).json("GET", "/x")
    assert (answer.status, answer.headers["x-a"], answer.document) == (418, "1", {"a": [1, 2.5, None]})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[1]",
        b'"text"',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": 1',
        b'{"a": 1}\n{"b": 2}',
        b"\xff\xfe{\x00}\x00",
        b"\x00\x00",
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b"garbage",
    ],
    ids=lambda body: repr(body[:20]),
)
async def test_a_body_that_is_no_sound_json_object_is_the_hosts_fault(body: bytes) -> None:
    answer = await http_for(always(body)).json("GET", "/x")
    assert answer.document is None
    with pytest.raises(HostFault) as caught:
        answer.required()
    assert caught.value.kind is FaultKind.BAD_BODY


@pytest.mark.parametrize(
    ("body", "content_type"), [(b"<html>502</html>", "text/html; charset=utf-8"), (b"\n <!doctype html>", "")]
)
async def test_a_page_for_people_is_a_gateways(body: bytes, content_type: str) -> None:
    answer = await http_for(always(body, content_type=content_type)).json("GET", "/x")
    with pytest.raises(HostFault) as caught:
        answer.required()
    assert caught.value.kind is FaultKind.GATEWAY


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308, 399])
async def test_redirects_are_refused_and_not_followed(status: int) -> None:
    seen = []

    def respond(request: httpx.Request) -> httpx.Response:
        seen.append(request.url)
        return httpx.Response(status, headers={"location": "http://evil.example/"})

    with pytest.raises(HostFault) as caught:
        await http_for(respond).json("POST", "/x", {})
    assert caught.value.kind is FaultKind.GATEWAY
    assert len(seen) == 1


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "GZIP", "identity, gzip"])
async def test_encoded_bodies_are_refused_unread(encoding: str) -> None:
    async def bomb() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    def respond(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=bomb(), headers={"content-encoding": encoding})

    with pytest.raises(HostFault) as caught:
        await http_for(respond).json("GET", "/x")
    assert caught.value.kind is FaultKind.BAD_BODY


@pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
async def test_an_identity_encoding_is_none(encoding: str) -> None:
    answer = await http_for(always(b'{"a": 1}', content_encoding=encoding)).json("GET", "/x")
    assert answer.document == {"a": 1}


async def test_a_body_over_the_cap_is_refused() -> None:
    with pytest.raises(HostFault) as caught:
        await http_for(always(b" " * 20_000)).json("GET", "/x", cap=10_000)
    assert caught.value.kind is FaultKind.BAD_BODY


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # trio complains about generators inside httpx itself
async def test_an_endless_body_is_given_up_at_the_cap() -> None:
    pieces = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            pieces.append(1)
            yield b" " * 1000

    with pytest.raises(HostFault) as caught:
        await http_for(lambda request: httpx.Response(200, content=endless())).json("GET", "/x", cap=10_000)
    assert caught.value.kind is FaultKind.BAD_BODY
    assert len(pieces) == 11


async def test_a_body_of_exactly_the_cap_is_taken() -> None:
    body = b'{"a": "' + b"x" * 91 + b'"}'
    answer = await http_for(always(body)).json("GET", "/x", cap=len(body))
    assert answer.body == body


def lists_and_objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lists_and_objects,
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=4))
def test_every_document_goes_and_comes_as_it_is(document: dict[str, object]) -> None:
    seen = []

    def respond(request: httpx.Request) -> httpx.Response:
        seen.append(request.content)
        return httpx.Response(200, content=json.dumps(document).encode())

    answer = anyio.run(http_for(respond).json, "POST", "/x", document)
    assert json.loads(seen[0]) == document
    assert answer.document == _with_floats(document)


def _with_floats(value: object) -> object:
    """Integers that no 64 bits hold come as the nearest float: no server means one."""
    if isinstance(value, dict):
        return {key: _with_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_floats(item) for item in value]
    big = isinstance(value, int) and not -(1 << 63) <= value < 1 << 64
    return float(value) if big else value  # type: ignore[arg-type]


async def test_half_of_a_pair_that_a_server_escapes_is_left_for_the_adapter_to_see() -> None:
    answer = await http_for(always(b'{"text": "a\\ud83d"}')).json("GET", "/x")
    assert answer.document == {"text": "a\ud83d"}


async def test_what_is_sent_is_what_was_meant() -> None:
    seen = []

    def respond(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=b"{}", headers={"set-cookie": "session=1"})

    http = http_for(respond, token="hush", headers=(("X-Team", "eval"), ("Accept-Encoding", "gzip")))
    await http.json("POST", "/api/chat", {"text": "héllo \ud800 wörld"})
    await http.json("GET", "/api/version")
    post, get = seen
    assert str(post.url) == "http://h:11434/api/chat"
    assert json.loads(post.content) == {"text": "héllo ? wörld"}
    assert post.headers["authorization"] == "Bearer hush"
    assert post.headers["x-team"] == "eval"
    assert post.headers.get_list("accept-encoding") == ["identity"]
    assert post.headers["content-type"] == "application/json"
    assert get.content == b""
    assert "cookie" not in get.headers
    assert "content-type" not in get.headers


async def test_the_path_of_the_url_stays_before_ours() -> None:
    seen = []

    def respond(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url))
        return httpx.Response(200, content=b"{}")

    config = HostConfig(name="h", url="https://proxy.lan/ollama")
    await Http(config, httpx.MockTransport(respond)).json("GET", "/api/version")
    assert seen == ["https://proxy.lan/ollama/api/version"]


async def test_a_token_is_in_no_message_and_no_repr() -> None:
    def respond(request: httpx.Request) -> Never:
        raise httpx.ReadError("broken", request=request)

    http = http_for(respond, token="hush-hush")
    with pytest.raises(UnclearFault) as caught:
        await http.json("GET", "/x")
    assert "hush-hush" not in str(caught.value) + repr(caught.value) + repr(vars(http))


async def test_connecting_has_a_limit_and_reading_has_none() -> None:
    seen = []

    def respond(request: httpx.Request) -> httpx.Response:
        seen.append(request.extensions["timeout"])
        return httpx.Response(200, content=b"{}")

    await http_for(respond).json("POST", "/x", {})
    assert seen == [{"connect": 5.0, "pool": 5.0, "read": None, "write": None}]


async def test_a_server_that_accepts_and_stays_silent_is_found_out() -> None:
    async def silent(request: httpx.Request) -> httpx.Response:
        await anyio.sleep_forever()
        raise AssertionError

    with pytest.raises(HostFault) as caught:
        await http_for(silent).ask("/api/version", timeout_s=0.01)
    assert (caught.value.kind, caught.value.sent) == (FaultKind.UNREACHABLE, False)


async def test_cancelling_is_no_fault() -> None:
    async def silent(request: httpx.Request) -> httpx.Response:
        await anyio.sleep_forever()
        raise AssertionError

    with anyio.move_on_after(0.01) as scope:
        await http_for(silent).ask("/api/version")
    assert scope.cancelled_caught


@pytest.mark.parametrize(
    ("fault", "becomes"),
    [
        (RowFault(FaultKind.BAD_REQUEST, "m", permanent=True), (HostUnusable, FaultKind.REFUSED_OPTIONS)),
        (UnclearFault(FaultKind.DROPPED, "m"), (HostFault, FaultKind.DROPPED)),
        (HostFault(FaultKind.BUSY, "m"), (HostFault, FaultKind.BUSY)),
        (HostUnusable(FaultKind.CLOUD, "m"), (HostUnusable, FaultKind.CLOUD)),
    ],
)
def test_without_a_row_only_the_host_can_be_to_blame(fault: Fault, becomes: tuple[type, FaultKind]) -> Never:
    with pytest.raises(HostFault) as caught, only_host_faults():
        raise fault
    assert (type(caught.value), caught.value.kind) == becomes


@given(st.one_of(st.binary(max_size=1000), st.text(max_size=1000)))
def test_an_excerpt_is_short_printable_and_one_line(said: bytes | str) -> None:
    line = excerpt(said, 50)
    assert 0 < len(line) <= 50
    assert line.isprintable()


@given(st.binary(max_size=200))
async def test_no_body_whatever_breaks_the_client(body: bytes) -> None:
    answer = await http_for(always(body)).json("GET", "/x")
    assert answer.document is None or isinstance(answer.document, dict)


async def test_a_url_that_httpx_does_not_take_is_a_host_that_cannot_be_reached() -> None:
    http = Http(HostConfig(name="h", url="http://h/" + "a" * 70_000), httpx.MockTransport(always()))
    with pytest.raises(HostFault) as caught:
        await http.json("GET", "/x")
    assert (caught.value.kind, caught.value.sent) == (FaultKind.UNREACHABLE, False)
