"""A world of simulated hosts on a virtual clock, around the real dispatcher, real SQLite and real Parquet.

The hosts live behind httpx's transport seam and speak Ollama's native API; they take virtual seconds, fail as they are
told with seeded chance, and write down everything they were asked and everything they answered. Nothing else is
replaced: jobs, dispatcher, adapters, queue and publisher are the ones that run in production.
"""

import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import trio._core._run as trio_run
import trio.testing
from virtual import inline

from scorer.config import HostConfig
from scorer.dispatch.events import Event, Progress
from scorer.dispatch.groups import one_reason
from scorer.dispatch.seams import RunBlocking, Seams
from scorer.hosts.base import Host
from scorer.hosts.factory import make_host
from scorer.jobs.run import Ended, Surroundings, Switches, _Run
from scorer.jobs.submit import RunOptions, draft, existing

EPOCH_S = 1_700_000_000.0
MODEL = "judge:7b"
DIGEST = "ab" * 32
OVER_A_SLEEP = "over a sleep"

SCORE_TEMPLATE = """
name = "sim"
system = "Judge the text. Answer in JSON."
user = "{{ text }}"
[output.score]
type = "integer"
minimum = 1
maximum = 10
[options]
num_ctx = 2048
num_predict = 32
"""


def expected_score(text: str) -> int:
    """What every simulated host thinks of a text."""
    return 1 + hashlib.sha256(text.encode()).digest()[0] % 10


@dataclass
class Faults:
    """Probabilities of what goes wrong with a request, and times (virtual seconds) at which the host is down.

    A `late` request cannot be called off: its reply comes after up to `late_s`, wanted or not any more.
    """

    hang: float = 0.0
    late: float = 0.0
    late_s: float = 10.0
    drop: float = 0.0
    error_500: float = 0.0
    garbage: float = 0.0
    done_false: float = 0.0
    busy: float = 0.0
    html_502: float = 0.0
    cut: float = 0.0
    truncate: float = 0.0
    bad_request: float = 0.0
    overflow_above_chars: int | None = None
    down: tuple[tuple[float, float], ...] = ()
    fails_fast: bool = False
    slow: tuple[tuple[float, float, float], ...] = ()

    def kinds(self) -> list[tuple[str, float]]:
        names = (
            "hang",
            "late",
            "drop",
            "error_500",
            "garbage",
            "done_false",
            "busy",
            "html_502",
            "cut",
            "truncate",
            "bad_request",
        )
        return [(name, getattr(self, name)) for name in names]


@dataclass
class Asked:
    """One chat request as the host saw it."""

    at: float
    user: str
    fault: str
    body: dict[str, object]
    ended: str = "running"


@dataclass
class SimHost:
    """One host: seconds a row, slots that work at once, what goes wrong, whether it says how many tokens there were."""

    name: str
    row_s: float = 1.0
    slots: int = 1
    load_s: float = 2.0
    faults: Faults = field(default_factory=Faults)
    version: str = "0.32.0"
    digest: str = DIGEST
    exchange: tuple[float, str] | None = None
    models: tuple[str, ...] = (MODEL,)
    counts_tokens: bool = True
    asked: list[Asked] = field(default_factory=list)
    answers: dict[str, list[str]] = field(default_factory=dict)
    loads: int = 0
    running: int = 0
    most_running: int = 0
    loaded: bool = False
    wakes: list[float] = field(default_factory=list)
    connections: list[anyio.CancelScope] = field(default_factory=list)

    def is_down(self, now: float) -> bool:
        return any(begin <= now < end for begin, end in self.faults.down)

    def digest_at(self, now: float) -> str:
        return self.exchange[1] if self.exchange is not None and now >= self.exchange[0] else self.digest

    def break_connections(self) -> None:
        """Break what is being answered now; who asked learns it at once."""
        for connection in self.connections:
            connection.cancel()

    def factor(self, now: float) -> float:
        return max((f for begin, end, f in self.faults.slow if begin <= now < end), default=1.0)


