"""Any order of calls, restarts and takeovers, compared with a dictionary that does the same."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import entries
import in_memory
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from scorer.core.result import Counts, Died, Done, Entry
from scorer.core.task import State
from scorer.errors import StoreError
from scorer.queue import Queue, Reader, problems

MODELS = ("m", "n")
KINDS = ("deadline", "poison")

keys = st.builds(dict, row=st.integers(0, 7), model=st.sampled_from(MODELS), sample=st.integers(0, 1))
some_entries = st.lists(
    st.one_of(
        keys.map(lambda key: entries.done(**key)),
        st.tuples(keys, st.sampled_from(KINDS)).map(lambda drawn: entries.died(**drawn[0], kind=drawn[1])),
        st.tuples(keys, st.booleans()).map(lambda drawn: entries.tried(**drawn[0], sent=drawn[1])),
    ),
    max_size=12,
)


class Expected:
    """What the queue should know of one task."""

    def __init__(self) -> None:
        self.state = State.PENDING
        self.tries = 0
        self.history = []
        self.kind = None


class QueueMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=in_memory.place()))
        self.path = self.folder / "queue.sqlite"
        self.now = 1000.0
        self.queue = Queue.open(self.path, self.now)
        self.tasks = {}
        self.results = []
        self.parts = []
        self.fixed = None

    @initialize()
    def begin_with_both_models(self) -> None:
        self.enqueue(list(MODELS), 2, 1)

    @rule(models=st.permutations(MODELS), rows=st.integers(0, 8), samples=st.integers(1, 2))
    def enqueue(self, models: list[str], rows: int, samples: int) -> None:
        self.added(models, range(rows), samples, self.queue.enqueue(models, rows, samples))

    @rule(rows=st.lists(st.integers(0, 7), unique=True), samples=st.integers(1, 2))
    def enqueue_a_sample(self, rows: list[int], samples: int) -> None:
        self.added(["m"], rows, samples, self.queue.enqueue(["m"], rows, samples))

    def added(self, models: Sequence[str], rows: Sequence[int], samples: int, count: int) -> None:
        wanted = {(model, row, sample) for model in models for row in rows for sample in range(samples)}
        missing = wanted - self.tasks.keys()
        assert count == len(missing)
        self.tasks |= {key: Expected() for key in missing}

    @rule(batch=some_entries)
    def commit(self, batch: list[Entry]) -> None:
        self.now += 1
        assert self.queue.commit(batch, self.now) == sum(self.expect(entry) for entry in batch)

    def expect(self, entry: Entry) -> bool:
        task = self.tasks.get(tuple(entry.key))
        if task is None or task.state is not State.PENDING:
            return False
        match entry:
            case Done():
                task.state, task.tries = State.DONE, entry.attempts
                self.results.append(entry.key)
            case Died():
                task.state, task.tries, task.kind = State.DEAD, entry.attempts, entry.kind
            case _:
                task.history.append(entry.attempt)
                task.tries += entry.attempt.sent
        return True

    @rule(kind=st.sampled_from([None, *KINDS]))
    def revive(self, kind: str | None) -> None:
        dead = [t for t in self.tasks.values() if t.state is State.DEAD and kind in (None, t.kind)]
        assert self.queue.revive(kind) == len(dead)
        for task in dead:
            task.state, task.history = State.PENDING, []

    @rule(limit=st.integers(1, 5))
    def fix_part(self, limit: int) -> None:
        part = self.queue.fix_part(limit)
        if self.fixed is None:
            first = sum(p.rows for p in self.parts) + 1
            last = min(first + limit - 1, len(self.results))
            if last < first:
                assert part is None
                return
            self.fixed = (len(self.parts), first, last)
        assert (part.number, part.first_seq, part.last_seq) == self.fixed
        assert not part.recorded

    @precondition(lambda self: self.fixed)
    @rule()
    def record_part(self) -> None:
        self.queue.record_part(self.fixed[0], 100, "abc")
        self.parts.append(self.queue.parts()[-1])
        assert self.parts[-1].recorded
        self.fixed = None

    @rule()
    def restart(self) -> None:
        self.queue.close()
        self.queue = Queue.open(self.path, self.now)

    @rule()
    def lose_the_job_to_another_process(self) -> None:
        stale = self.queue
        self.queue = Queue.open(self.path, self.now)
        with pytest.raises(StoreError):
            stale.commit([entries.done(0)], self.now)
        stale.close()

    @invariant()
    def it_knows_what_waits(self) -> None:
        for model in MODELS:
            found, after = {}, None
            while page := self.queue.pending(model, after, 3) if self.tasks else []:
                assert [p.key for p in page] == sorted(p.key for p in page)
                found |= {tuple(p.key): (p.tries, list(p.history)) for p in page}
                after = (page[-1].key.row, page[-1].key.sample)
            assert found == {
                key: (task.tries, task.history)
                for key, task in self.tasks.items()
                if key[0] == model and task.state is State.PENDING
            }

    @invariant()
    def it_knows_what_is_over(self) -> None:
        states = [task.state for task in self.tasks.values()]
        expected = Counts(*(states.count(state) for state in (State.PENDING, State.DONE, State.DEAD)))
        assert self.queue.counts() == expected
        results = [(r.model, r.row, r.sample) for rows in self.queue.results(1, 1000) for r in rows]
        assert results == [tuple(key) for key in self.results]
        dead = {(r.model, r.row, r.sample) for rows in self.queue.dead_rows() for r in rows}
        assert dead == {key for key, task in self.tasks.items() if task.state is State.DEAD}
        assert self.queue.unpublished()[0] == len(results) - sum(p.rows for p in self.parts)

    @invariant()
    def it_is_sound(self) -> None:
        assert problems(self.path) == self.queue.tally_problems() == []
        reader = Reader.open(self.path)
        assert sum(host.rows for host in reader.per_host()) == len(self.results)
        reader.close()

    def teardown(self) -> None:
        self.queue.close()
        shutil.rmtree(self.folder)


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
