"""The truth about a job: which tasks wait, which are done or dead, and what every try came to.

All SQL of the queue is in this package, as Core statements over `scorer.tables`; what leaves it is frozen dataclasses
of `scorer.core`. The queue knows no host, no prompt and no Parquet, reads no clock, and never claims a task for
anybody: "running" lives in the dispatcher's memory, so that a crash leaves nothing to clean up.

Invariants
* A result and its task's state change in one transaction, and the first answer wins.
* Only the process that opened the queue last can write: it holds the highest epoch, and every transaction checks it.
* Result numbers (`seq`) are dense from 1 in the order of commits; a part is a range of them, fixed before its file is
  written. So no result is in two parts or in none.
* What `commit` returned from survives a power cut.

    writer.py      Queue: the one connection that writes
    reader.py      Reader: figures for other processes, read-only
    batch.py       entries of a commit → rows of tables
    statements.py  the SQL that several of them need, or that runs often
    schema.py      creates the tables, brings old ones up to date
    soundness.py   every invariant that the tables can show
"""

from scorer.queue.reader import Reader
from scorer.queue.soundness import problems
from scorer.queue.writer import Queue

__all__ = ["Queue", "Reader", "problems"]
