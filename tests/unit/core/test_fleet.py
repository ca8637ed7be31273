import random
from dataclasses import replace
from typing import Any

import pytest

from scorer.core.endgame import Look
from scorer.core.fleet import Fleet, Member, Settled, Slot
from scorer.core.host import BUSY_PAUSE_S, LOAD_BACKOFF_S, MAX_BUSY, MAX_BUSY_PAUSE_S, MIN_HOLD_S
from scorer.core.last_rows import FEW_HOSTS, LOOK_S, MANY_ROWS, SHORT_WHILE, LastRows
from scorer.core.task import MAX_CHARGES, Attempt, Blame, Failed, Outcome, Reply, Scored, Task, TaskKey
from scorer.core.window import Window
from scorer.errors import FaultKind

MODEL = "m"


def member(
    name: str, *, num_ctx: int = 4096, slots: int | None = 4, models: str = MODEL, deadline: float = 120.0
) -> Member:
    return Member(name, frozenset(models.split()), num_ctx, slots, deadline)


def task(row: int, *, chars: int = 100, history: tuple[Attempt, ...] = (), model: str = MODEL) -> Task:
    return Task(TaskKey(model, row, 0), "u", chars, history=history)


def fleet_of(*members: Member) -> Fleet:
    fleet = Fleet(random.Random(0))
    fleet.configure(members)
    for one in members:
        fleet.join(one, 0.0)
    return fleet


def window_of(*tasks: Task) -> Window:
    window = Window()
    for one in tasks:
        window.add(one)
    return window


def rows(count: int, start: int = 0) -> Window:
    return window_of(*(task(start + row) for row in range(count)))


def scored(duration_s: float = 1.0, *, prompt_tokens: int = 25) -> Scored:
    return Scored(Reply("{}", "stop", prompt_tokens=prompt_tokens, output_tokens=5), {"score": 1}, duration_s)


def failed(host: str, kind: FaultKind, blame: Blame, *, retry_after_s: float | None = None, **changes: bool) -> Failed:
    return Failed(Attempt(host, blame, kind, f"{kind} happened", **changes), 0.1, retry_after_s)


def bad(host: str, **changes: bool) -> Failed:
    return failed(host, FaultKind.INVALID_OUTPUT, Blame.ROW, **changes)


def called_bad(host: str) -> Failed:
    return failed(host, FaultKind.BAD_REQUEST, Blame.ROW)


def overflow(host: str) -> Failed:
    return failed(host, FaultKind.CONTEXT_OVERFLOW, Blame.ROW, permanent=True)


def unclear(host: str) -> Failed:
    return failed(host, FaultKind.SERVER_ERROR, Blame.UNCLEAR)


def refused(host: str) -> Failed:
    return failed(host, FaultKind.UNREACHABLE, Blame.HOST, sent=False)


def downed(host: str) -> Failed:
    return failed(host, FaultKind.DROPPED, Blame.HOST, downed=True)


def busy(host: str, retry_after_s: float | None = None) -> Failed:
    return failed(host, FaultKind.BUSY, Blame.HOST, retry_after_s=retry_after_s)


def picked(fleet: Fleet, host: str, window: Window, now: float = 0.0) -> Slot:
    slot = fleet.pick(host, window, now)
    assert slot is not None
    return slot


def one_try(fleet: Fleet, host: str, outcome: Outcome, now: float, row: int = 0) -> Settled:
    return fleet.release(picked(fleet, host, rows(1, row), now), outcome, now)


def warm_up(fleet: Fleet, host: str, completions: int = 10, now: float = 0.0) -> None:
    for row in range(completions):
        one_try(fleet, host, scored(), now, 1000 + row)


# -- picking -------------------------------------------------------------------------------------------------------


def test_a_free_slot_takes_the_first_waiting_row_and_no_more_than_its_limit() -> None:
    fleet, window = fleet_of(member("a", slots=2)), rows(5)
    assert [picked(fleet, "a", window).task.key.row for _ in range(2)] == [0, 1]
    assert fleet.pick("a", window, 0.0) is None
    assert len(window) == 3
    assert fleet.in_flight() == 2
    assert fleet.keys() == {TaskKey(MODEL, 0, 0), TaskKey(MODEL, 1, 0)}
    assert fleet.slots() == 2


