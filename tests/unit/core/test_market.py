"""What each host is believed to take, and which row it is best at."""

import numpy as np
import pytest

from scorer.core.host import Slot
from scorer.core.market import CLASSES, MANY_HOSTS, Market
from scorer.core.task import Reply, Task, TaskKey
from scorer.core.window import Window


def waiting(lengths: list[int], model: str = "m") -> Window:
    window = Window()
    for row, chars in enumerate(lengths):
        window.add(Task(TaskKey(model, row, 0), "", chars))
    return window


def slot(name: str, model: str, *, loads: bool = False) -> Slot:
    return Slot(1, name, Task(TaskKey(model, 0, 0), "", 400), 0.0, 120.0, loads=loads)


def teach(market: Market, name: str, prefill_tps: float, decode_tps: float, window: Window, model: str = "m") -> None:
    market.set_present(name, present=True)
    prefill_s, decode_s = 100 / prefill_tps, 60 / decode_tps
    reply = Reply("", "stop", 100, 60, prefill_s, decode_s)
    market.learn(slot(name, model), reply, prefill_s + decode_s + 0.05, window)
    market.worked(name, prefill_s + decode_s + 0.05)


def best(market: Market, name: str, window: Window) -> int:
    places = window.taken()
    return window.at(int(places[market.scores(name, window, places).argmin()])).key.row


def two_kinds(window: Window) -> Market:
    market = Market()
    teach(market, "reads", 1000, 20, window)
    teach(market, "writes", 100, 20, window)
    return market


def test_the_host_that_reads_best_takes_the_longest_prompt_and_the_other_the_shortest() -> None:
    window = waiting([400 * n for n in range(1, 41)])
    market = two_kinds(window)
    assert best(market, "reads", window) == 39
    assert best(market, "writes", window) == 0


def test_times_follow_what_replies_have_shown() -> None:
    window = waiting([400])
    market = two_kinds(window)
    assert market.time_s("reads", "m", 4000) == pytest.approx(1.0 + 3.0 + 0.05, rel=0.01)
    assert market.time_s("writes", "m", 4000) == pytest.approx(10.0 + 3.0 + 0.05, rel=0.01)
    assert market.times_of(["writes"], [("m", 4000)])[0, 0] == market.time_s("writes", "m", 4000)
    assert market.time_s("nobody", "m", 4000) is None
    market.set_present("new", present=True)
    assert market.time_s("new", "m", 4000) is None


def test_only_hosts_that_have_replied_and_are_present_have_a_price() -> None:
    window = waiting([400] * 10)
    market = two_kinds(window)
    market.set_present("new", present=True)
    assert not market.knows("nobody")
    assert not market.knows("new")
    assert market.priced()[0] == ["reads", "writes"]
    market.set_present("writes", present=False)
    assert not market.knows("writes")
    names, prices = market.priced()
    assert names == ["reads"]
    assert (prices > 0).all()


def test_a_lone_host_finds_all_rows_alike() -> None:
    window = waiting([400, 4000])
    market = Market()
    teach(market, "only", 1000, 20, window)
    assert market.scores("only", window, window.taken()).tolist() == [1.0, 1.0]


def test_rows_too_long_for_a_host_are_none_of_its_business_and_the_others_first() -> None:
    window = waiting([400, 4000, 40_000])
    market = two_kinds(window)
    market.set_largest("reads", "m", 10_000)
    places = window.taken()
    by_row = dict(zip((window.at(int(p)).key.row for p in places), market.scores("reads", window, places), strict=True))
    assert np.isinf(by_row[2])
    assert np.isfinite([by_row[0], by_row[1]]).all()
    market.reprice(window)
    assert best(market, "writes", window) == 2


def test_a_lone_host_too_small_for_a_row_does_not_take_it() -> None:
    window = waiting([400, 40_000])
    market = Market()
    teach(market, "only", 1000, 20, window)
    market.set_largest("only", "m", 10_000)
    scores = market.scores("only", window, window.taken())
    assert sorted(scores.tolist()) == [1.0, np.inf]


def test_a_new_host_gets_a_price_at_which_some_rows_suit_it() -> None:
    window = waiting([400 * n for n in range(1, 41)])
    market = two_kinds(window)
    teach(market, "third", 500, 10, window)
    _, prices = market.priced()
    slots = np.ones(3)
    assert (prices > 0).all()
    assert (prices * slots).sum() == pytest.approx(1.0)


