"""A job in a thread, as far as that needs no host: how it is ended."""

import gc
import weakref
from collections.abc import Callable

from scorer.jobs.in_thread import JobInThread
from scorer.jobs.submit import RunOptions


def stopped_at_once(_: Callable[[], None]) -> RunOptions:
    raise KeyboardInterrupt


def test_nothing_is_kept_of_a_job_that_was_ended() -> None:
    job = JobInThread(stopped_at_once)
    job.begin()
    job.end()
    kept = weakref.ref(job)
    del job
    gc.collect()
    assert kept() is None
