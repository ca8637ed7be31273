"""A small job from beginning to end, for tests that end its process at a chosen place and start it again.

Rows whose number is a multiple of five die at their first three tries, each time until a retry; all others are done.
Run in a fresh process: it arms a failpoint.
"""

import time
from pathlib import Path

import entries

from scorer import failpoints, publish
from scorer.core.score import Field
from scorer.queue import Queue
from scorer.results import results_schema

ROWS = 12
BATCH = 3
PART = 4
DEATHS = 3
SCHEMA = results_schema([Field("score", "integer", minimum=0, maximum=10), Field("reason", "string")], {})


def live(folder: Path, place: str) -> None:
    publish.PART_ROWS = PART
    queue = Queue.open(folder / "queue.sqlite", time.time())
    publisher = publish.Publisher(queue, folder, SCHEMA)
    failpoints.arm(place)
    publisher.recover()
    queue.enqueue(["m"], ROWS, 1)
    _score(queue, publisher)
    while queue.counts().dead:
        publisher.before_retry()
        queue.revive(None)
        _score(queue, publisher)
    queue.close()


def _score(queue: Queue, publisher: publish.Publisher) -> None:
    while tasks := queue.pending("m", None, BATCH):
        batch = []
        for task in tasks:
            row = task.key.row
            if row % 5 == 0 and task.tries < DEATHS:
                batch += [entries.tried(row), entries.died(row, attempts=task.tries + 1)]
            else:
                batch.append(entries.done(row, attempts=task.tries + 1))
        queue.commit(batch, time.time())
        if publisher.due(0.0, 0.0):
            publisher.publish(everything=False)
    publisher.finish()