def test_a_host_whose_models_nobody_waits_for_still_enters() -> None:
    window = waiting([400] * 10, model="other")
    market = Market()
    teach(market, "one", 1000, 20, window, model="other")
    market.set_largest("two", "other", -1.0)
    teach(market, "two", 1000, 20, window, model="m")
    assert market.knows("two")
    assert np.isinf(market.scores("two", window, window.taken())).all()
    assert np.isfinite(market.scores("one", window, window.taken())).all()


def test_prices_follow_the_queue_as_it_changes() -> None:
    window = waiting([400] * 200)
    market = two_kinds(window)
    for _ in range(40):
        market.reprice(window)
    short = dict(zip(*market.priced(), strict=True))
    longer = waiting([40_000] * 200)
    for _ in range(40):
        market.reprice(longer)
    long = dict(zip(*market.priced(), strict=True))
    assert long["reads"] / long["writes"] > 2 * short["reads"] / short["writes"], "it reads ten times as fast"


def test_nothing_waits_nothing_is_priced_anew() -> None:
    window = waiting([400] * 10)
    market = two_kinds(window)
    before = market.priced()[1]
    market.reprice(Window())
    assert market.priced()[1].tolist() == before.tolist()


def test_prices_are_renewed_every_so_many_replies() -> None:
    window = waiting([400 * n for n in range(1, 41)])
    market = two_kinds(window)
    for _ in range(4):
        teach(market, "reads", 1000, 20, window)
    before = market.priced()[1]
    for _ in range(100):
        teach(market, "reads", 100, 20, window)
    assert market.priced()[1].tolist() != before.tolist()


def test_among_very_many_hosts_the_choice_is_that_of_a_comparison_with_all() -> None:
    window = waiting([200 + 37 * n for n in range(3 * CLASSES)])
    market = Market()
    rng = np.random.default_rng(1)
    for i in range(MANY_HOSTS + 100):
        teach(market, f"h{i}", float(rng.uniform(50, 5000)), float(rng.uniform(5, 100)), window)
    market.reprice(window)
    places = window.taken()
    rows = [(window.at(int(place)).key.model, window.at(int(place)).chars) for place in places]
    names, prices = market.priced()
    costs = prices[:, None] * market.times_of(names, rows)
    for name in ("h0", "h7", "h300"):
        own = names.index(name)
        others = np.delete(costs, own, axis=0).min(axis=0)
        wanted = costs[own] / others
        scores = market.scores(name, window, places)
        assert wanted[scores.argmin()] <= 1.05 * wanted.min()


def test_rows_that_come_later_are_compared_with_the_same_few_of_very_many_hosts() -> None:
    window = waiting([200 + 37 * n for n in range(40)])
    market = Market()
    for i in range(MANY_HOSTS + 10):
        teach(market, f"h{i}", 100.0 + i, 20.0, window)
    market.reprice(window)
    market.scores("h0", window, window.taken())
    for row in range(40, 50):
        window.add(Task(TaskKey("m", row, 0), "", 100 * row))
    places = window.taken()
    rows = [(window.at(int(place)).key.model, window.at(int(place)).chars) for place in places]
    names, prices = market.priced()
    costs = prices[:, None] * market.times_of(names, rows)
    own = names.index("h0")
    others = np.delete(costs, own, axis=0).min(axis=0)
    assert market.scores("h0", window, places) == pytest.approx(costs[own] / others, rel=0.05)


def test_a_window_that_grows_is_followed() -> None:
    window = waiting([400] * 10)
    market = two_kinds(window)
    market.scores("reads", window, window.taken())
    for row in range(10, 1500):
        window.add(Task(TaskKey("m", row, 0), "", 400 + row))
    scores = market.scores("reads", window, window.taken())
    assert scores.shape == (1500,)
    assert np.isfinite(scores).all()


