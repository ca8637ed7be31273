"""`scorer run` in its own process against doubles of Ollama on real sockets: what is stored, and what never is."""

import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

import pytest
from doubles.ollama import Event, OllamaDouble, Spec
from invariants import check_invariants
from running import JUDGE, MODEL, OTHER_DIGEST, TEMPLATE, Desk, chats, finished, model, refused_url, texts, wait_for

LONG = "far too many words " * 400


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A folder with the small template."""
    made = Desk(tmp_path)
    made.write("judge.toml", TEMPLATE)
    return made


@contextmanager
def serving(**specs: Spec) -> Iterator[dict[str, OllamaDouble]]:
    """Run a double for each name."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(OllamaDouble(spec)) for name, spec in specs.items()}


def urls(doubles: Mapping[str, OllamaDouble]) -> dict[str, str]:
    return {name: double.url for name, double in doubles.items()}


def always(fault: str) -> Callable[[int, Mapping[str, Any]], str]:
    return lambda _number, _body: fault


def seconds_a_row(overhead_s: float, **more: Any) -> Spec:  # noqa: ANN401 - fields of Spec
    return Spec(overhead_s=overhead_s, prefix_cache=False, **more)


def rows_by_host(results: list[dict[str, Any]]) -> Counter[str]:
    return Counter(row["host"] for row in results)


# -- shares, and what requests look like ------------------------------------------------------------------------------


def test_three_hosts_share_the_rows_by_speed_and_each_row_is_scored_once(desk: Desk) -> None:
    # so slow that what a crowded machine adds to a row is little
    rows = texts(900)
    desk.dataset(rows)
    with serving(fast=seconds_a_row(0.05), middle=seconds_a_row(0.1), slow=seconds_a_row(0.2)) as doubles:
        desk.hosts(urls(doubles))
        desk.judge()
        requests = sum(len(double.log) for double in doubles.values())
        desk.judge()
        assert sum(len(double.log) for double in doubles.values()) == requests, "a finished job contacted a host"

        share = rows_by_host(desk.check(rows, doubles))
    for host, expected in (("fast", 4 / 7), ("middle", 2 / 7), ("slow", 1 / 7)):
        assert share[host] / len(rows) == pytest.approx(expected, rel=0.15)
    assert requests <= 1.02 * len(rows), f"{requests} requests for {len(rows)} rows"
    every = [record.body for double in doubles.values() for record in chats(double)]
    assert {body["truncate"] for body in every} == {False}
    assert {body["think"] for body in every} == {False}
    assert {body["stream"] for body in every} == {False}
    assert len({body["keep_alive"] for body in every}) == 1
    assert {body["options"]["num_ctx"] for body in every} == {1024}
    asked = [body for body in every if body["messages"]]
    assert {tuple(body["format"]["properties"]) for body in asked} == {("score", "reason")}
    assert len(asked) >= len(rows)
    assert all(double.log[-1].load is None for double in doubles.values()), "a model was loaded anew"


def test_shares_follow_a_host_that_becomes_ten_times_as_fast_midway(desk: Desk) -> None:
    rows = texts(300)
    desk.dataset(rows)
    with serving(a=seconds_a_row(0.24), b=seconds_a_row(0.24), c=seconds_a_row(0.24)) as doubles:
        desk.hosts(urls(doubles))
        with desk.started(*JUDGE) as process:
            wait_for(process, doubles["b"], lambda double: len(double.generations) >= 10)
            before = {name: len(double.generations) for name, double in doubles.items()}
            doubles["b"].set_speed(10)
            finished(process, 0)
        share = rows_by_host(desk.check(rows, doubles))
    after = {name: share[name] - before[name] for name in share}
    assert max(before.values()) - min(before.values()) <= 3, before
    assert after["b"] / sum(after.values()) == pytest.approx(10 / 12, rel=0.15)


# -- faults -----------------------------------------------------------------------------------------------------------


