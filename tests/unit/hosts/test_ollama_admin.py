"""What a pull's stream and the answers about models may look like, and what becomes of everything else."""

import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterable

import httpx
import pytest
from virtual import virtually

from scorer.config import HostConfig
from scorer.errors import Fault, FaultKind, HostFault, HostUnusable
from scorer.hosts.base import MAX_BODY_BYTES, Loaded
from scorer.hosts.ollama_admin import ModelDetails, OllamaAdmin, PullStep

CONFIG = HostConfig(name="a", url="http://a.test:11434")


class Pieces(httpx.AsyncByteStream):
    """A body that comes in pieces, and perhaps breaks off."""

    def __init__(self, pieces: Iterable[bytes], error: Exception | None = None) -> None:
        self._pieces, self._error = iter(pieces), error
        self.taken = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        self.taken += 1
        piece = next(self._pieces, None)
        if piece is not None:
            return piece
        raise self._error or StopAsyncIteration


def admin(answer: Callable[[httpx.Request], httpx.Response]) -> OllamaAdmin:
    return OllamaAdmin(CONFIG, connect=lambda _: httpx.MockTransport(answer))


def pulled(*pieces: bytes, status: int = 200, error: Exception | None = None) -> list[PullStep]:
    steps: list[PullStep] = []

    async def main() -> list[PullStep]:
        host = admin(lambda _: httpx.Response(status, stream=Pieces(pieces, error)))
        async for step in host.pull("m:7b"):
            steps.append(step)  # noqa: PERF401 - what came before a fault counts, too
        return steps

    return virtually(main)


def failing(*pieces: bytes, status: int = 200, error: Exception | None = None) -> Fault:
    with pytest.raises(Fault) as caught:
        pulled(*pieces, status=status, error=error)
    return caught.value


SUCCESS = b'{"status":"success"}\n'


def test_lines_are_put_together_from_pieces_wherever_they_were_cut() -> None:
    text = b'{"status":"pulling manifest"}\n\n{"status":"p","digest":"sha256:ab","total":10,"completed":4}\n' + SUCCESS
    expected = [PullStep("pulling manifest"), PullStep("p", "sha256:ab", 10, 4), PullStep("success")]
    assert pulled(text) == expected
    assert pulled(*(text[i : i + 1] for i in range(len(text)))) == expected
    assert pulled(text.rstrip()) == expected, "the last line need not end"


@pytest.mark.parametrize("body", [b"", b'{"status":"pulling manifest"}\n', b'{"status":"verifying"}\n'])
def test_only_success_is_success(body: bytes) -> None:
    assert "ended without success" in failing(body).message


@pytest.mark.parametrize(
    ("text", "kind", "unusable", "words"),
    [
        ("pull model manifest: file does not exist", FaultKind.MODEL_MISSING, True, "the registry has no m:7b"),
        ("write /x: no space left on device", FaultKind.LOAD_FAILED, True, "no space left"),
        ("the model you are pulling requires a newer version", FaultKind.LOAD_FAILED, True, "newer version"),
        ("max retries exceeded: EOF", FaultKind.SERVER_ERROR, False, "max retries exceeded"),
        ("Error: dial tcp: lookup registry", FaultKind.SERVER_ERROR, False, "dial tcp"),
    ],
)
def test_an_error_line_is_for_good_or_for_now(text: str, kind: FaultKind, unusable: bool, words: str) -> None:
    fault = failing(b'{"status":"pulling manifest"}\n' + json.dumps({"error": text}).encode() + b"\n")
    assert (fault.kind, isinstance(fault, HostUnusable)) == (kind, unusable)
    assert words in fault.message


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>proxy</html>\n", "not a JSON object"),
        (b"[1]\n", "not a JSON object"),
        (b'{"status": NaN}\n', "not a JSON object"),
        (b'{"status":"' + b"x" * (MAX_BODY_BYTES + 1), "a line is longer than"),
    ],
)
def test_what_is_no_line_of_a_pull_is_the_hosts_fault(body: bytes, words: str) -> None:
    fault = failing(body)
    assert fault.kind is FaultKind.BAD_BODY
    assert words in fault.message


def test_an_endless_line_is_left_before_it_fills_the_memory() -> None:
    body = Pieces(itertools.repeat(b"x" * 65536))

    async def main() -> None:
        async for _ in admin(lambda _: httpx.Response(200, stream=body)).pull("m:7b"):
            pass

    with pytest.raises(HostFault, match="longer than"):
        virtually(main)
    assert body.taken <= MAX_BODY_BYTES // 65536 + 1


def test_a_refusal_before_the_stream_and_a_break_in_it_are_told_apart() -> None:
    assert failing(b"<html>401</html>", status=401).kind is FaultKind.UNAUTHORISED
    assert failing(b'{"status":"p"}\n', error=httpx.ReadError("reset")).kind is FaultKind.DROPPED
    assert isinstance(failing(b"", status=302), HostFault)


def test_what_a_server_says_of_itself_is_not_believed_blindly() -> None:
    odd = b'{"status":"\\u001b[2Jx","digest":5,"total":-1,"completed":true}\n' + SUCCESS
    assert pulled(odd)[0] == PullStep("[2Jx")

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/show":
            return httpx.Response(200, json={"details": 7, "model_info": {"general.architecture": ["x"]}})
        return httpx.Response(200, json={"models": [{"name": "m:7b", "size": "large"}, 5]})

    async def main() -> tuple[ModelDetails, Loaded | None]:
        host = admin(answer)
        return await host.show("m:7b"), await host.loaded("m:7b")

    assert virtually(main) == (ModelDetails(), None)


def test_what_a_server_refuses_to_tell_is_the_fault_that_it_says() -> None:
    async def main() -> None:
        host = admin(lambda _: httpx.Response(404, json={"error": "model 'm:7b' not found"}))
        try:
            with pytest.raises(HostUnusable, match="ollama pull m:7b") as caught:
                await host.show("m:7b")
            assert caught.value.kind is FaultKind.MODEL_MISSING
        finally:
            await host.close()

    virtually(main)


def test_a_model_is_described_and_found_in_memory() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/show":
            details = {"quantization_level": "Q4_K_M", "parameter_size": "7.6B"}
            info = {"general.architecture": "qwen2", "qwen2.context_length": 32768}
            return httpx.Response(200, json={"details": details, "model_info": info})
        shown = {"name": "m:7b", "size": 100, "size_vram": 62, "context_length": 4096}
        return httpx.Response(200, json={"models": [shown]})

    async def main() -> tuple[ModelDetails, Loaded | None, Loaded | None]:
        host = admin(answer)
        return await host.show("m:7b"), await host.loaded("m:7b"), await host.loaded("other")

    about, loaded, other = virtually(main)
    assert about == ModelDetails("Q4_K_M", "7.6B", 32768)
    assert loaded == Loaded(context=4096, gpu_share=0.62)
    assert other is None
