"""`hours`, `enabled` and `max_context` of hosts.toml in real runs, and edits of them while a run goes on."""

import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from doubles.ollama import OllamaDouble, Spec
from running import JUDGE, TEMPLATE, Desk, chats, finished, texts, wait_for

PACED = Spec(overhead_s=0.05, prefix_cache=False)
LONG = "word " * 600  # fits 1024 tokens and not 256


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A folder with the small template."""
    made = Desk(tmp_path)
    made.write("judge.toml", TEMPLATE)
    return made


def write(desk: Desk, hosts: dict[str, OllamaDouble], **keys: str) -> None:
    """Write the hosts file in one step, as an editor does; `keys` are more lines for a host's table."""
    tables = [
        f'[[hosts]]\nname = "{name}"\nurl = "{double.url}"\nslots = 1\n{keys.get(name, "")}\n'
        for name, double in hosts.items()
    ]
    desk.write("new.toml", '[defaults]\nmodel = "llama3.2:3b"\n' + "\n".join(tables)).rename(desk.folder / "hosts.toml")


def hours(begin_h: int, end_h: int) -> str:
    """Hours of today, counted from now."""
    now = datetime.now(UTC)
    begin, end = (now + timedelta(hours=h) for h in (begin_h, end_h))
    return f'hours = "{begin:%H:%M}-{end:%H:%M}"'


def contexts(double: OllamaDouble) -> set[int]:
    return {record.body["options"]["num_ctx"] for record in chats(double)}


def scored(double: OllamaDouble) -> set[str | None]:
    return {record.user_text for record in double.generations if record.sound}


def test_rows_beyond_a_hosts_max_context_go_elsewhere_until_it_is_raised(desk: Desk) -> None:
    rows = [f"{i} {LONG}" if i % 4 == 0 else f"{i} short" for i in range(400)]
    desk.dataset(rows)
    with OllamaDouble(PACED) as small, OllamaDouble(PACED) as large:
        hosts = {"small": small, "large": large}
        write(desk, hosts, small="max_context = 256")
        with desk.started(*JUDGE) as process:
            wait_for(process, large, lambda d: len(d.generations) > 30)
            assert contexts(small) == {256}, "every request has the one context, so that nothing is loaded anew"
            assert contexts(large) == {1024}
            assert scored(small)
            assert not any(LONG in (text or "") for text in scored(small))
            write(desk, hosts)
            wait_for(process, small, lambda d: any(LONG in (text or "") for text in scored(d)))
            process.send_signal(signal.SIGINT)
            finished(process, 130)
        assert contexts(small) == {256, 1024}
        assert [r.load for r in chats(small) if r.load] == ["load", "reload"]


def test_a_row_that_only_an_absent_host_could_take_is_not_dead(desk: Desk) -> None:
    rows = ["one", LONG, "two"]
    desk.dataset(rows)
    with OllamaDouble(Spec()) as small, OllamaDouble(Spec()) as large:
        write(desk, {"small": small, "large": large}, small="max_context = 256")
        large.go_down()
        said = desk.judge("--patience", "2", code=4)
        assert "large" in said.err
        assert desk.scorer("status", "--json").json["pending"] == 1
        large.come_back()
        desk.judge()
        desk.check(rows, {"small": small, "large": large})


def test_a_host_that_is_switched_off_finishes_what_it_has_and_can_be_switched_on_again(desk: Desk) -> None:
    rows = texts(600)
    desk.dataset(rows)
    with OllamaDouble(Spec(overhead_s=0.5)) as slow, OllamaDouble(PACED) as other:
        hosts = {"slow": slow, "other": other}
        write(desk, hosts)
        with desk.started(*JUDGE) as process:
            wait_for(process, slow, lambda d: len(d.generations) > 2)
            write(desk, hosts, slow="enabled = false")
            seen = len(other.generations)
            wait_for(process, other, lambda d: len(d.generations) > seen + 60)
            assert {record.outcome for record in slow.generations} == {"answered"}, "what ran there was not cut off"
            asked = len(slow.log)
            wait_for(process, other, lambda d: len(d.generations) > seen + 90)
            assert len(slow.log) == asked, "a host that is switched off is not even asked how it is"
            write(desk, hosts)
            wait_for(process, slow, lambda d: len(d.log) > asked)
            process.send_signal(signal.SIGINT)
            finished(process, 130)


def test_a_run_whose_hosts_are_all_switched_off_waits_for_one_and_says_why_it_ends(desk: Desk) -> None:
    rows = texts(120)
    desk.dataset(rows)
    with OllamaDouble(PACED) as only:
        write(desk, {"only": only})
        with desk.started(*JUDGE, "--patience", "2") as process:
            wait_for(process, only, lambda d: len(d.generations) > 3)
            write(desk, {"only": only}, only="enabled = false")
            said = finished(process, 4)
        assert "only is out of the run" in said.err
        assert "enabled = false" in desk.judge(code=2).err
        write(desk, {"only": only})
        desk.judge()
        desk.check(rows, {"only": only})


def test_outside_its_hours_a_host_takes_nothing_and_an_edit_wakes_it(desk: Desk) -> None:
    rows = texts(120)
    desk.dataset(rows)
    with OllamaDouble(PACED) as night, OllamaDouble(PACED) as day:
        hosts = {"night": night, "day": day}
        write(desk, hosts, night=hours(2, 4), day=hours(-2, 4))
        with desk.started(*JUDGE) as process:
            wait_for(process, day, lambda d: len(d.generations) > 40)
            assert night.generations == []
            write(desk, hosts, night=hours(-1, 1), day=hours(2, 4))
            wait_for(process, night, lambda d: len(d.generations) > 20)
            resting = len(day.generations)
            wait_for(process, night, lambda d: len(d.generations) > 60)
            assert len(day.generations) == resting
            finished(process, 0)
        desk.check(rows, hosts)


def test_a_run_waits_for_the_hours_of_its_only_host_beyond_all_patience(desk: Desk) -> None:
    rows = texts(5)
    desk.dataset(rows)
    with OllamaDouble(Spec()) as only:
        write(desk, {"only": only}, only=hours(2, 4))
        with desk.started(*JUDGE, "--patience", "1") as process:
            # it is looked at, but no row is sent, and no model loaded: its owner may be at work
            assert process.stderr is not None
            assert any("only rests until" in line for line in process.stderr)
            process.send_signal(signal.SIGINT)
            finished(process, 130)
            assert chats(only) == []
        write(desk, {"only": only}, only=hours(-1, 1))
        desk.judge()
        desk.check(rows, {"only": only})