def test_bad_hosts_cost_no_row_and_little_work(desk: Desk) -> None:
    rows = texts(1000)
    desk.dataset(rows)
    faults = ("hang", "drop", "server_error", "garbage", "done_false")

    def every_seventh(number: int, _body: Mapping[str, Any]) -> str | None:
        return None if (number + 1) % 7 else faults[number // 7 % len(faults)]

    with serving(
        failing=Spec(fault_for=always("fast_500")),
        flapping=seconds_a_row(0.03),
        messy=seconds_a_row(0.03, fault_for=every_seventh),
        good=seconds_a_row(0.06),
    ) as doubles:
        desk.hosts(urls(doubles), min_deadline_s=2)
        flapping = doubles["flapping"]
        with desk.started(*JUDGE) as process:
            for seen in (20, 40):
                wait_for(process, flapping, lambda double, least=seen: _answered(double) >= least)
                flapping.go_down()
                flapping.come_back()
            wait_for(process, flapping, lambda double: _answered(double) >= 60)
            wait_for(process, doubles["messy"], lambda double: _faults(double) >= set(faults))
            for double in doubles.values():
                double.set_speed(10)
            finished(process, 0)
        results = desk.check(rows, doubles)
    assert {row["status"] for row in results} == {"done"}
    assert 0 < len(doubles["failing"].generations) < 100


def _faults(double: OllamaDouble) -> set[str | None]:
    return {record.fault for record in double.generations}


def _answered(double: OllamaDouble) -> int:
    return sum(record.outcome == "answered" for record in double.generations)


@pytest.mark.parametrize("fault", ["wrong_model", "thinking_only", "odd_reason"])
def test_what_may_not_be_believed_is_never_stored(desk: Desk, fault: str) -> None:
    rows = texts(12)
    desk.dataset(rows)
    with serving(liar=Spec(fault_for=always(fault)), honest=seconds_a_row(0.05)) as doubles:
        desk.hosts(urls(doubles))
        desk.judge()
        results = desk.check(rows, doubles)
        assert doubles["liar"].generations, "the liar was never asked"
    assert rows_by_host(results) == {"honest": 12}


# -- rows that do not fit ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["0.24.0", "0.34.0"])
def test_rows_longer_than_the_context_are_dead(desk: Desk, version: str) -> None:
    rows = [*texts(5), LONG, *texts(3)]
    desk.dataset(rows)
    with serving(a=Spec(version=version), b=Spec(version=version)) as doubles:
        desk.hosts(urls(doubles))
        said = desk.judge(code=3)
        results = desk.check(rows, doubles)
    dead = [row for row in results if row["status"] == "dead"]
    assert [row["row"] for row in dead] == [5]
    assert dead[0]["error"].startswith("context_overflow: ")
    assert "silently" not in dead[0]["error"], "the server was not told to refuse it"
    assert "scorer retry judged" in said.err


def test_prompts_that_a_server_begins_to_cut_to_half_get_no_score(desk: Desk) -> None:
    rows = [f"{i:04} " + "word " * 770 for i in range(23)]
    desk.dataset(rows)
    with serving(only=Spec(fault_for=lambda number, _body: "truncate_half" if number >= 20 else None)) as doubles:
        desk.hosts(urls(doubles))
        desk.judge(code=3)
        results = desk.check(rows, doubles)
        cut = {record.user_text for record in doubles["only"].generations if record.truncated}
    dead = {rows[row["row"]]: row["error"] for row in results if row["status"] == "dead"}
    assert set(dead) == cut
    assert len(cut) == 3
    assert all("cut the prompt silently: it read 514 tokens" in error for error in dead.values()), dead


def test_prompts_that_a_downgraded_server_cuts_to_its_context_get_no_score(desk: Desk) -> None:
    rows = [*texts(20), LONG, LONG + "again"]
    desk.dataset(rows)
    downgrade = Event(action="change_version", at_request=0, value="0.12.5")
    with serving(only=Spec(version="0.24.0", events=(downgrade,))) as doubles:
        desk.hosts(urls(doubles))
        desk.judge(code=3)
        results = desk.check(rows, doubles)
        cut = [record for record in doubles["only"].generations if record.truncated]
    assert [(record.prompt_tokens, record.outcome) for record in cut] == [(1024, "answered")] * 2
    assert [row["row"] for row in results if row["status"] == "dead"] == [20, 21]


@pytest.mark.parametrize("version", ["0.30.0", "0.30.10"])
def test_prompts_that_a_server_cuts_to_a_token_less_than_its_context_get_no_score(desk: Desk, version: str) -> None:
    rows = [*texts(12), LONG, LONG + "again", *texts(3)]
    desk.dataset(rows)

    def cuts_what_is_long(_number: int, body: Mapping[str, Any]) -> str | None:
        return "truncate_full" if body["messages"][-1]["content"].startswith(LONG) else None

    with serving(only=Spec(version=version, fault_for=cuts_what_is_long)) as doubles:
        desk.hosts(urls(doubles))
        desk.judge(code=3)
        results = desk.check(rows, doubles)
        cut = [record for record in doubles["only"].generations if record.truncated]
    # what came back looked as sound as can be: but for the count, a score would have been stored
    assert {record.user_text for record in cut} == {LONG, LONG + "again"}
    assert {(record.outcome, record.prompt_tokens, "score" in record.answer) for record in cut} == {
        ("answered", 1023, True)
    }
    dead = {row["row"]: row for row in results if row["status"] == "dead"}
    assert set(dead) == {12, 13}
    for row in dead.values():
        assert row["score"] is None
        assert row["error"].startswith("context_overflow: the server cut the prompt silently: it read 1023 tokens")


def test_a_row_too_long_for_one_host_goes_to_the_one_with_room(desk: Desk) -> None:
    rows = [*texts(10), "some more words " * 150, *texts(3)]
    desk.dataset(rows)
    with serving(small=Spec(), large=seconds_a_row(0.05)) as doubles:
        text = desk.hosts(urls(doubles)).read_text()
        desk.write("hosts.toml", text.replace('name = "small"', 'name = "small"\nmax_context = 512'))
        desk.judge()
        results = desk.check(rows, doubles)
    assert results[10]["host"] == "large"
    assert {record.body["options"]["num_ctx"] for record in chats(doubles["small"])} == {512}


# -- which hosts take part --------------------------------------------------------------------------------------------


def test_a_server_that_would_truncate_is_left_out_with_one_line(desk: Desk) -> None:
    rows = texts(5)
    desk.dataset(rows)
    with serving(old=Spec(version="0.12.5"), new=Spec()) as doubles:
        desk.hosts(urls(doubles))
        said = desk.judge()
        assert rows_by_host(desk.check(rows, doubles)) == {"new": 5}
        assert chats(doubles["old"]) == []
    assert [line for line in said.messages if "old" in line and "0.12.6" in line], said.err
    assert sum("0.12.5" in line for line in said.messages) == 1, said.err


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (Spec(version="0.12.5"), "0.12.6 or newer"),
        (Spec(models=(model("mistral:7b"),)), "lacks the model llama3.2:3b (it has mistral:7b)"),
        (Spec(models=(model(remote_host="https://ollama.com:443", remote_model="x"),)), "cloud"),
        (Spec(token="secret-token"), "401"),
    ],
    ids=["too old", "no model", "cloud model", "refuses our token"],
)
def test_a_run_without_any_host_that_may_be_used_is_refused(desk: Desk, spec: Spec, expected: str) -> None:
    desk.dataset(texts(5))
    with serving(only=spec) as doubles:
        desk.hosts(urls(doubles))
        said = desk.judge(code=2)
        assert doubles["only"].generations == []
    assert len(said.messages) <= 3, said.err
    assert "only" in said.err
    assert expected in said.err
    assert not desk.job.exists(), "a job was made though nothing could begin"


