from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from scorer.core.task import (
    MAX_CHARGES,
    PLAIN,
    TRANSITIONS,
    Attempt,
    Blame,
    Dead,
    State,
    Task,
    TaskKey,
    Variation,
    variation,
    verdict,
)
from scorer.errors import FaultKind

KEY = TaskKey("m", 7, 0)


def bad(host: str, kind: FaultKind = FaultKind.INVALID_OUTPUT, **changes: bool) -> Attempt:
    return Attempt(host, Blame.ROW, kind, f"{kind} on {host}", **changes)


def refusal(host: str) -> Attempt:
    return bad(host, FaultKind.BAD_REQUEST)


def unclear(host: str) -> Attempt:
    return Attempt(host, Blame.UNCLEAR, FaultKind.DROPPED, f"dropped on {host}")


def down(host: str) -> Attempt:
    return Attempt(host, Blame.HOST, FaultKind.DROPPED, "gone", downed=True)


def overflow(host: str) -> Attempt:
    return bad(host, FaultKind.CONTEXT_OVERFLOW, permanent=True)


def fate(*history: Attempt, takers: int = 2, larger_context: bool = False) -> Dead | None:
    return verdict(history, takers, larger_context=larger_context)


kinds_of_row = st.sampled_from([FaultKind.INVALID_OUTPUT, FaultKind.CUT_OUTPUT, FaultKind.CONTEXT_OVERFLOW])
attempts = st.builds(
    Attempt,
    host=st.sampled_from("abc"),
    blame=st.sampled_from(Blame),
    kind=st.sampled_from(FaultKind),
    message=st.just("m"),
    downed=st.booleans(),
    permanent=st.booleans(),
)
# what adapters make: only the host is ever found down, only a row's fault is ever permanent
sensible = attempts.filter(lambda a: (not a.downed or a.blame is Blame.HOST) and not a.permanent)


def test_a_done_task_stays_done_and_a_dead_one_can_only_be_retried() -> None:
    assert TRANSITIONS[State.DONE] == frozenset()
    assert TRANSITIONS[State.DEAD] == {State.PENDING}
    assert TRANSITIONS[State.PENDING] == {State.DONE, State.DEAD}


def test_a_task_that_was_never_tried_waits() -> None:
    assert fate() is None


def test_three_charges_of_two_hosts_are_death_with_the_last_reason() -> None:
    assert fate(bad("a"), bad("b")) is None
    dead = fate(bad("a"), bad("b"), bad("a", FaultKind.CUT_OUTPUT))
    assert dead == Dead(FaultKind.CUT_OUTPUT, "cut_output on a")


def test_no_number_of_charges_of_one_host_kills_while_another_could_take_the_row() -> None:
    assert fate(*[bad("a")] * 9, takers=2) is None
    assert fate(*[bad("a")] * 3, takers=1) is not None


def test_unclear_faults_count_once_two_hosts_gave_one() -> None:
    assert fate(unclear("a"), unclear("a"), unclear("a"), bad("a")) is None
    assert fate(unclear("a"), bad("b"), bad("b")) is None
    assert fate(unclear("a"), unclear("a"), bad("b")) is None
    assert fate(unclear("a"), unclear("b"), bad("b")) is not None


def test_unclear_faults_count_while_only_one_host_could_take_the_row() -> None:
    assert fate(unclear("a"), unclear("a"), takers=1) is None
    assert fate(unclear("a"), unclear("a"), unclear("a"), takers=1) == Dead(FaultKind.DROPPED, "dropped on a")


def test_a_permanent_fault_is_death_at_once() -> None:
    assert fate(bad("a", FaultKind.PARSER_ERROR, permanent=True)) is not None


def test_a_request_that_one_host_calls_bad_goes_to_a_second_one_and_dies_of_its_word() -> None:
    assert fate(refusal("a")) is None
    assert fate(refusal("a"), refusal("a"), refusal("a"), refusal("a")) is None
    assert fate(refusal("a"), refusal("b")) == Dead(FaultKind.BAD_REQUEST, "bad_request on b")
    assert fate(refusal("a"), bad("b"), bad("b"), unclear("c"), refusal("b"), takers=3) is not None


def test_a_request_that_the_only_host_calls_bad_is_not_asked_again() -> None:
    assert fate(refusal("a"), takers=1) == Dead(FaultKind.BAD_REQUEST, "bad_request on a")
    assert fate(unclear("a"), refusal("a"), takers=1) is not None


def test_what_one_host_refused_is_not_dead_because_another_is_now_the_only_one() -> None:
    assert fate(refusal("a"), bad("b"), takers=1) is None
    assert fate(refusal("a"), down("b"), takers=0) is None


def test_a_host_that_refuses_all_it_is_sent_does_not_count() -> None:
    suspected = Attempt("a", Blame.HOST, FaultKind.BAD_REQUEST, "it does not like our form")
    assert fate(suspected, takers=1) is None
    assert fate(suspected, refusal("b")) is None


