"""Real llama.cpp servers in processes of their own, as OpenAI-style hosts: alone, and two of them beside Ollama."""

import contextlib
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from math import exp
from pathlib import Path

import pytest
from doubles.ollama import Model, OllamaDouble, Spec
from invariants import check_invariants
from running import JUDGE, Desk, finished, texts

from scorer.config import HostConfig
from scorer.errors import FaultKind, HostUnusable, RowFault
from scorer.hosts.base import Frame, Host, Loaded, Request
from scorer.hosts.child import Child
from scorer.hosts.embedded import demo_model, installed
from scorer.hosts.engine import Settings
from scorer.hosts.factory import make_host

pytestmark = [
    pytest.mark.local,
    pytest.mark.skipif(not installed(), reason="the embedded engine and its demo model are not installed"),
]

KEY = "hush-hush-4711"
CONTEXT = 1024
# little to write, so that a small model on a busy machine is done with it soon
TEMPLATE = """
name = "judge"
system = "Judge the text. Answer in JSON."
user = "{{ text }}"
[output.score]
type = "integer"
minimum = 1
maximum = 10
[options]
num_ctx = 1024
num_predict = 24
"""
QUESTION = "Which letter comes first in the alphabet?\nA) M\nB) C\nAnswer with the letter A or B."
FREE = Frame(model="demo", system="", schema=None, num_ctx=CONTEXT)


@contextlib.contextmanager
def llama_server(slots: int = 1) -> Iterator[str]:
    """Run one until it is left; gives its URL, and wants KEY."""
    model = demo_model()
    assert model is not None
    server = Child(Settings(gguf=str(model), context=CONTEXT, slots=slots, threads=1, key=KEY))
    try:
        while (report := server.wait_report(30.0)) is None:
            assert server.running()
        assert "port" in report, report
        yield f"http://127.0.0.1:{report['port']}"
    finally:
        server.stop()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with llama_server(slots=2) as url:
        yield url


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def host(url: str) -> AsyncIterator[Host]:
    host = make_host(HostConfig(name="llama", url=url, api="openai"), token=KEY)
    info = await host.probe()
    assert info.version.startswith(("b", "llama.cpp"))
    assert info.models[0].max_context == CONTEXT
    assert await host.warm(FREE) == Loaded(context=CONTEXT, slots=2)
    yield host
    await host.close()


@pytest.mark.anyio
async def test_free_text_is_answered_with_the_first_tokens_candidates(host: Host) -> None:
    reply = await host.generate(Request(FREE, QUESTION, num_predict=1, top_logprobs=8))
    assert (reply.finish, reply.output_tokens) == ("length", 1)
    assert len(reply.first_token) == 8
    logprobs = [logprob for _, logprob in reply.first_token]
    assert logprobs == sorted(logprobs, reverse=True)
    assert 0.3 < sum(map(exp, logprobs)) <= 1.0001
    assert reply.text.strip() in [token.strip() for token, _ in reply.first_token]


@pytest.mark.anyio
async def test_an_answer_ends_before_a_stop_text(host: Host) -> None:
    whole = await host.generate(Request(FREE, QUESTION, num_predict=24))
    stop = whole.text.split()[2]
    ended = await host.generate(Request(FREE, QUESTION, num_predict=24, stop=(stop,)))
    assert ended.finish == "stop"
    assert ended.text == whole.text[: whole.text.index(stop)]


@pytest.mark.anyio
async def test_an_answer_that_a_stop_text_ends_at_once_is_empty_and_all_the_same_one(host: Host) -> None:
    whole = await host.generate(Request(FREE, QUESTION, num_predict=8))
    ended = await host.generate(Request(FREE, QUESTION, num_predict=8, stop=(whole.text[:1],)))
    assert (ended.text, ended.finish) == ("", "stop")


@pytest.mark.anyio
async def test_log_probabilities_come_under_a_schema_too(host: Host) -> None:
    schema = {"type": "object", "properties": {"score": {"type": "integer", "minimum": 1, "maximum": 10}}}
    frame = Frame(model="demo", system="Rate the text. Answer in JSON.", schema=schema, num_ctx=CONTEXT)
    reply = await host.generate(Request(frame, "The sky is blue.", num_predict=32, top_logprobs=3))
    assert reply.text.startswith("{")
    assert reply.first_token


@pytest.mark.anyio
async def test_a_prompt_over_one_slots_context_is_refused_with_both_numbers(host: Host) -> None:
    with pytest.raises(RowFault, match=rf"prompt of \d+ tokens, context {CONTEXT}") as caught:
        await host.generate(Request(FREE, "word " * 1500, num_predict=8))
    assert caught.value.kind is FaultKind.CONTEXT_OVERFLOW


@pytest.mark.anyio
async def test_a_schema_that_makes_no_grammar_fails_the_warm_up(host: Host) -> None:
    with pytest.raises(HostUnusable) as caught:
        await host.warm(Frame(model="demo", system="", schema={"type": "wat"}, num_ctx=CONTEXT))
    assert caught.value.kind is FaultKind.REFUSED_OPTIONS


@pytest.mark.anyio
async def test_a_wrong_key_leaves_it_out(url: str) -> None:
    stranger = make_host(HostConfig(name="llama", url=url, api="openai"), token="wrong")
    with pytest.raises(HostUnusable) as caught:
        await stranger.probe()
    assert caught.value.kind is FaultKind.UNAUTHORISED
    await stranger.close()


def answered(double: OllamaDouble) -> set[str | None]:
    return {record.user_text for record in double.generations if record.outcome == "answered"}


def test_two_llama_servers_beside_ollama_score_one_job_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_KEY", KEY)
    desk, rows = Desk(tmp_path), texts(40)
    desk.write("judge.toml", TEMPLATE)
    desk.dataset(rows)
    own = Model(name="demo:135m")
    with ExitStack() as stack:
        urls = {name: stack.enter_context(llama_server()) for name in ("llama-1", "llama-2")}
        # on a busy machine Ollama would be through with the job before a real model is loaded
        together = threading.Event()
        waits = Spec(models=(own,), overhead_s=0.5, fault_for=lambda *_: None if together.is_set() else "hang")
        ollama = stack.enter_context(OllamaDouble(waits))
        lines = ["[defaults]", "slots = 1", "[[hosts]]", 'name = "ollama"', f'url = "{ollama.url}"']
        for name, url in urls.items():
            lines += ["[[hosts]]", f'name = "{name}"', f'url = "{url}"', 'api = "openai"', 'token_env = "LLAMA_KEY"']
            lines += [f'model = "{demo_model()}"', f'model_digest = "{own.hex_digest}"']
        desk.write("hosts.toml", "\n".join(lines) + "\n")
        with desk.started(*JUDGE, "--model", "demo:135m", "--json") as process:
            assert process.stdout is not None
            away = {"ollama", *urls}
            while away:
                event = json.loads(process.stdout.readline())
                away -= {event.get("host")} if event["event"] == "host_up" else set()
            together.set()
            while not answered(ollama):
                # what hangs only later is not released yet
                ollama.release_hangs()
                with contextlib.suppress(TimeoutError):
                    ollama.wait_until(lambda double: bool(answered(double)), 0.2)
            said = finished(process, 0)
        sent = answered(ollama)
    results = check_invariants(desk.job, expected=len(rows))
    assert {row["status"] for row in results} == {"done"}, said.err
    assert {row["host"] for row in results} == {"ollama", *urls}
    assert {rows[int(str(row["row"]))] for row in results if row["host"] == "ollama"} <= sent
    for path in desk.folder.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes(), f"the key is in {path}"
    assert KEY not in said.out + said.err
