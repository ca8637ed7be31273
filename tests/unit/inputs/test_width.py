"""JSON Lines with so many different keys that a table of them would not fit into memory."""

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from scorer.errors import UsageError
from scorer.inputs import Dataset, open_dataset
from scorer.inputs.lines import Block
from scorer.inputs.width import bounded, keys_in

Open = Callable[[list[object]], Dataset]
FEW_CELLS = 1 << 20
MOST_BYTES = 20 << 20


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    def write(rows: list[object]) -> Dataset:
        path = tmp_path / "d.jsonl"
        path.write_text("".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows))
        return open_dataset(str(path))

    return write


@pytest.fixture
def arrow_memory() -> Iterator[pa.MemoryPool]:
    """What Arrow takes during a test, from nothing on."""
    usual = pa.default_memory_pool()
    measured = pa.proxy_memory_pool(usual)
    pa.set_memory_pool(measured)
    yield measured
    pa.set_memory_pool(usual)


WIDE = {
    "the lines are maps": lambda i: {"text": "x", f"user-{i}": 1},
    "a column is a map": lambda i: {"text": "x", "votes": {f"user-{i}": 1}},
    "a map of maps": lambda i: {"text": "x", "repo": {"files": {f"{i}.py": {"lines": i}}}},
    "lists of maps": lambda i: {"text": "x", "top": [{f"token {i}": -0.5}, {f"{i}": -1.5}]},
}


@pytest.mark.parametrize("row", WIDE.values(), ids=WIDE.keys())
def test_a_key_of_its_own_in_each_line_takes_no_gigabytes(
    opened: Open, arrow_memory: pa.MemoryPool, monkeypatch: pytest.MonkeyPatch, row: Callable[[int], object]
) -> None:
    monkeypatch.setattr("scorer.inputs.width.CELLS", FEW_CELLS)
    dataset = opened([row(i) for i in range(1500)])
    rows = 0
    for _, batch in dataset.read(dataset.schema.names):
        assert set(batch.column("text").to_pylist()) == {"x"}
        rows += batch.num_rows
    assert rows == 1500
    assert (arrow_memory.max_memory() or 0) < MOST_BYTES


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_sample_of_wide_rows_takes_no_gigabytes(
    tmp_path: Path, arrow_memory: pa.MemoryPool, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr("scorer.inputs.width.CELLS", FEW_CELLS)
    path = tmp_path / f"d.jsonl{suffix}"
    lines = [json.dumps({"i": i, "top": [{f"token {i} {j}": -0.5} for j in range(20)]}) for i in range(100)]
    text = "\n".join(lines).encode()
    path.write_bytes(gzip.compress(text) if suffix else text)
    found = [i for batch in open_dataset(str(path)).sample(["i", "top"], 80) for i in batch.column("i").to_pylist()]
    assert found == sorted(set(found))
    assert len(found) == 80
    assert (arrow_memory.max_memory() or 0) < MOST_BYTES


@pytest.mark.parametrize(
    ("row", "place"),
    [
        (lambda i: {"votes": {f"user-{i}": 1}}, ".votes"),
        (lambda i: {"repo": {"files": {f"{i}.py": {"lines": 1, "tests": None}}}}, ".repo.files"),
        (lambda i: {"top": [{f"token {i}": -0.5}]}, ".top[]"),
        (lambda i: {"it's": {"per user": {f"user-{i}": 1}}}, """.["it'"'"'s"].["per user"]"""),
    ],
)
def test_a_map_with_too_many_keys_is_refused_by_its_name_with_two_ways_out(
    opened: Open, monkeypatch: pytest.MonkeyPatch, row: Callable[[int], object], place: str
) -> None:
    monkeypatch.setattr("scorer.inputs.width.MAX_KEYS", 50)
    with pytest.raises(UsageError, match=r"d\.jsonl: more than 50 different keys, most of them in") as error:
        opened([row(i) for i in range(60)])
    _, advice = str(error.value).splitlines()
    assert f"jq -c 'del({place})'" in advice
    assert f"jq -c '{place} |= to_entries'" in advice


def test_as_many_keys_as_there_may_be_are_read(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scorer.inputs.width.MAX_KEYS", 50)
    # the object is a key too
    assert keys_in(opened([{"votes": {f"user-{i}": 1}} for i in range(49)]).schema) == 50
    with pytest.raises(UsageError, match="more than 50 different keys; "):
        opened([{f"id{i}": i} for i in range(51)])


def test_one_line_with_a_list_of_objects_of_other_keys_each_is_refused(
    opened: Open, arrow_memory: pa.MemoryPool
) -> None:
    with pytest.raises(UsageError, match=r"d\.jsonl:2: a list whose objects have thousands of different keys"):
        opened([{"top": []}, {"top": [{f"token {i}": 1} for i in range(5000)]}])
    assert (arrow_memory.max_memory() or 0) < MOST_BYTES


def test_such_a_line_that_is_not_even_json_is_told_as_that(opened: Open, tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps({"top": [{f"token {i}": 1} for i in range(5000)]})[:-1])
    with pytest.raises(UsageError, match=r"d\.jsonl:1: not JSON"):
        open_dataset(str(path))


def test_one_long_line_with_a_list_of_objects_of_the_same_keys_is_read(opened: Open) -> None:
    items = [{"file": f"{{{i}}}:", "lines": i, "more": {"a": 1}} for i in range(20_000)]
    dataset = opened([{"items": items, "votes": {f"user-{i}": 1 for i in range(100)}}])
    assert next(dataset.read(["items"]))[1].column(0).to_pylist() == [items]


def test_pieces_of_a_block_are_its_lines_in_order_with_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scorer.inputs.width.CELLS", 4)
    texts = [b'{"a":1}', b"", b'{"b":{"c":2}}' * 9, b" ", b"", b'{"d":3}', b'{"e":4}']
    for text in (b"\n".join(texts), b"\n".join(texts) + b"\n"):
        whole = Block("d.jsonl", 11, text)
        pieces = list(bounded(whole))
        assert b"".join(piece.text for piece in pieces) == text
        assert [line for piece in pieces for line in piece.numbered()] == list(whole.numbered())
        assert len(pieces) == 3
        assert {piece.first_line for piece in bounded(whole._replace(first_line=0))} == {0}
    assert list(bounded(whole, 1)) != [whole]
    assert list(bounded(Block("d.jsonl", 1, b""))) == [Block("d.jsonl", 1, b"")]


def test_a_mistake_in_a_piece_is_told_with_its_line(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scorer.inputs.width.CELLS", 1 << 10)
    rows: list[object] = [{"a": i, "b": {"c": i}} for i in range(500)]
    with pytest.raises(UsageError, match=r"d\.jsonl:371: column `b\.c` holds a string, but a number before"):
        opened([*rows[:370], {"b": {"c": "x"}}, *rows])
