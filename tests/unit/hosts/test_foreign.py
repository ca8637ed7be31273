"""Every exception of the libraries below has its own line in the table, today's and tomorrow's."""

import socket
import ssl
from types import ModuleType

import aiohttp.client_exceptions
import aiohttp.http_exceptions
import httpx
import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from scorer.errors import Fault, FaultKind, HostFault, UnclearFault
from scorer.hosts.foreign import FOREIGN, MEANING, fault_of, name_of

# how to use httpx wrongly; and answers to a web socket, which is no exception of a request
OURS = {"CookieConflict", "StreamError", "StreamConsumed", "StreamClosed", "ResponseNotRead", "RequestNotRead"}
ELSEWHERE = {"WSMessageTypeError"}


def exceptions_of(module: ModuleType) -> list[type[Exception]]:
    found = {c for c in vars(module).values() if isinstance(c, type) and issubclass(c, Exception)}
    return sorted(
        (c for c in found if c.__module__.partition(".")[0] == module.__name__.partition(".")[0]), key=name_of
    )


@pytest.mark.parametrize(
    "kind",
    [
        *exceptions_of(httpx),
        *exceptions_of(aiohttp.client_exceptions),
        *exceptions_of(aiohttp.http_exceptions),
    ],
    ids=name_of,
)
def test_every_exception_of_the_libraries_is_known_to_the_table(kind: type[Exception]) -> None:
    if kind.__name__ in OURS | ELSEWHERE:
        assert name_of(kind) not in MEANING
    else:
        assert name_of(kind) in MEANING
        assert issubclass(kind, FOREIGN)


@pytest.mark.parametrize("kind", [ssl.SSLCertVerificationError, socket.gaierror, ConnectionResetError, TimeoutError])
def test_the_systems_exceptions_become_faults_too(kind: type[Exception]) -> None:
    assert isinstance(fault_of(kind("away")), Fault)


def raised(outer: Exception, inner: Exception | None) -> Exception:
    outer.__cause__ = inner
    return outer


@pytest.mark.parametrize(
    ("error", "kind", "sent"),
    [
        (httpx.ConnectError("no"), FaultKind.UNREACHABLE, False),
        (httpx.ConnectTimeout("no"), FaultKind.UNREACHABLE, False),
        (httpx.ReadError("no"), FaultKind.DROPPED, True),
        (httpx.RemoteProtocolError("no"), FaultKind.DROPPED, True),
        (httpx.DecodingError("no"), FaultKind.BAD_BODY, True),
        (httpx.TooManyRedirects("no"), FaultKind.GATEWAY, True),
        (raised(httpx.ConnectTimeout("x"), aiohttp.ServerDisconnectedError()), FaultKind.DROPPED, True),
        (raised(httpx.ConnectTimeout("x"), aiohttp.ClientOSError(104, "x")), FaultKind.DROPPED, True),
        (raised(httpx.ConnectTimeout("x"), aiohttp.ConnectionTimeoutError("x")), FaultKind.UNREACHABLE, False),
    ],
    ids=repr,
)
def test_the_cause_decides_and_not_what_the_transport_calls_it(error: Exception, kind: FaultKind, sent: bool) -> None:
    fault = fault_of(error)
    assert (fault.kind, fault.sent) == (kind, sent)
    assert isinstance(fault, UnclearFault if kind is FaultKind.DROPPED else HostFault)


def test_the_message_is_the_systems_own_words_on_one_line() -> None:
    error = raised(httpx.ConnectTimeout("a\nb"), ConnectionRefusedError(111, "Connect call failed ('10.0.0.1', 1)"))
    assert fault_of(error).message == "Connection refused"
    assert fault_of(httpx.ReadError("a\n  b")).message == "connection lost: a b"
    assert fault_of(httpx.ReadError("")).message == "connection lost: ReadError"
    assert len(fault_of(httpx.ReadError("x" * 10_000)).message) < 300


PARSERS = [
    kind
    for kind in exceptions_of(aiohttp.http_exceptions)
    if issubclass(kind, aiohttp.http_exceptions.HttpProcessingError)
]


@pytest.mark.parametrize("kind", PARSERS, ids=name_of)
@pytest.mark.parametrize(
    "outer", [None, aiohttp.ClientPayloadError("hush-hush"), httpx.ReadError("hush-hush")], ids=repr
)
def test_nothing_of_a_reply_that_a_parser_quotes_is_repeated(kind: type[Exception], outer: Exception | None) -> None:
    base = aiohttp.http_exceptions.HttpProcessingError
    complaint = base(message="hush-hush") if kind is base else kind("hush-hush")
    fault = fault_of(complaint if outer is None else raised(outer, complaint))
    assert "hush" not in f"{fault}{fault.message}"


def test_what_was_wrong_with_a_reply_is_said_in_our_words() -> None:
    errors = aiohttp.http_exceptions
    request = aiohttp.RequestInfo(URL("http://h"), "GET", CIMultiDictProxy(CIMultiDict()), URL("http://h"))
    said = {
        "a line that is too long": errors.LineTooLong("X-You-Sent: hush-hu", 100),
        "its first line is no status line": errors.BadStatusLine("SSH-2.0"),
        "a malformed header": errors.InvalidHeader("X You Sent"),
        "too many headers": errors.BadHttpMessage("Too many headers received"),
        "a malformed reply": errors.BadHttpMessage("Invalid character"),
        "a malformed body": errors.ContentEncodingError("Can not decode"),
    }
    for words, inner in said.items():
        outer = raised(aiohttp.ClientResponseError(request, (), message="hush-hush"), inner)
        assert fault_of(outer).message == f"not what HTTP allows: {words}"


def test_a_body_that_ends_too_early_is_told_without_the_inside_of_a_parser() -> None:
    inner = aiohttp.http_exceptions.ContentLengthError("Not enough data to satisfy content length header.")
    error = raised(aiohttp.ClientPayloadError(f"Response payload is not completed: {inner!r}"), inner)
    assert fault_of(error).message == "connection lost: the reply broke off before its end"
