"""Pending rows of one model, in dataset order, as tasks with their prompts rendered.

A feed walks the queue's pending tasks and the dataset side by side, forward only, so memory stays flat and no row is
ever fetched at random. A row that had to be put aside (only an absent host could take it) is met again in a later pass.

Invariants: a task that is in memory anywhere is never handed out a second time; no row comes from a dataset that was
changed since it was opened.
"""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

import pyarrow as pa

from scorer.core.kept import kept_json
from scorer.core.result import Died, Pending
from scorer.core.task import Task, TaskKey
from scorer.core.values import Unreadable, python_values
from scorer.dispatch.seams import Seams
from scorer.errors import FaultKind, RowFault
from scorer.inputs import Dataset, Vigil
from scorer.queue import Queue
from scorer.templates import Asking

PAGE = 1024
MAX_CHARS = 16 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """How rows become prompts: template variables come from `columns`, `keep` columns travel to the results."""

    dataset: Dataset
    template: Asking
    columns: Mapping[str, str]
    keep: tuple[str, ...] = ()

    @property
    def reads(self) -> list[str]:
        """The dataset's columns that are read at all."""
        return list(dict.fromkeys((*self.columns.values(), *self.keep)))


class _Cursor:
    """A forward-only view of the dataset's rows."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._vigil = Vigil(source.dataset)
        self._batches: Iterator[tuple[int, pa.RecordBatch]] | None = None
        self._first = 0
        self._values: dict[str, list[object]] = {}
        self._kept: list[str] = []

    def row(self, index: int) -> tuple[dict[str, object], str]:
        """Return the template's values and the kept columns of a row; indexes must not decrease."""
        while index >= self._first + len(self._kept):
            self._advance(index)
        at = index - self._first
        values = {variable: self._values[column][at] for variable, column in self._source.columns.items()}
        return values, self._kept[at]

    def _advance(self, index: int) -> None:
        try:
            self._read(index)
        except Exception:
            # changed bytes may look like anything, damage included
            self._vigil.explain()
            raise
        # only now: pieces of a mapped file are not copied before they are converted
        self._vigil.look()

    def _read(self, index: int) -> None:
        if self._batches is None:
            self._batches = self._source.dataset.read(self._source.reads, start=index)
        self._first, batch = next(self._batches)
        wanted = set(self._source.columns.values())
        if index >= self._first + batch.num_rows:
            # far behind the next pending row: nothing of this piece is needed
            self._kept = [""] * batch.num_rows
            return
        self._values = {name: python_values(batch.column(name)) for name in wanted}
        self._kept = kept_json(batch, self._source.keep)


class Feed:
    """The tasks of one model that are still to be done.

    `left` is about how many of them were not taken yet; 0 in a second pass, which nobody has counted.
    """

    def __init__(self, model: str, queue: Queue, source: Source, seams: Seams) -> None:
        self.model = model
        self._queue = queue
        self._source = source
        self._seams = seams
        self.rewind()
        self.left = queue.counts(model).pending

    def rewind(self) -> None:
        """Begin another pass over what is pending, for the rows that were put aside."""
        self.left = 0
        self._after: tuple[int, int] | None = None
        self._page: list[Pending] = []
        self._cursor = _Cursor(self._source)
        self.exhausted = False
        self.put_aside = False

    async def take(self, count: int, held: Set[TaskKey]) -> list[Task | Died]:
        """Return the next tasks, at most `count`; rows that can have no prompt come as dead ones.

        `held` are the tasks in memory now: they are pending in the database too, and must not come twice.
        """
        if not self._page:
            self._page = await self._seams.store(self._queue.pending, self.model, self._after, PAGE)
            if not self._page:
                self.exhausted, self.left = True, 0
                return []
            last = self._page[-1].key
            self._after = (last.row, last.sample)
            self._page = [pending for pending in self._page if pending.key not in held]
        chunk, self._page = self._page[:count], self._page[count:]
        rendered = await self._seams.read(self._render_all, chunk)
        # what did not fit the bound on characters comes next time
        self._page = chunk[len(rendered) :] + self._page
        self.left = max(0, self.left - len(rendered))
        return rendered

    def _render_all(self, chunk: list[Pending]) -> list[Task | Died]:
        rendered: list[Task | Died] = []
        chars = 0
        for pending in chunk:
            item = self._render(pending)
            rendered.append(item)
            chars += len(item.kept) + (item.chars if isinstance(item, Task) else len(item.error))
            if chars >= MAX_CHARS:
                break
        return rendered

    def _render(self, pending: Pending) -> Task | Died:
        values, kept = self._cursor.row(pending.key.row)
        template = self._source.template
        for variable, value in values.items():
            if isinstance(value, Unreadable):
                message = f"column {self._source.columns[variable]} holds {value.reason}"
                return self._stillborn(pending, kept, FaultKind.RENDER_FAILED, message)
        if template.is_empty(values):
            columns = ", ".join(sorted(set(self._source.columns.values())))
            return self._stillborn(pending, kept, FaultKind.EMPTY_PROMPT, f"nothing in column {columns}")
        try:
            rendered = template.render(values)
        except RowFault as fault:
            return self._stillborn(pending, kept, fault.kind, fault.message)
        return Task(pending.key, rendered.user, rendered.chars, kept, pending.history, pending.tries, rendered.recipe)

    def _stillborn(self, pending: Pending, kept: str, kind: FaultKind, message: str) -> Died:
        return Died(
            key=pending.key,
            error=f"{kind}: {message}",
            kind=str(kind),
            kept=kept,
            attempts=pending.tries,
            finished_at=self._seams.wall(),
        )