def test_a_host_that_never_joined_or_has_left_takes_nothing() -> None:
    fleet = fleet_of(member("a"))
    assert fleet.pick("nobody", rows(1), 0.0) is None
    fleet.leave("nobody")
    fleet.accept("nobody", accepting=False)
    fleet.leave("a")
    assert fleet.pick("a", rows(1), 0.0) is None
    assert fleet.free_hosts(0.0) == []
    assert fleet.slots() == 0


def test_what_a_host_had_in_flight_when_it_left_may_still_come_back() -> None:
    fleet = fleet_of(member("a"))
    slot = picked(fleet, "a", rows(1))
    fleet.leave("a")
    assert fleet.release(slot, scored(), 1.0).done
    assert fleet.in_flight() == 0


def test_a_host_that_comes_back_changed_keeps_what_it_has_in_flight() -> None:
    fleet = fleet_of(member("a", slots=1))
    slot = picked(fleet, "a", rows(1))
    fleet.join(member("a", slots=2), 5.0)
    assert fleet.pick("a", window := rows(3, 10), 5.0) is not None
    assert fleet.pick("a", window, 5.0) is None, "one of two slots was taken before"
    assert fleet.release(slot, scored(), 6.0).done


def test_a_row_goes_only_to_hosts_that_have_its_model() -> None:
    fleet = fleet_of(member("a", models="m"), member("b", models="m other"))
    window = window_of(task(0, model="other"))
    assert fleet.pick("a", window, 0.0) is None
    assert fleet.pick("b", window, 0.0) is not None


def test_a_host_that_failed_a_row_waits_until_another_has_tried() -> None:
    fleet = fleet_of(member("a"), member("b"))
    settled = one_try(fleet, "a", bad("a"), 0.0)
    window = window_of(settled.task)
    assert fleet.pick("a", window, 10.0) is None
    slot = picked(fleet, "b", window, 10.0)
    again = fleet.release(slot, bad("b"), 10.0)
    assert fleet.pick("a", window_of(again.task), 20.0) is not None, "both have failed it: either may try again"


def test_a_row_that_failed_here_comes_after_all_others() -> None:
    fleet = fleet_of(member("a"))
    settled = one_try(fleet, "a", bad("a"), 0.0)
    window = window_of(settled.task, task(1))
    assert [picked(fleet, "a", window, 10.0).task.key.row for _ in range(2)] == [1, 0]


def test_a_row_too_long_for_a_host_goes_to_the_largest_context_of_all() -> None:
    fleet = fleet_of(member("small", num_ctx=512), member("large", num_ctx=2048))
    window = window_of(task(0, chars=4 * 600))
    assert fleet.pick("small", window, 0.0) is None
    assert fleet.pick("large", window, 0.0) is not None
    longer_than_all = window_of(task(1, chars=4 * 3000))
    assert fleet.pick("large", longer_than_all, 0.0) is not None, "the server's own count decides"


def test_a_long_row_waits_for_the_absent_host_that_can_hold_it() -> None:
    fleet = fleet_of(member("small", num_ctx=512))
    fleet.configure([member("small", num_ctx=512), member("large", num_ctx=2048)])
    window = window_of(task(0, chars=4 * 600), task(1))
    assert [key.row for key in fleet.stuck(window)] == [0]
    assert fleet.can_go_on(window)
    assert not fleet.can_go_on(window_of(task(0, chars=4 * 600)))


# -- context ---------------------------------------------------------------------------------------------------------


def test_an_overflow_sends_the_row_to_a_larger_context_even_if_that_host_is_away() -> None:
    fleet = fleet_of(member("small", num_ctx=512))
    fleet.configure([member("small", num_ctx=512), member("large", num_ctx=2048)])
    settled = one_try(fleet, "small", overflow("small"), 0.0)
    assert settled.dead is None
    window = window_of(settled.task)
    assert fleet.pick("small", window, 10.0) is None
    fleet.join(member("large", num_ctx=2048), 10.0)
    assert fleet.pick("large", window, 10.0) is not None


