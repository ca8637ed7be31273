"""Hostile and broken servers over real sockets: where a row ends, that deadlines hold, and that memory stays bounded.

One double of each kind draws its fault from the row's text, so that every case is a request of the production client,
judged as the dispatcher judges it.
"""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import anyio
import pytest
from doubles.faults import KINDS
from doubles.ollama import Model, OllamaDouble, Spec
from doubles.openai import OpenAIDouble
from doubles.petals import PetalsDouble, PetalsSpec

from scorer.config import HostConfig
from scorer.core.estimate import TokenRatio
from scorer.core.judge import Asked, judge
from scorer.core.score import Field, json_schema, scorer_for
from scorer.errors import Fault, FaultKind, HostFault, HostUnusable, RowFault, UnclearFault
from scorer.hosts.base import Frame, Host, Request
from scorer.hosts.factory import make_host

pytestmark = pytest.mark.anyio

FIELDS = [Field("score", "integer", minimum=1, maximum=10), Field("reason", "string", max_length=60)]
SCHEMA = json_schema(FIELDS)
PARSE = scorer_for(FIELDS)
FRAME = Frame(model="m:latest", system="rubric", schema=SCHEMA, num_ctx=4096)
APIS = ("ollama", "llama_cpp", "vllm", "lm_studio", "exo", "petals")

Ending = tuple[type[Fault], FaultKind]
UNCLEAR, DROPPED = (UnclearFault, FaultKind.SERVER_ERROR), (UnclearFault, FaultKind.DROPPED)
GATEWAY, BAD_BODY = (HostFault, FaultKind.GATEWAY), (HostFault, FaultKind.BAD_BODY)
INVALID, CUT = (RowFault, FaultKind.INVALID_OUTPUT), (RowFault, FaultKind.CUT_OUTPUT)

COMMON: dict[str, Ending] = {
    "busy_503": (HostFault, FaultKind.BUSY),
    "limited_429": (HostFault, FaultKind.BUSY),
    "html_502": GATEWAY,
    "html_504": GATEWAY,
    "redirect": GATEWAY,
    "wrong_type": GATEWAY,
    "fast_500": UNCLEAR,
    "server_error": UNCLEAR,
    "cuda_error": UNCLEAR,
    "drop": DROPPED,
    "reset_mid_body": DROPPED,
    "short_body": DROPPED,
    "head_only": DROPPED,
    "half_json": BAD_BODY,
    "deep_json": BAD_BODY,
    "nan": BAD_BODY,
    "nul_bytes": BAD_BODY,
    "gzip": BAD_BODY,
    "bomb": BAD_BODY,
    "huge": BAD_BODY,
    "gigabyte": BAD_BODY,
    "garbage": INVALID,
    "invalid": INVALID,
    "not_a_number": INVALID,
    "huge_number": INVALID,
    "nul": INVALID,
    "deep": INVALID,
    "empty": INVALID,
    "length": CUT,
    "runaway": CUT,
    "thinking_only": CUT,
}
# what only a chat API can say
CHAT: dict[str, Ending] = {
    "gone_499": GATEWAY,
    "error_line": UNCLEAR,
    "parser_error": (RowFault, FaultKind.PARSER_ERROR),
    "done_false": (RowFault, FaultKind.ABORTED_OUTPUT),
    "odd_reason": (RowFault, FaultKind.ABORTED_OUTPUT),
}
OLLAMA: dict[str, Ending] = {
    "load_failed": (HostFault, FaultKind.LOAD_FAILED),
    "empty_body": BAD_BODY,
    "wrong_model": (HostUnusable, FaultKind.WRONG_MODEL),
    "remote": (HostUnusable, FaultKind.CLOUD),
}
OPENAI: dict[str, Ending] = {"load_failed": UNCLEAR, "empty_body": DROPPED}
# the gateway wraps every failure of its own in one form, cannot say why an answer ended, and is cut without a mark
PETALS: dict[str, Ending] = {
    "gone_499": UNCLEAR,
    "load_failed": UNCLEAR,
    "empty_body": BAD_BODY,
    "thinking_only": INVALID,
}

