"""`/api/chat` and `/api/generate`: from the request through load, slot and work to the reply, with the fault it draws.

A request that asks for no text is a load or unload command and draws no fault. Invariant: not one byte leaves before
the first token, unless a fault says so.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from doubles import faults
from doubles.calls import Call, decode
from doubles.catalogue import State
from doubles.engine import Job, Runner, Work
from doubles.exchange import JSON, NDJSON, Exchange, line
from doubles.prompts import Prompt, fit
from doubles.record import DROPPED, Record
from doubles.replies import Reply, complete, nothing

OnGeneration = Callable[[int], Awaitable[None]]


class Generations:
    """All generations of one server. `before_each` is awaited with each one's number before it is looked at."""

    def __init__(self, state: State, before_each: OnGeneration) -> None:
        if unknown := set(state.spec.faults) - faults.KINDS:
            raise ValueError(f"no such faults: {', '.join(sorted(unknown))}")
        self._state = state
        self._before_each = before_each
        self._count = 0
        self._seen: Counter[str] = Counter()
        self.released = asyncio.Event()

    @property
    def begun(self) -> int:
        """How many generations have begun."""
        return self._count

    async def chat(self, _state: State, exchange: Exchange) -> None:
        """Answer `/api/chat`."""
        await self._answer("chat", exchange)

    async def generate(self, _state: State, exchange: Exchange) -> None:
        """Answer `/api/generate`."""
        await self._answer("generate", exchange)

    async def _answer(self, kind: str, exchange: Exchange) -> None:
        record, state = exchange.record, self._state
        body = self._decode(exchange.request.body)
        record.body = body
        call = self._call(kind, body)
        if call.is_load:
            await self._load(call, exchange)
            return
        record.user_text = call.user_text
        record.generation, self._count = self._count, self._count + 1
        record.nth = self._seen[call.user_text]
        self._seen[call.user_text] += 1
        await self._before_each(record.generation)
        record.fault = self._draw(record, body)
        if early := faults.EARLY.get(record.fault or ""):
            await state.clock.wait(state.spec.fast_fail_s)
            early(exchange, state.spec)
            return
        async with state.engine.runner(call, record) as runner:
            reply = await self._work(call, runner, exchange)
        if reply is not None:
            await self._deliver(reply, exchange)

    def _decode(self, body: bytes) -> dict[str, Any]:
        return decode(body)

    def _call(self, kind: str, body: dict[str, Any]) -> Call:
        return self._state.call(kind, body)

    def _document(self, reply: Reply, version: str) -> dict[str, Any]:
        return reply.document(version)

    async def _load(self, call: Call, exchange: Exchange) -> None:
        if call.keep_alive_s == 0:
            self._state.engine.unload(call.model)
            exchange.record.load = "unload"
            reason = "unload"
        else:
            async with self._state.engine.runner(call, exchange.record):
                reason = "load"
        exchange.json(200, nothing(call, reason).document(self._state.engine.version))

    def _draw(self, record: Record, body: Mapping[str, Any]) -> str | None:
        spec = self._state.spec
        assert record.generation is not None
        if spec.fault_for is not None and (kind := spec.fault_for(record.generation, body)) is not None:
            if kind not in faults.KINDS:
                raise ValueError(f"no such fault: {kind}")
            return kind
        if not spec.faults:
            return None
        kinds = [*spec.faults, None]
        weights = [*spec.faults.values(), 1 - sum(spec.faults.values())]
        rng = random.Random(f"{spec.seed}\0{record.nth}\0{record.user_text}")
        return rng.choices(kinds, weights)[0]

    async def _work(self, call: Call, runner: Runner, exchange: Exchange) -> Reply | None:
        """Wait for a slot and use it; a stream is answered from within, so None comes back."""
        state, record = self._state, exchange.record
        if faults.cuts(record.fault):
            # as if the client had asked for it, so that a prompt which is too long is cut and not refused
            call = replace(call, truncate=True, shift=True)
        prompt = fit(call, runner.num_ctx, state.engine.version)
        reply = complete(call, prompt, runner.num_ctx, state.spec)
        self._note(record, prompt, reply)
        job = Job(prompt, reply.output_tokens, state.clock.now_s())
        reply.load_s = job.queued_s - exchange.arrived_s
        record.queued = runner.busy == runner.slots
        state.log.touch()
        slot = await runner.take(prompt.text)
        record.slot = slot.number
        state.log.touch()
        with state.engine.work(runner, slot, job) as work:
            return await self._use(work, reply, exchange)

    def _note(self, record: Record, prompt: Prompt, reply: Reply) -> None:
        if spoil := faults.SPOILED.get(record.fault or ""):
            spoil(reply, self._state.engine.version)
        record.truncated = prompt.truncated or faults.cuts(record.fault)
        record.prompt_tokens = reply.prompt_tokens
        record.output_tokens = reply.output_tokens
        record.content = reply.content
        record.answer = _parsed(reply.content)
        complete_and_true = reply.done_reason == "stop" and not record.truncated
        record.sound = complete_and_true and record.fault in faults.HARMLESS

    async def _use(self, work: Work, reply: Reply, exchange: Exchange) -> Reply | None:
        clock, record = self._state.clock, exchange.record
        if record.fault == faults.DROP:
            work.cut_s = (work.start_s + work.end_s) / 2
            await clock.wait_until(work.cut_s)
            exchange.close(DROPPED)
            exchange.connection.drop()
            return None
        reply.prefill_s, reply.decode_s, reply.cached_tokens = work.prefill_s, work.decode_s, work.cached_tokens
        reply.total_s = work.end_s - exchange.arrived_s
        record.busy_s = work.end_s - work.start_s
        plain = record.fault is None or record.fault in faults.SPOILED
        if reply.call.stream and plain:
            await self._stream(work, reply, exchange)
            return None
        await clock.wait_until(work.end_s)
        if record.fault == faults.HANG:
            await self.released.wait()
            work.cut_s = clock.now_s()
            reply.total_s = work.cut_s - exchange.arrived_s
        return reply

    async def _stream(self, work: Work, reply: Reply, exchange: Exchange) -> None:
        lines = reply.lines(self._state.engine.version)
        chunks = lines[:-1] if reply.done else lines
        await self._state.clock.wait_until(work.first_token_s)
        exchange.begin()
        for number, chunk in enumerate(chunks, 1):
            await self._state.clock.wait_until(work.first_token_s + work.decode_s * number / len(chunks))
            exchange.line(chunk)
        exchange.end(lines[-1] if reply.done else None)

    async def _deliver(self, reply: Reply, exchange: Exchange) -> None:
        state, fault = self._state, exchange.record.fault or ""
        if text := faults.ERRORS.get(fault):
            exchange.error(500, text)
            return
        version = state.engine.version
        if reply.call.stream:
            transfer = faults.Transfer(exchange, NDJSON, [line(document) for document in reply.lines(version)], state)
        else:
            transfer = faults.Transfer(exchange, JSON, [json.dumps(self._document(reply, version)).encode()], state)
        if fault in faults.WIRE:
            await faults.WIRE[fault](transfer)
        else:
            exchange.send(200, transfer.payload, transfer.content_type)


def _parsed(content: str) -> object:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None
