"""`scorer hosts check|pull|warm|add|list` against doubles on real sockets: what they find, do, print and exit with."""

import io
import json
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import time
from pathlib import Path

import anyio
import pytest
from doubles.ollama import Model, OllamaDouble, Spec
from running import (
    MODEL,
    OTHER_DIGEST,
    RUN_TIMEOUT_S,
    TEMPLATE,
    Desk,
    chats,
    finished,
    model,
    refused_url,
    texts,
    wait_for,
)

from scorer import templates
from scorer.config import HostsFile, load_hosts
from scorer.errors import UsageError
from scorer.jobs.hosts import pull as pulling
from scorer.jobs.hosts.check import HostReport, Report, check
from scorer.jobs.hosts.opened import Outside
from scorer.jobs.hosts.pull import Pulled, pull
from scorer.jobs.hosts.steps import Step
from scorer.jobs.hosts.warm import Warmth, Wish, warm
from scorer.live.steps import JsonSteps, PlainSteps
from scorer.show.hosts import check_text, warm_text

NEW = "new:1b"
LARGE = Model(name=NEW, size_bytes=4_000_000_000)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A folder with the small template."""
    made = Desk(tmp_path)
    made.write("judge.toml", TEMPLATE)
    return made


@contextmanager
def serving(desk: Desk, **specs: Spec) -> Iterator[dict[str, OllamaDouble]]:
    """Run a double for each name, all of them in the hosts file."""
    with ExitStack() as stack:
        doubles = {name: stack.enter_context(OllamaDouble(spec)) for name, spec in specs.items()}
        desk.hosts({name: double.url for name, double in doubles.items()}, slots=None)
        yield doubles


def outside(desk: Desk, environ: Mapping[str, str] | None = None, local: time = time(12)) -> Outside:
    return Outside(environ or {}, lambda: local, desk.folder / ".state" / "scorer" / "hosts")


def file_of(desk: Desk) -> HostsFile:
    return load_hosts(desk.folder / "hosts.toml")


def checked(desk: Desk, *models: str, names: Sequence[str] = (), around: Outside | None = None) -> Report:
    return anyio.run(lambda: check(file_of(desk), models, names, around or outside(desk)))


def by_name(report: Report) -> dict[str, HostReport]:
    return {host.name: host for host in report.hosts}


# -- check ----------------------------------------------------------------------------------------------------------


def test_check_tells_the_state_of_each_host_and_what_to_do(desk: Desk) -> None:
    fine, half = Spec(), Spec(gpu_share=0.625, models=(model(quantisation="Q8_0", max_context=8192),))
    lacking, old = Spec(models=(model("other:7b"),)), Spec(version="0.11.4")
    with serving(desk, fine=fine, half=half, lacking=lacking, old=old, odd=Spec(models=(model(digest=OTHER_DIGEST),))):
        desk.write(
            "hosts.toml",
            (desk.folder / "hosts.toml").read_text()
            + f'\n[[hosts]]\nname = "gone"\nurl = "{refused_url()}"\n'
            + '\n[[hosts]]\nname = "off"\nurl = "http://127.0.0.1:2"\nenabled = false\n',
        )
        report = checked(desk)
        hosts = by_name(report)
        assert {name: host.state for name, host in hosts.items()} == {
            "fine": "ready",
            "half": "ready",
            "lacking": "left out",
            "old": "left out",
            "odd": "differs",
            "gone": "away",
            "off": "off",
        }
        assert [name for name, host in hosts.items() if host.usable] == ["fine", "half"]
        assert not report.all_usable
        assert hosts["lacking"].problem == f"lacks the model {MODEL} (it has other:7b)"
        assert hosts["lacking"].advice == f"scorer hosts pull {MODEL} --hosts {desk.folder}/hosts.toml --host lacking"
        assert hosts["lacking"].version == "0.34.0"
        assert "0.11.4" in hosts["old"].problem
        assert (hosts["old"].version, hosts["gone"].version) == ("0.11.4", None)
        assert "has digest abababababab, 2 others " in hosts["odd"].problem
        assert (hosts["gone"].problem, hosts["gone"].advice) == ("Connection refused", "start it: ollama serve")
        [there] = hosts["half"].models
        assert (there.quantisation, there.max_context, there.loaded) == ("Q8_0", 8192, False)
        found(desk, "half")
        [loaded] = by_name(checked(desk))["half"].models
        assert (loaded.loaded, loaded.context, loaded.gpu_share) == (True, 2048, pytest.approx(0.625, abs=0.01))
        assert by_name(checked(desk))["half"].state == "loaded"


def test_check_sends_no_prompt_loads_nothing_and_asks_no_host_that_is_switched_off(desk: Desk) -> None:
    with serving(desk, a=Spec(), off=Spec()) as doubles:
        text = (desk.folder / "hosts.toml").read_text()
        desk.write("hosts.toml", text + "enabled = false\n")
        assert checked(desk).all_usable
        assert chats(doubles["a"]) == []
        assert doubles["off"].log == []
        assert by_name(checked(desk, names=["off"]))["off"].state == "ready", "named, it is asked"


def test_check_chooses_the_model_as_a_run_would(desk: Desk) -> None:
    both = Spec(models=(model("a:1b"), model("b:1b")))
    with serving(desk, one=both, other=Spec(models=(model("b:1b"),))) as doubles:
        desk.hosts({name: double.url for name, double in doubles.items()}, model=None)
        assert checked(desk).models == ("b:1b",)
        doubles["other"].set_models(model("a:1b"), model("b:1b"))
        report = checked(desk)
        assert "they share 2: a:1b, b:1b" in report.question
        assert [host.state for host in report.hosts] == ["ready", "ready"]
        hosts = by_name(checked(desk, "a:1b", "b:1b"))
        assert [one.name for one in hosts["one"].models] == ["a:1b", "b:1b"]
        doubles["other"].set_models(model("b:1b"))
        assert by_name(checked(desk, "a:1b", "b:1b"))["other"].note == "lacks 1 of the 2 models"
        said = desk.scorer("hosts", "check", "--model", "a:1b", "--json", code=3)
        assert [host["usable"] for host in said.json["hosts"]] == [True, False]


def test_check_keeps_tokens_and_hours_in_mind(desk: Desk) -> None:
    with serving(desk, guarded=Spec(token="s3cret")) as doubles:
        table = (desk.folder / "hosts.toml").read_text()
        desk.write("hosts.toml", f'{table}token_env = "THE_TOKEN"\nhours = "22:00-08:00"\n')
        [host] = checked(desk).hosts
        assert (host.state, host.usable) == ("left out", False)
        assert host.problem == "the variable THE_TOKEN (token_env) is not set; export THE_TOKEN=… and try again"
        [host] = checked(desk, around=outside(desk, {"THE_TOKEN": "wrong"})).hosts
        assert "check token_env or token_file" in host.problem
        assert len(doubles["guarded"].log) > 0
        [host] = checked(desk, around=outside(desk, {"THE_TOKEN": "s3cret"})).hosts
        assert (host.state, host.usable) == ("resting", True)
        assert host.note == "outside its hours: it takes rows from 22:00"
        [host] = checked(desk, around=outside(desk, {"THE_TOKEN": "s3cret"}, time(23))).hosts
        assert host.state == "ready"
        assert "s3cret" not in json.dumps(checked(desk, around=outside(desk, {"THE_TOKEN": "s3cret"})).as_json())


def test_check_on_the_command_line(desk: Desk) -> None:
    with serving(desk, a=Spec(), b=Spec(models=())) as doubles:
        said = desk.scorer("hosts", "check", code=3)
        lines = said.out.splitlines()
        assert lines[0].split()[:4] == ["host", "url", "state", "version"]
        assert lines[1].startswith(f"a     {doubles['a'].url}")
        assert lines[2].endswith(
            f"lacks the model {MODEL} (it has no model at all) → scorer hosts pull {MODEL} --host b"
        )
        assert lines[-1] == f"1 of 2 hosts can be used for {MODEL}"
        document = desk.scorer("hosts", "check", "--host", "a", "--json").json
        assert document["exit_code"] == 0
        assert document["hosts"][0]["models"][0]["digest"] == model().hex_digest
        assert "did you mean" in desk.scorer("hosts", "check", "--host", "aa", code=2).err
        desk.write("hosts.toml", "[[host]]\n")
        assert "unknown key" in desk.scorer("hosts", "check", code=2).err


def test_in_a_narrow_terminal_a_host_is_a_few_lines_and_none_is_wider(desk: Desk) -> None:
    with serving(desk, a=Spec(), b=Spec(models=())):
        report = checked(desk)
    for width in (60, 80, 120, 200):
        text = check_text(report, width)
        assert max(len(line) for line in text.splitlines()) <= width
        assert f"1 of 2 hosts can be used for {MODEL}" in text
        assert "lacks the model" in " ".join(text.split())


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_hosts_of_which_there_is_nothing_to_say_fit_any_terminal(desk: Desk, width: int) -> None:
    with serving(desk, **{"a-host-with-a-long-name": Spec(), "b": Spec()}):
        lines = check_text(checked(desk), width).splitlines()
    assert max(len(line) for line in lines) <= width
    assert "all 2 hosts can be used" in " ".join(" ".join(lines).split())


# -- pull -----------------------------------------------------------------------------------------------------------


class Steps:
    """Remembers what was told."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def __call__(self, step: Step) -> None:
        self.steps.append(step)

    def last(self, host: str) -> Step:
        return [step for step in self.steps if step.host == host][-1]