CASES = [
    (api, fault, ending)
    for api in APIS
    for fault, ending in {
        **COMMON,
        **({} if api == "petals" else CHAT),
        **{"ollama": OLLAMA, "petals": PETALS}.get(api, OPENAI),
    }.items()
]


def fault_in(_number: int, body: Mapping[str, Any]) -> str | None:
    text = str(body.get("inputs") or body["messages"][-1]["content"])
    asked = text.removeprefix("rubric\n\n").split()[0]
    return asked if asked in KINDS else None


@pytest.fixture(scope="module")
def doubles() -> Iterator[dict[str, OllamaDouble]]:
    spec = Spec(models=(Model(name="m:latest"),), slots=64, default_num_ctx=4096, fault_for=fault_in)
    with ExitStack() as stack:
        made: dict[str, OllamaDouble] = {"ollama": OllamaDouble(spec), "petals": PetalsDouble(spec, PetalsSpec(SCHEMA))}
        made |= {face: OpenAIDouble(spec, face) for face in ("llama_cpp", "vllm", "lm_studio", "exo")}
        yield {api: stack.enter_context(double) for api, double in made.items()}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def hosts(doubles: dict[str, OllamaDouble]) -> AsyncIterator[dict[str, Host]]:
    apis = {api: api if api in ("ollama", "petals") else "openai" for api in APIS}
    made = {
        api: make_host(HostConfig(name=api, url=doubles[api].url, api=apis[api], model="m:latest"))  # type: ignore[arg-type]
        for api in APIS
    }
    yield made
    for host in made.values():
        await host.close()


async def score(host: Host, text: str) -> dict[str, object]:
    """One row as the dispatcher asks for it and judges it."""
    request = Request(FRAME, text, num_predict=96)
    reply = await host.generate(request)
    asked = Asked(FRAME.num_ctx, request.num_predict, len(FRAME.system) + len(text))
    return judge(reply, asked, TokenRatio(), lambda reply: PARSE(reply.text))


@pytest.mark.parametrize("api", APIS)
async def test_a_sound_server_of_each_kind_gives_a_score(hosts: dict[str, Host], api: str) -> None:
    info = await hosts[api].probe()
    assert [model.name for model in info.models] == ["m:latest"]
    await hosts[api].warm(FRAME)
    await hosts[api].alive()
    assert set(await score(hosts[api], "a sound row")) == {"score", "reason"}


@pytest.mark.parametrize(("api", "fault", "ending"), CASES, ids=lambda value: value if isinstance(value, str) else "")
async def test_a_broken_answer_ends_the_row_where_the_blame_belongs(
    hosts: dict[str, Host], api: str, fault: str, ending: Ending
) -> None:
    with anyio.fail_after(20), pytest.raises(Fault) as caught:
        await score(hosts[api], f"{fault} row")
    assert (type(caught.value), caught.value.kind) == ending, caught.value
    assert caught.value.sent


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("fault", ["hang", "trickle"])
async def test_a_deadline_holds_against_silence_and_against_a_byte_now_and_then(
    hosts: dict[str, Host], doubles: dict[str, OllamaDouble], api: str, fault: str
) -> None:
    with pytest.raises(TimeoutError), anyio.fail_after(0.3):
        await score(hosts[api], f"{fault} row")
    # closing the connection is the only way to stop the work on the server
    await anyio.to_thread.run_sync(doubles[api].wait_until, lambda double: _outcome(double, fault) == "cancelled")


def _outcome(double: OllamaDouble, fault: str) -> str:
    return next(record.outcome for record in reversed(double.generations) if record.fault == fault)


@pytest.mark.parametrize("api", APIS)
async def test_a_prompt_that_does_not_fit_is_refused_for_good_with_its_numbers(
    hosts: dict[str, Host], api: str
) -> None:
    with pytest.raises(RowFault) as caught:
        await score(hosts[api], "long " * 5000)
    assert (caught.value.kind, caught.value.permanent) == (FaultKind.CONTEXT_OVERFLOW, True)
    assert "4096" in caught.value.message


