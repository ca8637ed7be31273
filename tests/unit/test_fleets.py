"""Fleet files: what they may say, and how mistakes are told."""

from pathlib import Path

import pytest

from scorer.core.simulated import SimEvent, SimHost
from scorer.errors import UsageError
from scorer.fleets import load_fleet, parse_fleet, with_host, without_host

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "fleets").glob("*.toml"))
HOST = 'name = "a"\nprefill_tps = 100\ndecode_tps = 10\n'


def parse(*hosts: str) -> tuple[SimHost, ...]:
    return parse_fleet("".join(f"[[hosts]]\n{host}" for host in hosts), "fleet.toml")


def test_a_fleet_file_says_how_fast_hosts_are_and_what_happens_to_them() -> None:
    text = HOST + (
        "overhead_s = 0.1\nslots = 4\nmax_context = 4096\nmodels = ['m']\nload_s = 20\nclimb = true\n"
        "events = [{at_s = 600, kind = 'slows', factor = 10, until_s = 1200}, {at_s = 5, kind = 'joins'}]\n"
    )
    events = (SimEvent(600.0, "slows", 10.0, 1200.0), SimEvent(5.0, "joins"))
    assert parse(text) == (SimHost("a", 100.0, 10.0, 0.1, 4, 4096, ("m",), 20.0, True, events),)
    assert parse(HOST) == (SimHost("a", 100.0, 10.0),)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_can_be_read(path: Path) -> None:
    assert len(load_fleet(path)) >= 3


def test_there_are_examples() -> None:
    assert {"home", "mixed", "tower", "home-events"} <= {path.stem for path in EXAMPLES}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("prefil_tps = 1\n", 'fleet.toml: [[hosts]] "a": unknown key "prefil_tps"; did you mean "prefill_tps"?'),
        ("slots = 0\n", "slots must be greater than or equal to 1"),
        ("slots = 1.5\n", "slots must be a whole number"),
        ("events = [{at_s = 1, kind = 'die'}]\n", "events number 1: kind must be 'dies', 'joins'"),
        ("events = [{kind = 'dies'}]\n", "events number 1: at_s is missing"),
        ("events = [{at_s = 9, kind = 'dies', until_s = 9}]\n", "until_s must be later than at_s"),
        ("events = [{at_s = 9, kind = 'joins', until_s = 10}]\n", 'until_s means nothing for kind = "joins"'),
        ("events = [{at_s = 9, kind = 'dies', factor = 10}]\n", 'factor belongs to kind = "slows"'),
        ("events = [{at_s = 9, kind = 'slows'}]\n", 'factor belongs to kind = "slows"'),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, complaint: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(HOST + text)
    assert complaint in str(error.value)
    assert '[[hosts]] "a"' in str(error.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no hosts"),
        ("[hosts]\n" + HOST, "write [[hosts]] with two brackets"),
        ("[[host]]\n" + HOST, 'unknown key "host"; did you mean "hosts"?'),
        ("[[hosts]]\nprefill_tps = 1\ndecode_tps = 1\n", "[[hosts]] number 1: name is missing"),
        ("[[hosts]]\n" + HOST + "[[hosts]]\n" + HOST, 'two hosts have the name "a"'),
        ("[[hosts]\n", "not valid TOML"),
    ],
)
def test_a_file_that_is_no_fleet_says_why(text: str, complaint: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_fleet(text, "fleet.toml")
    assert complaint in str(error.value)


def test_a_file_that_is_not_there_is_a_mistake_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the fleet file"):
        load_fleet(tmp_path / "none.toml")


def test_a_host_is_added_as_the_option_describes_it() -> None:
    fleet = with_host(parse(HOST), "name=new laptop, prefill_tps=200, decode_tps=25.5, climb=true")
    assert fleet[1] == SimHost("new laptop", 200.0, 25.5, climb=True)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name=b", "prefill_tps is missing"),
        ("name=b,prefill=1,decode_tps=1", 'unknown key "prefill"; did you mean "prefill_tps"?'),
        ("name=b,prefill_tps=fast,decode_tps=1", "--add prefill_tps: not valid TOML"),
        ("b", "write it as --add"),
        ("name=b,prefill_tps=", "write it as --add"),
        ("name=a,prefill_tps=1,decode_tps=1", 'two hosts have the name "a"'),
    ],
)
def test_a_host_that_cannot_be_added_is_a_mistake_of_the_user(text: str, complaint: str) -> None:
    with pytest.raises(UsageError) as error:
        with_host(parse(HOST), text)
    assert complaint in str(error.value)


def test_a_host_is_removed_by_name() -> None:
    fleet = parse(HOST, HOST.replace('"a"', '"b"'))
    assert [host.name for host in without_host(fleet, "a")] == ["b"]
    with pytest.raises(UsageError, match="there is no such host"):
        without_host(fleet, "c")
    with pytest.raises(UsageError, match="the only host"):
        without_host(fleet[:1], "a")
