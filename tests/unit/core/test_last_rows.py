"""Who takes the last rows, and who waits, asked of a whole fleet."""

from typing import Any

import pytest
from fleet_tries import bad, busy, fleet_of, member, one_try, picked, rows, scored, warm_up

from scorer.core.endgame import Look
from scorer.core.fleet import Fleet
from scorer.core.last_rows import FEW_HOSTS, LOOK_S, MANY_ROWS, SHORT_WHILE, LastRows
from scorer.core.task import Failed
from scorer.core.window import Window


def the_last_row_of(*, slow_s: float) -> tuple[Fleet, Window]:
    """Two hosts of one slot each, one that takes a second a row and one that takes `slow_s`, and a single row."""
    fleet = fleet_of(member("fast", slots=1), member("slow", slots=1))
    for row in range(10):
        one_try(fleet, "fast", scored(1.0), 0.0, 1000 + row)
        one_try(fleet, "slow", scored(slow_s), 0.0, 2000 + row)
    window = rows(1)
    window.last = True
    return fleet, window


@pytest.mark.parametrize("rests", [busy("fast", 3600.0), bad("fast")], ids=["asked to", "has failed"])
def test_the_last_rows_do_not_wait_for_the_fastest_host_while_it_rests(rests: Failed) -> None:
    fleet, window = the_last_row_of(slow_s=1.9)
    assert fleet.pick("slow", window, 0.0) is None, "the fast one would be done with it first"
    one_try(fleet, "fast", rests, 0.0, 1)
    assert picked(fleet, "slow", window, 0.0).task.key.row == 0


def test_the_last_rows_wait_for_the_fastest_host_when_it_rests_but_a_moment() -> None:
    fleet, window = the_last_row_of(slow_s=60.0)
    one_try(fleet, "fast", busy("fast", 20.0), 0.0, 1)
    assert fleet.pick("slow", window, 0.0) is None
    assert fleet.due(19.0) == 20.0
    assert picked(fleet, "fast", window, 20.0).task.key.row == 0


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
