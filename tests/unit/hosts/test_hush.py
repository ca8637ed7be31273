"""A server that quotes the token it was sent: the token is in no message, and a completion is not touched."""

import json
from collections.abc import Mapping
from html import escape
from urllib.parse import quote

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rough_server import Handler, Peer, Serve

from scorer.config import HostConfig
from scorer.errors import Fault, FaultKind, HostFault, UnclearFault
from scorer.hosts.base import Frame, Host, Request
from scorer.hosts.factory import make_host
from scorer.hosts.http import Answer, Http
from scorer.hosts.hush import HIDDEN, LEAST_CHARS, LEAST_CUT_CHARS, Hush

pytestmark = pytest.mark.anyio

TOKEN = 'pw/<&"+4711'
FRAME = Frame(model="m", system="s", schema=None, num_ctx=512)
SPELLINGS = {
    "as it is": TOKEN,
    "in JSON": json.dumps(TOKEN)[1:-1],
    "in a link": quote(TOKEN, safe=""),
    "in HTML": escape(TOKEN),
    "in JSON by Go": json.dumps(TOKEN)[1:-1].replace("&", "\\u0026").replace("<", "\\u003c"),
    "in JSON in JSON": json.dumps(json.dumps(TOKEN)[1:-1])[1:-1],
}
CHAT = {"model": "m", "done": True, "done_reason": "stop", "message": {"content": "x"}}
CHOICE = {"finish_reason": "stop", "message": {"content": "x"}}
# answers that look like a completion, with the token where an adapter quotes them
QUOTED: dict[str, tuple[str, Mapping[str, object]]] = {
    "model": ("ollama", {**CHAT, "model": f"Bearer {TOKEN}"}),
    "done": ("ollama", {**CHAT, "done": f"Bearer {TOKEN}"}),
    "done_reason": ("ollama", {**CHAT, "done_reason": f"Bearer {TOKEN}"}),
    "remote_host": ("ollama", {**CHAT, "remote_host": f"https://elsewhere/?key={quote(TOKEN, safe='')}"}),
    "remote_model": ("ollama", {**CHAT, "remote_model": [{"for": TOKEN}]}),
    "a key of Ollama's": ("ollama", {"message": 1, TOKEN: 1}),
    "error": ("ollama", {**CHAT, "error": f"Bearer {TOKEN}"}),
    "finish_reason": ("openai", {"choices": [{**CHOICE, "finish_reason": f"Bearer {TOKEN}"}]}),
    "a key of OpenAI's": ("openai", {"choices": [], TOKEN: 1}),
    "an error of OpenAI's": ("openai", {"choices": [CHOICE], "error": {"message": TOKEN}}),
    "a key of Petals'": ("petals", {"outputs": 1, TOKEN: 1}),
    "traceback": ("petals", {"ok": False, "outputs": "x", "traceback": f"Traceback\nValueError: {TOKEN}"}),
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def host_that_says(response: httpx.Response, api: str = "ollama") -> Host:
    config = HostConfig(name="h", url="https://h", api=api)  # type: ignore[arg-type]
    return make_host(config, connect=lambda _: httpx.MockTransport(lambda _: response), token=TOKEN)


async def said_of(host: Host) -> str:
    with pytest.raises(Fault) as caught:
        await host.generate(Request(FRAME, "row", num_predict=3))
    return f"{caught.value}|{caught.value!r}|{caught.value.message}"


@pytest.mark.parametrize("api", ["ollama", "openai", "petals"])
@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 429, 500, 502])
@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
async def test_an_answer_that_quotes_the_token_is_quoted_without_it(api: str, status: int, spelling: str) -> None:
    bodies = (
        f"your key {spelling} is wrong".encode(),
        json.dumps({"error": f"your key {TOKEN} is wrong"}).encode(),
        json.dumps({"error": {"message": f"your key {TOKEN} is wrong"}}).replace("/", "\\/").encode(),
        f"<html>Authorization: Bearer {spelling}</html>".encode(),
    )
    for body in bodies:
        said = await said_of(host_that_says(httpx.Response(status, content=body), api))
        assert not [text for text in SPELLINGS.values() if text in said], said


