"""How soon a simulated job could have ended: a time that no schedule beats, found by prices (see `price.py`).

Output lengths enter as their mean: nobody can know them beforehand. Noise has mean 1, loads of models count nothing.

With events the fleet changes on the way, and a bound that knows of a death beforehand cannot be met. So each moment's
fleet is credited with the share of the job that it would do at its best: with T(t) the bound of the fleet at t,
the bound without foresight is the time X that solves

    integral from 0 to X of dt / T(t) = 1.
"""

from collections.abc import Sequence

import numpy as np

from scorer.core.price import Floats, best_prices, dual_s
from scorer.core.simulated import Rows, SimHost, Work

SAMPLE = 512
CHUNK = 1 << 22


def bound_of_job_s(hosts: Sequence[SimHost], work: Work, rows: Rows) -> float:
    """Return the bound without foresight in seconds; infinite if the fleet as it ends can never finish the job."""
    now, left = 0.0, 1.0
    for edge in sorted({edge for host in hosts for edge in host.edges() if edge > 0}):
        whole_s = bound_of_fleet_s(_fleet_at(hosts, now), work, rows)
        if left * whole_s <= edge - now:
            return now + left * whole_s
        left -= (edge - now) / whole_s
        now = edge
    return now + left * bound_of_fleet_s(_fleet_at(hosts, now), work, rows)


def bound_of_fleet_s(hosts: Sequence[tuple[SimHost, float]], work: Work, rows: Rows) -> float:
    """Return the bound for hosts that stay as they are, each with the factor by which it is slower than it says.

    Rows that none of them can take do not count; infinite if there is no row left then.
    """
    if not hosts:
        return np.inf
    slots = np.array([host.slots for host, _ in hosts], float)
    order = np.lexsort((rows.prompt, rows.model))
    sample = order[((np.arange(SAMPLE) + 0.5) * len(order) / SAMPLE).astype(int)] if len(order) > SAMPLE else order
    prices = best_prices(_times(hosts, work, rows, sample), slots)
    step = max(1, CHUNK // len(hosts))
    parts = [order[i : i + step] for i in range(0, len(order), step)]
    total = sum(dual_s(_times(hosts, work, rows, part), prices) for part in parts)
    return total or np.inf


def _fleet_at(hosts: Sequence[SimHost], now: float) -> list[tuple[SimHost, float]]:
    return [(host, host.slower(now)) for host in hosts if host.useful(now)]


def _times(
    hosts: Sequence[tuple[SimHost, float]], work: Work, rows: Rows, places: np.ndarray[tuple[int], np.dtype[np.intp]]
) -> Floats:
    """Return the seconds of the rows at these places, hosts x rows; infinite where a host cannot take one."""
    output = float(np.mean(work.output_tokens))
    prompt, model = rows.prompt[places], rows.model[places]
    times: Floats = np.array([host.service_s(prompt, output) * slower for host, slower in hosts])
    for i, (host, _) in enumerate(hosts):
        absent = [not host.serves(name) for name in work.models]
        times[i, np.array(absent)[model]] = np.inf
        if host.max_context is not None:
            times[i, prompt > host.max_context] = np.inf
    return times
