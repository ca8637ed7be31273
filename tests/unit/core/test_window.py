import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.core.task import Task, TaskKey
from scorer.core.window import AGEING, CAPACITY, OLD, Window


def task(row: int, chars: int = 10) -> Task:
    return Task(TaskKey("m", row, 0), "x", chars, kept="")


def rows(window: Window) -> list[int]:
    return [waiting.key.row for waiting in window]


def test_tasks_wait_in_the_order_they_came_and_a_failed_one_comes_first() -> None:
    window = Window()
    for row in (1, 2):
        window.add(task(row))
    window.add(task(3), first=True)
    assert rows(window) == [3, 1, 2]


def test_the_same_task_cannot_wait_twice() -> None:
    window = Window()
    window.add(task(1))
    with pytest.raises(KeyError):
        window.add(task(1))
    assert (len(window), window.chars) == (1, 10)


def test_kept_columns_count_as_characters_too() -> None:
    window = Window()
    window.add(task(1)._replace(kept="x" * 90))
    assert window.chars == 100
    window.take(TaskKey("m", 1, 0))
    assert window.chars == 0


def test_a_task_that_does_not_wait_cannot_be_taken() -> None:
    with pytest.raises(KeyError):
        Window().take(TaskKey("m", 1, 0))


def test_the_window_knows_what_it_holds() -> None:
    window = Window()
    window.add(task(1))
    assert TaskKey("m", 1, 0) in window
    assert TaskKey("m", 2, 0) not in window
    assert window.keys() == {TaskKey("m", 1, 0)}


def test_who_has_waited_longest_weighs_least_however_many_were_taken_meanwhile() -> None:
    window = Window()
    kept = 5
    picks = int(kept * 2 * OLD / (AGEING / 4))
    for row in range(picks):
        window.add(task(row))
        if row % (picks // kept):
            window.take(TaskKey("m", row, 0))
    waiting = sorted(int(window.at(int(place)).key.row) for place in window.taken())
    by_weight = sorted(window.taken(), key=lambda place: float(window.weights()[place]))
    assert [window.at(int(place)).key.row for place in by_weight] == waiting
    assert 0 < window.weights()[by_weight[0]] < window.weights()[by_weight[-1]] < np.inf


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(0, 100))))
def test_the_characters_are_those_of_the_waiting_tasks(steps: list[tuple[bool, int, int]]) -> None:
    window = Window()
    held: dict[int, int] = {}
    for add, row, chars in steps:
        if add and row not in held:
            window.add(task(row, chars))
            held[row] = chars
        elif not add and row in held:
            assert window.take(TaskKey("m", row, 0)).chars == held.pop(row)
    assert window.chars == sum(held.values())
    assert rows(window) == list(held)


def test_it_grows_and_every_task_keeps_its_place() -> None:
    window = Window()
    count = 2 * CAPACITY + 10
    for row in range(count):
        window.add(task(row, chars=row))
    places = window.taken()
    assert rows(window) == list(range(count))
    assert {window.at(int(place)).key.row for place in places} == set(range(count))
    assert all(window.lengths[place] == window.at(int(place)).chars for place in places)


def test_a_free_place_holds_nothing_and_has_infinite_weight() -> None:
    window = Window()
    window.add(task(1))
    (place,) = window.taken()
    window.take(TaskKey("m", 1, 0))
    with pytest.raises(KeyError):
        window.at(int(place))
    assert np.isinf(window.weights()).all()


def test_who_has_waited_longer_weighs_less_and_is_so_chosen_sooner() -> None:
    window = Window()
    window.add(task(0))
    for row in range(1, 50):
        window.add(task(row))
        window.take(TaskKey("m", row, 0))
    window.add(task(99))
    weight = {window.at(int(place)).key.row: window.weights()[place] for place in window.taken()}
    assert weight[0] < weight[99]