@dataclass
class Copies:
    """How many requests for one text run at the same time, on all hosts together."""

    running: Counter[str] = field(default_factory=Counter)
    most: int = 0

    def begin(self, text: str) -> None:
        self.running[text] += 1
        self.most = max(self.most, self.running[text])

    def end(self, text: str) -> None:
        self.running[text] -= 1


class Transport(httpx.AsyncBaseTransport):
    """The network to one simulated host."""

    def __init__(self, host: SimHost, rng: random.Random, now: Callable[[], float], copies: Copies) -> None:
        self._host = host
        self._copies = copies
        self._rng = rng
        self._now = now
        self._capacity = anyio.Semaphore(host.slots)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await anyio.sleep(0.001)
        if self._host.is_down(self._now()):
            raise httpx.ConnectError("[Errno 111] Connection refused", request=request)
        body = json.loads(await request.aread() or b"{}")
        path = request.url.path
        if path == "/api/version":
            return httpx.Response(200, json={"version": self._host.version})
        if path == "/api/tags":
            models = [
                {"name": name, "model": name, "digest": self._host.digest_at(self._now())} for name in self._host.models
            ]
            return httpx.Response(200, json={"models": models})
        if path == "/api/ps":
            shown = {"name": MODEL, "model": MODEL, "size": 10, "size_vram": 10, "context_length": 2048}
            return httpx.Response(200, json={"models": [shown] if self._host.loaded else []})
        if path == "/api/chat":
            return await self._chat(request, body)
        return httpx.Response(404, text="404 page not found")

    async def _chat(self, request: httpx.Request, body: dict[str, object]) -> httpx.Response:
        host = self._host
        if not host.loaded:
            await anyio.sleep(host.load_s)
            host.loaded = True
            host.loads += 1
        messages = body["messages"]
        assert isinstance(messages, list)
        if not messages:
            return httpx.Response(200, json=self._reply(body, "", "load", {}))
        asked = Asked(self._now(), messages[-1]["content"], self._draw(), body)
        host.asked.append(asked)
        if asked.fault == "late":
            return await self._too_late(asked)
        host.running += 1
        host.most_running = max(host.most_running, host.running)
        self._copies.begin(asked.user)
        try:
            asked.ended = "cancelled"
            response = await self._connected(request, asked)
            asked.ended = "answered" if asked.fault == "none" else asked.fault
            return response
        except httpx.TransportError:
            asked.ended = asked.fault
            raise
        finally:
            host.running -= 1
            self._copies.end(asked.user)

    async def _connected(self, request: httpx.Request, asked: Asked) -> httpx.Response:
        with anyio.CancelScope() as connection:
            self._host.connections.append(connection)
            try:
                return await self._answer(request, asked)
            finally:
                self._host.connections.remove(connection)
        asked.fault = "broken"
        raise self._lost(request, asked)

    def _lost(self, request: httpx.Request, asked: Asked) -> httpx.ReadError:
        """What is lost over a sleep of the asking machine says so: nobody may be blamed for it."""
        over = f" {OVER_A_SLEEP}" if any(asked.at <= wake for wake in self._host.wakes) else ""
        return httpx.ReadError(f"connection reset by peer{over}", request=request)

    async def _too_late(self, asked: Asked) -> httpx.Response:
        took = self._rng.uniform(0, self._host.faults.late_s)
        asked.ended = "late"
        with anyio.CancelScope(shield=True):
            await anyio.sleep(took)
        return self._said(asked, took)

    def _draw(self) -> str:
        if self._host.faults.fails_fast:
            return "fast"
        at = self._rng.random()
        for name, probability in self._host.faults.kinds():
            if at < probability:
                return name
            at -= probability
        return "none"

    async def _answer(self, request: httpx.Request, asked: Asked) -> httpx.Response:
        if asked.fault == "fast":
            await anyio.sleep(0.005)
            return httpx.Response(500, json={"error": "model runner has unexpectedly stopped"})
        if asked.fault == "busy":
            return httpx.Response(503, json={"error": "server busy, please try again."})
        if asked.fault == "bad_request":
            return httpx.Response(400, json={"error": "this server does not like it"})
        if len(asked.user) > (self._host.faults.overflow_above_chars or len(asked.user)):
            asked.fault = "overflow"
            return httpx.Response(400, json={"error": "the prompt is too long: exceeds the available context size"})
        if asked.fault == "hang":
            await anyio.sleep_forever()
        async with self._capacity:
            took = self._host.row_s * self._host.factor(self._now()) * self._rng.uniform(0.8, 1.2)
            await anyio.sleep(took)
        if self._host.is_down(self._now()) or asked.fault == "drop":
            asked.fault = "drop"
            self._host.loaded = not self._host.is_down(self._now())
            raise self._lost(request, asked)
        return self._said(asked, took)

    def _said(self, asked: Asked, took: float) -> httpx.Response:
        if asked.fault == "error_500":
            return httpx.Response(500, json={"error": "an error was encountered while running the model: CUDA error"})
        if asked.fault == "html_502":
            return httpx.Response(502, text="<html><body>Bad Gateway</body></html>")
        text = json.dumps({"score": expected_score(asked.user)})
        fields = {
            "prompt_eval_count": 10 + sum(len(m["content"]) for m in asked.body["messages"]) // 4,  # type: ignore[attr-defined]
            "eval_count": 8,
            "prompt_eval_duration": int(took * 0.3e9),
            "eval_duration": int(took * 0.7e9),
        }
        if asked.fault == "garbage":
            return httpx.Response(200, json=self._reply(asked.body, "GGGGGGGG", "stop", fields))
        if asked.fault == "cut":
            allowed = asked.body["options"]["num_predict"]  # type: ignore[index]
            fields["eval_count"] = allowed
            return httpx.Response(200, json=self._reply(asked.body, text[:5], "length", fields))
        if asked.fault == "truncate" and len(asked.user) > 4 * 2048:
            return httpx.Response(200, json=self._reply(asked.body, text, "stop", fields | {"prompt_eval_count": 2048}))
        if asked.fault == "done_false":
            reply = self._reply(asked.body, text[:4], "", {})
            return httpx.Response(200, json={**reply, "done": False})
        if not self._host.counts_tokens:
            fields = {}
        asked.fault = "none"
        self._host.answers.setdefault(asked.user, []).append(text)
        return httpx.Response(200, json=self._reply(asked.body, text, "stop", fields))

    def _reply(self, body: dict[str, object], text: str, reason: str, fields: dict[str, int]) -> dict[str, object]:
        message = {"role": "assistant", "content": text}
        return {"model": body["model"], "message": message, "done": True, "done_reason": reason, **fields}


