"""Which hosts are held back, rested, tried again and believed, asked of a whole fleet."""

import pytest
from fleet_tries import (
    bad,
    busy,
    called_bad,
    failed,
    failed_elsewhere,
    fleet_of,
    member,
    one_try,
    overflow,
    picked,
    refused,
    rows,
    scored,
    task,
    unclear,
    warm_up,
    window_of,
)

from scorer.core.host import BUSY_PAUSE_S, LOAD_BACKOFF_S, MAX_BUSY, MAX_BUSY_PAUSE_S, MIN_HOLD_S
from scorer.core.task import Attempt, Blame, Failed
from scorer.errors import FaultKind


def test_a_slot_whose_request_failed_is_held_so_that_failing_fast_attracts_no_work() -> None:
    fleet = fleet_of(member("a", slots=1), member("b"))
    one_try(fleet, "a", unclear("a"), 0.0)
    assert fleet.pick("a", rows(1), 0.5) is None
    assert fleet.due(0.5) == pytest.approx(MIN_HOLD_S)
    assert fleet.pick("a", rows(1), MIN_HOLD_S + 0.01) is not None
    assert fleet.due(MIN_HOLD_S + 0.01) is None


def test_a_slow_hosts_slot_is_held_for_half_its_typical_time() -> None:
    fleet = fleet_of(member("a", slots=1))
    one_try(fleet, "a", scored(20.0), 0.0)
    one_try(fleet, "a", unclear("a"), 0.0)
    assert fleet.pick("a", rows(1), 9.0) is None
    assert fleet.pick("a", rows(1), 10.1) is not None


def test_a_busy_host_pauses_as_long_as_it_asks_and_gets_fewer_slots() -> None:
    fleet = fleet_of(member("a", slots=4))
    settled = one_try(fleet, "a", busy("a", retry_after_s=30.0), 0.0)
    assert settled.dead is None
    view = fleet.view("a", 10.0)
    assert view is not None
    assert (view.state, view.limit) == ("busy", 2)
    assert fleet.pick("a", rows(1), 29.0) is None
    assert fleet.due(10.0) == 30.0
    assert fleet.pick("a", rows(1), 30.1) is not None


def test_a_host_that_stays_busy_pauses_longer_each_time_and_must_prove_itself_in_the_end() -> None:
    fleet, now, pauses = fleet_of(member("a", slots=1)), 0.0, []
    for _ in range(MAX_BUSY):
        one_try(fleet, "a", busy("a"), now)
        assert not fleet.is_open("a")
        again = fleet.due(now + MIN_HOLD_S)
        assert again is not None or not pauses, "the first pause may be as short as the hold"
        pauses.append((again or now + MIN_HOLD_S) - now)
        now = max(again or 0.0, now + MIN_HOLD_S) + 0.01
    assert pauses[0] <= BUSY_PAUSE_S * 1.5
    assert MAX_BUSY_PAUSE_S * 0.5 <= pauses[-1] <= MAX_BUSY_PAUSE_S * 1.5
    one_try(fleet, "a", busy("a"), now)
    assert fleet.is_open("a")


def test_an_answer_ends_the_count_of_refusals_in_a_row() -> None:
    fleet, now = fleet_of(member("a", slots=1)), 0.0
    for _ in range(2 * MAX_BUSY):
        one_try(fleet, "a", busy("a"), now)
        now += 200.0
        one_try(fleet, "a", scored(), now)
    assert not fleet.is_open("a")


def test_a_busy_host_charges_no_row() -> None:
    fleet, now, waiting = fleet_of(member("a", slots=1)), 0.0, task(0)
    for _ in range(MAX_BUSY):
        settled = fleet.release(picked(fleet, "a", window_of(waiting), now), busy("a"), now)
        assert settled.dead is None
        waiting, now = settled.task, now + 200.0


def test_a_failed_load_rests_the_host_for_half_a_minute() -> None:
    fleet = fleet_of(member("a"), member("b"))
    one_try(fleet, "a", failed("a", FaultKind.LOAD_FAILED, Blame.HOST), 0.0)
    assert fleet.is_open("a")
    assert 0.8 * LOAD_BACKOFF_S <= fleet.retry_at("a") <= 1.2 * LOAD_BACKOFF_S


def test_a_host_on_trial_gets_exactly_one_row_and_one_slot_when_that_comes_back() -> None:
    fleet = fleet_of(member("a", slots=None), *(member(name) for name in "bcdef"))
    one_try(fleet, "a", refused("a"), 0.0)
    assert fleet.is_open("a")
    assert fleet.pick("a", rows(9), 5.0) is None
    fleet.join(member("a", slots=None), 6.0)
    window = rows(9)
    trial = picked(fleet, "a", window, 6.0)
    assert fleet.pick("a", window, 6.0) is None
    view = fleet.view("a", 6.0)
    assert view is not None
    assert view.state == "on trial"
    fleet.release(trial, scored(), 7.0)
    view = fleet.view("a", 7.0)
    assert view is not None
    assert (view.state, view.limit) == ("up", 1)


def test_a_fixed_limit_is_whole_again_after_the_trial() -> None:
    fleet = fleet_of(member("a", slots=3), *(member(name) for name in "bcdef"))
    one_try(fleet, "a", refused("a"), 0.0)
    fleet.join(member("a", slots=3), 6.0)
    window = rows(9)
    fleet.release(picked(fleet, "a", window, 6.0), scored(), 7.0)
    assert sum(fleet.pick("a", window, 7.0) is not None for _ in range(5)) == 3