@pytest.mark.parametrize(("api", "document"), QUOTED.values(), ids=QUOTED)
@pytest.mark.parametrize("spell", ["plainly", "as Go does", "letter by letter"])
async def test_a_completions_other_fields_are_quoted_without_it(
    api: str, document: Mapping[str, object], spell: str
) -> None:
    body = json.dumps(document)
    if spell == "as Go does":
        body = body.replace("&", "\\u0026").replace("<", "\\u003c")
    if spell == "letter by letter":
        body = body.replace("4711", "\\u0034\\u0037\\u0031\\u0031")
    said = await said_of(host_that_says(httpx.Response(200, content=body.encode()), api))
    assert HIDDEN in said
    assert not [text for text in SPELLINGS.values() if text in said], said


async def test_a_header_that_is_shown_is_shown_without_it() -> None:
    host = host_that_says(
        httpx.Response(200, json={"data": [{"id": "m"}]}, headers={"Server": f"for {TOKEN}"}), "openai"
    )
    assert (await host.probe()).version == f"for {HIDDEN}"


async def test_what_is_nested_too_deeply_to_be_looked_through_is_refused() -> None:
    deep = b'{"4711": ' + b"[" * 1020 + b"]" * 1020 + b"}"
    http = Http(
        HostConfig(name="h", url="https://h"),
        httpx.MockTransport(lambda _: httpx.Response(200, content=deep)),
        token=TOKEN,
    )
    answer = await http.json("GET", "/")
    assert answer.document is None
    with pytest.raises(HostFault, match="not a JSON object"):
        answer.as_said()


HEAD = b"HTTP/1.1 200 OK\r\n"
# what is not HTTP, by packet, and quotes the token so that a parser's complaint would hold most of it
NOT_HTTP = {
    "a long header": (HEAD + b"X-You-Sent: " + b"." * 88 + b"%s" + b"." * 9000 + b"\r\n\r\n",),
    "a long header's name": (HEAD + b"X" * 88 + b"%s" + b"." * 9000 + b": x\r\n\r\n",),
    "a long status line": (b"HTTP/1.1 200 " + b"." * 88 + b"%s" + b"." * 9000 + b"\r\n\r\n",),
    "a status line in two packets": (b"Bearer %s", b" 200\r\n\r\n"),
    "a malformed header": (HEAD + b"X You Sent %s\r\n\r\n",),
    "a malformed length": (HEAD + b"Content-Length: %s\r\n\r\n",),
    "a malformed chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n%s\r\nabc\r\n",),
    "a zero in a header": (HEAD + b"X-You-Sent: %s", b"\x00\r\n\r\n"),
}
SIMPLE = "hush4711tell0815"


def saying(packets: tuple[bytes, ...]) -> Handler:
    """Answer with these, the token in place of %s; one that ends a packet lacks its last letter, which comes next."""

    async def answer(peer: Peer) -> None:
        await peer.request()
        rest = b""
        for packet in packets:
            whole = rest + packet.replace(b"%s", SIMPLE.encode())
            cut = len(whole) - (1 if packet.endswith(b"%s") else 0)
            rest = whole[cut:]
            await peer.say(whole[:cut])
            await anyio.sleep(0.05)
        await peer.gone()

    return answer


@pytest.mark.parametrize("packets", NOT_HTTP.values(), ids=NOT_HTTP)
async def test_nothing_of_what_is_not_http_is_repeated(serve: Serve, packets: tuple[bytes, ...]) -> None:
    served = await serve(saying(packets))
    host = make_host(HostConfig(name="h", url=served.url), token=SIMPLE)
    said = await said_of(host)
    await host.close()
    assert "not what HTTP allows" in said
    assert not [SIMPLE[at : at + 4] for at in range(len(SIMPLE) - 3) if SIMPLE[at : at + 4] in said], said


