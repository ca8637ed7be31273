"""Who is really to blame for a failed try, where it is neither the row nor the one host it failed on.

* What was in flight while this machine or its network was away blames nobody. When half of the hosts cannot be reached
  at once, it is taken to have been away.
* A machine that wakes up is off the network for some seconds more. What loses its host then blames nobody either; the
  host must answer again, as after any absence of ours.
* A host that refuses each of its first rows does not like the form of our requests: the rows are innocent. One row
  alone says nothing of that: if there is no other to try, its second refusal counts against it.
* A bad completion counts against its host once another host could do the row. A row that nobody can do says nothing of
  anybody, and which rows a host gets is no accident.

It looks at hosts side by side; what one host's own faults do to it is `host.py`. Times are the caller's monotonic
seconds.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace

from scorer.core.host import MIN_HOLD_S, HostState, Slot
from scorer.core.task import Attempt, Blame, Task
from scorer.errors import FaultKind

MAX_REFUSED = 3
LOCAL_WINDOW_S = 10.0
LOCAL_BACKOFF_S = 5.0
# a sleeper's Wi-Fi and its address take about as long to come back
WAKING_S = 10.0
OFF_THE_NETWORK = (FaultKind.UNREACHABLE, FaultKind.DROPPED)


class Suspicion:
    """What failed tries say about hosts together. `hosts` are those that joined, and may grow.

    `proven` names hosts that have done rows of this job in an earlier run: they like the form of its requests.
    """

    def __init__(self, hosts: Mapping[str, HostState], proven: Collection[str] = ()) -> None:
        self._hosts = hosts
        self._proven = set(proven)
        self._away_at = self._awake_at = float("-inf")

    def woke(self, now: float) -> None:
        """Note that this machine was away until now: requests sent before blame nobody when they end badly."""
        self._away_at = now
        self._awake_at = now + WAKING_S

    def replaced(self, name: str) -> None:
        """Note that something else stands in `hosts.toml` under a host's name now."""
        self._proven.discard(name)

    def absolve(self, host: HostState, slot: Slot, attempt: Attempt, now: float) -> Attempt:
        """Blame nobody for what ended badly because this machine or its network was away."""
        if attempt.blame is Blame.ROW:
            return attempt
        if slot.started > self._away_at:
            if slot.started >= self._awake_at or attempt.kind not in OFF_THE_NETWORK:
                return attempt
            self._wait_for_network(host, attempt, now)
        return replace(attempt, blame=Blame.NOBODY)

    def unreachable(self, host: HostState, now: float) -> None:
        """Note that a host has shown itself to be down. If half of them have, our own network is: back soon."""
        host.refused_at = now
        # one that is back by now is no part of it, and closed it would stay: nobody would have it prove itself
        recent = [h for h in self._hosts.values() if h.is_open and now - h.refused_at <= LOCAL_WINDOW_S]
        others = [h for h in self._hosts.values() if h.up and h not in recent]
        if len(recent) >= 2 and len(recent) >= len(others):
            self._away_at = now
            for each in recent:
                each.breaker.open(now, backoff_s=LOCAL_BACKOFF_S)

    def _wait_for_network(self, host: HostState, attempt: Attempt, now: float) -> None:
        """Keep a slot from asking again at once, and again, while nothing gets through; the host is not charged."""
        if host.is_open:
            return
        if attempt.downed or attempt.kind is FaultKind.UNREACHABLE:
            host.last_fault = f"{attempt.kind}: {attempt.message}"
            host.breaker.open(now, backoff_s=LOCAL_BACKOFF_S)
        else:
            host.held_until.append(now + MIN_HOLD_S)

    def refused(self, host: HostState, task: Task, attempt: Attempt, now: float) -> tuple[Attempt, str | None]:
        """Blame a host that never did a row for refusing one; say with it why the host is unusable, if it is by now."""
        host.refused.add(task.key)
        host.hold(now)
        host.last_fault = f"{attempt.kind}: {attempt.message}"
        unusable = f"refused its first {len(host.refused)} rows: {attempt.message}"
        return (
            replace(attempt, blame=Blame.HOST, permanent=False),
            unusable if len(host.refused) >= MAX_REFUSED else None,
        )

    def in_doubt(self, host: HostState, task: Task) -> bool:
        """Whether it is the host, and not the row, when this host calls the row's request bad."""
        if host.completed or host.member.name in self._proven:
            return False
        return task.key not in host.refused or len(host.refused) >= MAX_REFUSED

    def garbage(self, able: HostState, task: Task, now: float) -> tuple[str, ...]:
        """Hold a row's bad completions against hosts, now that `able` did it; return those that this puts aside."""
        bad = [a.host for a in task.history if a.blame is Blame.ROW and a.kind is not FaultKind.CONTEXT_OVERFLOW]
        put_aside = []
        for name in dict.fromkeys(bad):
            host = self._hosts.get(name)
            if host is None or host is able or host.is_open:
                continue
            host.validity.note(valid=False)
            others = [other.validity for other in self._hosts.values() if other is not host and other.usable]
            if host.validity.garbage(others):
                host.last_fault = "most of its completions are invalid, of rows that others can do"
                host.validity.clear()
                host.breaker.fault(now, certain=True)
                put_aside.append(name)
        return tuple(put_aside)