def pulled(desk: Desk, *models: str, names: Sequence[str] = (), told: Steps | None = None) -> Pulled:
    return anyio.run(lambda: pull(file_of(desk), models, names, told or Steps(), outside(desk)))


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stalls are noticed soon and the next try comes at once."""
    monkeypatch.setattr(pulling, "STALL_S", 0.3)
    monkeypatch.setattr(pulling, "PAUSE_S", 0.0)


def test_a_model_is_fetched_everywhere_and_compared_afterwards(desk: Desk) -> None:
    told = Steps()
    with serving(desk, a=Spec(pullable=(LARGE,)), b=Spec(pullable=(LARGE,))):
        ended = pulled(desk, NEW, told=told)
        assert ended.all_usable
        assert ended.report.models == (NEW,)
        assert [host.state for host in ended.report.hosts] == ["ready", "ready"]
    assert told.last("a") == Step("a", NEW, "is there", "done", LARGE.size_bytes, LARGE.size_bytes)
    sizes = [step.completed_bytes for step in told.steps if step.host == "a" and step.completed_bytes is not None]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) > 10


def test_without_a_name_the_models_of_the_file_are_fetched_each_hosts_own(desk: Desk) -> None:
    with serving(desk, a=Spec(models=(), pullable=(model(),)), b=Spec(models=(), pullable=(model("own:1b"),))):
        desk.write("hosts.toml", (desk.folder / "hosts.toml").read_text() + 'model = "own:1b"\n')
        told = Steps()
        pulled(desk, told=told)
        assert (told.last("a").model, told.last("b").model) == (MODEL, "own:1b")


def test_digests_that_differ_after_a_pull_are_found_also_on_hosts_that_did_not_pull(desk: Desk) -> None:
    other = replace(LARGE, digest=OTHER_DIGEST)
    with serving(desk, a=Spec(pullable=(LARGE,)), b=Spec(models=(other,)), c=Spec()):
        ended = pulled(desk, NEW, names=["a"])
        assert not ended.all_usable
        assert [host.name for host in ended.report.hosts] == ["a", "b"], "who neither pulled nor has it does not matter"
        assert {host.state for host in ended.report.hosts} == {"ready", "differs"}


def test_an_error_line_after_a_200_is_a_failure_of_that_host_alone(desk: Desk, hasty: None) -> None:
    full = "write /models/blobs: no space left on device"
    told = Steps()
    with serving(desk, full=Spec(pullable=(LARGE,), pull_script=(full,) * 9), fine=Spec(pullable=(LARGE,))) as doubles:
        ended = pulled(desk, NEW, told=told)
        assert ended.failed == {"full": f"{NEW}: {full}"}
        assert told.last("full").state == "failed"
        assert by_name(ended.report)["full"].problem == f"the pull failed: {NEW}: {full}"
        assert told.last("fine").state == "done"
        assert len([r for r in doubles["full"].log if r.path == "/api/pull"]) == 1, "no try can make room"


def test_a_model_the_registry_does_not_have_is_said_so(desk: Desk, hasty: None) -> None:
    with serving(desk, a=Spec()) as doubles:
        ended = pulled(desk, "nonsense:1b")
        assert "the registry has no nonsense:1b" in ended.failed["a"]
        assert len([r for r in doubles["a"].log if r.path == "/api/pull"]) == 1


def test_a_pull_that_stalls_or_breaks_goes_on_where_it_was(desk: Desk, hasty: None) -> None:
    script = ("stall", "drop", "max retries exceeded: EOF", "ok")
    told = Steps()
    with serving(desk, a=Spec(pullable=(LARGE,), pull_script=script)) as doubles:
        assert pulled(desk, NEW, told=told).all_usable
        assert len([r for r in doubles["a"].log if r.path == "/api/pull"]) == 4
    said = [step.text for step in told.steps if "going on" in step.text]
    assert said == [
        "no progress for 0 s; going on",
        "connection lost: the reply broke off before its end; going on",
        "max retries exceeded: EOF; going on",
    ]


def test_a_pull_that_always_breaks_off_says_in_one_line_what_happened_and_what_to_do(desk: Desk, hasty: None) -> None:
    told = Steps()
    with serving(desk, a=Spec(pullable=(LARGE,), pull_script=("drop",) * 99)):
        ended = pulled(desk, NEW, told=told)
    line = "connection lost: the reply broke off before its end; the same command goes on from there"
    assert ended.failed["a"].startswith(f"{NEW}: {line}")
    assert told.last("a").text.startswith(line)


def test_a_pull_that_gets_no_further_is_given_up(desk: Desk, hasty: None) -> None:
    with serving(desk, a=Spec(pullable=(LARGE,), pull_script=("registry is down",) * 99)) as doubles:
        ended = pulled(desk, NEW)
        assert ended.failed == {"a": f"{NEW}: registry is down"}
        tries = len([r for r in doubles["a"].log if r.path == "/api/pull"])
        # half of the file at first, and then a twentieth at each try until its last piece comes again and again
        assert tries > pulling.TRIES
        assert tries < 20


def test_who_cannot_pull_is_named(desk: Desk) -> None:
    with serving(desk, a=Spec(pullable=(LARGE,))):
        text = (desk.folder / "hosts.toml").read_text()
        desk.write("hosts.toml", f'{text}\n[[hosts]]\nname = "vllm"\nurl = "http://127.0.0.1:2"\napi = "openai"\n')
        told = Steps()
        ended = pulled(desk, NEW, told=told)
        assert ended.all_usable
        assert "was started with" in ended.skipped["vllm"]
        assert told.last("vllm").state == "skipped"
        with pytest.raises(UsageError, match="no host here can pull"):
            pulled(desk, NEW, names=["vllm"])
        desk.hosts({"a": "http://127.0.0.1:2"}, model=None)
        with pytest.raises(UsageError, match="which model"):
            pulled(desk)


def test_ctrl_c_ends_a_pull_and_the_next_one_goes_on_from_there(desk: Desk) -> None:
    with serving(desk, a=Spec(pullable=(LARGE,), pull_s=10.0)) as doubles:
        with desk.started("hosts", "pull", NEW) as process:
            wait_for(process, doubles["a"], lambda d: any(r.path == "/api/pull" for r in d.log))
            assert process.stderr is not None
            while "%" not in process.stderr.readline():
                pass
            process.send_signal(signal.SIGINT)
            assert "the same command goes on" in finished(process, 130).err
        doubles["a"].wait_until(lambda d: [r for r in d.log if r.path == "/api/pull"][-1].outcome == "cancelled")


def test_pull_on_the_command_line(desk: Desk) -> None:
    with serving(desk, a=Spec(pullable=(LARGE,)), b=Spec()):
        said = desk.scorer("hosts", "pull", NEW, "--host", "a")
        assert f"a: done  {NEW}" in said.err
        assert said.out.splitlines()[-1] == f"the host can be used for {NEW}"
        events = desk.scorer("hosts", "pull", NEW, "--json", code=3).events
        assert {event["event"] for event in events} == {"step", "summary"}
        assert events[-1]["exit_code"] == 3
        assert list(events[-1]["failed"]) == ["b"]
        assert [host["usable"] for host in events[-1]["hosts"]] == [True, False]


def test_a_pull_goes_on_when_nobody_reads_its_steps_any_more(desk: Desk) -> None:
    with serving(desk, a=Spec(pullable=(LARGE,), pull_s=3.0)) as doubles:
        with desk.started("hosts", "pull", NEW, "--json") as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.stdout.close()
            process.wait(RUN_TIMEOUT_S)
        assert [r.outcome for r in doubles["a"].log if r.path == "/api/pull"] == ["answered"]
        assert desk.scorer("hosts", "check", "--model", NEW).code == 0


def test_all_models_that_could_not_be_pulled_are_named(desk: Desk) -> None:
    with serving(desk, a=Spec()):
        ended = pulled(desk, "x:1b", "y:1b")
        assert [one in ended.failed["a"] for one in ("x:1b: ", "y:1b: ")] == [True, True]


def test_a_host_whose_own_model_differs_is_told_to_fetch_that(desk: Desk) -> None:
    own = replace(model(NEW), digest=OTHER_DIGEST)
    with serving(desk, a=Spec(), b=Spec(), c=Spec(models=(own,))) as doubles:
        text = (
            (desk.folder / "hosts.toml")
            .read_text()
            .replace(f'"{doubles["c"].url}"', f'"{doubles["c"].url}"\nmodel = "{NEW}"')
        )
        desk.write("hosts.toml", text)
        odd = next(host for host in checked(desk).hosts if host.name == "c")
        assert odd.state == "differs"
        assert f"scorer hosts pull {NEW} " in odd.advice


# -- warm -----------------------------------------------------------------------------------------------------------


def found(desk: Desk, *names: str, num_ctx: int | None = 2048, timeout_s: float = 30.0) -> dict[str, Warmth]:
    wish = Wish(None, templates.load(str(desk.folder / "judge.toml")), num_ctx, timeout_s)
    hosts = anyio.run(lambda: warm(file_of(desk), wish, names, Steps(), outside(desk)))
    return {one.host: one for one in hosts}


def test_after_warming_the_first_row_of_a_run_loads_nothing(desk: Desk) -> None:
    desk.dataset(texts(3))
    with serving(desk, a=Spec()) as doubles:
        said = desk.scorer("hosts", "warm", "--prompt", "judge.toml")
        assert "loaded in" in said.err
        assert said.out.splitlines()[1].split()[:3] == ["a", MODEL, "1024"]
        desk.judge()
        assert [record.load for record in chats(doubles["a"])].count("load") == 1
        assert "reload" not in [record.load for record in chats(doubles["a"])]


def test_where_the_model_sits_and_how_fast_it_writes_is_told_and_flagged(desk: Desk) -> None:
    slow = Spec(gpu_share=0.0, decode_tps=100.0)
    with serving(desk, fast=Spec(), spilled=Spec(gpu_share=0.5), slow=slow, bare=Spec(models=())):
        hosts = found(desk)
        assert [name for name, one in hosts.items() if one.usable] == ["fast", "spilled", "slow"]
        assert hosts["fast"].notes == ()
        assert hosts["fast"].num_ctx == hosts["fast"].context == 2048
        assert hosts["spilled"].notes[0].startswith("50 % on the GPU")
        assert hosts["slow"].notes[0].startswith("on the CPU alone")
        assert hosts["slow"].notes[1].startswith("100 tok/s, where the middle host has ")
        assert f"scorer hosts pull {MODEL}" in hosts["bare"].advice
        text = warm_text(tuple(hosts.values()), 80)
        assert max(len(line) for line in text.splitlines()) <= 80


def test_a_load_that_fails_or_takes_too_long_is_a_problem_of_that_host(desk: Desk) -> None:
    big = "model requires more system memory (9.1 GiB) than is available (5.2 GiB)"
    with serving(desk, big=Spec(load_error=big), late=Spec(load_s=60.0), fine=Spec()):
        hosts = found(desk, timeout_s=1.5)
        assert "requires more system memory" in hosts["big"].problem
        assert hosts["late"].problem == "not loaded within 2 s"
        assert hosts["late"].advice == "a longer --timeout"
        assert hosts["fine"].usable


def test_a_server_that_loads_and_never_answers_is_found_out(desk: Desk) -> None:
    with serving(desk, stuck=Spec(faults={"hang": 1.0})):
        desk.write("hosts.toml", (desk.folder / "hosts.toml").read_text() + "min_deadline_s = 0.5\n")
        assert "gave no answer within" in found(desk)["stuck"].problem


def test_a_host_with_another_digest_is_not_warmed_unless_that_is_allowed(desk: Desk) -> None:
    odd = Spec(models=(model(digest=OTHER_DIGEST),))
    with serving(desk, a=Spec(), b=Spec(), odd=odd) as doubles:
        said = desk.scorer("hosts", "warm", "--prompt", "judge.toml", "--json", code=3)
        hosts = {host["host"]: host for host in said.events[-1]["hosts"]}
        assert {name: host["usable"] for name, host in hosts.items()} == {"a": True, "b": True, "odd": False}
        for words in (OTHER_DIGEST[:12], "2 others", "not be comparable"):
            assert words in hosts["odd"]["problem"]
        assert f"scorer hosts pull {MODEL}" in hosts["odd"]["advice"]
        assert "--allow-mixed-models" in hosts["odd"]["advice"]
        assert [name for name, double in doubles.items() if chats(double)] == ["a", "b"]

        assert desk.scorer("hosts", "check", code=3).out.count("differs") == 1
        desk.scorer("hosts", "check", "--allow-mixed-models")
        desk.scorer("hosts", "warm", "--prompt", "judge.toml", "--allow-mixed-models")
        assert chats(doubles["odd"])


# -- add and list ---------------------------------------------------------------------------------------------------


def test_a_host_is_added_and_tried_and_may_be_off_now(desk: Desk) -> None:
    with OllamaDouble(Spec()) as double:
        said = desk.scorer("hosts", "add", "here", double.url)
        assert said.err == f"hosts.toml: added here ({double.url}); 1 host in all\n"
        assert "the host can be used for" in said.out
        off = refused_url()
        said = desk.scorer("hosts", "add", "off", off, "--slots", "2", "--model", "own:1b")
        assert "start it: ollama serve" in said.out
        host = load_hosts(desk.folder / "hosts.toml").hosts[1]
        assert (host.url, host.slots, host.model) == (off, 2, "own:1b")
        assert "already" in desk.scorer("hosts", "add", "off", "http://127.0.0.1:3", code=2).err
        assert "already" in desk.scorer("hosts", "add", "again", double.url, code=2).err
        rows = desk.scorer("hosts", "list").out.splitlines()
        assert [row.split()[0] for row in rows] == ["host", "here", "off"]
        assert desk.scorer("hosts", "list", "--json").json["hosts"][1]["slots"] == 2


# -- how steps are shown ----------------------------------------------------------------------------------------------


def test_plain_steps_are_a_line_for_news_and_now_and_then_one_for_what_goes_on() -> None:
    now = [0.0]
    stream = io.StringIO()
    with PlainSteps(stream, lambda: now[0]) as view:
        for second in range(100):
            now[0] = float(second)
            view.step(Step("a", "m:1b", "pulling", "working", second, 100))
        view.step(Step("a", "m:1b", "is there\x1b[2J", "done", 100, 100))
    lines = [line.split("  ", 1)[1] for line in stream.getvalue().splitlines()]
    assert len(lines) == 5
    assert lines[1] == "a: m:1b  30 % of 0.0 GB  pulling"
    assert lines[-1] == "a: done  m:1b  100 % of 0.0 GB  is there [2J"


def test_json_steps_are_one_object_a_line() -> None:
    stream = io.StringIO()
    with JsonSteps(stream, lambda: 0.0) as view:
        view.step(Step("a", "m:1b", "pulling", "working", 1, 2))
        view.step(Step("a", "m:1b", "pulling", "working", 2, 2))
        view.step(Step("a", "m:1b", "is there", "done"))
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (first["event"], first["completed_bytes"], second["state"]) == ("step", 1, "done")
