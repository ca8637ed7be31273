import random
from dataclasses import replace

import pytest
from fleet_tries import (
    MODEL,
    bad,
    busy,
    downed,
    fleet_of,
    late_answer,
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

from scorer.core.fleet import Fleet
from scorer.core.task import MAX_CHARGES, Reply, Scored, Task, TaskKey
from scorer.core.window import Window
from scorer.errors import FaultKind

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


# -- deadlines -------------------------------------------------------------------------------------------------------


def test_a_deadline_is_ten_times_what_the_host_should_need_and_at_least_the_configured_minimum() -> None:
    fleet = fleet_of(member("a", deadline=30.0))
    assert picked(fleet, "a", rows(1)).deadline_s == 30.0
    one_try(fleet, "a", scored(10.0), 0.0)
    assert picked(fleet, "a", rows(1)).deadline_s == pytest.approx(100.0, rel=0.01)
    assert picked(fleet, "a", window_of(task(5, chars=200))).deadline_s == pytest.approx(200.0, rel=0.05)


def test_a_host_that_has_never_answered_gets_twice_the_time_after_each_missed_deadline() -> None:
    fleet = fleet_of(member("a", slots=2, deadline=30.0))
    late = late_answer("a")
    now, seen = 0.0, []
    for round_ in range(7):
        now += 1000.0
        fleet.join(member("a", slots=2, deadline=30.0), now)
        running = [slot for row in range(2) if (slot := fleet.pick("a", rows(1, 10 * round_ + row), now))]
        seen.append({slot.deadline_s for slot in running})
        for slot in running:
            fleet.release(slot, late, now)
    assert seen == [{30.0}, {60.0}, {120.0}, {240.0}, {480.0}, {480.0}, {480.0}], "not twice for two at once"
    fleet.join(member("a", slots=2, deadline=30.0), 9000.0)
    fleet.release(picked(fleet, "a", rows(1, 100), 9000.0), scored(2.0), 9100.0)
    assert picked(fleet, "a", rows(1, 101), 9200.0).deadline_s == 30.0, "now it is known"


def test_a_deadline_runs_from_the_start_of_the_request_and_not_from_when_the_row_began_to_wait() -> None:
    fleet, window = fleet_of(member("a", slots=1)), rows(2)
    first = picked(fleet, "a", window, 0.0)
    fleet.release(first, scored(), 500.0)
    second = picked(fleet, "a", window, 500.0)
    assert (second.started, second.deadline_s) == (500.0, first.deadline_s)


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


# -- several models --------------------------------------------------------------------------------------------------


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
