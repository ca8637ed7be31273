"""Two runs at the same time on this machine: one host is used by one of them, until it ends or lets go."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

import pytest
from doubles.ollama import OllamaDouble, Spec
from running import MODEL, TEMPLATE, Desk, finished, texts, wait_for, wait_while

from scorer.locks import Holder, HostLocks

SLOW = Spec(overhead_s=0.1, prefix_cache=False)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A folder with the small template and a dataset."""
    made = Desk(tmp_path)
    made.write("judge.toml", TEMPLATE)
    made.dataset(texts(12))
    return made


def run(job: str, *more: str) -> tuple[str, ...]:
    return ("run", "rows.parquet", "--prompt", "judge.toml", "--job", job, *more)


@contextmanager
def running(desk: Desk, job: str, double: OllamaDouble, *more: str) -> Iterator[Popen[str]]:
    """Run a job until its first row is being scored, and end it in the end."""
    seen = len(double.generations)
    with desk.started(*run(job, *more)) as process:
        wait_for(process, double, lambda d: len(d.generations) > seen)
        yield process


def lines_until(process: Popen[str], word: str) -> list[str]:
    """Read what a command says until a word has come; its early end is a failure."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if word in line:
            return said
    raise AssertionError(f"it never said {word!r}:\n{''.join(said)}")


def test_a_second_job_is_told_who_has_the_only_host_and_ends_with_2(desk: Desk) -> None:
    desk.dataset(texts(500))
    with OllamaDouble(SLOW) as double:
        desk.hosts({"only": double.url})
        with running(desk, "first", double) as first:
            asked = len([r for r in double.log if r.path == "/api/tags"])
            said = desk.scorer(*run("second"), code=2)
            assert f"only is in use by job first (process {first.pid} on " in said.err
            assert "--share-hosts" in said.err
            assert len([r for r in double.log if r.path == "/api/tags"]) == asked, "the second run asked the host"
            assert not (desk.folder / "runs" / "second").exists()


def test_another_spelling_of_the_url_is_the_same_host(desk: Desk) -> None:
    desk.dataset(texts(500))
    with OllamaDouble(SLOW) as double:
        desk.hosts({"only": double.url})
        desk.hosts({"mine": double.url.replace("127.0.0.1", "LOCALHOST") + "/"}, "other.toml")
        with running(desk, "first", double):
            said = desk.scorer(*run("second", "--hosts", "other.toml"), code=2)
            assert "mine is in use by job first" in said.err


def test_with_share_hosts_both_use_it_and_both_finish(desk: Desk) -> None:
    with OllamaDouble(SLOW) as double:
        desk.hosts({"only": double.url})
        with running(desk, "first", double) as first:
            desk.scorer(*run("second", "--share-hosts"))
            finished(first, 0)
        assert len(double.answered) == 12
        assert all(len(answers) == 2 for answers in double.answered.values())


def test_the_second_run_goes_on_with_other_hosts_and_takes_the_first_ones_in_when_they_are_free(desk: Desk) -> None:
    desk.dataset(texts(400))
    with OllamaDouble(SLOW) as wanted, OllamaDouble(SLOW) as other:
        desk.hosts({"wanted": wanted.url}, "one.toml")
        desk.hosts({"wanted": wanted.url, "other": other.url})
        alone = running(desk, "first", wanted, "--hosts", "one.toml")
        with alone as first, desk.started(*run("second")) as second:
            said = lines_until(second, "in use")
            assert "wanted is in use by job first (process" in said[-1]
            wait_for(second, other, lambda d: len(d.generations) > 3)
            first.send_signal(signal.SIGKILL)  # even a killed run lets go
            first.wait()
            mine = len(wanted.generations)
            wait_for(second, wanted, lambda d: len(d.generations) > mine)
            second.send_signal(signal.SIGINT)
            finished(second, 130)


def test_a_host_taken_out_of_the_file_is_free_for_others_and_one_put_in_is_claimed(desk: Desk) -> None:
    desk.dataset(texts(500))
    with OllamaDouble(SLOW) as a, OllamaDouble(SLOW) as b:
        desk.hosts({"a": a.url}, "first.toml")
        desk.hosts({"a": a.url}, "second.toml")
        desk.hosts({"b": b.url}, "third.toml")
        with running(desk, "first", a, "--hosts", "first.toml") as first:
            desk.hosts({"b": b.url}, "first.toml")
            wait_for(first, b, lambda d: bool(d.generations))
            # what was in flight on it comes to its end first
            others = HostLocks(desk.folder / ".state" / "scorer" / "hosts", "elsewhere")
            wait_while(lambda: isinstance(others.take(a.url), Holder))
            others.close()
            desk.dataset(texts(3), "few.parquet")
            few = ("run", "few.parquet", "--prompt", "judge.toml", "--job")
            desk.scorer(*few, "second", "--hosts", "second.toml")
            assert "b is in use by job first" in desk.scorer(*few, "third", "--hosts", "third.toml", code=2).err


def test_a_resumed_job_whose_hosts_are_all_in_use_waits_for_them(desk: Desk) -> None:
    desk.dataset(texts(60))
    with OllamaDouble(SLOW) as double:
        desk.hosts({"only": double.url})
        with running(desk, "second", double) as second:
            second.send_signal(signal.SIGINT)
            finished(second, 130)
        with running(desk, "first", double) as first, desk.started("resume", "second") as waiting:
            assert "only is in use by job first" in lines_until(waiting, "in use")[-1]
            first.send_signal(signal.SIGINT)
            finished(first, 130)
            finished(waiting, 0)


def test_nobody_is_found_for_longer_than_the_patience_and_it_says_who_has_the_hosts(desk: Desk) -> None:
    with OllamaDouble(SLOW) as double:
        desk.hosts({"only": double.url})
        with running(desk, "second", double, "--patience", "1") as second:
            second.send_signal(signal.SIGINT)
            finished(second, 130)
        held = HostLocks(desk.folder / ".state" / "scorer" / "hosts", "elsewhere")
        held.take(double.url)
        said = desk.scorer(*run("second", "--patience", "1"), code=4)
        assert "only: in use by job elsewhere (process" in said.err
        held.close()
        desk.scorer(*run("second"))


def test_check_says_who_uses_a_host_and_finds_nothing_wrong_with_it(desk: Desk) -> None:
    desk.dataset(texts(500))
    with OllamaDouble(SLOW) as double:
        desk.hosts({"only": double.url})
        with running(desk, "first", double) as first:
            [host] = desk.scorer("hosts", "check", "--json").json["hosts"]
            assert (host["state"], host["usable"]) == ("in use", True)
            assert host["note"].startswith(f"in use by job first (process {first.pid}")
            assert f"job first (process {first.pid}" in desk.scorer("hosts", "list").out
            [warmth] = [json.loads(x) for x in desk.scorer("hosts", "warm", "--json", code=3).out.splitlines()][-1][
                "hosts"
            ]
            assert "in use by job first" in warmth["problem"]
        assert [r.body["options"]["num_ctx"] for r in double.generations][-1] == 1024, "the run's model was left alone"
        [host] = desk.scorer("hosts", "check", "--json").json["hosts"]
        assert host["state"] == "loaded"
        assert host["models"][0]["name"] == MODEL