@dataclass
class Recorder:
    """A view that remembers."""

    events: list[Event] = field(default_factory=list)
    seen: list[Progress] = field(default_factory=list)
    look: Callable[[Progress], None] | None = None

    def event(self, event: Event) -> None:
        self.events.append(event)

    async def watch(self, progress: Callable[[], Progress]) -> None:
        while True:
            await anyio.sleep(10)
            now = progress()
            self.seen.append(now)
            if self.look:
                self.look(now)


@dataclass
class World:
    """Everything of one simulated run; `run` may be called again, as a user would."""

    folder: Path
    hosts: list[SimHost]
    rows: int = 200
    seed: int = 0
    slots: int | None = None
    min_deadline_s: float = 120.0
    patience_s: float = 1800.0
    wall_ahead_s: float = 0.0
    free_bytes: int = 1 << 40
    view: Recorder = field(default_factory=Recorder)
    virtual_s: float = 0.0
    max_context: dict[str, int] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    texts: list[str | None] | None = None
    store: RunBlocking | None = None
    copies: Copies = field(default_factory=Copies)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        rng = random.Random(self.seed)
        if self.texts is None:
            self.texts = [f"text {i} " + "word " * rng.randint(1, 40) for i in range(self.rows)]
        self.rows = len(self.texts)
        pq.write_table(pa.table({"text": pa.array(self.texts, pa.string())}), self.folder / "rows.parquet")
        (self.folder / "sim.toml").write_text(SCORE_TEMPLATE)

    def options(self, **changes: object) -> RunOptions:
        told = {
            "dataset": str(self.folder / "rows.parquet"),
            "prompt": str(self.folder / "sim.toml"),
            "models": (MODEL,),
            "job": "sim",
            "runs_dir": self.folder / "runs",
            "patience_s": self.patience_s,
            "hosts": self.hosts_file(),
        }
        return RunOptions(**{**told, **changes})  # type: ignore[arg-type]

    def hosts_file(self) -> Path:
        path = self.folder / "hosts.toml"
        slots = "" if self.slots is None else f"slots = {self.slots}\n"
        tables = [
            f'[[hosts]]\nname = "{h.name}"\nurl = "http://{h.name}.test:11434"\n{slots}'
            f"min_deadline_s = {self.min_deadline_s}\n"
            + (f"max_context = {self.max_context[h.name]}\n" if h.name in self.max_context else "")
            + self.keys.get(h.name, "")
            for h in self.hosts
        ]
        path.write_text("\n".join(tables))
        return path

    @property
    def job(self) -> Path:
        return self.folder / "runs" / "sim"

    def run(self, *, events: Callable[["World"], object] | None = None, **changes: object) -> Ended:
        """Run the job to its end in virtual time; `events` is an async function run beside it."""
        rng = random.Random(self.seed)
        for host in self.hosts:
            # the clock begins anew
            host.wakes.clear()
        _make_scheduling_deterministic(self.seed)
        clock = trio.testing.MockClock(autojump_threshold=0)

        async def main() -> Ended:
            began = anyio.current_time()
            transports = {
                h.name: Transport(h, random.Random(rng.random()), anyio.current_time, self.copies) for h in self.hosts
            }
            seams = Seams(
                store=self.store or inline,
                read=inline,
                wall=lambda: EPOCH_S + anyio.current_time() + self.wall_ahead_s,
                rng=random.Random(self.seed),
                free_bytes=lambda _: self.free_bytes,
            )

            def make(config: HostConfig) -> Host:
                return make_host(config, connect=lambda _: transports[config.name])

            options = self.options(**changes)
            drafted = draft(options)
            switches = Switches(options.patience_s, options.allow_mixed_models)
            work = _Run(drafted, existing(drafted, options), switches, self.view, options)
            try:
                async with one_reason() as group:
                    if events is not None:
                        group.start_soon(events, self)
                    ended = await work.go(Surroundings(seams, make))
                    group.cancel_scope.cancel()
                return ended
            finally:
                self.virtual_s = anyio.current_time() - began

        return anyio.run(main, backend="trio", backend_options={"clock": clock})

    def suspend(self, for_s: float, *, breaks: bool = True) -> None:
        """Let the machine sleep: the wall clock is ahead when it wakes, and every connection `breaks` just then."""
        self.wall_ahead_s += for_s
        for host in self.hosts:
            host.wakes.append(anyio.current_time())
            if breaks:
                host.break_connections()

    def trace(self) -> list[tuple[str, float, str, str]]:
        """Every chat request of every host, in order, for comparing two runs."""
        return [(h.name, a.at, a.user, a.ended) for h in self.hosts for a in h.asked]

    def shares(self) -> dict[str, int]:
        return {h.name: sum(a.ended == "answered" for a in h.asked) for h in self.hosts}

    def faults(self) -> Counter[str]:
        """How often each fault really happened."""
        return Counter(a.ended for h in self.hosts for a in h.asked)


def _make_scheduling_deterministic(seed: int) -> None:
    """Let trio run tasks in the same order each time: the hook that Hypothesis uses."""
    trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True
    trio_run._r.seed(seed)
