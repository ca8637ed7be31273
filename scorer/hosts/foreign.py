"""The one place where the exceptions of httpx, aiohttp and the system become faults.

Our own transport lets aiohttp's exceptions through; others that httpx can use wrap them, some in one that says
something else, such as `ConnectTimeout` for a connection dropped in the middle of a generation. So the exception that
tells is looked for along the chain of causes, and looked up by name in one literal table; a test walks both libraries
and fails when they grow an exception that the table does not know.

What a parser says of a reply that is not HTTP is never repeated: it quotes the reply, cut to length or to what one
packet held, and what a server sends back may be the token, of which a piece is not recognised. The words for it are our
own.
"""

import os
import socket
import ssl
from collections.abc import Callable, Iterator
from enum import Enum

import aiohttp
import aiohttp.http_exceptions
import httpx

from scorer.errors import Fault, FaultKind, HostFault, UnclearFault

FOREIGN: tuple[type[Exception], ...] = (
    httpx.HTTPError,
    httpx.InvalidURL,
    aiohttp.ClientError,
    aiohttp.http_exceptions.HttpProcessingError,
    OSError,
    UnicodeError,  # a host name that IDNA cannot spell
)
"""What may come out of a transport; anything else is a bug of ours and crashes."""


class Meaning(Enum):
    """What an exception says about the request."""

    NOT_REACHED = "nothing was sent"
    DROPPED = "the connection broke once it stood"
    NOT_HTTP = "what came back is not what HTTP allows"
    REDIRECT = "the server sends us elsewhere"


MEANING: dict[str, Meaning] = {
    "aiohttp.ClientError": Meaning.DROPPED,
    "aiohttp.ClientConnectionError": Meaning.DROPPED,
    "aiohttp.ClientConnectionResetError": Meaning.DROPPED,
    "aiohttp.ClientOSError": Meaning.DROPPED,
    "aiohttp.ServerConnectionError": Meaning.DROPPED,
    "aiohttp.ServerDisconnectedError": Meaning.DROPPED,
    "aiohttp.ServerTimeoutError": Meaning.DROPPED,
    "aiohttp.SocketTimeoutError": Meaning.DROPPED,
    "aiohttp.UploadAbortedError": Meaning.DROPPED,
    "aiohttp.ClientPayloadError": Meaning.DROPPED,
    "aiohttp.ClientConnectorError": Meaning.NOT_REACHED,
    "aiohttp.ClientConnectorDNSError": Meaning.NOT_REACHED,
    "aiohttp.ClientConnectorSSLError": Meaning.NOT_REACHED,
    "aiohttp.ClientConnectorCertificateError": Meaning.NOT_REACHED,
    "aiohttp.ClientSSLError": Meaning.NOT_REACHED,
    "aiohttp.ClientProxyConnectionError": Meaning.NOT_REACHED,
    "aiohttp.ClientHttpProxyError": Meaning.NOT_REACHED,
    "aiohttp.UnixClientConnectorError": Meaning.NOT_REACHED,
    "aiohttp.ConnectionTimeoutError": Meaning.NOT_REACHED,
    "aiohttp.ServerFingerprintMismatch": Meaning.NOT_REACHED,
    "aiohttp.InvalidURL": Meaning.NOT_REACHED,
    "aiohttp.InvalidUrlClientError": Meaning.NOT_REACHED,
    "aiohttp.NonHttpUrlClientError": Meaning.NOT_REACHED,
    "aiohttp.ClientResponseError": Meaning.NOT_HTTP,
    "aiohttp.ContentTypeError": Meaning.NOT_HTTP,
    "aiohttp.WSServerHandshakeError": Meaning.NOT_HTTP,
    "aiohttp.HttpProcessingError": Meaning.NOT_HTTP,
    "aiohttp.BadHttpMessage": Meaning.NOT_HTTP,
    "aiohttp.BadHttpMethod": Meaning.NOT_HTTP,
    "aiohttp.BadStatusLine": Meaning.NOT_HTTP,
    "aiohttp.InvalidHeader": Meaning.NOT_HTTP,
    "aiohttp.InvalidURLError": Meaning.NOT_HTTP,
    "aiohttp.LineTooLong": Meaning.NOT_HTTP,
    "aiohttp.HttpBadRequest": Meaning.NOT_HTTP,
    "aiohttp.PayloadEncodingError": Meaning.NOT_HTTP,
    "aiohttp.ContentEncodingError": Meaning.NOT_HTTP,
    "aiohttp.DecompressSizeError": Meaning.NOT_HTTP,
    "aiohttp.ContentLengthError": Meaning.DROPPED,
    "aiohttp.TransferEncodingError": Meaning.DROPPED,
    "aiohttp.TooManyRedirects": Meaning.REDIRECT,
    "aiohttp.RedirectClientError": Meaning.REDIRECT,
    "aiohttp.InvalidUrlRedirectClientError": Meaning.REDIRECT,
    "aiohttp.NonHttpUrlRedirectClientError": Meaning.REDIRECT,
    "httpx.HTTPError": Meaning.DROPPED,
    "httpx.RequestError": Meaning.DROPPED,
    "httpx.TransportError": Meaning.DROPPED,
    "httpx.TimeoutException": Meaning.DROPPED,
    "httpx.ReadTimeout": Meaning.DROPPED,
    "httpx.WriteTimeout": Meaning.DROPPED,
    "httpx.NetworkError": Meaning.DROPPED,
    "httpx.ReadError": Meaning.DROPPED,
    "httpx.WriteError": Meaning.DROPPED,
    "httpx.CloseError": Meaning.DROPPED,
    "httpx.ProtocolError": Meaning.DROPPED,
    "httpx.RemoteProtocolError": Meaning.DROPPED,
    "httpx.ConnectTimeout": Meaning.NOT_REACHED,
    "httpx.ConnectError": Meaning.NOT_REACHED,
    "httpx.PoolTimeout": Meaning.NOT_REACHED,
    "httpx.ProxyError": Meaning.NOT_REACHED,
    "httpx.UnsupportedProtocol": Meaning.NOT_REACHED,
    "httpx.LocalProtocolError": Meaning.NOT_REACHED,
    "httpx.InvalidURL": Meaning.NOT_REACHED,
    "httpx.DecodingError": Meaning.NOT_HTTP,
    "httpx.HTTPStatusError": Meaning.NOT_HTTP,
    "httpx.TooManyRedirects": Meaning.REDIRECT,
    "ssl.SSLError": Meaning.NOT_REACHED,
    "socket.gaierror": Meaning.NOT_REACHED,
    "builtins.ConnectionRefusedError": Meaning.NOT_REACHED,
    "builtins.OSError": Meaning.DROPPED,
    "builtins.UnicodeError": Meaning.NOT_REACHED,
}

