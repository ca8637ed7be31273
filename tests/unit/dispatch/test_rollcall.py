"""The first look at hosts that answer, refuse and keep silent."""

from collections.abc import Sequence

import anyio
import pytest
from virtual import virtually

from scorer.config import HostConfig
from scorer.core.task import Reply
from scorer.dispatch.lives import PROBE_S, Life, LifeState
from scorer.dispatch.rollcall import Answers, admit, call, common_model, configs_of
from scorer.dispatch.terms import Terms
from scorer.errors import FaultKind, HostFault, HostUnusable, UsageError
from scorer.hosts.base import Frame, HostInfo, Loaded, ModelInfo, Request
from scorer.locks import Claim, Holder

A, B = "ab" * 32, "cd" * 32


class Answering:
    """A host that answers a probe, after some time, as often as it is told to fail first."""

    def __init__(self, name: str, answer: HostInfo | Exception, *, after_s: float = 0.1, failures: int = 0) -> None:
        self.name = name
        self._answer = answer
        self._after_s = after_s
        self._failures = failures
        self.probes = 0

    def hushed(self, text: str) -> str:
        return text

    async def alive(self) -> None: ...

    async def probe(self) -> HostInfo:
        self.probes += 1
        await anyio.sleep(self._after_s)
        if self.probes <= self._failures:
            raise HostFault(FaultKind.UNREACHABLE, "connection refused", sent=False)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    async def warm(self, frame: Frame) -> Loaded:
        return Loaded()

    async def generate(self, request: Request) -> Reply:
        raise AssertionError("no row before the roll call is over")

    async def close(self) -> None: ...


def info(*models: str, digest: str | None = A, remote: bool = False) -> HostInfo:
    return HostInfo("0.32.0", tuple(ModelInfo(name, digest, remote) for name in models))


def life(name: str, answer: HostInfo | Exception | None = None, **changes: object) -> Life:
    how = {key: changes.pop(key) for key in ("after_s", "failures") if key in changes}
    config = HostConfig(name=name, url=f"http://{name}.test:1", **changes)  # type: ignore[arg-type]

    async def made() -> Life:
        return Life(config, Answering(name, answer or info("m:7b"), **how))  # type: ignore[arg-type]

    return virtually(made)  # it holds things of an event loop, which the roll call does not use


def terms(*models: str, digests: dict[str, str] | None = None, allow_mixed: bool = False) -> Terms:
    return Terms(models or ("m:7b",), digests or {}, allow_mixed, "system", {}, 4096)


def asked(lives: Sequence[Life], *, first_start: bool = True) -> Answers:
    return virtually(lambda: call(lives, first_start=first_start))


def test_all_hosts_are_asked_at_once_and_each_is_put_where_it_belongs() -> None:
    refused = HostFault(FaultKind.UNREACHABLE, "connection refused")
    lives = [
        life("good", after_s=10.0),
        life("old", HostUnusable(FaultKind.TOO_OLD, "version 0.1"), after_s=10.0),
        life("away", refused, after_s=10.0),
        life("proxy", HostFault(FaultKind.GATEWAY, "HTML"), after_s=10.0),
        life("silent", after_s=1000.0),
    ]
    answers = asked(lives)
    assert [one.config.name for one in answers.present] == ["good"]
    assert answers.left_out == {"old": "version 0.1"}
    assert answers.absent == {
        "away": "connection refused",
        "proxy": "gateway: HTML",
        "silent": "no answer in time",
    }
    assert lives[1].state is LifeState.LEFT_OUT
    assert "old is left out: version 0.1" in answers.lines()
    assert "silent cannot be reached: no answer in time" in answers.lines()
    assert PROBE_S < 60


def test_at_the_first_start_three_quick_tries_are_made_when_nobody_answers() -> None:
    late = life("a", failures=2)
    assert asked([late]).present == (late,)
    gone = life("a", failures=99)
    with pytest.raises(UsageError, match=r"no host can be reached \(3 tries\)") as error:
        asked([gone])
    assert "a cannot be reached: connection refused" in str(error.value)
    assert gone.host.probes == 3  # type: ignore[attr-defined]


