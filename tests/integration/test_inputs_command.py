"""Every kind of dataset through `scorer run`, and what a stranger is told about one that cannot be read."""

import csv
import gzip
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from doubles.ollama import OllamaDouble, Spec
from invariants import read_results
from running import TEMPLATE, Desk, texts

ROWS = [{"id": i, "text": text} for i, text in enumerate(texts(12))]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path)
    made.write("judge.toml", TEMPLATE)
    return made


@pytest.fixture
def double(desk: Desk) -> Iterator[OllamaDouble]:
    with OllamaDouble(Spec()) as serving:
        desk.hosts({"only": serving.url})
        yield serving


def write_csv(path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["id", "text"])
        writer.writeheader()
        writer.writerows(ROWS)


def write_folder(path: Path) -> None:
    path.mkdir()
    for number in (1, 2, 10):
        part = ROWS[{1: 0, 2: 4, 10: 8}[number] :][:4]
        (path / f"part-{number}.jsonl.gz").write_bytes(gzip.compress("".join(map(line, part)).encode()))


def write_saved(path: Path) -> None:
    datasets.disable_progress_bars()
    datasets.Dataset.from_list(ROWS).save_to_disk(path, num_shards=3)


def line(row: dict[str, object]) -> str:
    return json.dumps(row) + "\n"


KINDS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "csv": ("d.csv", write_csv),
    "arrow": ("d.feather", lambda path: feather.write_feather(pa.Table.from_pylist(ROWS), path)),
    "zstd": (
        "d.jsonl.zst",
        lambda path: path.write_bytes(pa.compress("".join(map(line, ROWS)).encode(), "zstd", True)),
    ),
    "folder": ("d", write_folder),
    "glob": ("d/*.jsonl.gz", lambda path: write_folder(path.parent)),
    "saved": ("d", write_saved),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_dataset_is_scored_moved_and_gone_on_with(desk: Desk, double: OllamaDouble, kind: str) -> None:
    name, write = KINDS[kind]
    write(desk.folder / name)
    command = ("run", name, "--prompt", "judge.toml", "--keep", "id", "--job", "judged")
    desk.scorer(*command, "--limit", "5")
    place = desk.folder / name.split("/")[0]
    shutil.move(place, desk.folder / f"moved-{place.name}")
    desk.scorer("run", f"moved-{name}", *command[2:])
    results = sorted(read_results(desk.job), key=lambda row: row["row"])
    assert [(row["row"], row["id"], row["status"]) for row in results] == [(i, i, "done") for i in range(12)]
    assert sorted(record.user_text for record in double.generations) == sorted(row["text"] for row in ROWS)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("d.csv", b'id,text\n1,"never closed\n', "d.csv:2: a value of the row that begins here never ends"),
        ("d.csv", b"id,text\n1,x,y\n", "d.csv:2: 3 values, but the header names 2 columns"),
        ("d.csv", "id,text\n1,x\n".encode("utf-16"), "the file is UTF-16, CSV must be UTF-8"),
        (
            "d.jsonl.gz",
            gzip.compress(b'{"text": "x"}\n' * 99, mtime=0)[:-9],
            "d.jsonl.gz is damaged or not what its name says",
        ),
        ("d.jsonl", b'{"text": "x"}\n{"text": 1}\n', "d.jsonl:2: column `text` holds a number, but a string before"),
        ("d.parquet", b"PAR1", "d.parquet is damaged"),
        ("d.arrow", b"", "the file is empty"),
        ("d.txt", b"x", "cannot tell its format by its name, which must end in .parquet"),
    ],
)
def test_a_dataset_that_cannot_be_read_ends_with_2_and_a_line_or_two(
    desk: Desk, double: OllamaDouble, name: str, content: bytes, words: str
) -> None:
    (desk.folder / name).write_bytes(content)
    said = desk.scorer("run", name, "--prompt", "judge.toml", "--json", code=2)
    assert words in said.err.replace("\n", " ")
    assert len(said.messages) <= 3
    for printed in said.out.splitlines():
        json.loads(printed)
    assert not double.log
    assert not (desk.folder / "runs").exists()


def test_notes_say_which_files_were_read(desk: Desk, double: OllamaDouble) -> None:
    write_folder(desk.folder / "d")
    desk.write("d/README.md", "x")
    said = desk.scorer("run", "d", "--prompt", "judge.toml", "--job", "judged")
    assert "3 files are read in order, from part-1.jsonl.gz to part-10.jsonl.gz" in said.err
    assert "1 other file is left out: README.md" in said.err
    assert pq.read_table(next((desk.job / "results").glob("part-*.parquet"))).num_rows == 12