def test_an_overflow_is_death_when_no_configured_context_is_larger() -> None:
    fleet = fleet_of(member("a", num_ctx=512), member("b", num_ctx=512))
    settled = one_try(fleet, "a", overflow("a"), 0.0)
    assert settled.dead is not None
    assert settled.dead.kind is FaultKind.CONTEXT_OVERFLOW


def test_an_overflow_on_a_host_that_is_gone_from_the_configuration_rules_out_nobody() -> None:
    fleet = fleet_of(member("a", num_ctx=512))
    history = (replace(overflow("gone").attempt),)
    assert fleet.pick("a", window_of(task(0, history=history)), 0.0) is not None


def test_a_prompt_that_no_tokeniser_could_fit_is_hopeless() -> None:
    fleet = fleet_of(member("a", num_ctx=512), member("b", num_ctx=1024))
    assert fleet.hopeless(16 * 900, 100) is None
    dead = fleet.hopeless(16 * 1000, 100)
    assert dead is not None
    assert dead.kind is FaultKind.CONTEXT_OVERFLOW
    assert Fleet(random.Random(0)).hopeless(10**9, 100) is None, "nothing is known of any host"


# -- what becomes of a row -------------------------------------------------------------------------------------------


def test_a_scored_row_is_done_and_the_host_learns() -> None:
    fleet = fleet_of(member("a"))
    assert one_try(fleet, "a", scored(2.0), 0.0).done
    view = fleet.view("a", 0.0)
    assert view is not None
    assert (view.state, view.completed, view.running, view.limit) == ("up", 1, 0, 4)
    assert view.typical_s == pytest.approx(2.0)
    for _ in range(8):
        one_try(fleet, "a", scored(prompt_tokens=50), 0.0)
    assert fleet.ratio(MODEL).calibrated


def test_charges_of_one_host_do_not_kill_while_another_could_take_the_row() -> None:
    fleet = fleet_of(member("a"), member("b"))
    history = tuple(replace(bad("a").attempt) for _ in range(5))
    settled = fleet.release(picked(fleet, "b", window_of(task(0, history=history))), bad("b"), 0.0)
    assert settled.dead is not None, "two hosts, more than three charges"
    alone = fleet_of(member("a"))
    waiting = task(0)
    for now in (0.0, 10.0, 20.0):
        last = alone.release(picked(alone, "a", window_of(waiting), now), bad("a"), now)
        waiting = last.task
    assert last.dead is not None, "a single host's word has to do"


def test_two_hosts_found_down_after_one_row_make_it_poison() -> None:
    fleet = fleet_of(*(member(name) for name in "abcdef"))
    first = one_try(fleet, "a", downed("a"), 0.0)
    assert first.dead is None
    second = fleet.release(picked(fleet, "b", window_of(first.task), 20.0), downed("b"), 20.0)
    assert second.dead is not None
    assert second.dead.kind is FaultKind.POISON


def test_a_request_that_was_never_sent_counts_as_no_try() -> None:
    fleet = fleet_of(member("a"), member("b"), member("c"))
    assert one_try(fleet, "a", refused("a"), 0.0).task.tries == 0
    assert one_try(fleet, "b", unclear("b"), 0.0).task.tries == 1


def test_an_abandoned_row_waits_again_and_nobody_is_blamed() -> None:
    fleet = fleet_of(member("a", slots=1))
    slot = picked(fleet, "a", rows(1))
    waiting = fleet.abandon(slot)
    assert waiting is not None
    assert (waiting.history, waiting.tries) == ((), 1)
    assert fleet.pick("a", window_of(waiting), 0.0) is not None


def test_histories_only_grow() -> None:
    fleet = fleet_of(member("a"), member("b"))
    first = one_try(fleet, "a", bad("a"), 0.0)
    second = fleet.release(picked(fleet, "b", window_of(first.task), 5.0), unclear("b"), 5.0)
    assert second.task.history[:1] == first.task.history
    assert len(second.task.history) == 2


# -- deadlines -------------------------------------------------------------------------------------------------------


