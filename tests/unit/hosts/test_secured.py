"""A host behind TLS and a token, over real sockets: with an authority of its own, and what may be said aloud."""

import os
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from rough_server import Peer, Serve

from scorer.config import HostConfig, parse_hosts, read_token
from scorer.errors import FaultKind, HostFault, HostUnusable
from scorer.hosts.base import Frame, Host, Request
from scorer.hosts.factory import make_host

pytestmark = pytest.mark.anyio

SECRET = "hush-hush-4711"
FRAME = Frame(model="m", system="s", schema=None, num_ctx=512)
ANSWERS = {
    b"/v1/models": b'{"data": [{"id": "m", "owned_by": "vllm", "max_model_len": 512}]}',
    b"/v1/chat/completions": b'{"choices": [{"finish_reason": "stop", "message": {"content": "yes"}}]}',
    b"/health": b"{}",
    b"/api/v1/generate": b'{"ok": true, "outputs": "yes</s>"}',
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A throw-away authority (ca.pem) and a server's certificate that it has signed (cert.pem, key.pem)."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command to make certificates")
    folder = tmp_path_factory.mktemp("tls")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    (folder / "extension").write_text("subjectAltName=IP:127.0.0.1\n")
    for command in (
        ("req", "-x509", *key, "-days", "2", "-subj", "/CN=lan", "-keyout", "ca.key", "-out", "ca.pem"),
        ("req", *key, "-subj", "/CN=127.0.0.1", "-keyout", "key.pem", "-out", "request.pem"),
        (
            *("x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-days", "2", "-extfile", "extension", "-out", "cert.pem"),
        ),
    ):
        subprocess.run([openssl, *command], cwd=folder, check=True, capture_output=True)
    return folder


def server_side(tls: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls / "cert.pem", tls / "key.pem")
    return context


async def guarded(peer: Peer) -> None:
    """Answer whoever brings the token and the team's header; nobody else."""
    while True:
        head = (await peer.request()).split(b"\r\n\r\n")[0]
        lowered = head.lower()
        if f"authorization: bearer {SECRET}".encode() not in lowered or b"x-team: eval" not in lowered:
            await peer.answer(b'{"error": {"message": "Invalid API Key"}}', status="401 Unauthorized")
        elif answer := ANSWERS.get(head.split(b" ")[1]):
            await peer.answer(answer)
        else:
            await peer.answer(b'{"detail": "Not Found"}', status="404 Not Found")


def configured(url: str, tls: Path, api: str, more: str) -> HostConfig:
    """The host as a user would write it down."""
    (tls / "token").write_text(SECRET + "\n")
    (tls / "token").chmod(0o600)
    text = f'[[hosts]]\nname = "lab"\nurl = "{url}"\napi = "{api}"\nmodel = "m"\n{more}'
    return parse_hosts(text, "hosts.toml", tls).hosts[0]


def made(config: HostConfig) -> Host:
    return make_host(config, token=read_token(config, os.environ))


@pytest.mark.parametrize("api", ["openai", "petals"])
@pytest.mark.parametrize("token", ['token_env = "LAB_TOKEN"', 'token_file = "token"'])
async def test_a_private_authority_a_token_and_headers_open_the_door(
    serve: Serve, tls: Path, monkeypatch: pytest.MonkeyPatch, api: str, token: str
) -> None:
    monkeypatch.setenv("LAB_TOKEN", SECRET)
    served = await serve(guarded, server_side(tls))
    assert served.url.startswith("https:")
    config = configured(served.url, tls, api, f'ca = "ca.pem"\nheaders = {{ X-Team = "eval" }}\n{token}\n')
    assert SECRET not in repr(config)
    host = made(config)
    info = await host.probe()
    assert [model.name for model in info.models] == ["m"]
    await host.warm(FRAME)
    assert (await host.generate(Request(FRAME, "row", num_predict=3))).text == "yes"
    assert served.connections == 1
    await host.close()


async def test_a_wrong_token_leaves_the_host_out_and_is_not_repeated(
    serve: Serve, tls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_TOKEN", "wrong-token-0815")
    served = await serve(guarded, server_side(tls))
    host = made(configured(served.url, tls, "openai", 'ca = "ca.pem"\ntoken_env = "LAB_TOKEN"\n'))
    with pytest.raises(HostUnusable) as caught:
        await host.probe()
    assert caught.value.kind is FaultKind.UNAUTHORISED
    assert "token_env" in caught.value.message
    assert "wrong-token" not in caught.value.message
    await host.close()


async def test_without_its_authority_nothing_is_sent_to_a_host(
    serve: Serve, tls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_TOKEN", SECRET)
    requests: list[bytes] = []

    async def listening(peer: Peer) -> None:
        requests.append(await peer.request())

    served = await serve(listening, server_side(tls))
    host = made(configured(served.url, tls, "openai", 'token_env = "LAB_TOKEN"\n'))
    with pytest.raises(HostFault) as caught:
        await host.generate(Request(FRAME, "row", num_predict=3))
    assert (caught.value.kind, caught.value.sent) == (FaultKind.UNREACHABLE, False)
    assert "certificate" in caught.value.message.lower()
    assert requests == []
    await host.close()
