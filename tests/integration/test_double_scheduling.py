"""How the double makes its clients wait: slots, loads, disconnects, restarts, and the record it keeps of them."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from doubles.ollama import Event, Model, OllamaDouble, Spec, double_process, expected_answer, read_log

SCHEMA = {"type": "object", "properties": {"score": {"type": "integer", "minimum": 1, "maximum": 10}}}
FOR_EVER_S = 1e9


def body(text: str, **more: object) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": "llama3.2:3b", "messages": messages, "stream": False, "format": SCHEMA} | more


def hang_first(number: int, _body: object) -> str | None:
    return "hang" if number == 0 else None


@contextmanager
def client(double: OllamaDouble) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=double.url, timeout=30, trust_env=False) as open_client:
        yield open_client


def wait_placed(double: OllamaDouble, count: int) -> None:
    """Wait until so many generations have a slot or stand in line for one."""
    double.wait_until(lambda d: sum(r.slot is not None or r.queued for r in d.generations) == count)


def wait_loading(double: OllamaDouble, count: int) -> None:
    """Wait until so many generations have arrived, the first of which is loading."""
    double.wait_until(lambda d: len(d.generations) == count and d.generations[0].load == "loading")


class Raw:
    """A request sent over a bare socket, whose bytes can be watched as they come."""

    def __init__(self, stack: ExitStack, url: str, document: dict[str, Any]) -> None:
        host, port = url.removeprefix("http://").split(":")
        self.socket = stack.enter_context(socket.create_connection((host, int(port)), timeout=30))
        self.send(document)

    def send(self, document: dict[str, Any]) -> None:
        content = json.dumps(document).encode()
        self.socket.sendall(b"POST /api/chat HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(content) + content)

    def has_bytes(self) -> bool:
        self.socket.setblocking(False)
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return False
        finally:
            self.socket.settimeout(30)

    def answer(self) -> dict[str, Any]:
        received = b""
        while b"\r\n\r\n" not in received or not received.endswith(b"}"):
            part = self.socket.recv(65536)
            assert part, received
            received += part
        document: dict[str, Any] = json.loads(received.split(b"\r\n\r\n", 1)[1])
        return document


def test_queued_requests_get_no_byte_and_no_503_and_are_served_in_order_of_arrival() -> None:
    with OllamaDouble(Spec(fault_for=hang_first, max_queue=0)) as double, ExitStack() as stack:
        requests = []
        for i in range(20):
            requests.append(Raw(stack, double.url, body(f"row {i}")))
            wait_placed(double, i + 1)
        assert not any(request.has_bytes() for request in requests)
        double.release_hangs()
        answers = [request.answer() for request in requests]
        records = double.generations
    assert [a["message"]["content"] for a in answers] == [json.dumps(r.answer) for r in records]
    assert [r.queued for r in records] == [False] + [True] * 19
    ends = [r.out_s or 0 for r in records]
    assert ends == sorted(ends)


def test_as_many_requests_run_at_once_as_there_are_slots() -> None:
    def hang(_number: int, _body: object) -> str:
        return "hang"

    with OllamaDouble(Spec(slots=3, fault_for=hang)) as double, ExitStack() as stack:
        for i in range(4):
            Raw(stack, double.url, body(f"row {i}"))
            wait_placed(double, i + 1)
        assert [r.slot for r in double.generations] == [0, 1, 2, None]


def test_durations_follow_the_speeds_and_add_up_to_the_total() -> None:
    spec = Spec(prefill_tps=500, decode_tps=50, overhead_s=1.5, output_tokens=100, time_scale=1e5)
    with OllamaDouble(spec) as double, client(double) as http:
        first = http.post("/api/chat", json=body("x" * 1968)).json()
        double.set_speed(10)
        second = http.post("/api/chat", json=body("y" * 1968)).json()
    assert (first["prompt_eval_count"], first["prompt_eval_duration"]) == (500, 10**9)
    assert (first["eval_count"], first["eval_duration"]) == (100, 2 * 10**9)
    assert first["total_duration"] >= 4.5e9
    assert (second["prompt_eval_duration"], second["eval_duration"]) == (10**8, 2 * 10**8)


def test_waiting_for_a_slot_counts_in_the_total_but_not_in_the_load() -> None:
    spec = Spec(decode_tps=1, output_tokens=10, time_scale=20)
    with OllamaDouble(spec) as double, ExitStack() as stack:
        requests = [Raw(stack, double.url, body(f"row {i}")) for i in range(4)]
        replies = sorted((r.answer() for r in requests), key=lambda reply: reply["total_duration"])
    waits_s = [(r["total_duration"] - r["eval_duration"] - r.get("load_duration", 0)) / 1e9 for r in replies]
    # the last waits for three answers of 10 s each, less what it was sent later than the first
    assert waits_s[0] < 10 < waits_s[-1]


def test_busy_slots_slow_each_other_by_the_contention() -> None:
    spec = Spec(slots=2, decode_tps=100, output_tokens=100, contention=0.5, time_scale=1e4, fault_for=hang_first)
    with OllamaDouble(spec) as double, ExitStack() as stack, client(double) as http:
        Raw(stack, double.url, body("one"))
        wait_placed(double, 1)
        assert http.post("/api/chat", json=body("two")).json()["eval_duration"] == 1.5e9


def test_a_shared_prefix_shortens_the_prefill_but_not_the_prompt_count() -> None:
    rubric = {"role": "system", "content": "r" * 4000}
    with OllamaDouble(Spec(prefill_tps=1000, time_scale=1e3)) as double, client(double) as http:
        replies = [
            http.post("/api/chat", json=body("") | {"messages": [rubric, {"role": "user", "content": text}]}).json()
            for text in ("an item", "another")
        ]
    assert [reply["prompt_eval_count"] for reply in replies] == [1010, 1010]
    assert replies[1]["prompt_eval_duration"] < replies[0]["prompt_eval_duration"] / 50
    assert replies[1]["prompt_eval_cached_count"] >= 1000


@pytest.mark.parametrize(
    ("change", "version", "load"),
    [
        ({"options": {"num_ctx": 8192}}, "0.34.0", "reload"),
        ({}, "0.34.0", "reload"),  # explicit against omitted
        ({"options": {"num_ctx": 4096, "num_thread": 2}}, "0.34.0", "reload"),
        ({"options": {"num_ctx": 4096, "num_gpu": 20}}, "0.34.0", "reload"),
        ({"options": {"num_ctx": 4096, "num_gpu": -1}}, "0.34.0", None),
        ({"options": {"num_ctx": 4096, "seed": 3, "temperature": 0.5}, "think": False}, "0.34.0", None),
        ({"options": {"num_ctx": 4096}, "shift": False}, "0.34.0", "reload"),
        ({"options": {"num_ctx": 4096}, "shift": False}, "0.24.0", None),
    ],
)
def test_a_change_of_load_time_options_reloads_and_no_other(
    change: dict[str, Any], version: str, load: str | None
) -> None:
    with OllamaDouble(Spec(version=version)) as double, client(double) as http:
        http.post("/api/chat", json=body("one", options={"num_ctx": 4096}))
        http.post("/api/chat", json=body("two", **change))
        assert [r.load for r in double.generations] == ["load", load]


def test_only_while_loading_too_many_requests_get_a_503() -> None:
    with OllamaDouble(Spec(load_s=FOR_EVER_S, max_queue=1)) as double, ExitStack() as stack, client(double) as http:
        for i in range(2):
            Raw(stack, double.url, body(f"row {i}"))
            wait_loading(double, i + 1)
        reply = http.post("/api/chat", json=body("one too many"))
    assert reply.status_code == 503
    assert reply.json()["error"] == "server busy, please try again.  maximum pending requests exceeded"


def test_a_disconnect_during_a_cold_load_aborts_the_load() -> None:
    with OllamaDouble(Spec(load_s=FOR_EVER_S)) as double, client(double) as http:
        with ExitStack() as stack:
            Raw(stack, double.url, body("row"))
            wait_loading(double, 1)
        double.wait_until(lambda d: d.generations[0].outcome == "cancelled")
        assert double.generations[0].load == "aborted"
        assert http.get("/api/ps").json()["models"] == []


def test_everything_else_is_answered_while_a_load_goes_on() -> None:
    with OllamaDouble(Spec(load_s=FOR_EVER_S)) as double, ExitStack() as stack, client(double) as http:
        Raw(stack, double.url, body("row"))
        wait_loading(double, 1)
        assert [http.get(path).status_code for path in ("/", "/api/version", "/api/tags", "/api/ps")] == [200] * 4


def test_a_disconnect_frees_the_slot_for_the_next_in_line() -> None:
    with OllamaDouble(Spec(fault_for=hang_first, cancel_poll_s=0)) as double, ExitStack() as stack:
        with ExitStack() as first:
            Raw(first, double.url, body("hangs"))
            wait_placed(double, 1)
            waiting = Raw(stack, double.url, body("waits"))
            wait_placed(double, 2)
        assert json.loads(waiting.answer()["message"]["content"]) == expected_answer("waits", SCHEMA)
        assert [r.outcome for r in double.generations] == ["cancelled", "answered"]


def test_a_disconnected_request_in_line_never_runs() -> None:
    with OllamaDouble(Spec(fault_for=hang_first)) as double, ExitStack() as stack:
        first = Raw(stack, double.url, body("hangs"))
        wait_placed(double, 1)
        with ExitStack() as second:
            Raw(second, double.url, body("leaves"))
            wait_placed(double, 2)
        double.wait_until(lambda d: d.generations[1].outcome == "cancelled")
        double.release_hangs()
        first.answer()
        assert double.generations[1].slot is None
        assert set(double.answered) == {"hangs"}


@pytest.mark.parametrize(("version", "blocked_s"), [("0.24.0", 100.0), ("0.34.0", 1.0)])
def test_an_abandoned_prefill_blocks_the_slot_until_its_era_notices(version: str, blocked_s: float) -> None:
    spec = Spec(version=version, prefill_tps=1, decode_tps=1e9, time_scale=200, default_num_ctx=10**6)
    with OllamaDouble(spec) as double, client(double) as http:
        with ExitStack() as first:
            Raw(first, double.url, body("x" * 368))
            wait_placed(double, 1)
        double.wait_until(lambda d: d.generations[0].outcome == "cancelled")
        total_s = http.post("/api/chat", json=body("y")).json()["total_duration"] / 1e9
    prefill_s = 9  # of the second request itself
    noticed_s = 20  # a tenth of a second on a crowded machine
    assert total_s <= blocked_s + prefill_s + noticed_s
    assert total_s > 60 if version == "0.24.0" else total_s < 60


def test_a_restart_resets_what_is_in_flight_and_leaves_idle_sockets_stale() -> None:
    with OllamaDouble(Spec(fault_for=hang_first)) as double, ExitStack() as stack, client(double) as http:
        http.get("/api/version")
        hanging = Raw(stack, double.url, body("hangs"))
        wait_placed(double, 1)
        double.restart()
        with pytest.raises(ConnectionResetError):
            hanging.answer()
        with pytest.raises(httpx.NetworkError):
            http.get("/api/version")
        assert http.get("/api/ps").json()["models"] == []
        double.wait_until(lambda d: d.generations[0].outcome == "reset")
        assert http.post("/api/chat", json=body("again")).json()["done_reason"] == "stop"
        assert double.generations[-1].load == "load"


def test_a_server_that_is_down_refuses_and_comes_back_on_the_same_port() -> None:
    with OllamaDouble() as double, client(double) as http:
        assert http.get("/").status_code == 200
        double.go_down()
        with pytest.raises(httpx.NetworkError):
            http.get("/")
        with pytest.raises(httpx.ConnectError):
            http.get("/")
        double.come_back()
        assert http.get("/").status_code == 200


def test_one_that_stops_listening_goes_on_serving_open_connections() -> None:
    with OllamaDouble() as double, client(double) as http, client(double) as late:
        http.get("/")
        double.stop_listening()
        assert http.get("/").status_code == 200
        with pytest.raises(httpx.ConnectError):
            late.get("/")


def test_events_happen_just_before_their_request() -> None:
    events = (
        Event(action="set_speed", at_request=1, value=0.5),
        Event(action="change_version", at_request=2, value="0.99.0"),
        Event(action="restart", at_request=3),
    )
    with OllamaDouble(Spec(events=events, decode_tps=1000, output_tokens=10, time_scale=1e3)) as double:
        with client(double) as http:
            durations = [http.post("/api/chat", json=body(f"{i}")).json()["eval_duration"] for i in range(2)]
            assert durations == [10**7, 2 * 10**7]
            assert http.get("/api/version").json()["version"] == "0.34.0"
            http.post("/api/chat", json=body("2"))
            assert http.get("/api/version").json()["version"] == "0.99.0"
            with pytest.raises(httpx.NetworkError):
                http.post("/api/chat", json=body("3"))
        # what the fourth came to inside the double depends on which was quicker, its answer or the restart
        double.wait_until(lambda d: [r.outcome for r in d.generations][:3] == ["answered"] * 3)


def test_timed_events_happen_by_themselves() -> None:
    events = (
        Event(action="go_down", at_request=0, value=1000),
        Event(action="change_version", at_s=1000, value="0.99.0"),
    )
    with OllamaDouble(Spec(events=events, time_scale=1000)) as double, client(double) as http:
        with pytest.raises(httpx.NetworkError):
            http.post("/api/chat", json=body("goes down"))
        refused, deadline_s = 0, time.monotonic() + 30
        while time.monotonic() < deadline_s:
            try:
                if http.get("/api/version").json()["version"] == "0.99.0":
                    break
            except httpx.ConnectError:
                refused += 1
        else:
            pytest.fail("never came back with the new version")
    assert refused > 0


def test_keep_alive_0_unloads_when_the_request_is_done() -> None:
    with OllamaDouble() as double, client(double) as http:
        http.post("/api/chat", json=body("one", keep_alive=0))
        assert http.get("/api/ps").json()["models"] == []
        http.post("/api/chat", json=body("two", keep_alive=-1))
        expiry = http.get("/api/ps").json()["models"][0]["expires_at"]
        assert int(expiry[:4]) > 2200
        assert [r.load for r in double.generations] == ["load", "load"]


def test_keep_alive_counts_from_the_end_of_the_last_request() -> None:
    spec = Spec(decode_tps=1, output_tokens=3600, time_scale=2e3)
    with OllamaDouble(spec) as double, client(double) as http:
        http.post("/api/chat", json=body("longer than its keep_alive", keep_alive=3000))
        assert len(http.get("/api/ps").json()["models"]) == 1


def test_a_third_model_evicts_an_idle_one() -> None:
    models = tuple(Model(name=f"m{i}") for i in range(3))
    with OllamaDouble(Spec(models=models, max_loaded=2)) as double, client(double) as http:
        for i, keep_alive in enumerate(("10m", "5m", "5m")):
            http.post("/api/chat", json=body("x", model=f"m{i}", keep_alive=keep_alive))
        assert {m["name"] for m in http.get("/api/ps").json()["models"]} == {"m0:latest", "m2:latest"}


def test_a_failing_load_says_why_until_it_is_mended() -> None:
    with OllamaDouble() as double, client(double) as http:
        double.fail_loads("llama-server process has terminated: out of memory")
        failed = http.post("/api/chat", json={"model": "llama3.2:3b"})
        assert (failed.status_code, failed.json()["error"][:12]) == (500, "llama-server")
        double.fail_loads(None)
        assert http.post("/api/chat", json={"model": "llama3.2:3b"}).json()["done_reason"] == "load"
        assert [r.load for r in double.log] == ["failed", "load"]


def test_a_changed_digest_shows_in_tags() -> None:
    with OllamaDouble() as double, client(double) as http:
        before = http.get("/api/tags").json()["models"][0]["digest"]
        double.change_digest()
        after = http.get("/api/tags").json()["models"][0]["digest"]
    assert before != after
    assert len(after) == 64


def test_a_pull_adds_the_model_with_progress_and_fails_with_a_line() -> None:
    with OllamaDouble(Spec(pullable=(Model(name="new:1b"),))) as double, client(double) as http:
        lines = [json.loads(line) for line in http.post("/api/pull", json={"model": "new:1b"}).text.splitlines()]
        assert lines[-1] == {"status": "success"}
        assert any(line.get("completed") == line.get("total") for line in lines if "total" in line)
        assert http.post("/api/chat", json=body("x", model="new:1b")).status_code == 200
        failed = http.post("/api/pull", json={"model": "none"})
        assert (failed.status_code, list(json.loads(failed.text.splitlines()[-1]))) == (200, ["error"])
        assert http.post("/api/pull", json={"model": "none", "stream": False}).status_code == 500


def test_a_wanted_token_is_missed_with_a_401_of_the_proxy() -> None:
    with OllamaDouble(Spec(token="s3cret")) as double, client(double) as http:
        assert http.get("/api/version").status_code == 401
        assert http.get("/api/version", headers={"Authorization": "Bearer s3cret"}).status_code == 200


def test_a_bug_of_the_double_fails_the_test_that_uses_it() -> None:
    def broken(_number: int, _body: object) -> str:
        raise ZeroDivisionError

    double = OllamaDouble(Spec(fault_for=broken))
    double.__enter__()
    with client(double) as http, pytest.raises(httpx.NetworkError):
        http.post("/api/chat", json=body("x"))
    with pytest.raises(RuntimeError, match="the double itself"):
        double.__exit__(None, None, None)


def test_as_a_process_it_prints_its_url_follows_its_file_and_writes_its_log(tmp_path: Path) -> None:
    log, spec = tmp_path / "log.jsonl", tmp_path / "spec.json"
    events = [{"action": "change_digest", "at_request": 1}]
    spec.write_text(json.dumps({"models": [{"name": "tiny:1b", "capabilities": ["completion"]}], "events": events}))
    with ExitStack() as stack:
        url = stack.enter_context(double_process("--spec", str(spec), "--log", str(log), "--fault", "garbage=1"))
        http = stack.enter_context(httpx.Client(base_url=url, trust_env=False))
        before = http.get("/api/tags").json()
        replies = [http.post("/api/chat", json=body(text, model="tiny:1b")).json() for text in ("one", "two")]
        assert http.get("/api/tags").json() != before
    with log.open(encoding="utf-8") as lines:
        records = read_log(lines)
    assert [r.path for r in records] == ["/api/tags", "/api/chat", "/api/chat", "/api/tags"]
    assert [r.content for r in records[1:3]] == [reply["message"]["content"] for reply in replies]
    assert [(r.user_text, r.fault, r.sound) for r in records[1:3]] == [
        ("one", "garbage", False),
        ("two", "garbage", False),
    ]


def test_sigterm_ends_the_process_at_once_with_requests_in_flight() -> None:
    command = [sys.executable, "-m", "doubles.ollama", "--load-s", "1e9"]
    tests = Path(__file__).parents[1]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tests) as process, ExitStack() as stack:
        assert process.stdout is not None
        hanging = Raw(stack, process.stdout.readline().strip(), body("never"))
        process.send_signal(signal.SIGTERM)
        with pytest.raises((AssertionError, ConnectionResetError)):
            hanging.answer()
        assert process.wait(30) == 0
