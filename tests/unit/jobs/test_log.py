import json
import logging
from pathlib import Path

import pytest

from scorer.errors import StoreError
from scorer.jobs.log import BACKUPS, FILE, MAX_BYTES, JobLog


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


def test_an_event_about_a_fault_keeps_its_own_kind(tmp_path: Path) -> None:
    with JobLog(tmp_path) as log:
        log.info("row 7 is dead", extra={"kind": "row_dead", "details": {"row": 7, "kind": "empty_prompt"}})
    (line,) = lines(tmp_path)
    assert (line["kind"], line["fault"], line["row"]) == ("row_dead", "empty_prompt", 7)


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


def test_jobs_side_by_side_log_each_into_its_own_folder(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    with JobLog(one) as first:
        with JobLog(other) as second:
            first.info("of one")
            second.info("of the other")
        first.info("of one again")
    assert [line["text"] for line in lines(one)] == ["of one", "of one again"]
    assert [line["text"] for line in lines(other)] == ["of the other"]


def test_the_logging_of_the_process_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def settings() -> tuple[object, ...]:
        log = logging.getLogger("scorer")
        return log.level, log.propagate, list(log.handlers), list(logging.getLogger().handlers)

    before = settings()
    caplog.set_level(logging.DEBUG)
    with JobLog(tmp_path) as log:
        log.error("of this job alone")
        logging.getLogger("scorer").error("of the program")
        assert settings() == before
    assert settings() == before
    assert caplog.messages == ["of the program"]
    assert [line["text"] for line in lines(tmp_path)] == ["of this job alone"]


def test_a_full_disk_stops_no_run_because_of_its_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs a device that is always full")
    (tmp_path / FILE).symlink_to("/dev/full")
    with JobLog(tmp_path) as log:
        for _ in range(1000):
            log.info("no room for this")
    assert capsys.readouterr() == ("", "")


def test_a_mistake_of_ours_in_a_line_is_still_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with JobLog(tmp_path) as log:
        log.info("%d", "no number")
    assert "Logging error" in capsys.readouterr().err


def test_a_log_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(StoreError, match=rf"cannot write .*{FILE}"):
        JobLog(tmp_path)


def test_a_log_of_weeks_is_rotated_and_loses_no_line_of_the_last_40_mib(tmp_path: Path) -> None:
    filler = "x" * 10_000
    count = 7000
    with JobLog(tmp_path) as log:
        for number in range(count):
            log.info(filler, extra={"details": {"number": number}})
    files = [*(tmp_path / f"{FILE}.{number}" for number in range(BACKUPS, 0, -1)), tmp_path / FILE]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in files)
    assert all(path.stat().st_size <= MAX_BYTES for path in files)
    kept = [json.loads(line)["number"] for path in files for line in path.read_text().splitlines()]
    assert kept == list(range(kept[0], count))
    assert len(kept) * len(filler) > (BACKUPS - 1) * MAX_BYTES
