import anyio
import pytest

from scorer.dispatch.groups import one_reason
from scorer.errors import NoHostsLeft, StoreError


async def fail(*errors: Exception) -> None:
    async def one(error: Exception) -> None:
        raise error

    async with one_reason() as group:
        async with one_reason() as inner:
            for error in errors:
                inner.start_soon(one, error)
        group.start_soon(anyio.sleep, 0)


def test_one_error_leaves_as_itself() -> None:
    with pytest.raises(StoreError, match="torn"):
        anyio.run(fail, StoreError("torn"))


def test_a_bug_is_the_reason_before_any_other() -> None:
    with pytest.raises(ZeroDivisionError):
        anyio.run(fail, NoHostsLeft("none"), ZeroDivisionError("a bug"), StoreError("torn"))


def test_nothing_is_raised_when_nothing_fails() -> None:
    anyio.run(fail)