def test_several_models_have_each_their_own_times() -> None:
    window = waiting([400] * 5, model="small")
    for row in range(5):
        window.add(Task(TaskKey("big", row, 0), "", 400))
    market = Market()
    market.set_largest("a", "big", np.inf)
    teach(market, "a", 1000, 50, window, model="small")
    assert market.time_s("a", "big", 400) == market.time_s("a", "small", 400), "believed until it is known better"
    teach(market, "a", 100, 5, window, model="big")
    assert market.time_s("a", "big", 400) == pytest.approx(10 * (market.time_s("a", "small", 400) or 0), rel=0.1)
    assert np.isfinite(market.scores("a", window, window.taken())).all()


def two_models(old: int, new: int, load_s: float = 20.0) -> tuple[Market, Window]:
    """Two hosts, alike but for reading, that have `old` in memory; with so many rows of each model in all."""
    window = Window()
    window.behind = {"old": max(old - 40, 0), "new": max(new - 40, 0)}
    for model, rows in (("old", old), ("new", new)):
        for row in range(min(rows, 40)):
            window.add(Task(TaskKey(model, row, 0), "", 400 + 100 * row))
    market = Market()
    for name in ("a", "b"):
        for model in ("old", "new"):
            market.set_largest(name, model, np.inf)
        market.set_loaded(name, "old", load_s)
        for _ in range(60):
            teach(market, name, 100 if name == "a" else 1000, 20, window, model="old")
    return market, window


def model_of_best(market: Market, name: str, window: Window) -> str:
    places = window.taken()
    return window.at(int(places[market.scores(name, window, places).argmin()])).key.model


def test_rows_of_both_models_are_alike_where_loading_costs_nothing() -> None:
    window = waiting([4000], model="old")
    window.add(Task(TaskKey("new", 1, 0), "", 400))
    market = Market()
    for name in ("a", "b"):
        for model in ("old", "new"):
            market.set_largest(name, model, np.inf)
        teach(market, name, 100 if name == "a" else 1000, 20, window, model="old")
    assert best(market, "a", window) == 1


def test_a_host_stays_with_its_model_while_another_promises_no_more() -> None:
    market, window = two_models(1000, 1000)
    assert {model_of_best(market, name, window) for name in ("a", "b")} == {"old"}


def test_a_host_goes_over_to_a_model_that_only_it_can_do() -> None:
    market, window = two_models(1000, 1000)
    market.set_largest("b", "new", -1.0)
    market.reprice(window)
    assert model_of_best(market, "a", window) == "new"
    assert model_of_best(market, "b", window) == "old"


def test_a_host_stays_until_it_has_worked_for_what_its_load_cost() -> None:
    market, window = two_models(1000, 1000, load_s=60.0)
    market.set_largest("b", "new", -1.0)
    market.reprice(window)
    assert model_of_best(market, "a", window) == "old"


def test_when_a_models_rows_run_out_all_hosts_go_on_with_the_same() -> None:
    market, window = two_models(0, 1000)
    for row in range(30):
        window.add(Task(TaskKey("third", row, 0), "", 400 + 100 * row))
    for name in ("a", "b"):
        market.set_largest(name, "third", np.inf)
    assert {model_of_best(market, name, window) for name in ("a", "b")} == {"new"}


def test_what_a_load_takes_is_learned_from_the_replies_that_needed_one() -> None:
    market, window = two_models(10, 10)
    market.set_loaded("a", "new")
    market.learn(slot("a", "new", loads=True), Reply("", "stop", 100, 60, 1.0, 3.0, load_s=7.0), 11.0, window)
    market.learn(slot("a", "new"), Reply("", "stop", 100, 60, 1.0, 3.0, load_s=0.2), 4.2, window)
    assert (market.loaded("a"), market.load_s("a", "new"), market.load_s("a", "old")) == ("new", 0.0, 7.0)
    (times,) = market.times_of(["a"], [("new", 400), ("old", 400)])
    assert times[1] - times[0] == pytest.approx(7.0, rel=0.2)


def test_a_model_of_which_more_is_left_counts_for_more_in_the_prices() -> None:
    prices = []
    for left in (100, 10_000):
        market, window = two_models(100, left)
        market.set_largest("b", "new", -1.0)
        for _ in range(50):
            market.reprice(window)
        names, found = market.priced()
        by_host = dict(zip(names, found, strict=True))
        prices.append(by_host["a"] / by_host["b"])
    assert prices[1] > 2 * prices[0], "only host a can do what is left, and becomes dear"
