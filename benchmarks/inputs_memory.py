"""Peak memory of reading a dataset, at 10,000 and at 1,000,000 rows: it must be the same.

    python benchmarks/inputs_memory.py [ROWS] [KIND]

Writes files of about 1.5 KB of text a row into a temporary folder (5 GB at 1,000,000 rows), reads each in a process of
its own and prints how far its peak resident memory rose above that of the bare import, with the time it took.
"""

import csv
import gzip
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
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    import pyarrow as pa

FEW, MANY = 10_000, 1_000_000
CHUNK = 1_000


def write_parquet(path: Path, rows: int, group: int) -> None:
    """Write `rows` rows in row groups of `group`, from a table that repeats one chunk in memory.

    Not compressed: repeated chunks would shrink to nothing, and a column chunk of 1.5 GB is the hard case.
    """
    import pyarrow.parquet as pq

    pq.write_table(table_of(rows), path, row_group_size=group, compression="none", use_dictionary=False)


def write_parquet_folder(path: Path, rows: int, group: int) -> None:
    """Write 100 Parquet files into a folder."""
    path.mkdir()
    # whole chunks, and empty files where there are not enough of them
    for i in range(100):
        write_parquet(path / f"part-{i}.parquet", rows // 100 // CHUNK * CHUNK or CHUNK * (i < rows // CHUNK), group)


def write_arrow(path: Path, rows: int, group: int) -> None:
    """Write an Arrow IPC file with record batches of `group` rows."""
    import pyarrow as pa
    import pyarrow.ipc

    table = table_of(rows).combine_chunks()
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=group)


def write_stream(path: Path, rows: int, group: int) -> None:
    """Write an Arrow IPC stream with record batches of `group` rows, as `datasets` does."""
    import pyarrow as pa
    import pyarrow.ipc

    table = table_of(rows)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=group)


def write_jsonl(path: Path, rows: int, group: int) -> None:
    """Write `rows` rows as JSON Lines; there are no row groups."""
    del group
    with path.open("w") as file:
        json_lines(file, rows)


def write_jsonl_gz(path: Path, rows: int, group: int) -> None:
    """Write `rows` rows as JSON Lines, compressed with gzip."""
    del group
    with gzip.open(path, "wt", compresslevel=1) as file:
        json_lines(file, rows)


def write_csv(path: Path, rows: int, group: int) -> None:
    """Write `rows` rows as CSV; the texts have line breaks and quotation marks in them."""
    del group
    chunk = texts()
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        writer.writerows([i, chunk[i % CHUNK]] for i in range(rows))


def json_lines(file: TextIO, rows: int) -> None:
    """Write `rows` lines."""
    encoded = [json.dumps(text) for text in texts()]
    file.writelines(f'{{"id":{i},"text":{encoded[i % CHUNK]}}}\n' for i in range(rows))


def table_of(rows: int) -> "pa.Table":
    """Return a table of `rows` rows that repeats one chunk in memory."""
    import pyarrow as pa

    chunk = pa.chunked_array([pa.array(texts(), pa.large_string())] * (rows // CHUNK), pa.large_string())
    return pa.table({"id": pa.array(range(rows)), "text": chunk})


def texts() -> list[str]:
    """CHUNK different texts of 1.5 KB on average, with the newlines and quotes of code."""
    source = Path(json.decoder.__file__).read_text() * 4
    return [source[i * 7 : i * 7 + 500 + 2 * i] for i in range(CHUNK)]


WRITERS: dict[str, Callable[[Path, int, int], None]] = {
    "parquet": write_parquet,
    "folder": write_parquet_folder,
    "arrow": write_arrow,
    "ipc": write_stream,
    "jsonl": write_jsonl,
    "jsonl.gz": write_jsonl_gz,
    "csv": write_csv,
}


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


def main(many: int, kind: str = "") -> None:
    """Measure every layout, or those of one kind of file, and print the table."""
    cases = [
        ("Parquet, row groups of 10,000", "parquet", 10_000),
        ("Parquet, a single row group", "parquet", many),
        ("Parquet, a folder of 100 files", "folder", 10_000),
        ("Arrow file, batches of 10,000", "arrow", 10_000),
        ("Arrow file, a single batch", "arrow", many),
        ("Arrow stream, batches of 1,000", "ipc", 1_000),
        ("JSON Lines", "jsonl", 0),
        ("JSON Lines, gzip", "jsonl.gz", 0),
        ("CSV", "csv", 0),
    ]
    print("| file | rows | bytes | peak growth MB | open s | census s | read s | µs a row | last 1,000 rows s |")
    print("|---|---|---|---|---|---|---|---|---|")
    base = 0.0
    for title, format_, group in cases:
        if kind not in ("", format_):
            continue
        for rows in (FEW, many):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"rows.{format_}"
                child("write", format_, str(path), str(rows), str(group))
                size = sum(file.stat().st_size for file in (path.iterdir() if path.is_dir() else [path]))
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
        case []:
            main(MANY)
        case [rows, *kind] if len(kind) <= 1:
            main(int(rows), *kind)
        case _:
            sys.exit(__doc__)