def test_a_deadline_is_ten_times_what_the_host_should_need_and_at_least_the_configured_minimum() -> None:
    fleet = fleet_of(member("a", deadline=30.0))
    assert picked(fleet, "a", rows(1)).deadline_s == 30.0
    one_try(fleet, "a", scored(10.0), 0.0)
    assert picked(fleet, "a", rows(1)).deadline_s == pytest.approx(100.0, rel=0.01)
    assert picked(fleet, "a", window_of(task(5, chars=200))).deadline_s == pytest.approx(200.0, rel=0.05)


def test_a_deadline_runs_from_the_start_of_the_request_and_not_from_when_the_row_began_to_wait() -> None:
    fleet, window = fleet_of(member("a", slots=1)), rows(2)
    first = picked(fleet, "a", window, 0.0)
    fleet.release(first, scored(), 500.0)
    second = picked(fleet, "a", window, 500.0)
    assert (second.started, second.deadline_s) == (500.0, first.deadline_s)


# -- health ----------------------------------------------------------------------------------------------------------


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


def failed_elsewhere(row: int) -> Window:
    return window_of(task(row, history=(bad("b").attempt,)))


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


def test_a_host_that_is_given_what_another_could_not_do_is_not_taken_for_garbage() -> None:
    fleet = fleet_of(member("a"), member("b"))
    for row in range(30):
        one_try(fleet, "b", scored(), 0.0, row)
        fleet.release(picked(fleet, "a", failed_elsewhere(100 + row), 10.0 * row), bad("a"), 10.0 * row)
    assert not fleet.is_open("a")


def test_of_a_row_that_one_host_can_do_only_others_that_take_part_and_failed_it_are_doubted() -> None:
    fleet = fleet_of(member("a"), member("b"), member("down"))
    one_try(fleet, "down", refused("down"), 0.0)
    history = tuple(bad(name).attempt for name in ("a", "b", "down", "of yesterday"))
    for row in range(30):
        settled = fleet.release(picked(fleet, "a", window_of(task(row, history=history)), 0.0), scored(), 0.0)
        assert settled.done
        assert settled.put_aside == ()
    view = fleet.view("down", 0.0)
    assert view is not None
    assert view.last_fault == "unreachable: unreachable happened"


@pytest.mark.parametrize(("took_s", "rests"), [(1.0, False), (0.01, True)])
def test_a_bad_completion_keeps_the_slot_from_nobody_but_one_that_came_in_haste(took_s: float, rests: bool) -> None:
    fleet = fleet_of(member("a", slots=1))
    warm_up(fleet, "a")
    answer = Attempt("a", Blame.ROW, FaultKind.INVALID_OUTPUT, "not JSON", completion="no")
    fleet.release(picked(fleet, "a", rows(1)), Failed(answer, took_s), 0.0)
    assert (fleet.pick("a", rows(1, 1), 0.1) is None) == rests
    assert fleet.pick("a", rows(1, 2), 1.0) is not None or not rests


def test_a_host_whose_answers_are_mostly_garbage_is_put_aside_while_another_is_sane() -> None:
    fleet = fleet_of(member("bad"), member("sane"))
    warm_up(fleet, "sane", 12)
    now = 0.0
    put_aside: tuple[str, ...] = ()
    while not put_aside:
        now += 5.0
        assert now < 60.0, "never put aside"
        again = one_try(fleet, "bad", bad("bad"), now, int(now)).task
        put_aside = fleet.release(picked(fleet, "sane", window_of(again), now), scored(), now).put_aside
    assert put_aside == ("bad",)
    assert fleet.is_open("bad")
    view = fleet.view("bad", now)
    assert view is not None
    assert view.last_fault == "most of its completions are invalid, of rows that others can do"
    assert view.state == "failing"


def test_when_every_hosts_answers_are_invalid_it_is_the_rows_and_nobody_is_put_aside() -> None:
    fleet = fleet_of(member("a"), member("b"))
    for now in range(0, 150, 5):
        one_try(fleet, "a", bad("a"), float(now), now)
        one_try(fleet, "b", bad("b"), float(now), now)
    assert not fleet.is_open("a")
    assert not fleet.is_open("b")


