"""A server that quotes the token it was sent: the token is in no message, and a completion is not touched."""

import json
from html import escape
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.config import HostConfig
from scorer.errors import Fault, FaultKind, HostFault, UnclearFault
from scorer.hosts.base import Frame, Host, Request
from scorer.hosts.factory import make_host
from scorer.hosts.http import Answer, Http
from scorer.hosts.hush import HIDDEN, LEAST_CHARS, Hush

pytestmark = pytest.mark.anyio

TOKEN = 'pw/<&"+4711'
FRAME = Frame(model="m", system="s", schema=None, num_ctx=512)
SPELLINGS = {
    "as it is": TOKEN,
    "in JSON": json.dumps(TOKEN)[1:-1],
    "in a link": quote(TOKEN, safe=""),
    "in HTML": escape(TOKEN),
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


async def test_a_completion_is_stored_as_it_was_said() -> None:
    """The model does not see the headers: it has the word from the row."""
    chat = {"model": "m", "done": True, "done_reason": "stop", "message": {"content": f"the word is {TOKEN}"}}
    host = host_that_says(httpx.Response(200, json=chat))
    assert (await host.generate(Request(FRAME, "row", num_predict=3))).text == f"the word is {TOKEN}"


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
    assert Hush(None).of_text("as it is") == "as it is"
    body = b"as it is"
    assert Hush(None).of_bytes(body) is body
