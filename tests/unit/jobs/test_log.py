import json
import logging
from pathlib import Path

import pytest

from scorer.errors import StoreError
from scorer.jobs.log import FILE, JobLog


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / FILE).read_text().splitlines()]


def test_an_event_is_one_json_object_a_line_whatever_is_in_it(tmp_path: Path) -> None:
    with JobLog(tmp_path) as log:
        log.info("two\nlines", extra={"kind": "host_up", "details": {"host": "ä", "path": tmp_path}})
        log.warning("plain")
    first, second = lines(tmp_path)
    assert (first["level"], first["kind"], first["text"], first["host"]) == ("info", "host_up", "two\nlines", "ä")
    assert str(first["time"]).endswith("+00:00")
    assert (second["kind"], second["level"]) == ("log", "warning")


def test_an_expected_end_is_logged_without_and_a_bug_with_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(StoreError), JobLog(tmp_path):
        raise StoreError("torn")
    with pytest.raises(ZeroDivisionError) as bug, JobLog(tmp_path):
        raise ZeroDivisionError("oops")
    with pytest.raises(KeyboardInterrupt), JobLog(tmp_path):
        raise KeyboardInterrupt
    stopped, broken = lines(tmp_path)
    assert (stopped["kind"], stopped["text"], "traceback" in stopped) == ("stopped", "torn", False)
    assert broken["kind"] == "bug"
    assert "ZeroDivisionError: oops" in str(broken["traceback"])
    assert any(FILE in note for note in bug.value.__notes__)


def test_the_log_is_left_as_it_was_found(tmp_path: Path) -> None:
    log = logging.getLogger("scorer")
    before = (log.level, log.propagate, list(log.handlers))
    with JobLog(tmp_path):
        assert not log.propagate
    assert (log.level, log.propagate, log.handlers) == before
