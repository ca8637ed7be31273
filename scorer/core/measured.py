"""A fleet as a real job has shown it: speeds of its hosts from what its rows took.

A row takes overhead + prompt tokens / prefill speed + output tokens / decode speed; the three are found per host by
least squares on relative errors (noise grows with the time), reweighted so that rows far off count little (Huber).
None may be negative. What cannot be told apart is not: where all answers are equally long, a request's overhead counts
as writing, which gives the same times for answers of that length. What a prefix cache saves counts as faster reading.

Durations are those under the job's own concurrency, so speeds are per slot at that concurrency. Slots are the median
number of a host's rows in flight at a time, so that pauses between two runs do not count. Speeds are one a host, over
all models.

Invariant: every speed is positive and finite.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from scorer.core.price import Floats
from scorer.core.result import Timing
from scorer.core.simulated import SimHost

FEWEST = 8
ROUNDS = 10
HUBER = 2.5
MAD_TO_SIGMA = 1.4826
FASTEST_TPS = 1e6
SAME_LENGTH = 0.02


def measured_fleet(timings: Sequence[Timing]) -> tuple[SimHost, ...]:
    """Return the hosts that scored at least 8 of these rows, by name."""
    by_host: dict[str, list[Timing]] = defaultdict(list)
    for timing in timings:
        by_host[timing.host].append(timing)
    return tuple(_host(name, rows) for name, rows in sorted(by_host.items()) if len(rows) >= FEWEST)


def _host(name: str, rows: Sequence[Timing]) -> SimHost:
    prompt, output, took, ended = (np.array(column, float) for column in list(zip(*rows, strict=True))[1:])
    took = np.maximum(took, 1e-3)
    parts = np.column_stack([np.ones_like(prompt), prompt, output])
    overhead_s, prompt_s, output_s = _robust(parts, took, _told_apart(prompt, output))
    return SimHost(
        name,
        prefill_tps=1 / max(prompt_s, 1 / FASTEST_TPS),
        decode_tps=1 / max(output_s, 1 / FASTEST_TPS),
        overhead_s=overhead_s,
        slots=_slots(ended - took, ended),
    )


def _told_apart(prompt: Floats, output: Floats) -> list[int]:
    """Return which of overhead, reading and writing can be told apart, as columns."""
    if output.std() > SAME_LENGTH * output.mean():
        return [0, 1, 2]
    return [1, 2] if prompt.std() > SAME_LENGTH * prompt.mean() else [2]


def _robust(parts: Floats, took: Floats, columns: list[int]) -> tuple[float, float, float]:
    """Return the seconds of a request, of a prompt token and of an output token; 0 for what is not in `columns`."""
    weights, scale = np.ones(len(took)), took
    found = np.zeros(3)
    for _ in range(ROUNDS):
        # errors relative to what is expected, not to what was: the latter would make hosts seem faster than they are
        found = _not_negative(parts / scale[:, None] * weights[:, None], took / scale * weights, columns)
        scale = np.maximum(parts @ found, 1e-9)
        errors = np.abs(took / scale - 1)
        sigma = max(MAD_TO_SIGMA * float(np.median(errors)), 1e-9)
        # square roots: the weights multiply both sides of the equations
        weights = np.sqrt(np.minimum(1.0, HUBER * sigma / np.maximum(errors, 1e-12)))
    overhead_s, prompt_s, output_s = found.tolist()
    return overhead_s, prompt_s, output_s


def _not_negative(left: Floats, right: Floats, columns: list[int]) -> Floats:
    """Solve left @ x = right by least squares, leaving out what would be negative, the most negative first."""
    while True:
        found = np.zeros(left.shape[1])
        found[columns] = np.linalg.lstsq(left[:, columns], right, rcond=None)[0]
        if (found >= 0).all():
            return found
        columns = [column for column in columns if column != int(found.argmin())]


def _slots(started: Floats, ended: Floats) -> int:
    """Return the median number of rows in flight, as met in the middle of each row."""
    middles = (started + ended) / 2
    begun = np.searchsorted(np.sort(started), middles, side="right")
    done = np.searchsorted(np.sort(ended), middles, side="right")
    return max(1, round(float(np.median(begun - done))))