def test_an_invalid_answer_on_trial_opens_the_host_again() -> None:
    fleet = fleet_of(member("a"), *(member(name) for name in "bcdef"))
    one_try(fleet, "a", refused("a"), 0.0)
    fleet.join(member("a"), 6.0)
    one_try(fleet, "a", bad("a"), 6.0)
    assert fleet.is_open("a")


def test_an_overflow_on_trial_shows_the_host_at_work() -> None:
    fleet = fleet_of(member("a", num_ctx=512), *(member(name) for name in "bcdef"))
    one_try(fleet, "a", refused("a"), 0.0)
    fleet.join(member("a", num_ctx=512), 6.0)
    one_try(fleet, "a", overflow("a"), 6.0)
    view = fleet.view("a", 6.0)
    assert view is not None
    assert view.state == "up"


def test_a_row_that_failed_elsewhere_decides_no_trial_and_one_that_is_new_is_taken_first() -> None:
    fleet = fleet_of(member("a"), *(member(name) for name in "bcdef"))
    one_try(fleet, "a", refused("a"), 0.0)
    fleet.join(member("a"), 6.0)
    assert fleet.release(picked(fleet, "a", failed_elsewhere(1), 6.0), bad("a"), 7.0).task.history
    view = fleet.view("a", 8.0)
    assert view is not None
    assert view.state == "on trial"
    both = failed_elsewhere(2)
    both.add(task(3))
    new = picked(fleet, "a", both, 10.0)
    assert new.task.key.row == 3
    fleet.release(new, bad("a"), 11.0)
    assert fleet.is_open("a")
    assert fleet.last_fault("a") == "invalid_output: invalid_output happened"


@pytest.mark.parametrize(("took_s", "rests"), [(1.0, False), (0.01, True)])
def test_a_bad_completion_keeps_the_slot_from_nobody_but_one_that_came_in_haste(took_s: float, rests: bool) -> None:
    fleet = fleet_of(member("a", slots=1))
    warm_up(fleet, "a")
    answer = Attempt("a", Blame.ROW, FaultKind.INVALID_OUTPUT, "not JSON", completion="no")
    fleet.release(picked(fleet, "a", rows(1)), Failed(answer, took_s), 0.0)
    assert (fleet.pick("a", rows(1, 1), 0.1) is None) == rests
    assert fleet.pick("a", rows(1, 2), 1.0) is not None or not rests


def test_a_rows_history_is_without_what_was_answered_but_whoever_writes_it_down_gets_that() -> None:
    fleet = fleet_of(member("a"), member("b"))
    answer = Attempt("a", Blame.ROW, FaultKind.INVALID_OUTPUT, "not JSON", completion="no")
    refusal = Attempt("b", Blame.ROW, FaultKind.BAD_REQUEST, "bad", completion="no")
    for attempt in (answer, refusal):
        settled = one_try(fleet, attempt.host, Failed(attempt, 1.0), 0.0)
        assert settled.attempt is not None
        assert settled.attempt.completion == "no"
        assert [before.completion for before in settled.task.history] == [None]


def test_a_host_that_has_answered_before_may_call_a_request_bad_and_a_second_one_decides() -> None:
    fleet = fleet_of(member("a"), member("b"))
    for name in "ab":
        one_try(fleet, name, scored(), 0.0)
    settled = one_try(fleet, "a", called_bad("a"), 1.0)
    assert settled.dead is None
    window = window_of(settled.task)
    assert fleet.pick("a", window, 10.0) is None, "it waits for the other"
    settled = fleet.release(picked(fleet, "b", window, 10.0), called_bad("b"), 11.0)
    assert settled.dead is not None
    assert settled.dead.kind is FaultKind.BAD_REQUEST


def test_the_only_hosts_word_that_a_request_is_bad_is_enough() -> None:
    fleet = fleet_of(member("a"))
    one_try(fleet, "a", scored(), 0.0)
    assert one_try(fleet, "a", called_bad("a"), 1.0).dead is not None


def test_a_fault_that_puts_a_host_aside_does_not_make_the_row_die_of_that_host_alone() -> None:
    fleet = fleet_of(member("a"), member("b"))
    for name in "ab":
        one_try(fleet, name, scored(), 0.0)
    one_try(fleet, "a", refused("a"), 1.0)
    fleet.join(member("a"), 10.0)
    settled = one_try(fleet, "a", called_bad("a"), 10.0)
    assert fleet.is_open("a"), "it was on trial, and this was not what it had to show"
    assert fleet.takers(settled.task) == 1, "the other one is left"
    assert settled.dead is None
    slot = picked(fleet, "b", window_of(settled.task), 11.0)
    assert fleet.release(slot, scored(), 12.0).dead is None


def test_a_row_does_not_die_of_one_host_alone_while_another_is_on_trial() -> None:
    fleet = fleet_of(member("a"), member("b"))
    doomed = task(1, history=tuple(bad("a").attempt for _ in range(2)))
    one_try(fleet, "b", refused("b"), 0.0)
    while_b_is_open = picked(fleet, "a", window_of(doomed), 1.0)
    fleet.join(member("b"), 10.0)
    settled = fleet.release(while_b_is_open, bad("a"), 10.0)
    assert settled.dead is None
    window = window_of(settled.task)
    assert fleet.pick("a", window, 20.0) is None, "it waits for the one on trial"
    assert fleet.release(picked(fleet, "b", window, 20.0), scored(), 21.0).done


def test_a_row_dies_of_the_only_host_in_service() -> None:
    fleet = fleet_of(member("a"), member("b"))
    doomed = task(1, history=tuple(bad("a").attempt for _ in range(2)))
    one_try(fleet, "b", refused("b"), 0.0)
    settled = fleet.release(picked(fleet, "a", window_of(doomed), 1.0), bad("a"), 2.0)
    assert settled.dead is not None
