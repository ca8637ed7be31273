"""Whatever a server sends, whole or broken: an adapter gives a sound value or raises a fault, and nothing else."""

import json
from collections.abc import Awaitable
from typing import Any, NamedTuple

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scorer.config import HostConfig
from scorer.errors import Fault, FaultKind, HostFault, RowFault
from scorer.hosts.base import Frame, Host, Request
from scorer.hosts.factory import make_host

pytestmark = pytest.mark.anyio

APIS = ("ollama", "openai", "petals")
FRAMES = [
    Frame(model="m", system="s", schema={"type": "object"}, num_ctx=512),
    Frame(model="m", system="", schema=None, num_ctx=512, think="low"),
]
REQUESTS = [Request(frame, "row", num_predict=9, stop=("x",), top_logprobs=3) for frame in FRAMES]

# words that mean something to one of the adapters, so that documents come near to sound ones
_KEYS = """
error message type code object detail n_prompt_tokens n_ctx model models data id name digest size size_vram version
done done_reason remote_host content thinking reasoning choices finish_reason usage prompt_tokens completion_tokens
timings prompt_ms predicted_ms logprobs top_logprobs token logprob prompt_eval_count eval_duration total_slots
default_generation_settings build_info owned_by meta max_model_len context_length ok outputs traceback status
"""
_WORDS = """
m m:latest stop length load error llamacpp vllm organization_owner 0.30.1 0.12 {"score":1} <html> (5 template KeyError:
"""
KEYS = _KEYS.split()
WORDS = st.sampled_from(_WORDS.split())
SCALARS = (
    st.none()
    | st.booleans()
    | WORDS
    | st.text(st.characters(codec=None), max_size=8)
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
)


# A function with a name, here and wherever a strategy is recursive: Hypothesis parses a lambda's source to describe it,
# in the middle of a draw, and Python before 3.11.8 may fail at that with a spurious SystemError (cpython issue 106905).
def lists_and_objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6)


VALUES = st.recursive(
    SCALARS,
    lists_and_objects,
    max_leaves=15,
)
TEXT = st.text(st.characters(codec=None), min_size=1, max_size=8)
FINISH = st.sampled_from(["stop", "length"]) | SCALARS
MESSAGE = st.fixed_dictionaries({"content": TEXT | SCALARS}) | VALUES
TOKEN = st.fixed_dictionaries({"token": TEXT, "logprob": SCALARS}, optional={"top_logprobs": VALUES}) | VALUES
CHOICE = st.fixed_dictionaries(
    {"message": MESSAGE, "finish_reason": FINISH},
    optional={"logprobs": st.fixed_dictionaries({"content": st.lists(TOKEN, max_size=2)}) | VALUES},
)
USAGE = st.fixed_dictionaries({"prompt_tokens": SCALARS, "completion_tokens": SCALARS}) | VALUES
TIMINGS = st.fixed_dictionaries({"prompt_ms": SCALARS, "predicted_ms": SCALARS}) | VALUES
NATIVE = {"model": st.just("m") | WORDS, "done": st.just(True) | SCALARS, "done_reason": FINISH, "message": MESSAGE}
FIGURES = ("prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration", "load_duration")
ERRORS = st.fixed_dictionaries({"error": VALUES}) | st.fixed_dictionaries({"detail": VALUES})
LISTS = st.fixed_dictionaries({"models": VALUES, "data": VALUES, "version": SCALARS, "total_slots": SCALARS})
NEARLY: dict[str, st.SearchStrategy[Any]] = {
    "ollama": st.fixed_dictionaries(
        NATIVE, optional={"logprobs": st.lists(TOKEN, max_size=2), **dict.fromkeys(FIGURES, SCALARS)}
    ),
    "openai": st.fixed_dictionaries(
        {"choices": st.lists(CHOICE, min_size=1, max_size=2)}, optional={"usage": USAGE, "timings": TIMINGS}
    ),
    "petals": st.fixed_dictionaries({"ok": st.just(True) | SCALARS, "outputs": TEXT | VALUES})
    | st.fixed_dictionaries({"ok": st.just(False), "traceback": TEXT | VALUES}),
}


@st.composite
def bodies(draw: st.DrawFn, api: str) -> bytes:
    """Mostly what the API's answer looks like; else another document, two of them, half of one, or any bytes."""
    which = draw(st.integers(0, 9))
    if which == 9:
        return draw(st.binary(max_size=200))
    strategy = {6: ERRORS, 7: LISTS, 8: VALUES}.get(which, NEARLY[api])
    body = json.dumps(draw(strategy)).encode()
    cut = draw(st.integers(0, 20))
    if cut == 20:
        return body[: draw(st.integers(0, len(body)))]
    return body + b"\n" + json.dumps(draw(VALUES)).encode() if cut == 19 else body


HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "date", "location", "content-encoding", "content-type", "server"]),
    st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=20)
    | st.sampled_from(["gzip", "text/html", "1e400", "-1", "Wed, 21 Oct 2026 07:28:00 GMT"]),
    max_size=3,
)
STATUSES = (201, 204, 302, 400, 401, 403, 404, 405, 413, 422, 429, 499, 500, 502, 503, 504)


