"""What a host serves between two looks at it, and what is told when it turns out to be another package."""

from dataclasses import replace

import pytest
from virtual import EPOCH_S

from scorer.dispatch.served import Look, Served, exchange, short
from scorer.hosts.base import Frame, ModelInfo

OLD, NEW = ModelInfo("judge:7b", "ab" * 32), ModelInfo("judge:7b", "cd" * 32)


def served() -> Served:
    return Served(OLD, Frame("judge:7b", "system", {}, 2048), Look(EPOCH_S), Look(EPOCH_S))


def told(one: Served) -> str:
    return exchange("p40", "judge:7b", one, NEW, EPOCH_S + 90).text


def test_what_was_answered_before_a_look_that_found_the_same_digest_is_beyond_doubt() -> None:
    one = served()
    one.answered = 10
    one.look(EPOCH_S + 60)
    one.answered = 12  # two answers while the host was thinking about its digests
    assert not one.found(OLD)
    assert (one.doubtful, one.sure.at) == (2, EPOCH_S + 60)


def test_a_look_without_an_answer_makes_nothing_sure() -> None:
    one = served()
    one.answered = 10
    one.look(EPOCH_S + 60)
    one.answered = 20
    one.look(EPOCH_S + 120)
    assert one.found(NEW)
    assert (one.doubtful, one.sure.at) == (20, EPOCH_S)


def test_an_exchange_is_found_once_and_not_taken_back() -> None:
    one = served()
    assert one.found(NEW)
    assert not one.found(NEW)
    assert not one.found(OLD)
    assert one.exchanged


def test_a_model_of_which_only_the_context_changed_is_the_same() -> None:
    assert not served().found(replace(OLD, max_context=8192))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            57,
            "57 rows that it answered between 2023-11-14 22:13:20 and 2023-11-14 22:14:50 UTC may be of either and are "
            "stored with abababababab; find them by model, host and finished_at",
        ),
        (1, "1 row that it answered between "),
        (0, "no row was answered between 2023-11-14 22:13:20 and 2023-11-14 22:14:50 UTC, when that happened"),
    ],
)
def test_it_is_told_how_many_rows_an_exchange_may_concern_and_how_to_find_them(rows: int, words: str) -> None:
    one = served()
    one.answered = rows
    assert told(one).startswith(f"p40 has another judge:7b now (digest cdcdcdcdcdcd, not abababababab): {words}")


def test_a_digest_is_compared_by_its_beginning() -> None:
    assert short("ab" * 32) == "abababababab"
    assert short(None) == short("") == "unknown"