def test_an_answer_from_the_cloud_is_refused_and_nothing_is_stored(desk: Desk) -> None:
    desk.dataset(texts(5))
    with serving(only=Spec(fault_for=always("remote"))) as doubles:
        desk.hosts(urls(doubles))
        said = desk.judge("--patience", "0", code=2)
        desk.check(texts(5), doubles, expected=0)
    assert "ollama.com" in said.err
    assert "allow_cloud" in said.err


def test_a_host_without_the_model_is_left_out(desk: Desk) -> None:
    rows = texts(5)
    desk.dataset(rows)
    with serving(without=Spec(models=(model("mistral:7b"),)), has=Spec()) as doubles:
        desk.hosts(urls(doubles))
        said = desk.judge()
        assert rows_by_host(desk.check(rows, doubles)) == {"has": 5}
    assert "without is left out: lacks the model llama3.2:3b (it has mistral:7b)" in said.err


def test_unequal_digests_are_refused_unless_they_are_allowed(desk: Desk) -> None:
    rows = texts(30)
    desk.dataset(rows)
    with serving(one=seconds_a_row(0.03), two=seconds_a_row(0.03, models=(model(digest=OTHER_DIGEST),))) as doubles:
        desk.hosts(urls(doubles))
        said = desk.judge(code=2)
        assert all(not chats(double) for double in doubles.values())
        assert f"two: {OTHER_DIGEST[:12]}" in said.err
        assert "one: " in said.err
        assert "--allow-mixed-models" in said.err

        desk.judge("--allow-mixed-models")
        results = desk.check(rows, doubles)
    digests = {row["host"]: row["model_digest"] for row in results}
    assert digests == {"one": model().hex_digest, "two": OTHER_DIGEST}


