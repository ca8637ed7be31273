"""Real runs whose hosts send, and whose rows keep, as much as they may: their memory and their log stay small."""

import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from doubles import faults
from doubles.ollama import OllamaDouble, Spec
from doubles.replies import Reply
from running import JUDGE, TEMPLATE, Desk, texts

ROWS = 150
LONG = 1_000_000
# a run of short rows takes some 200 MiB; without any of its bounds each of these takes more than 900
MOST_MIB = 650
MOST_LOG_MIB = 40


def padded(reply: Reply, _violation: object) -> None:
    """Let a valid answer be as long as a body may be."""
    reply.content += " " * LONG


def senseless(reply: Reply, _violation: object) -> None:
    """Let it be no answer at all, and as long."""
    reply.content = "G" * LONG


def for_rows(_number: int, body: Mapping[str, Any]) -> str | None:
    """Spoil what is said of rows, not what is said when the model is loaded."""
    return "garbage" if body["messages"][-1]["content"].startswith("text") else None


def peaks(desk: Desk, code: int, *arguments: str) -> tuple[int, int]:
    """Run a command to its end; return how many MiB it and the log of its queue have taken at most."""
    log = desk.job / "queue.sqlite-wal"
    peak_bytes = log_bytes = 0
    # nobody reads what it prints
    with subprocess.Popen(
        desk.command(*arguments),
        cwd=desk.folder,
        env=desk.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        # looked at again and again: what the system says of a child at its end counts its parent in
        watched = psutil.Process(process.pid)
        while process.returncode is None:
            with suppress(FileNotFoundError, psutil.Error):
                peak_bytes = max(peak_bytes, watched.memory_info().rss)
                log_bytes = max(log_bytes, log.stat().st_size)
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
    assert process.returncode == code
    return peak_bytes >> 20, log_bytes >> 20


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.write("judge.toml", TEMPLATE)
    return desk


@pytest.mark.parametrize(("spoil", "code"), [(padded, 0), (senseless, 3)])
def test_long_answers_take_neither_memory_nor_log(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Reply, object], None], code: int
) -> None:
    monkeypatch.setitem(faults.SPOILED, "garbage", spoil)
    desk.dataset(texts(ROWS))
    with OllamaDouble(Spec(slots=16, prefix_cache=False, fault_for=for_rows)) as double:
        desk.hosts({"only": double.url}, slots=16)
        peak_mib, log_mib = peaks(desk, code, *JUDGE)
    assert peak_mib < MOST_MIB
    assert log_mib < MOST_LOG_MIB


@pytest.mark.parametrize(("rows", "code"), [(texts(ROWS), 0), ([" "] * ROWS, 3)], ids=["scored", "dead at once"])
def test_long_kept_columns_take_neither_memory_nor_log(desk: Desk, rows: list[str | None], code: int) -> None:
    schema = pa.schema({"text": pa.string(), "blob": pa.string()})
    with pq.ParquetWriter(desk.folder / "rows.parquet", schema) as file:
        # a row group each: what is one page of a file cannot be read in pieces
        for row, text in enumerate(rows):
            file.write_batch(pa.record_batch([[text], [f"{row:08}" * (LONG // 8)]], schema))
    with OllamaDouble(Spec(slots=4)) as double:
        desk.hosts({"only": double.url}, slots=4)
        peak_mib, log_mib = peaks(desk, code, *JUDGE, "--keep", "blob")
    assert peak_mib < MOST_MIB
    assert log_mib < MOST_LOG_MIB
