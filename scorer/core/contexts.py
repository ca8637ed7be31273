"""Which rows fit whose context, as far as that is known before the server has counted.

A row's length is known in characters and a context in tokens; what lies between is an estimate. So the host with the
largest context of all configured ones takes rows of any length: its own count decides. The others get what the estimate
lets them have, and never again a row that was too long for a context of their size.

Invariant: a row is given up unsent only if it is too long for every configured host by any tokeniser there is.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf

from scorer.core.estimate import TokenRatio
from scorer.core.host import Member
from scorer.core.task import Attempt, Dead, Task
from scorer.errors import FaultKind

# no tokeniser we know packs more characters of text than this into a token, on average over a whole prompt
MAX_CHARS_PER_TOKEN = 16


class Contexts:
    """The contexts of the configured hosts. `members` is the fleet's own, and only read; `ratio` is by model."""

    def __init__(self, members: Mapping[str, Member], ratio: Callable[[str], TokenRatio]) -> None:
        self._members = members
        self._ratio = ratio

    def can_take(self, member: Member, task: Task) -> bool:
        """Whether a host has the row's model and may try it."""
        if task.key.model not in member.models:
            return False
        if member.num_ctx >= self.largest(task.key.model):
            # its word is final, even twice: a larger host that a row was waiting for may have gone for good
            return True
        too_small = max((self._overflowed_at(attempt) for attempt in task.history), default=0)
        return member.num_ctx > too_small and self._ratio(task.key.model).tokens(task.chars) <= member.num_ctx

    def largest(self, model: str) -> int:
        """Return the largest context in tokens of the hosts with a model, 0 if there is none."""
        return max((m.num_ctx for m in self._members.values() if model in m.models), default=0)

    def hopeless(self, chars: int, num_predict: int) -> Dead | None:
        """Say whether no host's context could hold a prompt of so many characters, however it is counted."""
        largest = max((m.num_ctx for m in self._members.values()), default=None)
        if largest is None or chars / MAX_CHARS_PER_TOKEN + num_predict <= largest:
            return None
        return Dead(
            FaultKind.CONTEXT_OVERFLOW,
            f"a prompt of {chars} characters cannot fit the largest context of the hosts, {largest} tokens",
        )

    def longest(self, waiting: Iterable[str]) -> Iterator[tuple[str, str, float]]:
        """Yield host, model and the characters of the longest row it should get; -1 if it does not have the model.

        `waiting` are the models of which rows may wait, whether or not any host has them.
        """
        for model in {*waiting, *(model for member in self._members.values() for model in member.models)}:
            largest, chars_per_token = self.largest(model), self._ratio(model).chars_per_token
            for name, member in self._members.items():
                if model not in member.models:
                    yield name, model, -1.0
                else:
                    yield name, model, inf if member.num_ctx >= largest else member.num_ctx * chars_per_token

    def _overflowed_at(self, attempt: Attempt) -> int:
        if attempt.kind is not FaultKind.CONTEXT_OVERFLOW or attempt.host not in self._members:
            return 0
        return self._members[attempt.host].num_ctx