def test_later_starts_ask_once_and_wait_for_hosts_as_they_run() -> None:
    gone = life("a", failures=99)
    assert asked([gone], first_start=False).present == ()
    assert gone.host.probes == 1  # type: ignore[attr-defined]


def test_hosts_that_answer_but_may_not_be_used_are_not_asked_again() -> None:
    old = life("old", HostUnusable(FaultKind.TOO_OLD, "version 0.1"))
    with pytest.raises(UsageError, match="no host may be used"):
        asked([old])
    assert old.host.probes == 1  # type: ignore[attr-defined]


def present(*lives: Life) -> Answers:
    return asked(lives)


def test_the_one_model_on_every_host_is_the_model() -> None:
    hosts = present(life("a", info("m:7b", "x:latest")), life("b", info("x", "y:1b")))
    assert common_model(hosts.present) == "x:latest"


def test_a_hosts_own_name_for_the_model_is_what_it_offers() -> None:
    hosts = present(life("a", info("m:7b", "x:1b")), life("b", info("q4"), model="m:7b", own_model=True))
    assert common_model(hosts.present) == "m:7b"


def test_the_embedded_engine_follows_the_others_and_decides_only_when_alone() -> None:
    engine = life("here", info("demo.gguf"), api="embedded")
    assert common_model(present(life("a"), engine).present) == "m:7b"
    assert common_model(present(engine).present) == "demo.gguf"


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [(info("x", "y"), info("y", "x"), "they share 2: x, y"), (info("x"), info(), "b: no model")],
)
def test_otherwise_the_user_is_shown_what_there_is(one: HostInfo, other: HostInfo, words: str) -> None:
    with pytest.raises(UsageError) as error:
        common_model(present(life("a", one), life("b", other)).present)
    assert words in str(error.value)
    assert "--model NAME" in str(error.value)


def test_equal_digests_are_admitted_and_returned() -> None:
    assert admit(present(life("a"), life("b")), terms()) == {"m:7b": A}


def test_hosts_that_report_no_digest_agree_with_each_other_only() -> None:
    nobody = info("m:7b", digest=None)
    assert admit(present(life("a", nobody), life("b", nobody)), terms()) == {"m:7b": ""}
    with pytest.raises(UsageError, match="b: unknown"):
        admit(present(life("a"), life("b", nobody)), terms())


def test_mixed_digests_are_refused_unless_allowed() -> None:
    def mixed() -> Answers:
        return present(life("a"), life("b", info("m:7b", digest=B)))

    with pytest.raises(UsageError, match="digests differ") as error:
        admit(mixed(), terms())
    assert f"a: {A[:12]}" in str(error.value)
    assert f"b: {B[:12]}" in str(error.value)
    assert admit(mixed(), terms(allow_mixed=True)) == {}


def test_only_digests_other_than_that_of_the_rows_scored_before_are_refused() -> None:
    with pytest.raises(UsageError, match="the job's earlier rows: cdcdcdcdcdcd") as error:
        admit(present(life("a"), life("b", info("m:7b", digest="ef" * 32))), terms(digests={"m:7b": B}))
    assert f"a: {A[:12]}" in str(error.value)
    assert "b: efefefefefef" in str(error.value)
    assert "--allow-mixed-models" in str(error.value)


def test_beside_a_host_with_the_digest_of_the_rows_scored_before_others_are_left_out() -> None:
    lives = [life("a"), life("b", info("m:7b", digest=B))]
    answers = present(*lives)
    assert admit(answers, terms(digests={"m:7b": A})) == {"m:7b": A}
    assert answers.lines() == [f"b is left out: its m:7b has digest {B[:12]}, the job's is {A[:12]}"]
    assert [life.info is None for life in lives] == [False, True]
    assert (
        admit(present(life("a"), life("b", info("m:7b", digest=B))), terms(digests={"m:7b": A}, allow_mixed=True)) == {}
    )


