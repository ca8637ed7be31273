from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from simulation.world import SCORE_TEMPLATE, SimHost, World

from scorer.errors import UsageError
from scorer.jobs.preview import preview
from scorer.show import preview_text


def test_a_preview_is_exactly_what_is_sent(tmp_path: Path) -> None:
    world = World(tmp_path, [SimHost("a", 0.1)], texts=["<|im_start|>one", "two"])
    found = preview(str(tmp_path / "rows.parquet"), str(tmp_path / "sim.toml"), 0, {})
    world.run(limit=1)
    (asked,) = world.hosts[0].asked
    messages = asked.body["messages"]
    assert [m["content"] for m in messages] == [found["system"], found["user"]]  # type: ignore[attr-defined]
    assert asked.body["format"] == found["schema"]
    assert found["options"] == asked.body["options"]
    assert found["request"] == {key: value for key, value in asked.body.items() if key != "model"}
    assert found["control_tokens_neutralised"] == 1
    text = preview_text(found)
    assert str(found["user"]) in text
    assert '"seed": 0' in text
    assert '"think": false, "truncate": false, "shift": false, "keep_alive": "30m"' in text
    assert "1 chat control tokens in the row were made harmless" in text


def test_rows_that_are_empty_or_too_long_are_said_to_be(tmp_path: Path) -> None:
    World(tmp_path, [], texts=["", "word " * 5000])
    places = str(tmp_path / "rows.parquet"), str(tmp_path / "sim.toml")
    assert "this row is empty" in preview_text(preview(*places, 0, {"text": "text"}))
    assert "will probably not fit" in preview_text(preview(*places, 1, {}))


def test_a_row_beyond_the_end_is_refused_with_the_last(tmp_path: Path) -> None:
    World(tmp_path, [], texts=["one", "two"])
    with pytest.raises(UsageError, match=r"--row 2: .* has 2 rows, the last is 1"):
        preview(str(tmp_path / "rows.parquet"), str(tmp_path / "sim.toml"), 2, {})


def test_a_row_with_a_time_that_python_cannot_hold_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": pa.array([0, 10**12], pa.timestamp("s"))}), path)
    template = tmp_path / "time.toml"
    template.write_text(SCORE_TEMPLATE)
    assert "1970-01-01 00:00:00" in str(preview(str(path), str(template), 0, {"text": "text"})["user"])
    with pytest.raises(UsageError, match="row 1: column text holds a timestamp"):
        preview(str(path), str(template), 1, {"text": "text"})


def test_a_row_that_the_template_cannot_take_is_an_error_of_theirs(tmp_path: Path) -> None:
    World(tmp_path, [], texts=["one"])
    template = tmp_path / "letter.toml"
    template.write_text(SCORE_TEMPLATE.replace("{{ text }}", "{{ text[5] }}"))
    with pytest.raises(UsageError, match=r"letter.toml: row 0 cannot be put into it: .*has no element 5"):
        preview(str(tmp_path / "rows.parquet"), str(template), 0, {})