# of the exceptions that quote a reply, by the class that comes nearest to saying what was wrong with it
OWN_WORDS: dict[str, str] = {
    "aiohttp.LineTooLong": "a line that is too long",
    "aiohttp.BadStatusLine": "its first line is no status line",
    "aiohttp.InvalidHeader": "a malformed header",
    "aiohttp.PayloadEncodingError": "a malformed body",
    "aiohttp.HttpProcessingError": "a malformed reply",
    "aiohttp.ClientResponseError": "a malformed reply",
    "aiohttp.ClientPayloadError": "a malformed body",
    "httpx.RemoteProtocolError": "a malformed or missing reply",
    "httpx.DecodingError": "a malformed body",
}
# what aiohttp has one class for, told apart by its text
TOLD_APART: dict[str, str] = {
    "Not enough data": "the reply broke off before its end",
    "Too many": "too many headers",
}


def fault_of(error: Exception, hushed: Callable[[str], str] = str) -> Fault:
    """Return the fault that an exception of FOREIGN stands for, with a message for people.

    `hushed` takes out of its words what nobody should read; they are cut to length after that.
    """
    telling = next((e for e in _causes(error) if name_of(type(e)).startswith("aiohttp.")), error)
    meaning = next(MEANING[name] for name in map(name_of, type(telling).__mro__) if name in MEANING)
    reason = _reason(error, telling, hushed)
    if meaning is Meaning.NOT_REACHED:
        return HostFault(FaultKind.UNREACHABLE, reason, sent=False)
    if meaning is Meaning.NOT_HTTP:
        return HostFault(FaultKind.BAD_BODY, f"not what HTTP allows: {reason}")
    if meaning is Meaning.REDIRECT:
        return HostFault(FaultKind.GATEWAY, f"redirected: {reason}")
    return UnclearFault(FaultKind.DROPPED, f"connection lost: {reason}")


def name_of(kind: type) -> str:
    """Return an exception class as the table spells it: top package and name."""
    return f"{kind.__module__.partition('.')[0]}.{kind.__name__}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _reason(error: Exception, telling: BaseException, hushed: Callable[[str], str]) -> str:
    """Return the system's own words if it spoke, else ours or the library's, on one line."""
    system = [e for e in _causes(error) if isinstance(e, OSError)]
    for spoken in (*reversed(system), telling):
        text = hushed(_words(spoken))
        if text:
            return " ".join(text.split())[:200]
    return type(telling).__name__


def _words(error: BaseException) -> str:
    if isinstance(error, ConnectionError) and error.errno:
        return os.strerror(error.errno)  # asyncio's own text says where and not why
    if isinstance(error, (ssl.SSLError, socket.gaierror)):
        return f"{'TLS' if isinstance(error, ssl.SSLError) else 'host name'}: {error.strerror or error}"
    if isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str):
        return "the reply broke off in its head"  # all of which its own text would list
    return _own_words(error) or str(error)


def _own_words(error: BaseException) -> str:
    """Return ours for what a parser complains of, by the innermost cause that has some; empty for anything else."""
    for cause in reversed(list(_causes(error))):
        words = next((OWN_WORDS[name] for name in map(name_of, type(cause).__mro__) if name in OWN_WORDS), "")
        if words:
            return next((better for said, better in TOLD_APART.items() if said in str(cause)), words)
    return ""