def test_a_job_whose_model_is_nowhere_any_more_goes_on_only_when_that_is_allowed(desk: Desk) -> None:
    rows = [*texts(3), "far too many words " * 400]
    desk.dataset(rows)
    with serving(only=seconds_a_row(0.0)) as doubles:
        desk.hosts(urls(doubles))
        desk.judge(code=3)
    desk.scorer("retry", "judged", "--num-ctx", "4096")
    with serving(other=seconds_a_row(0.0, models=(model(digest=OTHER_DIGEST),))) as doubles:
        desk.hosts(urls(doubles))
        said = desk.scorer("resume", code=2)
        assert f"the job's earlier rows: {model().hex_digest[:12]}" in said.err
        assert f"other: {OTHER_DIGEST[:12]}" in said.err
        assert "--allow-mixed-models" in said.err
        desk.scorer("resume", "--allow-mixed-models")
    results = check_invariants(desk.job, expected=4)
    assert [row["model_digest"] == OTHER_DIGEST for row in results] == [False, False, False, True]


def test_going_on_with_a_job_is_as_patient_as_told(desk: Desk) -> None:
    desk.dataset([*texts(3), "far too many words " * 400])
    with serving(only=seconds_a_row(0.0)) as doubles:
        desk.hosts(urls(doubles))
        desk.judge(code=3)
    desk.scorer("retry", "judged")
    desk.hosts({"only": refused_url()})
    said = desk.scorer("resume", "--patience", "0", code=4)
    assert "no host could take a row for 0 s" in said.err


def test_no_host_at_all_is_tried_three_times(desk: Desk) -> None:
    desk.dataset(texts(5))
    desk.hosts({"off": refused_url(), "away": refused_url()})
    said = desk.judge(code=2)
    assert "3 tries" in said.err
    for host in ("off", "away"):
        assert [line for line in said.messages if host in line and "refused" in line.lower()], said.err
    assert not desk.job.exists()


