"""A planted token, and every kind of failure on hosts that quote it: afterwards it is to be found nowhere.

Looked through are all bytes below the user's folder (database and log of a run that was killed, so that the write-ahead
log is among them; Parquet also unpacked; reports and exports), all that any command printed, and the list of processes.
"""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psutil
import pyarrow.parquet as pq
import pytest
from doubles.ollama import OllamaDouble, Spec
from running import JUDGE, RUN_TIMEOUT_S, TEMPLATE, Desk, refused_url, texts, wait_for
from telltales import (
    Telltale,
    completion,
    drop,
    garbage,
    long_line,
    nested_error,
    not_http,
    page,
    parrot,
    redirect_to,
    refuse,
    split_line,
    telling,
)

IN_VARIABLE = "hush/4711+tell&nobody"
IN_FILE = 'mum-is-"the"-word/0815'
VARIABLE = "LAB_TOKEN"
TOKEN_FILE = "token"
# most of a token is a token: one that was cut to fit a message
MOST = 12
SECRETS = tuple(
    part
    for token in (IN_VARIABLE, IN_FILE)
    for spelling in (token, quote(token, safe=""), json.dumps(token)[1:-1], token.replace("/", "\\/"))
    for part in (spelling[:MOST], spelling[-MOST:])
)


class TokenDesk(Desk):
    """A user with one token in a variable and another in a file; what commands print is kept."""

    @property
    def printed(self) -> Path:
        """Where all that was printed is kept."""
        return self.folder / "printed"

    def environment(self) -> dict[str, str]:
        """The environment of a `scorer` command."""
        return {**super().environment(), VARIABLE: IN_VARIABLE}

    def note(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> None:
        """Run a command to its end and keep what it printed."""
        with self.started(*arguments) as process:
            printed = process.communicate(timeout=RUN_TIMEOUT_S)
        assert process.returncode in codes, f"{arguments}: {process.returncode}\n{printed}"
        self.keep(*printed)

    def keep(self, *printed: str) -> None:
        """Keep what was printed."""
        with self.printed.open("a", encoding="utf-8") as file:
            file.writelines(printed)

    def fleet(self, urls: dict[str, str]) -> None:
        """Write the hosts file: the two tokens by turns."""
        keys = [f'token_env = "{VARIABLE}"', f'token_file = "{TOKEN_FILE}"']
        lines = ["[defaults]", 'model = "llama3.2:3b"', "slots = 1", "min_deadline_s = 2"]
        for number, (name, url) in enumerate(urls.items()):
            lines += ["[[hosts]]", f'name = "{name}"', f'url = "{url}"', keys[number % 2]]
        self.write("hosts.toml", "\n".join(lines) + "\n")

    def places_of_secrets(self) -> list[str]:
        """Every file, or column of a Parquet file, that holds a token in any spelling."""
        found = []
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and path != self.folder / TOKEN_FILE:
                found += [str(path) for secret in SECRETS if secret.encode() in path.read_bytes()]
            if path.suffix == ".parquet" and path.is_file():
                unpacked = repr(pq.read_table(path).to_pydict()) + str(pq.read_metadata(path).metadata)
                found += [f"{path}, unpacked" for secret in SECRETS if secret in unpacked]
        return found


@pytest.fixture
def desk(tmp_path: Path) -> TokenDesk:
    """A folder with the small template, the token file and some rows."""
    made = TokenDesk(tmp_path)
    made.write("judge.toml", TEMPLATE)
    made.write(TOKEN_FILE, IN_FILE + "\n").chmod(0o600)
    made.dataset(texts(300))
    return made


@pytest.fixture
def elsewhere() -> Iterator[Telltale]:
    """A server to which nobody should be led."""
    with telling(elsewhere=Telltale(garbage, at_once=True)) as servers:
        yield servers["elsewhere"]


def test_a_planted_token_is_nowhere_after_every_kind_of_failure(desk: TokenDesk, elsewhere: Telltale) -> None:
    tales = {
        "no-entry": Telltale(refuse(401), at_once=True),
        "forbidden": Telltale(page(403)),
        "late-401": Telltale(refuse(401)),
        "failing": Telltale(refuse(500)),
        "proxy": Telltale(page(502)),
        "busy": Telltale(refuse(503)),
        "choosy": Telltale(refuse(400)),
        "garbage": Telltale(garbage),
        "nested": Telltale(nested_error),
        "not-http": Telltale(not_http),
        "dropping": Telltale(drop),
        "away": Telltale(redirect_to(elsewhere.url)),
        "other-model": Telltale(completion(model="no model for Bearer TOKEN")),
        "other-machine": Telltale(completion(remote_host="https://elsewhere/?key=TOKEN")),
        "half-done": Telltale(completion(done_reason="error: bad key TOKEN")),
        "parrot": Telltale(parrot),
        "long-header": Telltale(long_line(b"HTTP/1.1 200 OK\r\nX-You-Sent: ")),
        "long-status": Telltale(long_line(b"HTTP/1.1 200 ")),
        "split-status": Telltale(split_line),
    }
    guarded = [Spec(token=token, overhead_s=0.05, prefix_cache=False) for token in (IN_VARIABLE, IN_FILE)]
    with telling(**tales), OllamaDouble(guarded[0]) as one, OllamaDouble(guarded[1]) as two:
        urls = {"one": one.url, "two": two.url, **{name: server.url for name, server in tales.items()}}
        no_tls = tales["garbage"].url.replace("http:", "https:")
        desk.fleet({**urls, "no-tls": no_tls, "off": refused_url()})

        with desk.started(*JUDGE) as process:
            _wait_until_told(process, tales)
            wait_for(process, one, lambda double: len(double.generations) >= 20)
            running = psutil.Process(process.pid)
            shown = [" ".join(p.cmdline()) for p in (running, *running.children(recursive=True))]
            process.send_signal(signal.SIGKILL)
            desk.keep(*shown, *process.communicate())
        assert (desk.job / "queue.sqlite-wal").stat().st_size > 0
        desk.note("status", "judged", "--json")
        assert desk.places_of_secrets() == []

        for said in (("hosts", "check", "--json"), ("hosts", "warm"), ("hosts", "pull")):
            desk.note(*said, codes=(0, 1, 2, 3, 4))
        one.set_speed(20)
        two.set_speed(20)
        desk.note("resume", "judged", "--json", codes=(0, 3))
        for looking in (
            ("status", "judged"),
            ("status", "judged", "--json"),
            ("report", "judged"),
            ("export", "judged", "-o", "out.csv"),
        ):
            desk.note(*looking, codes=(0, 2))

    assert desk.places_of_secrets() == []
    assert elsewhere.requests == [], "a redirect was followed"
    log = (desk.job / "scorer.log").read_text(encoding="utf-8")
    unquoted = {"dropping", "not-http", "long-header", "long-status", "split-status"}
    assert log.count("[token]") >= len(tales) - len(unquoted), (
        "the servers' words did not get so far as to be kept from the log"
    )
    assert re.search(r"no-tls[^\n]*TLS", log), "no host failed in its TLS"


def _wait_until_told(process: "subprocess.Popen[str]", tales: dict[str, Telltale]) -> None:
    for name, server in tales.items():
        if not server.told.acquire(timeout=RUN_TIMEOUT_S / 2):
            process.kill()
            raise AssertionError(f"{name} was never asked: {process.communicate()}")
        assert server.tokens <= {IN_VARIABLE, IN_FILE}


@pytest.mark.parametrize("place", ["scorer.hosts.http._encoded", "scorer.hosts.http._read", "scorer.jobs.run.forecast"])
def test_the_traceback_of_a_bug_holds_no_token(desk: TokenDesk, place: str) -> None:
    """Bugs where requests are made and answers read, and where the run begins."""
    module, _, name = place.rpartition(".")
    broken = f"import {module} as broken; broken.{name} = None; from scorer.cli import main; main()"
    with OllamaDouble(Spec(token=IN_VARIABLE)) as double:
        desk.fleet({"one": double.url})
        command = [sys.executable, "-c", broken, *JUDGE]
        said = subprocess.run(
            command, cwd=desk.folder, env=desk.environment(), capture_output=True, text=True, check=False
        )
    desk.keep(said.stdout, said.stderr)
    logs = [path.read_text(encoding="utf-8") for path in desk.folder.rglob("scorer.log")]
    assert said.returncode == 1
    assert "this is a bug" in said.stderr
    assert "Traceback" in "".join(logs) + said.stderr
    assert desk.places_of_secrets() == []


@pytest.mark.parametrize(
    "table",
    [
        f'token = "{IN_VARIABLE}"',
        f'token_env = "{IN_VARIABLE}"',
        f'headers = {{ Authorization = "Bearer {IN_VARIABLE}" }}',
        f'headers = {{ "X-Key\\u0007" = "{IN_VARIABLE}" }}',
        f'url = "https://me:{IN_VARIABLE}@lab:8443"',
        f'url = "https://lab:8443/?key={IN_VARIABLE}"',
        f'ca = "{IN_VARIABLE}"\ntoken_env = "{VARIABLE}"\ntoken_file = "{TOKEN_FILE}"',
        f'slots = "{IN_VARIABLE}"',
    ],
)
def test_a_token_in_the_wrong_place_is_refused_and_not_repeated(desk: TokenDesk, table: str) -> None:
    url = "" if table.startswith("url") else '\nurl = "https://lab:8443"'
    desk.write("hosts.toml", f'[[hosts]]\nname = "lab"{url}\n{table}\n')
    desk.note("hosts", "list", codes=(2,))
    (desk.folder / "hosts.toml").unlink()
    assert desk.places_of_secrets() == []


def test_a_token_that_cannot_be_used_is_refused_and_not_repeated(desk: TokenDesk) -> None:
    desk.fleet({"one": refused_url(), "two": refused_url()})
    (desk.folder / TOKEN_FILE).chmod(0o644)
    desk.note(*JUDGE, codes=(2,))
    assert "chmod 600" in desk.printed.read_text(encoding="utf-8")
    desk.write(TOKEN_FILE, f"{IN_FILE}\n{IN_FILE}\n").chmod(0o600)
    desk.note("hosts", "check", codes=(0, 1, 2, 3, 4))
    assert "on one line" in desk.printed.read_text(encoding="utf-8")
    assert desk.places_of_secrets() == []
