"""One model as one host serves it, for as long as its digest stays the same.

A request is asked, judged and recorded by what was in force when its row was taken: while it is in flight the host may
lose the model, or serve another under its name. Nothing in an answer tells which package gave it; only a look at the
host's digests does, now and then. So it is counted what was answered since the last look that found the same digest:
should the next one find another, those are the answers that may be of either.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from scorer.dispatch.events import Event
from scorer.hosts.base import Frame, ModelInfo


class Look(NamedTuple):
    """A look at a host: when it began (UTC seconds), and how many rows had been answered by then."""

    at: float
    answered: int = 0


@dataclass(slots=True)
class Served:
    """What a host reports of a model, and what all requests for it share.

    `answered` counts the rows that it ended. `sure` is the last look that found the digest unchanged, `asked` one that
    has begun. `exchanged`: a look has found another digest, and an answer that comes now is nobody's.
    """

    model: ModelInfo
    frame: Frame
    sure: Look
    asked: Look
    answered: int = 0
    exchanged: bool = False

    def look(self, at: float) -> None:
        """Note that the host is being asked for its digests."""
        self.asked = Look(at, self.answered)

    def found(self, now_serves: ModelInfo) -> bool:
        """Take in what a look has found; return whether that shows for the first time that it was exchanged."""
        if self.exchanged:
            return False
        self.exchanged = now_serves.digest != self.model.digest
        if not self.exchanged:
            self.sure = self.asked
        return self.exchanged

    @property
    def doubtful(self) -> int:
        """Rows that were answered since it was last sure which digest answers."""
        return self.answered - self.sure.answered


def exchange(host: str, model: str, served: Served, now_serves: ModelInfo, at: float) -> Event:
    """Tell which rows may be of either package, when a host was found to have another under a model's name."""
    before, now, rows = short(served.model.digest), short(now_serves.digest), served.doubtful
    since, until = (datetime.fromtimestamp(t, UTC) for t in (served.sure.at, at))
    which = f"{rows} rows that it answered" if rows != 1 else "1 row that it answered"
    between = f"between {since:%Y-%m-%d %H:%M:%S} and {until:%Y-%m-%d %H:%M:%S} UTC"
    text = f"{host} has another {model} now (digest {now}, not {before}): " + (
        f"{which} {between} may be of either and are stored with {before}; find them by model, host and finished_at"
        if rows
        else f"no row was answered {between}, when that happened"
    )
    details: dict[str, object] = {
        "host": host,
        "model": model,
        "digest_before": served.model.digest,
        "digest_now": now_serves.digest,
        "rows": rows,
        "since": since.isoformat(),
        "until": until.isoformat(),
    }
    return Event("model_exchanged", text, "warning", details)


def short(digest: str | None) -> str:
    """Return a digest as people compare it: the first 12 digits."""
    return digest[:12] if digest else "unknown"
