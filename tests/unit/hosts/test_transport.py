"""The production transport against real sockets: what a broken network looks like, and what it must become."""

import asyncio
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import anyio
import pytest
from rough_server import Handler, MakeClient, Peer, Serve

from scorer.config import HostConfig
from scorer.errors import Fault, FaultKind, HostFault, UnclearFault, UsageError
from scorer.hosts.http import Http, aiohttp_transport

pytestmark = pytest.mark.anyio

BODY = {"model": "m"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def fault_of(http: Http) -> Fault:
    with pytest.raises(Fault) as caught:
        await http.json("POST", "/api/chat", BODY)
    return caught.value


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


async def answering(peer: Peer) -> None:
    await peer.request()
    await peer.answer(b'{"ok": true}')


async def test_a_refused_connection_is_unreachable_and_nothing_was_sent(client: MakeClient) -> None:
    fault = await fault_of(client(f"http://127.0.0.1:{free_port()}"))
    assert isinstance(fault, HostFault)
    assert (fault.kind, fault.sent) == (FaultKind.UNREACHABLE, False)
    assert "refused" in fault.message.lower()


async def test_an_unknown_host_name_is_unreachable(client: MakeClient) -> None:
    fault = await fault_of(client("http://no-such-host.invalid:11434"))
    assert isinstance(fault, HostFault)
    assert (fault.kind, fault.sent) == (FaultKind.UNREACHABLE, False)
    assert "host name" in fault.message


async def test_a_host_name_that_cannot_be_spelt_is_unreachable(client: MakeClient) -> None:
    fault = await fault_of(client(f"http://{'a' * 70}.invalid:1"))
    assert (fault.kind, fault.sent) == (FaultKind.UNREACHABLE, False)


async def test_names_that_the_system_takes_long_over_keep_no_other_host_waiting(
    serve: Serve, client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up, over = socket.getaddrinfo, threading.Event()
    asked: list[str] = []

    def slow(host: str, *rest: int, **more: int) -> object:
        if host != "localhost":
            asked.append(host)
            over.wait()
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return look_up(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    served = await serve(answering)
    here = client(served.url.replace("127.0.0.1", "localhost"))
    absent = [client(f"http://laptop{i}.local:11434") for i in range(40)]
    async with anyio.create_task_group() as tasks:
        for http in absent:
            tasks.start_soon(fault_of, http)
        await anyio.wait_all_tasks_blocked()
        try:
            assert (await here.json("POST", "/", BODY)).document == {"ok": True}
        finally:
            over.set()
    assert len(asked) == len(set(asked)) == 40


ENDS_WHILE_LOOKING_UP = """
import asyncio, socket, threading
from scorer.config import HostConfig
from scorer.hosts.http import Http, aiohttp_transport

asked = threading.Event()

def never(*_, **__):
    asked.set()
    threading.Event().wait()

async def main():
    config = HostConfig(name="h", url="http://laptop.local:11434")
    http = Http(config, aiohttp_transport(config))
    asking = asyncio.create_task(http.ask("/"))
    while not asked.is_set():
        await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])
    await http.close()

socket.getaddrinfo = never
asyncio.run(main())
"""


def test_a_lookup_that_never_ends_does_not_keep_the_program_from_ending() -> None:
    subprocess.run([sys.executable, "-c", ENDS_WHILE_LOOKING_UP], check=True, timeout=30)


async def test_without_a_thread_to_look_a_name_up_the_host_is_unreachable(
    client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", full)
    fault = await fault_of(client("http://localhost:11434"))
    assert (fault.kind, fault.sent) == (FaultKind.UNREACHABLE, False)


async def reset_before_head(peer: Peer) -> None:
    await peer.request()
    peer.reset()


async def close_before_head(peer: Peer) -> None:
    await peer.request()


async def reset_at_once(peer: Peer) -> None:
    peer.reset()


async def half_a_head(peer: Peer) -> None:
    await peer.request()
    await peer.say(b"HTTP/1.1 200 OK\r\nContent-Le")


async def reset_in_body(peer: Peer) -> None:
    await peer.request()
    await peer.say(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"a":')
    peer.reset()


async def early_end(peer: Peer) -> None:
    await peer.request()
    await peer.say(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"a":')


async def early_end_of_chunks(peer: Peer) -> None:
    await peer.request()
    await peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n")


@pytest.mark.parametrize(
    "handler",
    [
        reset_before_head,
        close_before_head,
        reset_at_once,
        half_a_head,
        reset_in_body,
        early_end,
        early_end_of_chunks,
    ],
)
async def test_a_connection_that_breaks_after_sending_is_dropped_and_sent_once(
    serve: Serve, client: MakeClient, handler: Handler
) -> None:
    served = await serve(handler)
    fault = await fault_of(client(served.url))
    assert isinstance(fault, UnclearFault)
    assert (fault.kind, fault.sent) == (FaultKind.DROPPED, True)
    assert served.connections == 1


async def test_a_reply_that_breaks_off_in_its_head_is_told_without_it(serve: Serve, client: MakeClient) -> None:
    async def breaks_off(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nX-You-Sent: hush-hush\r\n")

    fault = await fault_of(client((await serve(breaks_off)).url))
    assert fault.kind is FaultKind.DROPPED
    assert fault.message == "connection lost: the reply broke off in its head"


async def not_http(peer: Peer) -> None:
    await peer.request()
    await peer.say(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")


async def endless_header(peer: Peer) -> None:
    await peer.request()
    await peer.say(b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 100_000 + b"\r\n\r\n")


async def bad_chunks(peer: Peer) -> None:
    await peer.request()
    await peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n")


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"


def late(more: bytes) -> Handler:
    """Send a sound head and a sound piece of a body, and what is no HTTP when these have been read."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.say(CHUNKED)
        await anyio.sleep(0.05)
        await peer.say(more)
        await peer.gone()

    return handler


BAD_LATER = [late(b"zz\r\nabc\r\n"), late(b"0\r\nX-Long: " + b"a" * 100_000)]


@pytest.mark.parametrize("handler", [not_http, endless_header, bad_chunks, *BAD_LATER])
async def test_what_http_does_not_allow_is_the_hosts_fault(serve: Serve, client: MakeClient, handler: Handler) -> None:
    fault = await fault_of(client((await serve(handler)).url))
    assert isinstance(fault, HostFault)
    assert fault.kind is FaultKind.BAD_BODY


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n", CHUNKED + b"0\r\n"], ids=["headers", "trailers"])
@pytest.mark.parametrize("reaching_us_later", [False, True])
async def test_headers_and_trailers_without_end_are_not_taken_in(
    serve: Serve, client: MakeClient, head: bytes, reaching_us_later: bool
) -> None:
    """What is held of them cannot be more than what could be sent, which is what the buffers of the system hold."""
    sent_bytes = 0

    async def endless(peer: Peer) -> None:
        nonlocal sent_bytes
        await peer.request()
        await peer.say(head)
        await anyio.sleep(0.05 if reaching_us_later else 0)
        lines = b"".join(b"X-%d: %s\r\n" % (number, b"a" * 100) for number in range(500))
        while sent_bytes < 64 << 20:
            await peer.say(lines)
            sent_bytes += len(lines)

    fault = await fault_of(client((await serve(endless)).url))
    assert isinstance(fault, HostFault)
    assert (fault.kind, fault.message) == (FaultKind.BAD_BODY, "not what HTTP allows: too many headers")
    assert sent_bytes < 16 << 20


async def test_tls_to_a_plain_port_is_unreachable_and_says_tls(serve: Serve, client: MakeClient) -> None:
    async def plain(peer: Peer) -> None:
        await peer.reader.read(5)
        await peer.say(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    served = await serve(plain)
    fault = await fault_of(client(served.url.replace("http:", "https:")))
    assert (fault.kind, fault.sent) == (FaultKind.UNREACHABLE, False)
    assert "TLS" in fault.message


async def restarting(peer: Peer) -> None:
    """A server that answers, then is restarted: its connections are dead though the client's end looks well."""
    await peer.request()
    await peer.answer(b'{"turn": %d}' % peer.number)
    if peer.number == 1:
        await peer.request()
        peer.reset()
    else:
        await peer.request()


async def test_a_request_on_a_dead_kept_alive_connection_is_sent_again_on_a_fresh_one(
    serve: Serve, client: MakeClient
) -> None:
    served = await serve(restarting)
    http = client(served.url)
    assert (await http.json("POST", "/", BODY)).document == {"turn": 1}
    assert (await http.json("POST", "/", BODY)).document == {"turn": 2}
    assert served.connections == 2


async def test_a_fresh_connection_is_tried_only_once(serve: Serve, client: MakeClient) -> None:
    async def first_answers(peer: Peer) -> None:
        await peer.request()
        if peer.number == 1:
            await peer.answer(b"{}")
            await peer.request()
        peer.reset()

    served = await serve(first_answers)
    http = client(served.url)
    await http.json("POST", "/", BODY)
    assert (await fault_of(http)).kind is FaultKind.DROPPED
    assert served.connections == 2


async def test_a_host_that_goes_down_over_a_request_has_dropped_it(serve: Serve, client: MakeClient) -> None:
    """The second try is refused, but the request may have been read, so it must not count as never sent."""

    async def dies_over_the_second(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"{}")
        await peer.request()
        served.stop_listening()
        peer.reset()

    served = await serve(dies_over_the_second)
    http = client(served.url)
    await http.json("POST", "/", BODY)
    fault = await fault_of(http)
    assert isinstance(fault, UnclearFault)
    assert (fault.kind, fault.sent) == (FaultKind.DROPPED, True)
    assert (await fault_of(http)).kind is FaultKind.UNREACHABLE


async def test_a_reply_that_began_is_never_asked_for_again(serve: Serve, client: MakeClient) -> None:
    async def breaks_second(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"{}")
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-")
        await peer.writer.drain()

    served = await serve(breaks_second)
    http = client(served.url)
    await http.json("POST", "/", BODY)
    assert (await fault_of(http)).kind is FaultKind.DROPPED
    assert served.connections == 1


async def test_a_connection_that_breaks_late_was_no_stale_one(
    serve: Serve, client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scorer.hosts.transport.STALE_WITHIN_S", 0.0)
    served = await serve(restarting)
    http = client(served.url)
    await http.json("POST", "/", BODY)
    assert (await fault_of(http)).kind is FaultKind.DROPPED
    assert served.connections == 1


async def test_connections_are_kept_alive(serve: Serve, client: MakeClient) -> None:
    async def patient(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.answer(b"{}")

    served = await serve(patient)
    http = client(served.url)
    for _ in range(5):
        await http.json("POST", "/", BODY)
    assert served.connections == 1


async def test_more_requests_run_at_once_than_any_default_pool_allows(serve: Serve, client: MakeClient) -> None:
    together = asyncio.Barrier(150)

    async def waits_for_all(peer: Peer) -> None:
        await peer.request()
        await together.wait()
        await peer.answer(b"{}")

    served = await serve(waits_for_all)
    http = client(served.url)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for _ in range(150):
                tasks.start_soon(http.json, "POST", "/", BODY)
    assert served.connections == 150


@pytest.mark.parametrize("began", [False, True])
async def test_cancelling_closes_the_connection(serve: Serve, client: MakeClient, began: bool) -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def generating(peer: Peer) -> None:
        await peer.request()
        if began:
            await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
        asked.set()
        if await peer.gone():
            gone.set()

    http = client((await serve(generating)).url)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(http.json, "POST", "/", BODY)
            await asked.wait()
            tasks.cancel_scope.cancel()
        await gone.wait()


async def test_a_body_over_the_cap_is_not_read_to_its_end(serve: Serve, client: MakeClient) -> None:
    gone = asyncio.Event()

    async def endless(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                await peer.say(b"10000\r\n" + b" " * 65536 + b"\r\n")
        finally:
            gone.set()

    http = client((await serve(endless)).url)
    with anyio.fail_after(10):
        fault = await fault_of(http)
        await gone.wait()
    assert isinstance(fault, HostFault)
    assert fault.kind is FaultKind.BAD_BODY


async def test_the_environment_has_no_say(
    serve: Serve, client: MakeClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither a proxy nor a netrc file may redirect rows or add credentials."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    seen = []

    async def listening(peer: Peer) -> None:
        seen.append(await peer.request())
        await peer.answer(b"{}")

    http = client((await serve(listening)).url)
    assert (await http.json("POST", "/", BODY)).status == 200
    assert b"authorization" not in seen[0].lower()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that is its own authority."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")),
        ],
        check=True,
        capture_output=True,
    )
    return folder


def server_tls(authority: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "cert.pem", authority / "key.pem")
    return context


async def test_a_private_authority_is_trusted_by_path(serve: Serve, client: MakeClient, authority: Path) -> None:
    served = await serve(answering, server_tls(authority))
    http = client(served.url, ca=str(authority / "cert.pem"))
    assert (await http.json("POST", "/", BODY)).document == {"ok": True}


async def test_an_unknown_authority_is_refused(serve: Serve, client: MakeClient, authority: Path) -> None:
    served = await serve(answering, server_tls(authority))
    fault = await fault_of(client(served.url))
    assert (fault.kind, fault.sent) == (FaultKind.UNREACHABLE, False)
    assert "certificate" in fault.message.lower()


def test_a_ca_file_that_holds_no_certificate_is_the_users_mistake(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("no certificate")
    with pytest.raises(UsageError, match=r"'lab'.*ca\.pem"):
        aiohttp_transport(HostConfig(name="lab", url="https://lab:8443", ca=str(ca)))
