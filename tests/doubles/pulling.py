"""Pulling a model: lines of progress that take their time, and every way in which a pull can go wrong.

As on a real server the first line comes before anything is known, so a failure of a stream is a 200 with an error line;
what was fetched before a failure stays, and the next pull of that model goes on from there; a client that leaves stops
it. The model is on the server's list only after `success`.
"""

import asyncio
from collections.abc import Iterator

from doubles.calls import Refusal, decode
from doubles.catalogue import State
from doubles.exchange import Exchange
from doubles.record import DROPPED
from doubles.spec import Model, with_tag

MISSING = "pull model manifest: file does not exist"
STEPS = 20
TICK_S = 0.05


async def pull(state: State, exchange: Exchange) -> None:
    """Fetch a model of `Spec.pullable`, or again one that is there."""
    body = decode(exchange.request.body)
    exchange.record.body = body
    name = with_tag(body.get("model") or body.get("name") or "")
    model = next((m for m in (*state.spec.pullable, *state.models.values()) if m.full_name == name), None)
    script = state.spec.pull_script
    fate = script[state.pulls] if state.pulls < len(script) else "ok"
    state.pulls += 1
    if body.get("stream") is False:
        _at_once(state, exchange, model, fate)
        return
    exchange.begin()
    exchange.line({"status": "pulling manifest"})
    if model is None:
        exchange.end({"error": MISSING})
        return
    if not await _fetch(state, exchange, model, fate):
        return
    exchange.line({"status": "verifying sha256 digest"})
    exchange.line({"status": "writing manifest"})
    state.models[model.full_name.lower()] = model
    exchange.end({"status": "success"})


def _at_once(state: State, exchange: Exchange, model: Model | None, fate: str) -> None:
    if model is None or fate != "ok":
        raise Refusal(500, MISSING if model is None else fate)
    state.models[model.full_name.lower()] = model
    exchange.json(200, {"status": "success"})


async def _fetch(state: State, exchange: Exchange, model: Model, fate: str) -> bool:
    """Send the lines of the one large file; False when it came to nothing, half-way."""
    for share in _shares(state.fetched.get(model.hex_digest, 0)):
        await state.clock.wait(state.spec.pull_s / STEPS)
        state.fetched[model.hex_digest] = share
        exchange.line(_progress(model, share))
        await exchange.connection.drain()
        if fate != "ok" and share >= STEPS // 2:
            await _fail(exchange, fate, _progress(model, share))
            return False
    return True


def _shares(fetched: int) -> Iterator[int]:
    yield from range(min(fetched + 1, STEPS), STEPS + 1)


def _progress(model: Model, share: int) -> dict[str, object]:
    done = {"completed": model.size_bytes * share // STEPS}
    whole = {"digest": f"sha256:{model.hex_digest}", "total": model.size_bytes}
    return {"status": f"pulling {model.hex_digest[:12]}", **whole, **done}


async def _fail(exchange: Exchange, fate: str, last: dict[str, object]) -> None:
    if fate == "stall":
        # a real server goes on telling what it told last
        while True:
            exchange.line(last)
            await asyncio.sleep(TICK_S)
    elif fate == "drop":
        exchange.close(DROPPED)
        exchange.connection.drop()
    else:
        exchange.end({"error": fate})