def test_a_host_that_is_switched_on_later_joins(desk: Desk) -> None:
    rows = texts(200)
    desk.dataset(rows)
    with serving(early=seconds_a_row(0.3), late=Spec()) as doubles:
        doubles["late"].go_down()
        desk.hosts(urls(doubles))
        with desk.started(*JUDGE) as process:
            wait_for(process, doubles["early"], lambda double: len(double.generations) >= 2)
            doubles["late"].come_back()
            said = finished(process, 0)
        share = rows_by_host(desk.check(rows, doubles))
    assert share["late"] > share["early"]
    assert "late is up" in said.err


def test_no_usable_host_for_longer_than_the_patience_ends_the_run_resumable(desk: Desk) -> None:
    rows = texts(60)
    desk.dataset(rows)
    with serving(only=seconds_a_row(0.05)) as doubles:
        desk.hosts(urls(doubles))
        with desk.started(*JUDGE, "--patience", "1") as process:
            wait_for(process, doubles["only"], lambda double: _answered(double) >= 10)
            doubles["only"].go_down()
            said = finished(process, 4)
        assert "scorer resume" in said.err
        doubles["only"].come_back()
        desk.scorer("resume")
        desk.check(rows, doubles)


# -- stopping ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_commits_what_it_has_and_says_how_to_go_on(desk: Desk, number: signal.Signals) -> None:
    rows = texts(60)
    desk.dataset(rows)
    with serving(a=seconds_a_row(0.03)) as doubles:
        desk.hosts(urls(doubles))
        with desk.started(*JUDGE) as process:
            wait_for(process, doubles["a"], lambda double: _answered(double) >= 20)
            process.send_signal(number)
            said = finished(process, 130)
        assert "go on with: scorer resume judged" in said.err
        answered = _answered(doubles["a"])
        status = desk.scorer("status", "--json").json
        assert status["state"] == "interrupted"
        assert status["done"] == answered, "what was answered is not committed"

        doubles["a"].set_speed(10)
        desk.scorer("resume")
        desk.check(rows, doubles)
        assert len(doubles["a"].generations) == 60, "a row was asked twice"


def test_the_second_interrupt_stops_at_once(desk: Desk) -> None:
    desk.dataset(texts(5))
    # within the few seconds that the first interrupt allows
    with serving(a=seconds_a_row(4)) as doubles:
        desk.hosts(urls(doubles))
        with desk.started(*JUDGE) as process:
            wait_for(process, doubles["a"], lambda double: len(double.generations) == 1)
            process.send_signal(signal.SIGINT)
            line = next(text for text in iter(process.stderr.readline, "") if "stopping" in text)  # type: ignore[union-attr]
            assert "once more" in line
            process.send_signal(signal.SIGINT)
            finished(process, 130)
        desk.check(texts(5), doubles, expected=0)
        assert not _answered(doubles["a"]), "what was in flight was waited for"


def test_a_closed_terminal_does_not_stop_a_run(desk: Desk) -> None:
    rows = texts(60)
    desk.dataset(rows)
    with serving(a=seconds_a_row(0.02)) as doubles:
        desk.hosts(urls(doubles))
        with desk.started(*JUDGE) as process:
            wait_for(process, doubles["a"], lambda double: _answered(double) >= 10)
            process.send_signal(signal.SIGHUP)
            finished(process, 0)
        desk.check(rows, doubles)


@contextmanager
def beginning(desk: Desk, *arguments: str) -> Iterator[tuple["subprocess.Popen[str]", TextIO]]:
    """A run that waits for the rest of its hosts file, long before its first row."""
    pipe = desk.folder / "pipe.toml"
    os.mkfifo(pipe)
    with desk.started(*JUDGE, "--hosts", pipe.name, *arguments) as process, pipe.open("w") as text:
        pipe.unlink()
        # more than a pipe holds: when it is written, some of it has been read
        text.write("#" * 70_000 + "\n")
        text.flush()
        yield process, text


