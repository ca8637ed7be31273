"""The address of a host: one spelling for each, and nothing in it but scheme, host, port and path.

Credentials do not belong in a URL: it is shown in logs and reports.
"""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import SplitResult, urlsplit

_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,252})?")
_FOUR_NUMBERS = re.compile(r"\d+\.\d+\.\d+\.\d+")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def normal_url(text: str) -> str:
    """Return the URL in its one spelling: small letters, no default port, no slash at the end.

    ValueError says what is wrong, without the text itself: it might hold a password.
    """
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("has a character that a URL cannot have")
    if "://" not in text:
        raise ValueError("must begin with http:// or https://")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("has a bad address or port") from None
    _refuse_extras(parts)
    place = _host(parts)
    if port == 0:
        raise ValueError("has port 0")
    if port is not None and port != _DEFAULT_PORTS[parts.scheme]:
        place = f"{place}:{port}"
    return f"{parts.scheme}://{place}{parts.path.rstrip('/')}"


def is_loopback(url: str) -> bool:
    """Whether a normal URL leads to this machine without leaving it.

    So do the addresses on which servers listen to everybody, 0.0.0.0 and [::], where a system connects to them at all.
    """
    host = urlsplit(url).hostname or ""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback or address.is_unspecified


def same_place(url: str) -> str:
    """Return what two normal URLs share if they reach the same server, as far as spelling can tell."""
    parts = urlsplit(url)
    if not is_loopback(url):
        return url
    return f"{parts.scheme}://localhost:{parts.port or _DEFAULT_PORTS[parts.scheme]}{parts.path}"


def _refuse_extras(parts: SplitResult) -> None:
    if parts.scheme not in _DEFAULT_PORTS:
        raise ValueError("must begin with http:// or https://")
    if "@" in parts.netloc:
        raise ValueError("holds a user name or password; use token_env or token_file")
    if parts.query or parts.fragment:
        raise ValueError("must end before any ? or #")


def _host(parts: SplitResult) -> str:
    name = parts.hostname or ""
    if "[" in parts.netloc:
        try:
            return f"[{IPv6Address(name)}]"
        except ValueError:
            raise ValueError("has a bad address or port") from None
    if not _HOST_NAME.fullmatch(name):
        raise ValueError("has no valid host name")
    if _FOUR_NUMBERS.fullmatch(name):
        try:
            return str(IPv4Address(name))
        except ValueError:
            raise ValueError("has a bad address or port") from None
    return name
