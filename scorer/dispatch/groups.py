"""Task groups that fail with one error instead of a group of them: people need one reason."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup

from scorer.errors import ScorerError


@asynccontextmanager
async def one_reason() -> AsyncIterator[TaskGroup]:
    """Open a task group; of several errors the one that leaves is a bug, if there is one, else the first."""
    try:
        async with anyio.create_task_group() as group:
            yield group
    except BaseExceptionGroup as errors:
        raise _reason(errors) from None


def _reason(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    flat = [_reason(error) if isinstance(error, BaseExceptionGroup) else error for error in errors.exceptions]
    return min(flat, key=lambda error: isinstance(error, ScorerError))
