"""Who is to blame where it is neither the row nor the one host that failed it, asked of a whole fleet."""

from fleet_tries import (
    bad,
    called_bad,
    downed,
    failed,
    failed_elsewhere,
    fleet_of,
    member,
    one_try,
    picked,
    refused,
    rows,
    scored,
    task,
    unclear,
    warm_up,
    window_of,
)

from scorer.core.task import Blame, Failed
from scorer.errors import FaultKind


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


def test_a_host_that_refuses_its_first_rows_is_left_out_after_three_and_the_rows_are_innocent() -> None:
    fleet = fleet_of(member("a"), member("b"))
    for number in range(3):
        settled = one_try(fleet, "a", called_bad("a"), 10.0 * number, number)
        assert settled.dead is None
        assert [a.blame for a in settled.task.history] == [Blame.HOST]
        assert not settled.task.failed_on("a")
        assert (settled.unusable is not None) == (number == 2)
    assert settled.unusable is not None
    assert "refused its first 3 rows" in settled.unusable


def test_a_host_that_was_left_out_for_its_refusals_kills_no_row_when_it_comes_back() -> None:
    fleet = fleet_of(member("a"))
    for now, row in enumerate((0, 1, 2, 1)):
        settled = one_try(fleet, "a", called_bad("a"), 10.0 * now, row)
        assert settled.dead is None
        assert [a.blame for a in settled.task.history] == [Blame.HOST]
    assert settled.unusable


def test_a_row_that_a_host_refuses_as_its_first_one_comes_after_the_others() -> None:
    fleet = fleet_of(member("a", slots=1))
    waiting = rows(3)
    back = fleet.release(picked(fleet, "a", waiting, 0.0), called_bad("a"), 0.0).task
    assert back.key.row == 0
    waiting.add(back, first=True)
    assert picked(fleet, "a", waiting, 10.0).task.key.row == 1


def test_a_row_that_two_new_hosts_refused_is_still_given_to_them() -> None:
    fleet = fleet_of(member("a"), member("b"))
    back = one_try(fleet, "a", called_bad("a"), 0.0).task
    waiting = window_of(back)
    assert fleet.pick("a", waiting, 10.0) is None, "b is to try it first"
    back = fleet.release(picked(fleet, "b", waiting, 10.0), called_bad("b"), 10.0).task
    assert picked(fleet, "a", window_of(back), 20.0).task.key == back.key


def test_one_row_that_the_only_host_refuses_twice_is_dead_and_the_host_is_not_left_out() -> None:
    fleet = fleet_of(member("a"))
    first = one_try(fleet, "a", called_bad("a"), 0.0)
    assert (first.dead, first.unusable) == (None, None)
    second = fleet.release(picked(fleet, "a", window_of(first.task), 10.0), called_bad("a"), 10.0)
    assert second.unusable is None
    assert second.dead is not None
    assert second.dead.kind == "bad_request"


def test_a_host_that_did_rows_of_the_job_before_is_believed_about_its_first_one_now() -> None:
    fleet = fleet_of(member("a"), proven={"a"})
    for row in range(5):
        settled = one_try(fleet, "a", called_bad("a"), 10.0 * row, row)
        assert settled.unusable is None
        assert settled.dead is not None


def test_what_is_new_under_a_proven_hosts_name_must_do_a_row_first() -> None:
    fleet = fleet_of(member("a"), proven={"a"})
    fleet.join(member("a", num_ctx=8192), 1.0)
    assert one_try(fleet, "a", called_bad("a"), 2.0).dead is None


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


def dropped(host: str) -> Failed:
    return failed(host, FaultKind.DROPPED, Blame.UNCLEAR)


def test_whom_a_waking_machine_cannot_reach_is_asked_again_soon_and_nobody_is_blamed() -> None:
    fleet = fleet_of(member("a"), member("b"))
    fleet.away(100.0)
    for outcome in (downed("a"), refused("b")):
        slot = picked(fleet, outcome.attempt.host, rows(1), 101.0)
        beside = picked(fleet, outcome.attempt.host, rows(1, 50), 101.0)
        for row in (slot, beside):
            settled = fleet.release(row, outcome, 102.0)
            assert settled.attempt is not None
            assert settled.attempt.blame is Blame.NOBODY
            assert settled.task.history == ()
        assert fleet.is_open(slot.host)
        assert fleet.retry_at(slot.host) <= 102.0 + 6.0, "back soon"
        assert fleet.last_fault(slot.host) == f"{outcome.attempt.kind}: {outcome.attempt.message}"


def test_a_connection_that_breaks_soon_after_waking_costs_its_slot_a_second_and_nobody_anything() -> None:
    fleet = fleet_of(member("a", slots=1))
    fleet.away(100.0)
    for now in (101.0, 102.5, 104.0, 105.5, 107.0, 108.5):
        assert one_try(fleet, "a", dropped("a"), now).task.history == ()
        assert not fleet.is_open("a")
        assert fleet.pick("a", rows(1), now + 0.9) is None, "failing fast must never attract work"


def test_what_has_nothing_to_do_with_the_network_is_judged_also_soon_after_waking() -> None:
    fleet = fleet_of(member("a"), member("b"))
    fleet.away(100.0)
    assert [a.blame for a in one_try(fleet, "a", unclear("a"), 101.0).task.history] == [Blame.UNCLEAR]
    assert [a.blame for a in one_try(fleet, "a", bad("a"), 103.0).task.history] == [Blame.ROW]


def test_some_seconds_after_waking_hosts_are_judged_again() -> None:
    fleet = fleet_of(member("a"), member("b"))
    fleet.away(100.0)
    assert [a.blame for a in one_try(fleet, "a", downed("a"), 111.0).task.history] == [Blame.HOST]


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