def test_a_host_that_refuses_its_first_requests_is_left_out_after_three_and_the_rows_are_innocent() -> None:
    fleet = fleet_of(member("a"), member("b"))
    for number in range(3):
        settled = one_try(fleet, "a", called_bad("a"), 10.0 * number, number)
        assert settled.dead is None
        assert [a.blame for a in settled.task.history] == [Blame.HOST]
        assert not settled.task.failed_on("a")
        assert (settled.unusable is not None) == (number == 2)
    assert settled.unusable is not None
    assert "refused its first 3 requests" in settled.unusable


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


def test_when_half_of_the_hosts_are_gone_at_once_it_is_our_network_and_nobody_is_blamed() -> None:
    fleet = fleet_of(*(member(name) for name in "abcd"))
    in_flight = picked(fleet, "c", rows(1, 50), 0.0)
    one_try(fleet, "a", refused("a"), 1.0)
    one_try(fleet, "b", refused("b"), 2.0, 1)
    assert fleet.retry_at("a") <= 2.0 + 6.0, "back soon"
    settled = fleet.release(in_flight, unclear("c"), 3.0)
    assert settled.task.history == ()
    assert settled.task.tries == 1
    assert not fleet.is_open("c")


def test_a_request_that_began_after_the_outage_is_judged_again() -> None:
    fleet = fleet_of(*(member(name) for name in "abcd"))
    one_try(fleet, "a", refused("a"), 1.0)
    one_try(fleet, "b", refused("b"), 2.0, 1)
    settled = one_try(fleet, "c", unclear("c"), 3.0, 2)
    assert [a.blame for a in settled.task.history] == [Blame.UNCLEAR]


def test_a_bad_completion_is_the_rows_even_if_we_were_away_meanwhile() -> None:
    fleet = fleet_of(member("a"), member("b"))
    slot = picked(fleet, "a", rows(1), 0.0)
    fleet.away(5.0)
    assert len(fleet.release(slot, bad("a"), 6.0).task.history) == 1


def test_two_of_five_hosts_gone_is_their_own_fault() -> None:
    fleet = fleet_of(*(member(name) for name in "abcde"))
    in_flight = picked(fleet, "c", rows(1, 50), 0.0)
    one_try(fleet, "a", refused("a"), 1.0)
    one_try(fleet, "b", refused("b"), 2.0, 1)
    assert len(fleet.release(in_flight, unclear("c"), 3.0).task.history) == 1


def test_two_hosts_gone_a_minute_apart_are_no_local_fault() -> None:
    fleet = fleet_of(*(member(name) for name in "abcd"))
    in_flight = picked(fleet, "c", rows(1, 50), 0.0)
    one_try(fleet, "a", refused("a"), 1.0)
    one_try(fleet, "b", refused("b"), 61.0, 1)
    assert len(fleet.release(in_flight, unclear("c"), 62.0).task.history) == 1


def test_hosts_that_are_long_away_do_not_hide_that_our_network_is_gone() -> None:
    fleet = fleet_of(*(member(name) for name in "abcdefgh"))
    for name in "cdefgh":
        fleet.leave(name)
    in_flight = picked(fleet, "a", rows(1, 50), 100.0)
    one_try(fleet, "a", refused("a"), 101.0)
    one_try(fleet, "b", refused("b"), 102.0, 1)
    assert fleet.release(in_flight, unclear("a"), 103.0).task.history == ()


def test_a_host_that_is_back_is_not_closed_because_another_fails_soon_after() -> None:
    fleet = fleet_of(member("a"), member("b"))
    one_try(fleet, "a", refused("a"), 1.0)
    fleet.join(member("a"), 7.0)
    one_try(fleet, "a", scored(), 8.0, 1)
    in_flight = picked(fleet, "a", rows(1, 50), 8.5)
    one_try(fleet, "b", refused("b"), 9.0, 2)
    assert not fleet.is_open("a")
    assert len(fleet.release(in_flight, unclear("a"), 10.0).task.history) == 1, "one host alone is not our network"


# -- hours, and what else is asked -----------------------------------------------------------------------------------


def test_a_resting_host_takes_nothing_and_is_not_judged() -> None:
    fleet = fleet_of(member("a"))
    fleet.accept("a", accepting=False)
    assert fleet.pick("a", rows(1), 0.0) is None
    assert not fleet.any_usable()
    view = fleet.view("a", 0.0)
    assert view is not None
    assert view.state == "resting"
    fleet.accept("a", accepting=True)
    assert fleet.any_usable()
    assert fleet.pick("a", rows(1), 0.0) is not None


