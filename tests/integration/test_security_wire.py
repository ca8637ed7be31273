"""What a run sends, and to whom: to its hosts, whatever the environment, the servers and the rows would rather have."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest
from doubles.ollama import OllamaDouble
from running import MODEL, TEMPLATE, Desk, texts
from telltales import Request, Telltale, garbage, telling

from scorer.config import HostConfig
from scorer.errors import FaultKind, HostFault
from scorer.hosts.base import Frame
from scorer.hosts.base import Request as Asked
from scorer.hosts.factory import make_host

TOKEN = "hush/4711+tell&nobody"
FRAME = Frame(model=MODEL, system="s", schema=None, num_ctx=512)


@dataclass(frozen=True, slots=True)
class ProxyDesk(Desk):
    """A user whose environment names a proxy for everything, and credentials for every machine."""

    proxy: str = ""
    extra: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """The environment of a `scorer` command."""
        netrc = self.write("netrc", "default login me password hush-hush\n")
        netrc.chmod(0o600)
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
        # not super(): a dataclass with slots is made anew, and is no longer the class that super() means
        return {**Desk.environment(self), **dict.fromkeys(names, self.proxy), "NETRC": str(netrc), "NO_PROXY": ""}


@pytest.fixture
def listener() -> Iterator[Telltale]:
    """A server of somebody else that should hear nothing."""
    with telling(listener=Telltale(garbage, at_once=True)) as servers:
        yield servers["listener"]


def test_no_proxy_and_no_credentials_of_the_environment_are_used(tmp_path: Path, listener: Telltale) -> None:
    desk = ProxyDesk(tmp_path, listener.url)
    desk.write("judge.toml", TEMPLATE)
    desk.dataset(texts(5))
    with OllamaDouble() as double:
        desk.hosts({"only": double.url})
        desk.judge()
        desk.check(texts(5), {"only": double})
        heard = [record.headers for record in double.log]
    assert listener.requests == []
    assert not [headers for headers in heard if "authorization" in {name.lower() for name in headers}]


def test_rows_that_look_like_addresses_are_text(tmp_path: Path, listener: Telltale) -> None:
    desk = Desk(tmp_path)
    desk.write("judge.toml", TEMPLATE)
    rows = [
        f"{listener.url}/row.png",
        f"![see]({listener.url}/)",
        "file:///etc/hostname",
        "/etc/hostname",
        "@rows.parquet",
    ]
    desk.dataset(rows)
    with OllamaDouble() as double:
        desk.hosts({"only": double.url})
        desk.judge()
        desk.check(rows, {"only": double})
        assert {record.user_text for record in double.generations} == set(rows)
        bodies = [record.body for record in double.generations]
    assert listener.requests == []
    assert all(set(message) == {"role", "content"} for body in bodies for message in body["messages"])


@pytest.mark.parametrize("api", ["ollama", "openai", "petals"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_host_is_a_fault_and_takes_neither_row_nor_token_there(
    listener: Telltale, api: str, status: int
) -> None:
    def away(request: Request) -> None:
        request.say(status, "", Location=f"{listener.url}{request.path}")

    async def ask(url: str) -> HostFault:
        host = make_host(HostConfig(name="h", url=url, api=api), token=TOKEN)  # type: ignore[arg-type]
        with pytest.raises(HostFault) as caught:
            await host.generate(Asked(FRAME, "a row", num_predict=3))
        await host.close()
        return caught.value

    with telling(server=Telltale(away, at_once=True)) as servers:
        fault = anyio.run(ask, servers["server"].url)
        assert servers["server"].tokens == {TOKEN}
    assert fault.kind is FaultKind.GATEWAY
    assert listener.requests == []


def test_a_cookie_is_not_kept() -> None:
    cookies: list[str | None] = []

    def bake(request: Request) -> None:
        cookies.append(request.headers.get("Cookie"))
        request.say(503, "{}", Set_Cookie="session=abc; Path=/")

    async def ask(url: str) -> None:
        host = make_host(HostConfig(name="h", url=url))
        for _ in range(2):
            with pytest.raises(HostFault):
                await host.generate(Asked(FRAME, "a row", num_predict=3))
        await host.close()

    with telling(server=Telltale(bake, at_once=True)) as servers:
        anyio.run(ask, servers["server"].url)
    assert cookies == [None, None]