def test_a_context_overflow_waits_for_a_larger_context_and_is_dead_without_one() -> None:
    assert fate(overflow("a"), larger_context=True) is None
    assert fate(overflow("a"), larger_context=False) == Dead(FaultKind.CONTEXT_OVERFLOW, "context_overflow on a")


def test_two_different_hosts_found_down_after_one_row_make_it_poison() -> None:
    assert fate(down("a"), down("a"), down("a")) is None
    dead = fate(down("b"), down("a"))
    assert dead is not None
    assert dead.kind is FaultKind.POISON
    assert dead.message.endswith("a, b")


def test_hosts_that_seemed_down_while_we_were_away_make_no_poison() -> None:
    """Such tries are kept, and come back with the row's history when it is read again."""
    absolved = [replace(down(host), blame=Blame.NOBODY) for host in "ab"]
    assert fate(*absolved, down("c"), takers=3) is None


@given(st.lists(attempts.map(lambda a: Attempt(a.host, Blame.HOST, a.kind, a.message)), max_size=30), st.integers(0, 5))
def test_faults_of_hosts_never_kill_a_row(history: list[Attempt], takers: int) -> None:
    assert fate(*history, takers=takers) is None
    assert variation(history) == PLAIN


@given(st.lists(sensible.map(lambda a: Attempt("a", a.blame, a.kind, "m", downed=a.downed)), max_size=30))
def test_no_row_dies_of_one_host_alone_while_another_could_take_it(history: list[Attempt]) -> None:
    assert fate(*history, takers=2, larger_context=True) is None


@given(st.lists(sensible, max_size=12), st.integers(0, 3), sensible)
def test_what_a_host_is_to_blame_for_changes_no_verdict(history: list[Attempt], takers: int, last: Attempt) -> None:
    """Host faults before the last attempt make no difference, unless hosts were found down."""
    without = [a for a in history if a.blame not in (Blame.HOST, Blame.NOBODY)]
    with_them = [Attempt(a.host, a.blame, a.kind, a.message) for a in history]
    assert fate(*with_them, last, takers=takers) == fate(*without, last, takers=takers)


# these two speak for the last attempt alone
charges = sensible.filter(lambda a: a.kind not in (FaultKind.CONTEXT_OVERFLOW, FaultKind.BAD_REQUEST))


@given(st.lists(charges, max_size=12), charges)
def test_one_charge_more_never_brings_a_dead_row_back(history: list[Attempt], more: Attempt) -> None:
    if fate(*history, takers=1) is not None:
        assert fate(*history, more, takers=1) is not None


@given(st.lists(attempts, max_size=12), st.integers(0, 3), st.booleans())
def test_a_verdict_depends_on_nothing_but_its_arguments(history: list[Attempt], takers: int, larger: bool) -> None:
    before = list(history)
    first = fate(*history, takers=takers, larger_context=larger)
    assert first == fate(*history, takers=takers, larger_context=larger)
    assert history == before
    if first is not None and first.kind is not FaultKind.POISON:
        assert first.kind in {a.kind for a in history}


def test_the_first_request_is_plain() -> None:
    assert variation(()) == PLAIN == Variation(0, 0.0, 1)


def test_after_a_bad_completion_seed_and_temperature_change() -> None:
    first, second = variation([bad("a")]), variation([bad("a"), bad("b")])
    assert (first.seed_step, second.seed_step) == (1, 2)
    assert 0 < first.temperature_step < second.temperature_step <= 0.5
    assert first.num_predict_factor == 1


def test_after_a_cut_completion_there_is_more_room_each_time_but_not_endlessly() -> None:
    cut = bad("a", FaultKind.CUT_OUTPUT)
    assert [variation([cut] * n).num_predict_factor for n in range(5)] == [1, 2, 4, 4, 4]


def test_a_request_that_was_called_bad_is_asked_elsewhere_word_for_word() -> None:
    assert variation([refusal("a")]) == PLAIN


def test_an_overflow_or_an_unclear_fault_changes_nothing() -> None:
    assert variation([overflow("a"), unclear("a"), down("b")]) == PLAIN


@given(st.lists(attempts, max_size=40))
def test_variations_stay_within_bounds_and_differ_from_the_request_before(history: list[Attempt]) -> None:
    changed = variation(history)
    assert 0.0 <= changed.temperature_step <= 0.5
    assert changed.num_predict_factor in (1, 2, 4)
    again = variation([*history, bad("a")])
    assert again.seed_step == changed.seed_step + 1


def test_a_task_knows_which_hosts_failed_it_for_reasons_that_were_not_theirs() -> None:
    task = Task(KEY, "u", 1, history=(bad("a"), unclear("b"), down("c")))
    assert [task.failed_on(host) for host in "abcd"] == [True, True, False, False]


def test_three_is_what_the_promise_says() -> None:
    assert MAX_CHARGES == 3