def test_rows_that_only_a_resting_host_could_take_are_stuck() -> None:
    fleet = fleet_of(member("small", num_ctx=512), member("large", num_ctx=2048))
    fleet.accept("large", accepting=False)
    assert [key.row for key in fleet.stuck(window_of(task(0, chars=4 * 600), task(1)))] == [0]


def test_rows_that_only_a_failing_host_could_take_are_stuck_but_not_those_of_one_on_trial() -> None:
    fleet = fleet_of(member("large", num_ctx=2048), *(member(name, num_ctx=512) for name in "bcdef"))
    one_try(fleet, "large", refused("large"), 0.0)
    long = window_of(task(0, chars=4 * 600))
    assert len(fleet.stuck(long)) == 1
    fleet.join(member("large", num_ctx=2048), 6.0)
    assert fleet.stuck(long) == []


def test_a_host_is_shown_as_away_before_and_after_it_takes_part() -> None:
    fleet = fleet_of(member("a"))
    assert fleet.view("nobody", 0.0) is None
    assert not fleet.is_open("nobody")
    fleet.leave("a")
    view = fleet.view("a", 0.0)
    assert view is not None
    assert view.state == "away"


def test_takers_are_the_hosts_in_service_whose_model_and_context_fit() -> None:
    fleet = fleet_of(member("a"), member("b", models="other"), member("c"), member("d"))
    fleet.leave("d")
    assert fleet.takers(task(0)) == 2


def test_a_host_with_a_price_takes_none_of_the_rows_that_it_cannot_do() -> None:
    fleet = fleet_of(member("a"), member("b", models="m other"))
    for name in "ab":
        warm_up(fleet, name)
    window = window_of(task(0, model="other"))
    assert fleet.pick("a", window, 10.0) is None
    assert len(window) == 1
    assert picked(fleet, "b", window, 10.0).task.key.model == "other"


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("known", ["m other", MODEL])
def test_rows_of_a_model_that_nobody_has_any_more_or_yet_are_given_to_nobody(known: str, last: bool) -> None:
    # before it has answered, a host is believed to have all models
    fleet = fleet_of(member("a", models=known))
    fleet.join(member("a"), 0.0)
    other = window_of(task(0, model="other"))
    other.last = last
    for _ in range(3):
        assert fleet.pick("a", other, 10.0) is None
        # what a host has shown with one model is believed of the others
        warm_up(fleet, "a", now=10.0)
    assert len(other) == 1


# -- the last rows, and their second copies --------------------------------------------------------------------------


def two_copies() -> tuple[Fleet, Slot, Slot]:
    """A row whose first copy hangs, and the second that another host took when nothing else was left."""
    fleet = fleet_of(member("a", slots=1), member("b", slots=1))
    for name in "ab":
        warm_up(fleet, name)
    window = window_of(task(0))
    window.last = True
    first = picked(fleet, "a", window, 0.0)
    second = picked(fleet, "b", window, 60.0)
    assert second.task.key == first.task.key
    assert (fleet.in_flight(), len(fleet.keys())) == (2, 1)
    assert fleet.due(60.0) is not None
    return fleet, first, second


def test_no_second_copy_is_made_while_rows_wait_or_are_still_to_be_read() -> None:
    fleet = fleet_of(member("a", slots=1), member("b", slots=1))
    for name in "ab":
        warm_up(fleet, name)
    window = window_of(task(0))
    picked(fleet, "a", window, 0.0)
    assert fleet.pick("b", window, 60.0) is None


@pytest.mark.parametrize("rests", [busy("fast", 3600.0), bad("fast")], ids=["asked to", "has failed"])
def test_the_last_rows_do_not_wait_for_the_fastest_host_while_it_rests(rests: Failed) -> None:
    fleet = fleet_of(member("fast", slots=1), member("slow", slots=1))
    for row in range(10):
        one_try(fleet, "fast", scored(1.0), 0.0, 1000 + row)
        one_try(fleet, "slow", scored(1.9), 0.0, 2000 + row)
    window = rows(1)
    window.last = True
    assert fleet.pick("slow", window, 0.0) is None, "the fast one would be done with it first"
    one_try(fleet, "fast", rests, 0.0, 1)
    assert picked(fleet, "slow", window, 0.0).task.key.row == 0


