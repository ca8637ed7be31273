"""How a reply's body is read from a real socket: in one piece or in many, to its end or to the cap, or line by line."""

import json

import anyio.lowlevel
import pytest
from rough_server import Handler, MakeClient, Peer, Serve

from scorer.errors import Fault, FaultKind, HostFault, HostUnusable, UnclearFault
from scorer.hosts.base import MAX_BODY_BYTES
from scorer.hosts.http import Answer, Http

pytestmark = pytest.mark.anyio

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def chunks(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))


def in_pieces(body: bytes, size: int, head: bytes | None = None) -> Handler:
    """A handler whose every piece is a packet of its own: the client has read one before the next is sent."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.say(head or HEAD % len(body))
        for at in range(0, len(body), size):
            await peer.say(body[at : at + size])
            await anyio.lowlevel.checkpoint()
        await peer.gone()

    return handler


@pytest.mark.parametrize("size", [1, 7, 1000, 1 << 20])
async def test_a_body_is_the_same_in_however_many_pieces_it_comes(serve: Serve, client: MakeClient, size: int) -> None:
    document = {"text": "x" * 2000, "more": ["é"] * 20}
    served = await serve(in_pieces(json.dumps(document, ensure_ascii=False).encode(), size))
    assert (await client(served.url).json("POST", "/", {})).document == document


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("size", [997, 1 << 20])
async def test_the_cap_is_exact_in_one_piece_and_in_many(
    serve: Serve, client: MakeClient, size: int, extra: int
) -> None:
    served = await serve(in_pieces(b'{"a": "' + b"x" * (4991 + extra) + b'"}', size))
    asked = client(served.url).json("POST", "/", {}, cap=5000)
    if extra:
        with pytest.raises(HostFault, match="larger than 5000 bytes") as caught:
            await asked
        assert caught.value.kind is FaultKind.BAD_BODY
    else:
        assert len((await asked).body) == 5000


async def test_a_connection_whose_body_was_left_is_not_used_again(serve: Serve, client: MakeClient) -> None:
    served = await serve(in_pieces(b" " * 300_000, 1 << 20))
    http = client(served.url)
    for _ in range(2):
        with pytest.raises(HostFault):
            await http.json("POST", "/", {}, cap=10)
    assert served.connections == 2


async def test_a_status_without_a_body_has_an_empty_one(serve: Serve, client: MakeClient) -> None:
    async def nothing(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 204 No Content\r\n\r\n")

    answer = await client((await serve(nothing)).url).json("POST", "/", {})
    assert (answer.status, answer.body, answer.document) == (204, b"", None)


def refused(answer: Answer) -> Fault:
    return HostUnusable(FaultKind.MODEL_MISSING, f"HTTP {answer.status}: {answer.document}")


async def read_lines(http: Http, seen: list[dict[str, object]] | None = None) -> list[dict[str, object]]:
    found = [] if seen is None else seen
    async for line in http.lines("/", {}, refused):
        found.append(line)
    return found


@pytest.mark.parametrize("size", [1, 5, 1 << 20])
async def test_lines_are_the_same_in_however_many_pieces_they_come(serve: Serve, client: MakeClient, size: int) -> None:
    body = b'{"a": 1}\n\n  \n{"message": {"content": "b"}}\r\n{"c": 3}'
    for end in (b"", b"\n"):
        served = await serve(in_pieces(body + end, size))
        assert await read_lines(client(served.url)) == [{"a": 1}, {"message": {"content": "b"}}, {"c": 3}]


async def test_a_line_that_is_no_object_is_the_hosts_fault_after_those_before_it(
    serve: Serve, client: MakeClient
) -> None:
    served = await serve(in_pieces(b'{"a": 1}\n[2]\n', 1 << 20))
    seen: list[dict[str, object]] = []
    with pytest.raises(HostFault) as caught:
        await read_lines(client(served.url), seen)
    assert (seen, caught.value.kind) == ([{"a": 1}], FaultKind.BAD_BODY)


async def test_an_endless_line_is_given_up(serve: Serve, client: MakeClient) -> None:
    served = await serve(in_pieces(b"x" * (MAX_BODY_BYTES + 100_000), 1 << 16))
    with pytest.raises(HostFault, match="a line is longer") as caught:
        await read_lines(client(served.url))
    assert caught.value.kind is FaultKind.BAD_BODY


async def test_a_refusal_instead_of_lines_is_what_the_caller_makes_of_it(serve: Serve, client: MakeClient) -> None:
    async def missing(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b'{"error": "no"}', status="404 Not Found")

    with pytest.raises(HostUnusable, match=r"HTTP 404: \{'error': 'no'\}"):
        await read_lines(client((await serve(missing)).url))


async def test_lines_that_break_off_are_a_lost_connection(serve: Serve, client: MakeClient) -> None:
    async def breaks(peer: Peer) -> None:
        await peer.request()
        await peer.say(CHUNKED + chunks(b'{"a": 1}\n')[:-5])

    with pytest.raises(UnclearFault) as caught:
        await read_lines(client((await serve(breaks)).url))
    assert caught.value.kind is FaultKind.DROPPED
