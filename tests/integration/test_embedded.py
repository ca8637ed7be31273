"""The real engine with its demo model: valid JSON comes out, and no process is left behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.to_thread
import psutil
import pytest

from scorer.config import HostConfig
from scorer.errors import FaultKind, HostFault, RowFault, UnclearFault
from scorer.hosts.base import Frame, Host, Request
from scorer.hosts.embedded import EmbeddedHost, installed
from scorer.hosts.factory import make_host
from scorer.hosts.http import Http, aiohttp_transport
from scorer.hosts.openai import OpenAIHost

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.local,
    pytest.mark.skipif(not installed(), reason="the embedded engine and its demo model are not installed"),
]

SCHEMA = {
    "type": "object",
    "properties": {
        "score": {"type": "integer", "minimum": 1, "maximum": 10},
        "reason": {"type": "string", "maxLength": 40},
    },
    "required": ["score", "reason"],
    "additionalProperties": False,
}
FRAME = Frame(
    model="demo", system="Rate the text from 1 to 10. Answer in JSON with score and reason.", schema=SCHEMA, num_ctx=512
)
CONFIG = HostConfig(name="here", url="", api="embedded", slots=2, threads=1)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def engine() -> AsyncIterator[Host]:
    host = make_host(CONFIG)
    info = await host.probe()
    assert info.models[0].digest is not None
    assert info.models[0].digest.startswith("b179c952")
    loaded = await host.warm(FRAME)
    assert (loaded.context, loaded.slots) == (512, 2)
    yield host
    await host.close()


def request(text: str, num_predict: int = 96) -> Request:
    return Request(frame=FRAME, user=text, num_predict=num_predict)


async def test_every_completion_is_what_the_schema_asks_for(engine: Host) -> None:
    async def one(text: str) -> None:
        reply = await engine.generate(request(text))
        record = json.loads(reply.text)
        assert reply.finish == "stop"
        assert isinstance(record["score"], int)
        assert 1 <= record["score"] <= 10
        assert isinstance(record["reason"], str)
        assert reply.prompt_tokens is not None
        assert reply.prompt_tokens > 20
        assert reply.output_tokens is not None
        assert reply.prefill_s is not None
        assert reply.decode_s is not None
        assert 0 < reply.decode_s < 60

    async with anyio.create_task_group() as tasks:
        for text in ("The sky is blue.", "def f(x): return x", "Grüße 你好 🎉 \ud800"):
            tasks.start_soon(one, text)


async def test_a_prompt_over_the_context_is_refused_with_both_numbers(engine: Host) -> None:
    with pytest.raises(RowFault, match=r"prompt of \d+ tokens, context 512") as caught:
        await engine.generate(request("word " * 2000))
    assert caught.value.kind is FaultKind.CONTEXT_OVERFLOW


async def test_a_cap_on_the_output_is_honoured(engine: Host) -> None:
    reply = await engine.generate(request("The sky is blue.", num_predict=3))
    assert (reply.finish, reply.output_tokens) == ("length", 3)


@pytest.fixture(scope="module")
def listening(engine: Host) -> Any:  # noqa: ANN401 - psutil's own
    """Where the engine listens."""
    assert isinstance(engine, EmbeddedHost)
    assert engine._child is not None
    found = [c for c in psutil.Process(engine._child.pid).net_connections("all") if c.status == psutil.CONN_LISTEN]
    assert len(found) == 1
    return found[0].laddr


async def test_the_engine_listens_for_this_machine_alone(listening: Any) -> None:  # noqa: ANN401
    assert listening.ip == "127.0.0.1"


@pytest.mark.parametrize("key", [None, "wrong"])
@pytest.mark.parametrize("question", ["POST /v1/chat/completions", "POST /completion", "GET /v1/models", "GET /props"])
async def test_nobody_without_its_key_is_answered(
    engine: Host,
    listening: Any,  # noqa: ANN401
    question: str,
    key: str | None,
) -> None:
    config = HostConfig(name="stranger", url=f"http://127.0.0.1:{listening.port}")
    stranger = Http(config, aiohttp_transport(config), token=key)
    answer = await stranger.json(*question.split(), {})
    assert answer.status == 401
    assert (await stranger.json("GET", "/")).status == 404, "there is a page for people"
    await stranger.close()
    assert (await engine.generate(request("The sky is blue."))).finish == "stop"


async def test_its_key_is_in_no_message(engine: Host) -> None:
    assert isinstance(engine, EmbeddedHost)
    assert isinstance(engine._api, OpenAIHost)
    key = engine._api._http._headers["authorization"].removeprefix("Bearer ")
    assert len(key) > 20
    assert engine.hushed(f"no entry with {key}") == "no entry with [token]"


async def test_an_engine_killed_while_it_generates_drops_the_row_and_comes_back() -> None:
    host = make_host(CONFIG)
    assert isinstance(host, EmbeddedHost)
    try:
        await host.warm(FRAME)
        assert host._child is not None
        engine = psutil.Process(host._child.pid)
        dropped: list[Any] = []

        async def generate() -> None:
            numbers = {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 10}, "minItems": 200}
            long = Frame(model="demo", system="Count.", schema=numbers, num_ctx=512)
            try:
                await host.generate(Request(frame=long, user="Go on.", num_predict=400))
            except UnclearFault as fault:
                dropped.append(fault.kind)

        before = engine.cpu_times().user
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(generate)
            while engine.cpu_times().user < before + 0.2:
                await anyio.to_thread.run_sync(engine.cpu_percent, 0.02)
            engine.kill()
        assert dropped == [FaultKind.DROPPED]
        engine.wait(10)
        with pytest.raises(HostFault) as caught:
            await host.alive()
        assert caught.value.kind is FaultKind.UNREACHABLE
        await host.probe()
        assert (await host.generate(request("The sky is blue."))).finish == "stop"
    finally:
        await host.close()


PARENT = """
import anyio, sys
from scorer.config import HostConfig
from scorer.hosts.base import Frame
from scorer.hosts.factory import make_host

async def main():
    host = make_host(HostConfig(name="here", url="", api="embedded", threads=1))
    await host.warm(Frame(model="demo", system="s", schema={}, num_ctx=512))
    print(host._child.pid, flush=True)
    await anyio.sleep_forever()

anyio.run(main)
"""


def test_the_engine_ends_with_its_parent_however_it_ends_and_not_before() -> None:
    """Ctrl-C in the terminal must not reach it: rows in flight are still finished then."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        engine = psutil.Process(int(parent.stdout.readline()))
        assert engine.is_running()
        assert os.getpgid(engine.pid) != os.getpgid(parent.pid)
        os.kill(parent.pid, signal.SIGKILL)
        psutil.wait_procs([engine], timeout=20)
        assert not engine.is_running()
