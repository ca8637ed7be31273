"""When a run gives up, asked with a real fleet and hosts whose states a test sets."""

import random
from functools import partial

import pytest
from fleet_tries import member, rows
from virtual import EPOCH_S, virtually

from scorer.config import HostConfig
from scorer.core.fleet import Fleet
from scorer.core.hours import Hours
from scorer.core.window import Window
from scorer.dispatch.lives import Life, LifeState, Lives
from scorer.dispatch.patience import Patience
from scorer.dispatch.terms import Terms
from scorer.errors import NoHostsLeft, UsageError
from scorer.hosts.factory import make_host

TERMS = Terms(("m",), {"m": "ab" * 32}, False, "system", {}, 4096)


async def _made(config: HostConfig) -> Life:
    return Life(config, make_host(config))


class Scene:
    """One host, as far away as a test says, and ten seconds of patience."""

    def __init__(self, hours: Hours | None = None) -> None:
        config = HostConfig(name="a", url="http://127.0.0.1:1", hours=hours)
        self.fleet = Fleet(random.Random(0))
        self.lives = Lives(TERMS, self.fleet, random.Random(0), lambda: EPOCH_S)
        self.life = virtually(partial(_made, config))
        self.lives.add(self.life)
        self.patience = Patience(10.0, self.fleet, self.lives)

    def check(self, now: float, window: Window | None = None, *, reading: bool = False) -> float | None:
        self.patience.check(rows(1) if window is None else window, now, reading=reading)
        return self.patience.left_s(now)


def test_the_time_without_a_host_is_counted_down_and_then_the_run_gives_up_with_the_reason() -> None:
    scene = Scene()
    assert [scene.check(now) for now in (100.0, 104.0, 110.0)] == [10.0, 6.0, 0.0]
    with pytest.raises(NoHostsLeft, match=r"for 10 s \(a: not asked yet\).*`scorer resume`"):
        scene.check(110.5)


def test_a_host_that_can_take_what_waits_begins_the_count_anew() -> None:
    scene = Scene()
    scene.check(100.0)
    scene.fleet.join(member("a"), 105.0)
    assert scene.check(105.0) is None
    scene.fleet.leave("a")
    assert scene.check(111.0) == 10.0


def test_a_host_that_cannot_take_what_waits_is_no_hope() -> None:
    scene = Scene()
    scene.fleet.join(member("a", models="another"), 0.0)
    assert scene.check(100.0) == 10.0


def test_an_empty_window_is_no_reason_to_give_up_while_rows_are_read_and_a_host_is_there() -> None:
    scene = Scene()
    assert scene.check(100.0, Window(), reading=True) == 10.0, "nobody is there"
    scene.fleet.join(member("a"), 101.0)
    assert scene.check(101.0, Window(), reading=True) is None


def test_a_score_begins_the_count_anew() -> None:
    scene = Scene()
    scene.check(100.0)
    scene.patience.scored()
    assert scene.patience.left_s(109.0) is None
    assert scene.check(111.0) == 10.0


def test_a_host_that_rests_is_waited_for_however_long() -> None:
    asleep = Scene(Hours.parse("00:00-00:01"))
    asleep.life.state = LifeState.RESTING
    asleep.lives.keep_hours()
    assert [asleep.check(now) for now in (0.0, 1e6)] == [None, None]


def test_hosts_that_may_not_be_used_end_a_run_at_once_unless_one_has_scored() -> None:
    scene = Scene()
    scene.life.state, scene.life.reason = LifeState.LEFT_OUT, "it has another model"
    with pytest.raises(UsageError, match="a: it has another model"):
        scene.check(100.0)
    scene.patience.scored()
    assert scene.check(100.0) == 10.0