class Served(NamedTuple):
    """One reply, as it is on the wire."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


@st.composite
def replies(draw: st.DrawFn, api: str) -> Served:
    """A 200 without further ado, or any status with any headers of those that matter."""
    body = draw(bodies(api))
    if draw(st.integers(0, 2)):
        return Served(200, [], body)
    headers = [(name.encode(), value.encode("latin-1")) for name, value in draw(HEADERS).items()]
    return Served(draw(st.sampled_from(STATUSES)), headers, body)


def host_answering(api: str, reply: Served) -> Host:
    def respond(request: httpx.Request) -> httpx.Response:
        return httpx.Response(reply.status, headers=reply.headers, stream=httpx.ByteStream(reply.body))

    config = HostConfig(name="h", url="http://h:1", api=api, model="m")  # type: ignore[arg-type]
    return make_host(config, connect=lambda _: httpx.MockTransport(respond))


SOUND = {
    "ollama": b'{"model": "m", "done": true, "done_reason": "stop", "message": {"content": "{}"}}',
    "openai": b'{"choices": [{"finish_reason": "stop", "message": {"content": "{}"}}]}',
    "petals": b'{"ok": true, "outputs": "{}</s>"}',
}
TYPES = (b"text/html", b"text/html; charset=utf-8", b"text/plain", b"application/octet-stream", b"nonsense", b"")


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("content_type", TYPES)
async def test_sound_json_is_an_answer_whatever_it_is_called(api: str, content_type: bytes) -> None:
    """A gateway written in a day calls everything a page; whoever reads JSON has JSON."""
    adapter = host_answering(api, Served(200, [(b"content-type", content_type)], SOUND[api]))
    assert (await adapter.generate(REQUESTS[0])).text == "{}"


@pytest.mark.parametrize("api", ["ollama", "openai"])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("content_type", TYPES)
async def test_an_error_in_json_is_read_whatever_it_is_called(api: str, content_type: bytes) -> None:
    body = b'{"error": "json schema is invalid"}'
    adapter = host_answering(api, Served(400, [(b"content-type", content_type)], body))
    with pytest.raises(HostFault) as caught:
        await adapter.generate(REQUESTS[0])
    assert caught.value.kind is FaultKind.REFUSED_OPTIONS


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("content_type", [b"text/html", b"text/plain", b"application/json", b""])
@pytest.mark.parametrize("status", [200, 500])
async def test_a_page_is_a_hosts_fault_whatever_it_is_called(api: str, status: int, content_type: bytes) -> None:
    page = b"<!doctype html><html><body>Sign in to the network of this hotel</body></html>"
    adapter = host_answering(api, Served(status, [(b"content-type", content_type)], page))
    with pytest.raises(HostFault) as caught:
        await adapter.generate(REQUESTS[0])
    assert caught.value.kind is FaultKind.GATEWAY


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    ("content_type", "kind"), [(b"text/html", FaultKind.GATEWAY), (b"text/plain", FaultKind.BAD_BODY)]
)
async def test_what_is_neither_json_nor_marked_up_is_what_it_is_called(
    api: str, content_type: bytes, kind: FaultKind
) -> None:
    adapter = host_answering(api, Served(200, [(b"content-type", content_type)], b"It works!"))
    with pytest.raises(HostFault) as caught:
        await adapter.generate(REQUESTS[0])
    assert caught.value.kind is kind


async def ends_well(asked: Awaitable[Any], faults: type[Fault]) -> Any:  # noqa: ANN401 - whatever was asked for
    """Return what came of a question; only faults of this kind may come out of it instead, with a fit message."""
    try:
        return await asked
    except faults as error:
        message = error.message
        completion = getattr(error, "completion", None)
    message.encode()
    (completion or "").encode()
    assert len(message) < 1000
    assert "\n" not in message
    return None


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("key", ["done", "done_reason"])
@pytest.mark.parametrize(
    "said", [b'"\\ud800"', b'"one\\ntwo"', b'"' + 5000 * b"x" + b'"', b"[" + 900 * b'"\\udfff",' + b"1]"]
)
async def test_what_is_no_end_of_an_answer_is_quoted_in_one_short_line(key: str, said: bytes) -> None:
    ending = {"done": b"true", "done_reason": b'"stop"', key: said}
    fields = b", ".join(b'"%s": %s' % (name.encode(), value) for name, value in ending.items())
    body = b'{"model": "m", "message": {"content": "{}"}, %s}' % fields
    adapter = host_answering("ollama", Served(200, [], body))
    assert await ends_well(adapter.generate(REQUESTS[0]), RowFault) is None


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@settings(max_examples=300)
@given(data=st.data())
async def test_a_row_ends_in_a_sound_reply_or_a_fault(api: str, data: st.DataObject) -> None:
    adapter = host_answering(api, data.draw(replies(api)))
    found = await ends_well(adapter.generate(data.draw(st.sampled_from(REQUESTS))), Fault)
    if found is None:
        return
    found.text.encode()
    assert found.finish in ("stop", "length")
    for tokens in (found.prompt_tokens, found.output_tokens, found.reported_prompt_tokens):
        assert tokens is None or 0 <= tokens < 1 << 31
    for seconds in (found.prefill_s, found.decode_s, found.load_s):
        assert seconds is None or 0 < seconds < 1e18
    for token, logprob in found.first_token:
        token.encode()
        assert logprob <= 0


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@settings(max_examples=100)
@given(data=st.data())
async def test_questions_without_a_row_blame_nobody_but_the_host(api: str, data: st.DataObject) -> None:
    reply = data.draw(replies(api))
    adapter = host_answering(api, reply)
    await ends_well(adapter.alive(), HostFault)
    info = await ends_well(adapter.probe(), HostFault)
    for model in info.models if info is not None else ():
        assert model.name.isprintable()
        assert 0 < len(model.name) <= 256
    if reply.status != 503:  # a server that is loading is waited for
        loaded = await ends_well(adapter.warm(FRAMES[0]), HostFault)
        assert loaded is None or loaded.gpu_share is None or loaded.gpu_share >= 0
