"""What `peers.py` has done: rows, the template, and the hosts; and the time that no schedule beats."""

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from peers_server import CHARS_PER_TOKEN, Pace

from scorer import templates
from scorer.core.price import best_prices, dual_s

# a P40 and two laptops, ten times as fast
HOME = tuple(Pace(0.005, 2, 10 * prefill, 10 * decode) for prefill, decode in [(800, 40), (180, 22), (180, 22)])
SAME = (Pace(0.2, 4),) * 3
CROWD = (Pace(0.1, 85),) * 3
OLD = tuple(Pace(0.05, 4, window=4096) for _ in range(3))
MEDIAN_TOKENS, SIGMA = 400, 1.0
NUM_PREDICT = 96
TEMPLATE = """
name = "short"
system = "Say how good the text is: a JSON object with score, an integer from 1 to 10, and reason."
user = "<text>{{{{ text }}}}</text>"
[output.score]
type = "integer"
minimum = 1
maximum = 10
[output.reason]
type = "string"
max_length = 200
[options]
num_ctx = {num_ctx}
num_predict = {num_predict}
"""


@dataclass(frozen=True)
class Work:
    """Rows on hosts: the file, the prompts ready made, the template, and the least time that any schedule takes."""

    rows: int
    dataset: Path
    prompts: Path
    template: Path
    num_ctx: int
    paces: Sequence[Pace]
    bound_s: float


def equal(folder: Path, rows: int) -> Work:
    """Make rows of one length, for three hosts that take 200 ms for each of four."""
    return _work(folder / "equal", [MEDIAN_TOKENS] * rows, SAME)


def crowded(folder: Path, rows: int) -> Work:
    """Make rows of one length, for three hosts that take 100 ms for each of 85."""
    return _work(folder / "crowded", [MEDIAN_TOKENS] * rows, CROWD)


def unequal(folder: Path, rows: int) -> Work:
    """Make rows of lognormal length, for three hosts of which one reads 4.4 and writes 1.8 times as fast."""
    rng = random.Random(1)
    tokens = [max(4, round(math.exp(rng.gauss(math.log(MEDIAN_TOKENS), SIGMA)))) for _ in range(rows)]
    return _work(folder / "unequal", tokens, HOME)


def overlong(folder: Path, rows: int, every: int) -> Work:
    """Make rows of which each so-many-th is longer than the context, for hosts that cut unless they are told not to."""
    tokens = [6000 if row % every == 0 else MEDIAN_TOKENS for row in range(rows)]
    return _work(folder / "overlong", tokens, OLD, num_ctx=4096)


def _work(folder: Path, tokens: Sequence[int], paces: Sequence[Pace], num_ctx: int = 65536) -> Work:
    folder.mkdir()
    texts = [f"{row:06d} ".ljust(CHARS_PER_TOKEN * count, "x") for row, count in enumerate(tokens)]
    pq.write_table(pa.table({"text": texts}), folder / "rows.parquet")
    (folder / "short.toml").write_text(TEMPLATE.format(num_ctx=num_ctx, num_predict=NUM_PREDICT))
    template = templates.load(str(folder / "short.toml"))
    with (folder / "prompts.jsonl").open("w") as file:
        for row, text in enumerate(texts):
            user = template.user.replace("{{ text }}", text)
            file.write(json.dumps({"row": row, "system": template.system, "user": user}) + "\n")
    times = np.array([[pace.overhead_s + sum(pace.times_s(count)) for count in tokens] for pace in paces])
    slots = np.array([float(pace.slots) for pace in paces])
    bound_s = dual_s(times, best_prices(times, slots))
    return Work(
        len(texts),
        folder / "rows.parquet",
        folder / "prompts.jsonl",
        folder / "short.toml",
        num_ctx,
        paces,
        bound_s,
    )