def test_a_terminal_closed_before_the_first_row_or_after_the_last_does_not_stop_a_run(desk: Desk) -> None:
    rows = texts(10)
    desk.dataset(rows)
    # the run is told again when all is done; the command itself is told as any other is, and ends
    told = "kill -HUP $PPID; kill -HUP $$; touch deaf"
    with serving(a=Spec()) as doubles:
        hosts = desk.hosts(urls(doubles))
        with beginning(desk, "--on-finish", told) as (process, text):
            process.send_signal(signal.SIGHUP)
            shutil.copy(hosts, desk.folder / "pipe.toml")
            text.write(hosts.read_text())
            text.close()
            said = finished(process, 0)
        desk.check(rows, doubles)
    assert "the --on-finish command was ended by signal 1" in said.err
    assert not (desk.folder / "deaf").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_interrupted_before_its_first_row_says_how_to_go_on(desk: Desk, number: signal.Signals) -> None:
    desk.dataset(texts(1))
    with beginning(desk) as (process, text):
        process.send_signal(number)
        # between two reads Python does not look for signals
        text.close()
        said = finished(process, 130)
    assert said.messages == ["scorer: interrupted; the same command goes on from here"]


def test_two_runs_of_one_job_do_not_go_together(desk: Desk) -> None:
    rows = texts(100)
    desk.dataset(rows)
    with serving(a=seconds_a_row(0.5)) as doubles:
        desk.hosts(urls(doubles))
        with desk.started(*JUDGE) as process:
            wait_for(process, doubles["a"], lambda double: len(double.generations) >= 1)
            with ExitStack() as stack:
                others = [JUDGE, ("resume", "judged"), ("verify", "judged"), ("retry", "judged")]
                for other in [stack.enter_context(desk.started(*arguments)) for arguments in others]:
                    assert f"process {process.pid}" in finished(other, 2).err
            assert desk.scorer("status", "--json").json["state"] == "running"
            doubles["a"].set_speed(100)
            finished(process, 0)
        desk.check(rows, doubles)


# -- the hosts file during a run --------------------------------------------------------------------------------------


def test_edits_of_the_hosts_file_take_effect_during_the_run(desk: Desk) -> None:
    rows = texts(300)
    desk.dataset(rows)
    with serving(first=seconds_a_row(0.2), second=seconds_a_row(0.05)) as doubles:
        both = urls(doubles)
        desk.hosts({"first": both["first"]})
        with desk.started(*JUDGE) as process:
            wait_for(process, doubles["first"], lambda double: len(double.generations) >= 1)
            desk.write("hosts.toml", "[[hosts]]\nname = 1\n")
            lines = iter(process.stderr.readline, "")  # type: ignore[union-attr]
            broken = next(line for line in lines if "last good version" in line)
            assert "hosts.toml" in broken
            desk.hosts(both)
            wait_for(process, doubles["second"], lambda double: _answered(double) >= 10)
            desk.hosts({"second": both["second"]})
            removed = next(line for line in lines if "out of the run" in line)
            assert "first" in removed
            asked = len(doubles["first"].generations)
            doubles["second"].set_speed(20)
            finished(process, 0)
        assert len(doubles["first"].generations) == asked
        desk.check(rows, doubles)


def test_the_default_model_is_the_one_that_every_host_has(desk: Desk) -> None:
    rows = texts(5)
    desk.dataset(rows)
    shared, other = model("phi4:14b"), model("mistral:7b")
    with serving(a=Spec(models=(shared, other)), b=Spec(models=(shared,))) as doubles:
        desk.hosts(urls(doubles), model=None)
        desk.scorer("run", "rows.parquet", "--prompt", "judge.toml")
        results = desk.check(rows, doubles, job=desk.folder / "runs" / "rows-judge-phi4-14b")
        assert {row["model"] for row in results} == {"phi4:14b"}
        asked = sum(len(double.log) for double in doubles.values())
        desk.scorer("run", "rows.parquet", "--prompt", "judge.toml")
        assert sum(len(double.log) for double in doubles.values()) == asked
        assert MODEL not in {row["model"] for row in results}
