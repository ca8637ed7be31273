"""The next rows of a host: in order, only while they wait, and only for as long as little has changed."""

import numpy as np

from scorer.core.short_list import FEW_HOSTS, GOOD_FOR_S, PART, ShortLists
from scorer.core.task import Attempt, Blame, Task, TaskKey
from scorer.core.window import Window
from scorer.errors import FaultKind

ROWS = 100


def task(row: int) -> Task:
    return Task(TaskKey("m", row, 0), "text", 100 + row)


def filled(rows: int = ROWS) -> Window:
    window = Window()
    for row in range(rows):
        window.add(task(row))
    return window


def compared(window: Window, hosts: int = 3) -> ShortLists:
    """Lists in which host `a` likes the longest rows best."""
    lists = ShortLists(range(hosts))
    lists.next("a", window, 0.0)
    compare(lists, window, 0.0)
    return lists


def compare(lists: ShortLists, window: Window, now: float) -> None:
    """Ask, and when there is nothing have the whole window compared."""
    lists.next("a", window, now)
    places = window.taken()
    lists.keep("a", window, places, -window.lengths[places], now)


def rows_of(lists: ShortLists, window: Window) -> list[int]:
    """Pick for as long as the list gives any."""
    rows = []
    while (found := lists.next("a", window, 0.0)) is not None:
        rows.append(window.take(found.key).key.row)
    return rows


def test_a_list_gives_the_best_rows_in_their_order() -> None:
    window = filled()
    assert rows_of(compared(window), window) == list(range(ROWS - 1, ROWS - 1 - ROWS // PART, -1))


def test_rows_that_others_took_are_passed_over() -> None:
    window = filled()
    lists = compared(window)
    window.take(TaskKey("m", ROWS - 1, 0))
    window.take(TaskKey("m", ROWS - 3, 0))
    found = lists.next("a", window, 0.0)
    assert found is not None
    assert found.key.row == ROWS - 2


def test_another_row_at_the_same_place_is_not_the_one_that_was_compared() -> None:
    window = filled()
    lists = compared(window)
    window.take(TaskKey("m", ROWS - 1, 0))
    window.add(task(5000))
    found = lists.next("a", window, 0.0)
    assert found is not None
    assert found.key.row == ROWS - 2


def test_a_list_ends_when_half_of_the_window_was_picked_by_whomever() -> None:
    window = filled()
    lists = compared(window)
    for row in range(ROWS // PART + 1):
        window.take(TaskKey("m", row, 0))
    assert lists.next("a", window, 0.0) is None


def test_a_list_is_good_for_a_moment_only() -> None:
    window = filled()
    lists = compared(window)
    assert lists.next("a", window, GOOD_FOR_S) is not None
    assert lists.next("a", window, GOOD_FOR_S + 0.001) is None


def test_no_list_is_kept_for_a_host_that_comes_once_in_a_while() -> None:
    window, lists = filled(), ShortLists(range(3))
    for now in (0.0, 1.0, 2.0):
        compare(lists, window, now)
        assert lists.next("a", window, now) is None
    compare(lists, window, 2.0 + GOOD_FOR_S / 2)
    assert lists.next("a", window, 2.0 + GOOD_FOR_S / 2) is not None


def test_a_row_with_a_history_is_left_to_a_full_comparison() -> None:
    window = filled()
    best = window.take(TaskKey("m", ROWS - 1, 0))
    failed = Attempt("a", Blame.ROW, FaultKind.INVALID_OUTPUT, "nonsense")
    window.add(best._replace(history=(failed,)), first=True)
    assert compared(window).next("a", window, 0.0) is None


def test_rows_that_a_host_cannot_take_are_never_on_its_list() -> None:
    window = filled()
    lists, places = ShortLists(range(3)), window.taken()
    scores = np.where(window.lengths[places] >= 100 + ROWS - 4, 1.0, np.inf)
    lists.next("a", window, 0.0)
    lists.next("a", window, 0.0)
    lists.keep("a", window, places, scores, 0.0)
    assert sorted(rows_of(lists, window)) == [ROWS - 4, ROWS - 3, ROWS - 2, ROWS - 1]


def test_a_window_with_several_models_has_no_list() -> None:
    window = filled()
    window.add(Task(TaskKey("other", 0, 0), "text", 100))
    assert compared(window).next("a", window, 0.0) is None


def test_the_last_rows_are_on_no_list() -> None:
    window = filled()
    lists = compared(window)
    window.last = True
    assert lists.next("a", window, 0.0) is None
    lists = compared(window)
    window.last = False
    assert lists.next("a", window, 0.0) is None


def test_among_many_hosts_there_are_no_lists() -> None:
    window = filled()
    assert compared(window, FEW_HOSTS).next("a", window, 0.0) is not None
    assert compared(window, FEW_HOSTS + 1).next("a", window, 0.0) is None


def test_small_windows_and_other_hosts_have_no_list() -> None:
    small = filled(2 * PART - 1)
    assert compared(small).next("a", small, 0.0) is None
    window = filled()
    lists = compared(window)
    assert lists.next("b", window, 0.0) is None
    lists.forget()
    assert lists.next("a", window, 0.0) is None
