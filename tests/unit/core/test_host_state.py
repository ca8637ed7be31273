"""One host by itself: of which replies the fleet learns."""

import random
from itertools import pairwise

from scorer.core.health import Breaker
from scorer.core.host import ALL_OF_THE_FIRST, LEARN_EVERY_S, HostState, Member
from scorer.core.limit import Limit
from scorer.core.task import Task, TaskKey

FRESH = Task(TaskKey("m", 0, 0), "u", 100)


def host() -> HostState:
    rng = random.Random(0)
    return HostState(Member("a", frozenset({"m"}), 4096), Breaker(rng), Limit(None, 0.0, rng))


def lessons(times: list[float]) -> list[float]:
    """Return the times of those replies that teach."""
    one, found = host(), []
    for now in times:
        one.succeeded(FRESH, now)
        if one.teaches(now):
            found.append(now)
    return found


def test_a_host_that_answers_now_and_then_teaches_with_every_reply() -> None:
    times = [2 * LEARN_EVERY_S * i for i in range(200)]
    assert lessons(times) == times


def test_of_many_replies_a_second_the_first_teach_and_then_some_at_a_distance() -> None:
    times = [i / 1000 for i in range(1000)]
    found = lessons(times)
    assert found[:ALL_OF_THE_FIRST] == times[:ALL_OF_THE_FIRST]
    later = found[ALL_OF_THE_FIRST - 1 :]
    gaps = [after - before for before, after in pairwise(later)]
    assert min(gaps) >= LEARN_EVERY_S
    assert max(gaps) <= 2 * LEARN_EVERY_S
