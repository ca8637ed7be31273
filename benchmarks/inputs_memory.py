"""Peak memory of reading a dataset, at 10,000 and at 1,000,000 rows: it must be the same.

    python benchmarks/inputs_memory.py [ROWS]

Writes files of about 1.5 KB of text a row into a temporary folder (5 GB at 1,000,000 rows), reads each in a process of
its own and prints how far its peak resident memory rose above that of the bare import, with the time it took.
"""

import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

FEW, MANY = 10_000, 1_000_000
CHUNK = 1_000


def write_parquet(path: Path, rows: int, group: int) -> None:
    """Write `rows` rows in row groups of `group`, from a table that repeats one chunk in memory.

    Not compressed: repeated chunks would shrink to nothing, and a column chunk of 1.5 GB is the hard case.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    chunk = pa.chunked_array([pa.array(texts())] * (rows // CHUNK))
    table = pa.table({"id": pa.array(range(rows)), "text": chunk})
    pq.write_table(table, path, row_group_size=group, compression="none", use_dictionary=False)


def write_jsonl(path: Path, rows: int, group: int) -> None:
    """Write `rows` rows as JSON Lines; there are no row groups."""
    del group
    encoded = [json.dumps(text) for text in texts()]
    with path.open("w") as file:
        for i in range(rows):
            file.write(f'{{"id":{i},"text":{encoded[i % CHUNK]}}}\n')


def texts() -> list[str]:
    """CHUNK different texts of 1.5 KB on average, with the newlines and quotes of code."""
    source = Path(json.decoder.__file__).read_text() * 4
    return [source[i * 7 : i * 7 + 500 + 2 * i] for i in range(CHUNK)]


WRITERS: dict[str, Callable[[Path, int, int], None]] = {"parquet": write_parquet, "jsonl": write_jsonl}


def peak_mb() -> float:
    """Peak resident memory of this process in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def read(path: str) -> None:
    """Child process: open, take the census, read all rows; print figures as JSON."""
    from scorer.inputs import census, open_dataset

    before = peak_mb()
    times = [time.perf_counter()]
    dataset = open_dataset(path)
    times.append(time.perf_counter())
    census(dataset, ["text"])
    times.append(time.perf_counter())
    rows = sum(batch.num_rows for _, batch in dataset.read(["id", "text"]))
    times.append(time.perf_counter())
    # The tail as a resume reads it.
    tail = sum(batch.num_rows for _, batch in dataset.read(["id", "text"], dataset.rows - CHUNK))
    times.append(time.perf_counter())
    assert (rows, tail) == (dataset.rows, CHUNK)
    steps = [after - start for start, after in pairwise(times)]
    print(json.dumps({"base": before, "growth": peak_mb() - before, "steps": steps}))


def child(*arguments: str) -> str:
    """Run this file in a fresh process, whose peak memory is its own."""
    command = [sys.executable, __file__, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main(many: int) -> None:
    """Measure every layout and print the table."""
    cases = [
        ("Parquet, row groups of 10,000", "parquet", 10_000),
        ("Parquet, a single row group", "parquet", many),
        ("JSON Lines", "jsonl", 0),
    ]
    print("| file | rows | bytes | peak growth MB | open s | census s | read s | µs a row | last 1,000 rows s |")
    print("|---|---|---|---|---|---|---|---|---|")
    base = 0.0
    for title, format_, group in cases:
        for rows in (FEW, many):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"rows.{format_}"
                child("write", format_, str(path), str(rows), str(group))
                size = path.stat().st_size
                seen = json.loads(child("read", str(path)))
            base = seen["base"]
            opened, counted, whole, tail = seen["steps"]
            print(
                f"| {title} | {rows:,} | {size / 1e6:,.0f} MB | {seen['growth']:.0f} | {opened:.2f} | {counted:.2f} "
                f"| {whole:.2f} | {whole / rows * 1e6:.1f} | {tail:.2f} |",
                flush=True,
            )
    import pyarrow as pa

    print(f"\nBefore opening: {base:.0f} MB. Python {platform.python_version()}, pyarrow {pa.__version__}, ", end="")
    print(f"{platform.system()} {platform.machine()}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write", format_, path, rows, group]:
            WRITERS[format_](Path(path), int(rows), int(group))
        case ["read", path]:
            read(path)
        case [] | [_]:
            main(int(sys.argv[1]) if len(sys.argv) > 1 else MANY)
        case _:
            sys.exit(__doc__)