@pytest.mark.parametrize("api", APIS)
async def test_connections_that_died_in_a_restart_cost_no_row(
    hosts: dict[str, Host], doubles: dict[str, OllamaDouble], api: str
) -> None:
    for i in range(3):
        assert await score(hosts[api], f"row {i}")
        await anyio.to_thread.run_sync(doubles[api].restart)
    assert await score(hosts[api], "the last row")


async def test_what_a_server_says_while_it_loads_is_waited_for_and_no_rows_fault(
    hosts: dict[str, Host], doubles: dict[str, OllamaDouble], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scorer.hosts.openai.LOADING_POLL_S", 0.01)
    double, host = doubles["llama_cpp"], hosts["llama_cpp"]
    assert isinstance(double, OpenAIDouble)
    await anyio.to_thread.run_sync(double.set_loading, True)
    assert [model.name for model in (await host.probe()).models] == ["m:latest"]
    with pytest.raises(HostFault) as caught:
        await score(host, "a row")
    assert caught.value.kind is FaultKind.BUSY
    asked = len(double.log)

    def ready_once_asked() -> None:
        double.wait_until(lambda double: len(double.log) > asked + 3)
        double.set_loading(False)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, ready_once_asked)
            loaded = await host.warm(FRAME)
    assert (loaded.context, loaded.slots) == (4096, 64)


async def test_a_cluster_that_has_lost_a_machine_is_the_hosts_fault_until_it_is_back(
    hosts: dict[str, Host], doubles: dict[str, OllamaDouble]
) -> None:
    double, host = doubles["exo"], hosts["exo"]
    assert isinstance(double, OpenAIDouble)
    await anyio.to_thread.run_sync(double.lose_instance)
    for ask in (score(host, "a row"), host.warm(FRAME)):
        with pytest.raises(HostFault) as caught:
            await ask
        assert (type(caught.value), caught.value.kind) == (HostFault, FaultKind.LOAD_FAILED)
    await anyio.to_thread.run_sync(double.lose_instance, False)
    assert await score(host, "a row")


async def test_thinking_is_switched_off_in_each_servers_own_way() -> None:
    thinker = Model(name="m:latest", capabilities=("completion", "thinking"), thinking_tokens=200)
    for face in ("llama_cpp", "vllm", "exo"):
        with OpenAIDouble(Spec(models=(thinker,)), face) as double:
            host = make_host(HostConfig(name="h", url=double.url, api="openai", model="m:latest"))
            with pytest.raises(RowFault, match="cut at num_predict"):
                # before a probe nobody knows what it understands
                await score(host, "a row")
            await host.probe()
            assert await score(host, "a row")
            await host.close()


PEAK = """
import resource, sys
import anyio
from scorer.config import HostConfig
from scorer.errors import HostFault
from scorer.hosts.base import Frame, Request
from scorer.hosts.factory import make_host

def peak_kib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

async def main(api, url, *faults):
    host = make_host(HostConfig(name="h", url=url, api=api, model="m:latest"))
    frame = Frame(model="m:latest", system="rubric", schema={"type": "object"}, num_ctx=4096)
    await host.generate(Request(frame, "a sound row", num_predict=96))
    before = peak_kib()
    refused = 0
    for fault in faults:
        for _ in range(3):
            try:
                await host.generate(Request(frame, fault + " row", num_predict=96))
            except HostFault:
                refused += 1
    await host.close()
    print(refused, peak_kib() - before)

anyio.run(main, *sys.argv[1:])
"""


@pytest.mark.parametrize("api", ["ollama", "llama_cpp", "petals"])
def test_memory_stays_bounded_whatever_a_server_sends(doubles: dict[str, OllamaDouble], api: str) -> None:
    refused = ["huge", "gigabyte", "bomb", "deep_json"]
    kind = "openai" if api == "llama_cpp" else api
    ran = subprocess.run(
        [sys.executable, "-c", PEAK, kind, doubles[api].url, *refused], check=True, capture_output=True, text=True
    )
    times, grown_kib = map(int, ran.stdout.split())
    assert times == 3 * len(refused)
    assert grown_kib < 24 * 1024, f"grew by {grown_kib} KiB over {refused}"