def test_while_others_may_still_come_a_digest_other_than_the_jobs_ends_nothing() -> None:
    away = asked([life("b", info("m:7b", digest=B)), life("a", failures=9)], first_start=False)
    taken = called([life("b", info("m:7b", digest=B)), life("a")], Taken("http://a.test:1"), first_start=False)
    for answers in (away, taken):
        assert admit(answers, terms(digests={"m:7b": A})) == {}
        assert list(answers.left_out) == ["b"]


def test_hosts_that_differ_in_a_model_without_earlier_rows_are_refused_as_at_the_start() -> None:
    both = [life("a", info("m:7b", "x:1b")), life("b", info("m:7b", "x:1b", digest=B)), life("c", info("x:1b"))]
    admitted = terms("m:7b", "x:1b", digests={"m:7b": A})
    assert admit(present(*both), admitted) == {"m:7b": A, "x:1b": A}, "who is left out counts no more"
    with pytest.raises(UsageError, match="the same x:1b"):
        admit(present(life("a", info("m:7b", "x:1b")), life("c", info("x:1b", digest=B))), admitted)


def test_a_host_without_the_model_or_in_a_cloud_is_left_out() -> None:
    lives = [life("a"), life("bare", info("x:1b")), life("cloud", info("m:7b", remote=True))]
    answers = present(*lives)
    assert admit(answers, terms()) == {"m:7b": A}
    assert "lacks the model m:7b (it has x:1b)" in answers.left_out["bare"]
    assert "cloud" in answers.left_out["cloud"]
    assert lives[1].info is None
    assert admit(answers, terms()) == {"m:7b": A}, "a second look passes over who is left out"


def test_of_two_models_a_host_may_have_one() -> None:
    answers = present(life("a", info("m:7b", "x:1b")), life("b"))
    assert admit(answers, terms("m:7b", "x:1b")) == {"m:7b": A, "x:1b": A}
    assert answers.left_out == {}


def test_only_hosts_that_are_switched_on_take_part() -> None:
    on, off = HostConfig(name="on", url="u"), HostConfig(name="off", url="u", enabled=False)
    assert configs_of([off, on]) == [on]
    with pytest.raises(UsageError, match="enabled = false"):
        configs_of([off])


class Taken:
    """Claims of which some hosts are another run's."""

    def __init__(self, *urls: str) -> None:
        self.urls = set(urls)
        self.released = 0

    def take(self, url: str) -> Claim | Holder:
        return Holder("big", 7, "desk") if url in self.urls else self

    def release(self) -> None:
        self.released += 1

    def name(self, job: str) -> None: ...

    def close(self) -> None: ...


def called(lives: Sequence[Life], claims: Taken, *, first_start: bool = True) -> Answers:
    return virtually(lambda: call(lives, claims, first_start=first_start))


def test_a_host_of_another_run_is_not_even_asked_and_the_others_go_on() -> None:
    mine, theirs = life("a"), life("b")
    answers = called([mine, theirs], Taken("http://b.test:1"))
    assert answers.present == (mine,)
    assert answers.lines() == ["b is in use by job big (process 7 on desk)"]
    assert theirs.state is LifeState.IN_USE
    assert theirs.host.probes == 0  # type: ignore[attr-defined]


def test_at_the_first_start_hosts_of_other_runs_are_listed_at_once_and_sharing_is_offered() -> None:
    theirs = life("b")
    with pytest.raises(UsageError, match="b is in use by job big") as error:
        called([theirs, life("gone", failures=99)], Taken("http://b.test:1"))
    assert "--share-hosts" in str(error.value)
    assert "gone cannot be reached" in str(error.value)


def test_later_starts_wait_for_the_other_run_to_end() -> None:
    assert called([life("b")], Taken("http://b.test:1"), first_start=False).present == ()


def test_who_may_not_take_part_is_left_to_other_runs() -> None:
    claims = Taken()
    old, bare, good = life("old", HostUnusable(FaultKind.TOO_OLD, "0.1")), life("bare", info("x:1b")), life("good")
    admit(called([old, bare, good], claims), terms())
    assert claims.released == 2
    assert (old.claim, bare.claim) == (None, None)
    assert good.claim is claims