def test_a_row_is_tried_again_where_it_failed_while_the_other_host_rests_for_long_but_not_given_up() -> None:
    fleet = fleet_of(member("a"), member("b"))
    one_try(fleet, "b", busy("b", 3600.0), 0.0, 50)
    waiting, now = task(0), 10.0
    for _ in range(MAX_CHARGES):
        settled = fleet.release(picked(fleet, "a", window_of(waiting), now), bad("a"), now)
        assert settled.dead is None
        waiting, now = settled.task, now + 10.0
    assert fleet.pick("a", window_of(waiting), now) is None, "without end it would be asked again"
    assert fleet.pick("b", window_of(waiting), now) is None
    assert picked(fleet, "b", window_of(waiting), 3700.0).task.key.row == 0


def test_the_last_rows_wait_for_the_fastest_host_when_it_rests_but_a_moment() -> None:
    fleet = fleet_of(member("fast", slots=1), member("slow", slots=1))
    for row in range(10):
        one_try(fleet, "fast", scored(1.0), 0.0, 1000 + row)
        one_try(fleet, "slow", scored(60.0), 0.0, 2000 + row)
    window = rows(1)
    window.last = True
    one_try(fleet, "fast", busy("fast", 20.0), 0.0, 1)
    assert fleet.pick("slow", window, 0.0) is None
    assert fleet.due(19.0) == 20.0
    assert picked(fleet, "fast", window, 20.0).task.key.row == 0


def test_a_host_that_failed_a_row_makes_no_copy_of_it() -> None:
    fleet = fleet_of(member("a", slots=1), member("b", slots=1))
    for name in "ab":
        warm_up(fleet, name)
    failed_once = task(0, history=(bad("a").attempt,))
    window = window_of(failed_once)
    window.last = True
    picked(fleet, "b", window, 0.0)
    assert fleet.pick("a", window, 60.0) is None


def test_a_row_has_never_more_than_two_copies_however_long_they_take_and_whoever_is_idle() -> None:
    names = "abcdefghijkl"
    fleet = fleet_of(*(member(name, slots=4) for name in names))
    for name in names:
        warm_up(fleet, name)
    window = window_of(task(0))
    window.last = True
    picked(fleet, "a", window, 0.0)
    for now in (60.0, 90.0, 600.0, 3600.0):
        for name in names:
            fleet.pick(name, window, now)
        assert fleet.in_flight() == 2


def test_the_first_answer_wins_and_the_other_copy_is_to_be_cancelled() -> None:
    fleet, first, second = two_copies()
    settled = fleet.release(second, scored(), 61.0)
    assert (settled.done, settled.losers) == (True, (first,))
    assert fleet.abandon(first) is None
    assert fleet.in_flight() == 0


def test_an_answer_or_a_fault_that_comes_after_the_first_answer_changes_nothing() -> None:
    for late in (scored(), bad("a"), unclear("a")):
        fleet, first, second = two_copies()
        assert fleet.release(second, scored(), 61.0).done
        settled = fleet.release(first, late, 61.0)
        assert settled.aside
        assert (settled.done, settled.dead) == (False, None)
        assert fleet.keys() == set()


def test_a_copy_that_fails_leaves_the_row_to_the_other_which_remembers() -> None:
    fleet, first, second = two_copies()
    settled = fleet.release(second, bad("b"), 61.0)
    assert settled.aside
    assert settled.dead is None
    last = fleet.release(first, bad("a"), 62.0)
    assert not last.aside
    assert [a.host for a in last.task.history] == ["b", "a"]


def test_a_copy_that_is_given_up_leaves_the_row_to_the_other() -> None:
    fleet, first, second = two_copies()
    assert fleet.abandon(first) is None
    assert fleet.abandon(second) is not None


