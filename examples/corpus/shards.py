"""Make training shards of the best rows: each text once, domains mixed by weight.

`python shards.py best.parquet shards/ --weight web=0.5 --weight code=0.5`. The input is what `scorer export --join
--where …` wrote. A text counts as seen if it differs in nothing but case and white space. Rows are drawn from the
domains at random by weight, until one domain has run out, so that the shares hold to the last row.
"""

import argparse
import hashlib
import math
from collections import Counter
from pathlib import Path

from datasets import Dataset, interleave_datasets, load_dataset


def main() -> None:
    """Read, deduplicate, mix, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("best", help="a Parquet file")
    parser.add_argument("out", type=Path, help="a folder for the shards")
    parser.add_argument("--text", default="text", help="the column that is compared")
    parser.add_argument("--domain", default="domain", help="the column that is mixed by")
    parser.add_argument("--weight", action="append", default=[], metavar="DOMAIN=SHARE", help="all if left out, as is")
    parser.add_argument("--rows-per-shard", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    told = parser.parse_args()

    rows = load_dataset("parquet", data_files=told.best, split="train")
    unique = without_doubles(rows, told.text)
    print(f"{len(rows):,} rows, {len(rows) - len(unique):,} of them there twice")
    weights = {name: float(share) for name, _, share in (pair.partition("=") for pair in told.weight)}
    mixed = mix(unique, told.domain, weights, told.seed) if weights else unique.shuffle(seed=told.seed)
    for name, count in sorted(Counter(mixed[told.domain]).items()) if weights else ():
        print(f"{name}: {count:,} rows, {count / len(mixed):.1%}")
    told.out.mkdir(parents=True, exist_ok=True)
    shards = max(1, math.ceil(len(mixed) / told.rows_per_shard))
    for i in range(shards):
        mixed.shard(shards, i, contiguous=True).to_parquet(told.out / f"train-{i:05d}-of-{shards:05d}.parquet")
    print(f"{len(mixed):,} rows in {shards} shards in {told.out}")


def without_doubles(rows: Dataset, text: str) -> Dataset:
    """Keep the first of each text."""
    seen: set[bytes] = set()

    def is_new(row: dict[str, str]) -> bool:
        digest = hashlib.blake2b(" ".join(row[text].lower().split()).encode(), digest_size=16).digest()
        new = digest not in seen
        seen.add(digest)
        return new

    return rows.filter(is_new, load_from_cache_file=False)


def mix(rows: Dataset, domain: str, weights: dict[str, float], seed: int) -> Dataset:
    """Draw from each domain in its share until one has run out."""
    column = rows[domain]
    parts = [
        rows.select([i for i, name in enumerate(column) if name == wanted]).shuffle(seed=seed) for wanted in weights
    ]
    empty = [name for name, part in zip(weights, parts, strict=True) if not len(part)]
    if empty:
        raise SystemExit(f"no rows of {', '.join(empty)}; there are {', '.join(sorted(set(column)))}")
    total = sum(weights.values())
    return interleave_datasets(
        parts,
        probabilities=[share / total for share in weights.values()],
        seed=seed,
        stopping_strategy="first_exhausted",
    )


if __name__ == "__main__":
    main()