async def test_a_redirect_and_an_odd_encoding_are_told_without_it() -> None:
    away = httpx.Response(307, headers={"Location": f"https://elsewhere/?key={quote(TOKEN, safe='')}"})
    said = await said_of(host_that_says(away))
    assert f"redirected to https://elsewhere/?key={HIDDEN}" in said
    odd = httpx.Response(200, headers={"Content-Encoding": TOKEN}, stream=httpx.ByteStream(b"{}"))
    said = await said_of(host_that_says(odd))
    assert TOKEN not in said
    assert HIDDEN in said


@pytest.mark.parametrize("before", range(180, 201, 4))
async def test_what_the_libraries_say_is_told_without_it_wherever_it_is_cut(before: int) -> None:
    def broken(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadError(f"{'.' * before}{TOKEN}")

    http = Http(HostConfig(name="h", url="https://h"), httpx.MockTransport(broken), token=TOKEN)
    with pytest.raises(UnclearFault) as caught:
        await http.json("GET", "/")
    assert TOKEN[:3] not in f"{caught.value}{caught.value.message}"


async def test_a_line_of_a_stream_is_told_without_it() -> None:
    body = json.dumps({"error": f"key {TOKEN}"}) + f"\nno JSON but {TOKEN}\n"
    http = Http(
        HostConfig(name="h", url="https://h"),
        httpx.MockTransport(lambda _: httpx.Response(200, stream=httpx.ByteStream(body.encode()))),
        token=TOKEN,
    )

    def refused(answer: Answer) -> Fault:
        return HostFault(FaultKind.GATEWAY, str(answer.status))

    lines = http.lines("/", {}, refused)
    assert await anext(lines) == {"error": f"key {HIDDEN}"}
    with pytest.raises(HostFault) as caught:
        await anext(lines)
    assert TOKEN not in caught.value.message


@pytest.mark.parametrize(
    ("api", "document"),
    [
        ("ollama", {**CHAT, "message": {"content": f"the word is {TOKEN}"}}),
        ("openai", {"choices": [{**CHOICE, "message": {"content": f"the word is {TOKEN}"}}]}),
        ("petals", {"ok": True, "outputs": f"the word is {TOKEN}"}),
    ],
)
async def test_a_completion_is_stored_as_it_was_said(api: str, document: Mapping[str, object]) -> None:
    """The model does not see the headers: it has the word from the row."""
    host = host_that_says(httpx.Response(200, json=document), api)
    assert (await host.generate(Request(FRAME, "row", num_predict=3))).text == f"the word is {TOKEN}"


@pytest.mark.parametrize("api", ["ollama", "openai", "petals"])
@pytest.mark.parametrize("shown", range(LEAST_CUT_CHARS, len(TOKEN) + 1))
def test_a_message_that_quotes_a_completion_is_freed_of_it_though_it_has_been_cut(api: str, shown: int) -> None:
    hushed = host_that_says(httpx.Response(200), api).hushed
    assert hushed(f'"score" should be an integer, not "it is {TOKEN[:shown]}…') == (
        f'"score" should be an integer, not "it is {HIDDEN}…'
    )
    assert hushed(f"{TOKEN} is it") == f"{HIDDEN} is it"
    assert hushed("nothing to hide…") == "nothing to hide…"


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40), st.text(max_size=20))
def test_only_tokens_long_enough_to_be_secrets_are_hidden(token: str, around: str) -> None:
    text = f"{around}{token}{around}"
    hidden = Hush(token).of_text(text)
    body = Hush(token).of_bytes(text.encode("utf-8", "replace"))
    if len(token) < LEAST_CHARS:
        assert (hidden, body) == (text, text.encode("utf-8", "replace"))
    elif token not in HIDDEN:
        assert token not in hidden.replace(HIDDEN, "\n")
        assert token.encode() not in body.replace(HIDDEN.encode(), b"\n")


def test_without_a_token_nothing_is_changed() -> None:
    assert Hush(None).of_text("as it is…") == Hush(None).of_message("as it is…") == "as it is…"
    assert Hush(None).of_bytes(b"as it is") == b"as it is"
    document: dict[str, object] = {"as": "it is"}
    assert Hush(None).of_document(document, b'{"as": "it is"}') is document