def test_a_host_begins_with_the_model_that_fewest_slots_can_do() -> None:
    small, both = member("small", models="a"), member("both", models="a b")
    fleet = fleet_of(small, both)
    window = Window()
    window.behind = {"a": 100, "b": 100}
    fleet.attend(window)
    assert (fleet.settle_on(small), fleet.settle_on(both)) == ("a", "b")
    window.behind = {"a": 1000, "b": 100}
    assert fleet.settle_on(both) == "a", "most of what is left"


def test_hosts_alike_begin_with_the_same_model_in_the_jobs_order_and_stay_with_it() -> None:
    one, two = member("one", models="a b"), member("two", models="a b")
    fleet = fleet_of(one, two)
    window = Window()
    window.behind = {"b": 99, "a": 100}
    fleet.attend(window)
    assert (fleet.settle_on(one), fleet.settle_on(two)) == ("b", "b")
    fleet.join(one, 0.0, loaded="b", load_s=9.0)
    window.behind = {"b": 1, "a": 100}
    assert fleet.settle_on(one) == "b", "it is in memory"
    window.behind = {"b": 0, "a": 100}
    assert fleet.settle_on(one) == "a", "nothing is left for the one in memory"


def test_a_row_whose_model_must_be_loaded_has_time_for_that() -> None:
    both = member("both", models="a b")
    fleet = fleet_of(both)
    fleet.join(both, 0.0, loaded="a", load_s=9.0)
    window = Window()
    for row, model in enumerate("ab"):
        window.add(Task(TaskKey(model, row, 0), "", 400))
    first, second = fleet.pick("both", window, 0.0), None
    assert first is not None
    assert (first.task.key.model, first.loads, first.deadline_s) == ("a", False, 120.0)
    fleet.release(first, Scored(Reply("", "stop", 100, 60, 1.0, 3.0), {}, 4.0), 4.0)
    second = fleet.pick("both", window, 4.0)
    assert second is not None
    assert second.loads
    assert second.deadline_s > 900
    assert second.expected_s > 9


def test_among_many_hosts_one_that_has_just_got_its_price_makes_no_copy_before_the_next_look() -> None:
    names = [f"h{i}" for i in range(FEW_HOSTS + 2)]
    fleet = fleet_of(*(member(name, slots=1) for name in names))
    warm_up(fleet, "h0")
    window = rows(3)
    *_, answered = (picked(fleet, name, window, 0.0) for name in ("h1", "h2", "h3"))
    window.last = True
    copy = fleet.pick("h0", window, 60.0)
    assert copy is not None
    assert copy.extra
    fleet.release(answered, scored(), 60.0)
    assert fleet.pick("h3", window, 60.0) is None, "what the others looked at a moment ago does not know it"
    later = fleet.pick("h3", window, 60.0 + 2 * LOOK_S)
    assert later is not None
    assert later.extra


@pytest.mark.parametrize(("slots", "looks"), [(MANY_ROWS, 1), (MANY_ROWS // 2 - 2, 20)])
def test_among_many_rows_in_flight_the_fleet_is_not_looked_at_anew_for_each(
    monkeypatch: pytest.MonkeyPatch, slots: int, looks: int
) -> None:
    fleet = fleet_of(member("a", slots=slots), member("b", slots=slots))
    row_s = LOOK_S
    for row in range(20):
        one_try(fleet, "ab"[row % 2], scored(row_s), 0.0, 1000 + row)
    window = rows(3 * MANY_ROWS)
    window.last = True
    running = [slot for name in "ab" for _ in range(slots) if (slot := fleet.pick(name, window, 0.0))]
    seen, real = [], LastRows._look_at_waiting

    def look(self: LastRows, *args: Any) -> Look:  # noqa: ANN401 - passed on
        seen.append(args)
        return real(self, *args)

    monkeypatch.setattr(LastRows, "_look_at_waiting", look)
    for i, slot in enumerate(running[:20]):
        now = 1.0 + i * SHORT_WHILE * row_s / 21
        fleet.release(slot, scored(row_s), now)
        fleet.pick(slot.host, window, now)
    assert len(seen) == looks
    later = 1.0 + 2 * SHORT_WHILE * row_s
    fleet.release(running[20], scored(row_s), later)
    fleet.pick(running[20].host, window, later)
    assert len(seen) == looks + 1, "what was seen long ago is not believed"
