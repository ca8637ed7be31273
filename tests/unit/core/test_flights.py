"""Second copies of rows, and what becomes of them, asked of a whole fleet."""

from fleet_tries import bad, fleet_of, member, overflow, picked, scored, task, unclear, warm_up, window_of

from scorer.core.fleet import Fleet, Slot
from scorer.core.task import Attempt


def two_copies(history: tuple[Attempt, ...] = ()) -> tuple[Fleet, Slot, Slot]:
    """A row whose first copy hangs, and the second that another host took when nothing else was left."""
    fleet = fleet_of(member("a", slots=1), member("b", slots=1))
    for name in "ab":
        warm_up(fleet, name)
    window = window_of(task(0, history=history))
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
    assert settled.task.tries == 1, "the copy that lost was sent, too"
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


def test_a_row_that_no_try_can_help_is_dead_though_its_other_copy_still_runs() -> None:
    fleet, first, second = two_copies()
    settled = fleet.release(second, overflow("b"), 61.0)
    assert settled.dead
    assert not settled.aside
    assert settled.losers == (first,)
    assert settled.task.tries == 2
    assert fleet.abandon(first) is None
    assert fleet.keys() == set()


def test_a_row_with_all_its_charges_is_left_to_the_copy_that_still_runs() -> None:
    fleet, first, second = two_copies(history=tuple(bad(name).attempt for name in "cd"))
    settled = fleet.release(second, bad("b"), 61.0)
    assert settled.aside
    assert (settled.dead, settled.losers) == (None, ())
    assert fleet.release(first, scored(), 62.0).done


def test_a_copy_that_is_given_up_leaves_the_row_to_the_other() -> None:
    fleet, first, second = two_copies()
    assert fleet.abandon(first) is None
    assert fleet.abandon(second) is not None
