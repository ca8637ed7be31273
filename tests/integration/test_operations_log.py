"""The write-ahead log stays below 64 MiB over what a month of scoring writes, though somebody always reads."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import entries

from scorer.database import Database
from scorer.queue import Queue

MIB = 1 << 20
MOST_BYTES = 64 * MIB
MONTH_BYTES = 400 * MIB
NOW = 1_700_000_000.0
BATCH = 100
TEXT = "why it is so. " * 1500  # 20 kB: what counts is what is written, and rows of this size make it quickly
READERS = 2


@contextmanager
def somebody_always_reading(path: Path) -> Iterator[threading.Semaphore]:
    """Two who look at the job again and again, so that as one leaves the other is still there; each look is short.

    The semaphore counts their looks.
    """
    over, looks = threading.Event(), threading.Semaphore(0)

    def look() -> None:
        database = Database.open_to_read(path)
        while not over.is_set():
            with database.read() as db:
                # little to read: on a loaded machine it must not take the seconds after which a commit gives up waiting
                db.exec_driver_sql("SELECT row FROM task LIMIT 1").all()
                over.wait(0.02)  # a slow reader
            looks.release()
        database.close()

    readers = [threading.Thread(target=look) for _ in range(READERS)]
    for reader in readers:
        reader.start()
    try:
        yield looks
    finally:
        over.set()
        for reader in readers:
            reader.join()


def test_the_log_stays_small_over_a_month_in_which_somebody_always_reads(tmp_path: Path) -> None:
    path = tmp_path / "queue.sqlite"
    queue = Queue.open(path, NOW)
    count = MONTH_BYTES // len(TEXT)
    queue.enqueue(["m"], count, 1)
    log = path.with_name("queue.sqlite-wal")
    largest = 0
    with somebody_always_reading(path) as looks:
        for first in range(0, count, BATCH):
            batch = [entries.done(row, completion=TEXT) for row in range(first, min(first + BATCH, count))]
            queue.commit(batch, NOW)
            largest = max(largest, log.stat().st_size)
            assert looks.acquire(timeout=60), "nobody reads any more"
    assert queue.counts().done == count
    assert path.stat().st_size > MONTH_BYTES / 2, "the log was never put into the database"
    assert 4 * MIB < largest < MOST_BYTES
    queue.close()
    assert not log.exists()
