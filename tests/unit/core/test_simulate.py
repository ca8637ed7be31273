"""Whole runs in virtual time: who does what, how well, and what must hold whatever happens."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scorer.core.simulate import FAIL_FAST_S, POLICIES, Policy, Result, SimEvent, SimHost, Try, Work, simulate

HOME = (SimHost("p40", 800, 40), SimHost("m1", 180, 22), SimHost("m2", 180, 22))
TOWER = (
    SimHost("4090", 5000, 120),
    *(SimHost(f"mac{i}", 300, 35) for i in "12"),
    *(SimHost(f"cpu{i}", 30, 6) for i in "12"),
)


def with_event(hosts: tuple[SimHost, ...], name: str, *events: SimEvent) -> tuple[SimHost, ...]:
    return tuple(replace(host, events=events) if host.name == name else host for host in hosts)


def check(result: Result, hosts: tuple[SimHost, ...], rows: int) -> None:
    """Every row is won exactly once, no row has more than two copies at a time, no host more rows than slots."""
    won = Counter(one.row for one in result.tries if one.won)
    assert result.dead + result.unfinished + len(won) == rows
    assert set(won.values()) <= {1}
    assert sum(usage.rows for usage in result.hosts.values()) == len(won)
    assert sum(not one.won for one in result.tries) == len(result.tries) - len(won)
    for host in hosts:
        own = [one for one in result.tries if one.host == host.name]
        assert most_at_once([(one.start_s, one.end_s) for one in own]) <= (256 if host.climb else host.slots)
        assert result.hosts[host.name].busy_s == pytest.approx(sum(one.end_s - one.start_s for one in own))
    by_row: dict[int, list[tuple[float, float]]] = {}
    for one in result.tries:
        by_row.setdefault(one.row, []).append((one.start_s, one.end_s))
    assert all(most_at_once(spans) <= 2 for spans in by_row.values())


def most_at_once(spans: list[tuple[float, float]]) -> int:
    moments = sorted([(end, 0) for _, end in spans] + [(start, 1) for start, _ in spans])
    most = now = 0
    for _, begins in moments:
        now += 1 if begins else -1
        most = max(most, now)
    return most


@pytest.mark.parametrize("hosts", [HOME, TOWER], ids=["home", "tower"])
def test_the_scheduler_is_within_a_fiftieth_of_the_bound_and_beats_first_come(hosts: tuple[SimHost, ...]) -> None:
    work = Work(2000, seed=1)
    priced, first = simulate(hosts, work), simulate(hosts, work, "first_come")
    check(priced, hosts, 2000)
    check(first, hosts, 2000)
    assert priced.ratio < 1.02
    assert first.ratio > 1.06
    assert priced.bound_s == first.bound_s
    assert priced.tail_s < 0.01 * priced.makespan_s


@pytest.mark.parametrize("policy", ["round_robin", "static"])
def test_pushing_waits_for_the_slowest_and_leans_on_second_copies(policy: Policy) -> None:
    result = simulate(TOWER, Work(800, seed=1), policy)
    check(result, TOWER, 800)
    assert result.ratio > 1.2
    assert result.duplicated > 50


@pytest.mark.parametrize("policy", POLICIES)
def test_the_same_seed_gives_the_same_trace_and_another_one_another(policy: Policy) -> None:
    hosts = with_event(HOME, "m1", SimEvent(40.0, "dies", until_s=80.0))
    one, same, other = (simulate(hosts, Work(150, seed=seed), policy) for seed in (1, 1, 2))
    assert one.tries == same.tries
    assert one.tries != other.tries


@pytest.mark.parametrize("kind", ["dies", "sleeps", "fails_fast", "garbage"])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_host_that_breaks_costs_no_row_under_any_policy(policy: Policy, kind: str) -> None:
    hosts = with_event(HOME, "m1", SimEvent(60.0, kind))  # type: ignore[arg-type]
    result = simulate(hosts, Work(300, seed=3), policy)
    check(result, hosts, 300)
    assert (result.dead, result.unfinished) == (0, 0)
    late = [one for one in result.tries if one.host == "m1" and one.start_s > 60.0]
    assert not any(one.won for one in late)
    assert len(late) < 40


def test_events_cost_little_beyond_the_lost_capacity() -> None:
    alone = simulate(HOME, Work(2500, seed=1)).bound_s
    hosts = with_event(HOME, "p40", SimEvent(0.5 * alone, "slows", 10.0, until_s=0.8 * alone))
    hosts = with_event(hosts, "m1", SimEvent(0.4 * alone, "dies"))
    hosts = with_event(hosts, "m2", SimEvent(0.3 * alone, "joins"))
    result = simulate(hosts, Work(2500, seed=1))
    check(result, hosts, 2500)
    assert result.bound_s > 1.2 * alone
    assert result.ratio < 1.02


def test_what_was_in_flight_at_a_death_is_lost_at_once_and_scored_elsewhere() -> None:
    hosts = with_event(HOME, "p40", SimEvent(30.0, "dies"))
    result = simulate(hosts, Work(60, seed=1))
    lost = [one for one in result.tries if one.host == "p40" and one.start_s < 30.0 and not one.won]
    assert [one.end_s for one in lost] == [30.0]
    assert any(one.won and one.row == lost[0].row and one.host != "p40" for one in result.tries)


def test_a_sleeping_hosts_row_is_given_up_when_it_wakes_or_at_its_deadline() -> None:
    def lost(until_s: float | None) -> Try:
        hosts = with_event(HOME, "p40", SimEvent(30.0, "sleeps", until_s=until_s))
        result = simulate(hosts, Work(600, seed=1))
        check(result, hosts, 600)
        return next(one for one in result.tries if one.host == "p40" and one.start_s < 30.0 < one.end_s)

    woken, never = lost(70.0), lost(None)
    assert not woken.won
    assert not never.won
    assert woken.end_s == 70.0
    assert 120.0 <= never.end_s - never.start_s < 600.0


def test_a_request_to_a_host_that_sleeps_is_given_up_after_the_connect_time_out() -> None:
    hosts = with_event(HOME, "p40", SimEvent(10.0, "fails_fast"), SimEvent(14.0, "sleeps", until_s=500.0))
    result = simulate(hosts, Work(200, seed=1))
    check(result, hosts, 200)
    asked = [one for one in result.tries if one.host == "p40" and 14.0 <= one.start_s < 500.0]
    assert [one.end_s - one.start_s for one in asked] == [pytest.approx(5.0)]


def test_a_request_to_a_host_that_died_while_it_had_nothing_to_do_is_refused_at_once() -> None:
    hosts = with_event(HOME, "p40", SimEvent(10.0, "fails_fast"), SimEvent(14.0, "dies", until_s=500.0))
    result = simulate(hosts, Work(200, seed=1))
    check(result, hosts, 200)
    asked = [one for one in result.tries if one.host == "p40" and 14.0 <= one.start_s < 500.0]
    assert [one.end_s - one.start_s for one in asked] == [pytest.approx(FAIL_FAST_S)]


def test_a_host_that_was_down_is_asked_again_and_works_on() -> None:
    hosts = with_event(HOME, "p40", SimEvent(100.0, "dies", until_s=200.0))
    result = simulate(hosts, Work(600, seed=1))
    own = [one for one in result.tries if one.host == "p40"]
    assert not any(100.0 < one.start_s < 200.0 and one.won for one in own)
    assert any(one.won and one.start_s > 200.0 for one in own)


def test_a_row_in_flight_slows_down_with_its_host() -> None:
    lone = (SimHost("a", 100, 10),)
    quick = simulate(lone, Work(1, seed=1, noise_cv=0.0))
    slow = simulate(with_event(lone, "a", SimEvent(quick.makespan_s / 2, "slows", 3.0)), Work(1, seed=1, noise_cv=0.0))
    assert slow.makespan_s == pytest.approx(2 * quick.makespan_s)


def test_a_fleet_that_dies_leaves_rows_unfinished_and_ends() -> None:
    for policy in POLICIES:
        result = simulate((SimHost("a", 100, 10, events=(SimEvent(50.0, "dies"),)),), Work(30, seed=1), policy)
        assert 0 < result.unfinished < 30
        assert result.ratio == 0.0


def test_a_model_is_loaded_at_the_first_row_after_a_restart_and_when_it_changes() -> None:
    host = SimHost("a", 1000, 100, load_s=20.0)
    one = simulate((host,), Work(20, seed=1))
    none = simulate((replace(host, load_s=0.0),), Work(20, seed=1))
    assert one.makespan_s == pytest.approx(none.makespan_s + 20.0)


def test_rows_go_to_hosts_that_have_the_model_and_the_context() -> None:
    hosts = (SimHost("all", 400, 30), SimHost("a", 400, 30, models=("a",)), SimHost("short", 400, 30, max_context=300))
    for policy in POLICIES:
        result = simulate(hosts, Work(300, seed=1, models=("a", "b")), policy)
        check(result, hosts, 300)
        assert (result.dead, result.unfinished) == (0, 0), policy
        won = {name: [one for one in result.tries if one.won and one.host == name] for name in ("a", "short")}
        assert max(one.row for one in won["a"]) < 150
        assert max(one.prompt_tokens for one in won["short"]) <= 300


def test_a_row_that_fits_no_context_is_dead() -> None:
    hosts = (SimHost("a", 400, 30, max_context=1000), SimHost("b", 400, 30, max_context=1000))
    result = simulate(hosts, Work(200, seed=1))
    assert 0 < result.dead < 100
    assert result.unfinished == 0


def test_a_limit_that_must_be_found_out_costs_little() -> None:
    def takes(**keys: object) -> float:
        hosts = (SimHost("a", 400, 30, **keys), SimHost("b", 400, 30, slots=2))  # type: ignore[arg-type]
        result = simulate(hosts, Work(2000, seed=1))
        check(result, hosts, 2000)
        return result.makespan_s

    climbed, told, one = takes(slots=3, climb=True), takes(slots=3), takes()
    assert climbed < 1.06 * told
    assert one > 1.5 * told


def test_a_server_makes_wait_what_it_does_not_serve_yet() -> None:
    hosts = (SimHost("a", 400, 30, climb=True),)
    result = simulate(hosts, Work(800, seed=1))
    check(result, hosts, 800)
    assert most_at_once([(one.start_s, one.end_s) for one in result.tries]) > 1
    assert result.ratio < 1.03, "what waits inside the server is served one after the other"


def test_rows_that_a_stalled_server_had_not_begun_are_given_up_at_their_deadline_and_scored_elsewhere() -> None:
    steady, climbs = SimHost("b", 400, 30), SimHost("a", 400, 30, climb=True)
    before = [one for one in simulate((steady, climbs), Work(1600, seed=1)).tries if one.host == "a"]
    # a moment at which it has two rows, of which it serves one
    late = [one for one in before if one.start_s > 300]
    at_s = next(two.start_s + 0.1 for one in late for two in late if one.start_s < two.start_s < one.end_s - 1)
    hosts = with_event((steady, climbs), "a", SimEvent(at_s, "slows", 1000.0))
    result = simulate(hosts, Work(1600, seed=1))
    check(result, hosts, 1600)
    stalled = [one for one in result.tries if one.host == "a" and one.start_s < at_s < one.end_s]
    assert len(stalled) > 1, "one was served, others waited"
    assert not any(one.won for one in stalled)
    assert result.unfinished == result.dead == 0


def test_a_second_copy_that_dies_with_its_host_leaves_the_row_to_the_first() -> None:
    hosts = with_event(HOME, "p40", SimEvent(60.0, "slows", 20.0))
    tries = simulate(hosts, Work(60, seed=1)).tries
    first = next(one for one in tries if not one.won)
    copy = next(one for one in tries if one.row == first.row and one.won)
    assert first.start_s < copy.start_s
    hosts = with_event(hosts, copy.host, SimEvent((copy.start_s + copy.end_s) / 2, "dies"))
    result = simulate(hosts, Work(60, seed=1))
    check(result, hosts, 60)
    assert [one.won for one in result.tries if one.row == copy.row and one.host == copy.host] == [False]
    assert (result.dead, result.unfinished) == (0, 0)


def test_rows_of_a_model_that_a_host_lacks_leave_it_idle_long_before_the_end() -> None:
    hosts = (SimHost("all", 400, 30), SimHost("a", 400, 30, models=("a",)))
    result = simulate(hosts, Work(1600, seed=1, models=("a", "b")))
    check(result, hosts, 1600)
    assert max(one.row for one in result.tries if one.host == "a") < 800
    assert result.hosts["all"].rows > 800


def test_many_hosts_end_together_whatever_joins_and_leaves_near_the_end() -> None:
    hosts = tuple(SimHost(f"h{i}", 100.0 * (1 + i % 9), 10.0 * (1 + i % 5)) for i in range(80))
    whole_s = simulate(hosts, Work(3000, seed=4)).bound_s
    late = [replace(hosts[i], events=(SimEvent(whole_s * (0.9 + i / 100), "joins"),)) for i in range(10)]
    gone = [replace(hosts[10 + i], events=(SimEvent(whole_s * (0.95 + i / 100), "dies"),)) for i in range(10)]
    fleet = (*late, *gone, *hosts[20:])
    result = simulate(fleet, Work(3000, seed=4))
    check(result, fleet, 3000)
    assert (result.dead, result.unfinished) == (0, 0)
    assert result.ratio < 1.1


events = st.builds(
    SimEvent,
    st.floats(0, 60),
    st.sampled_from(["dies", "joins", "slows", "sleeps", "fails_fast", "garbage"]),
    st.just(4.0),
    st.none() | st.floats(61, 120),
)
fleets = st.lists(
    st.builds(
        lambda prefill, decode, slots, climb, events: SimHost(
            "", prefill, decode, slots=slots, climb=climb, events=events
        ),
        st.floats(20, 2000),
        st.floats(2, 100),
        st.integers(1, 3),
        st.booleans(),
        st.lists(events, max_size=2).map(tuple),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=40, deadline=None)
@given(fleets, st.sampled_from(POLICIES), st.integers(0, 100))
def test_whatever_happens_a_row_is_won_once_and_hosts_are_not_overfilled(
    fleet: list[SimHost], policy: Policy, seed: int
) -> None:
    hosts = (SimHost("steady", 300, 30), *(replace(host, name=f"h{i}") for i, host in enumerate(fleet)))
    result = simulate(hosts, Work(60, seed=seed, output_tokens=(8, 60)), policy)
    check(result, hosts, 60)
    assert result.unfinished == 0


def switches(result: Result, work: Work) -> dict[str, int]:
    """Count how often each host went from one model to another."""
    models: dict[str, list[int]] = {}
    for one in sorted(result.tries, key=lambda one: one.start_s):
        models.setdefault(one.host, []).append(one.row * len(work.models) // work.rows)
    return {name: sum(a != b for a, b in pairwise(done)) for name, done in models.items()}


@pytest.mark.parametrize("only_small", ["p40", "m1"])
def test_hosts_that_have_both_models_leave_the_small_one_to_the_host_that_has_only_that(only_small: str) -> None:
    hosts = tuple(replace(h, load_s=20.0, models=("small",) if h.name == only_small else ()) for h in HOME)
    work = Work(2000, seed=1, models=("small", "big"))
    result = simulate(hosts, work)
    check(result, hosts, 2000)
    assert result.ratio < 1.05
    assert max(switches(result, work).values()) <= 1
    first = {one.host: one.row for one in sorted(result.tries, key=lambda one: -one.start_s)}
    assert {name for name, row in first.items() if row < 1000} == {only_small}


def test_hosts_that_have_all_models_do_one_after_the_other_together() -> None:
    hosts = tuple(replace(host, load_s=30.0) for host in HOME)
    work = Work(1500, seed=1, models=("a", "b", "c"))
    result = simulate(hosts, work)
    check(result, hosts, 1500)
    assert set(switches(result, work).values()) == {2}
    assert result.makespan_s < 1.03 * (result.bound_s + 90)
