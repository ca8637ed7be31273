"""Who holds a host: one run at a time, whatever the URL's spelling, until it releases or dies."""

import json
import multiprocessing
import os
import socket
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from scorer.errors import UsageError
from scorer.locks import Claim, Holder, HostLocks, NoClaims, holder_of, state_folder

URL = "http://192.168.1.10:11434"


def granted(taken: Claim | Holder) -> Claim:
    assert not isinstance(taken, Holder), f"held by {taken}"
    return taken


def refused(taken: Claim | Holder) -> Holder:
    assert isinstance(taken, Holder)
    return taken


def test_a_host_is_one_runs_until_it_is_released(tmp_path: Path) -> None:
    first, second = HostLocks(tmp_path, "first"), HostLocks(tmp_path, "second")
    claim = granted(first.take(URL))
    assert refused(second.take(URL)) == Holder("first", os.getpid(), socket.gethostname())
    assert str(refused(second.take(URL))) == f"job first (process {os.getpid()} on {socket.gethostname()})"
    granted(second.take("http://192.168.1.11:11434"))
    claim.release()
    claim.release()
    granted(second.take(URL))
    refused(first.take(URL))


def test_spellings_of_this_machine_are_one_host_and_paths_are_others(tmp_path: Path) -> None:
    first, second = HostLocks(tmp_path, "first"), HostLocks(tmp_path, "second")
    granted(first.take("http://127.0.0.1:11434"))
    refused(second.take("http://localhost:11434"))
    refused(second.take("http://0.0.0.0:11434"))
    refused(second.take("http://[::1]:11434"))
    granted(second.take("http://localhost:11435"))
    granted(second.take("https://lan:8443/a"))
    granted(first.take("https://lan:8443/b"))


def test_the_embedded_engine_needs_no_lock(tmp_path: Path) -> None:
    for job in ("first", "second"):
        granted(HostLocks(tmp_path / "none", job).take("")).release()
    assert not (tmp_path / "none").exists()


def test_a_run_may_claim_a_host_again_and_keeps_it_until_the_last_claim_goes(tmp_path: Path) -> None:
    mine, other = HostLocks(tmp_path, "mine"), HostLocks(tmp_path, "other")
    before, after = granted(mine.take(URL)), granted(mine.take(URL))
    before.release()
    refused(other.take(URL))
    after.release()
    granted(other.take(URL))


def test_closing_releases_everything_and_late_releases_do_no_harm(tmp_path: Path) -> None:
    mine, other = HostLocks(tmp_path, "mine"), HostLocks(tmp_path, "other")
    claim = granted(mine.take(URL))
    mine.close()
    granted(other.take(URL))
    claim.release()
    refused(mine.take(URL))


def test_who_shares_gets_a_host_in_use_and_still_holds_a_free_one(tmp_path: Path) -> None:
    first, sharing, third = HostLocks(tmp_path, "first"), HostLocks(tmp_path, "b", share=True), HostLocks(tmp_path, "c")
    granted(first.take(URL))
    shared = granted(sharing.take(URL))
    assert refused(third.take(URL)).job == "first", "the note is its holder's"
    shared.release()
    assert refused(third.take(URL)).job == "first"
    granted(sharing.take("http://free:1"))
    assert refused(third.take("http://free:1")).job == "b"


def test_a_run_that_learns_its_name_tells_it_of_what_it_holds(tmp_path: Path) -> None:
    first, second = HostLocks(tmp_path), HostLocks(tmp_path, "second")
    granted(first.take(URL))
    assert str(refused(second.take(URL))).startswith("another run (process ")
    first.name("rows-quality")
    assert refused(second.take(URL)).job == "rows-quality"


def _hold(folder: Path, ready: Event) -> None:
    locks = HostLocks(folder, "killed")
    locks.take(URL)
    ready.set()
    multiprocessing.Event().wait()
    locks.close()


def test_a_killed_run_holds_nothing_and_its_old_note_does_no_harm(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_hold, args=(tmp_path, ready))
    process.start()
    ready.wait()
    mine = HostLocks(tmp_path, "mine")
    assert refused(mine.take(URL)).pid == process.pid
    assert holder_of(tmp_path, URL) == refused(mine.take(URL))
    process.kill()
    process.join()
    assert list(tmp_path.glob("*.json"))
    assert holder_of(tmp_path, URL) is None
    granted(mine.take(URL))
    assert holder_of(tmp_path, URL) == Holder("mine", os.getpid(), socket.gethostname())


@pytest.mark.parametrize("note", ["", "{", "[]", '{"job": "x"}', '{"job": "x", "pid": 1, "machine": "m", "more": 1}'])
def test_a_note_that_cannot_be_read_names_nobody(tmp_path: Path, note: str) -> None:
    first, second = HostLocks(tmp_path, "first"), HostLocks(tmp_path, "second")
    granted(first.take(URL))
    [file] = tmp_path.glob("*.json")
    file.write_text(note)
    assert str(refused(second.take(URL))) == "another run"
    assert holder_of(tmp_path, URL) is None


def test_an_old_note_of_a_living_process_is_not_believed_without_the_lock(tmp_path: Path) -> None:
    first = HostLocks(tmp_path, "first")
    claim = granted(first.take(URL))
    [file] = tmp_path.glob("*.json")
    note = file.read_text()
    claim.release()
    assert not file.exists()
    file.write_text(note)
    assert json.loads(note)["pid"] == os.getpid()
    assert holder_of(tmp_path, URL) is None


def test_a_folder_that_cannot_be_used_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="XDG_STATE_HOME"):
        HostLocks(tmp_path / "file" / "hosts", "job").take(URL)


def test_a_host_whose_note_could_not_be_written_is_nobodys(tmp_path: Path) -> None:
    mine, other = HostLocks(tmp_path, "mine"), HostLocks(tmp_path, "other")
    granted(mine.take(URL)).release()
    [lock] = tmp_path.glob("*.lock")
    in_the_way = lock.with_suffix(f".{os.getpid()}.tmp")
    in_the_way.mkdir()
    with pytest.raises(UsageError, match="Is a directory"):
        mine.take(URL)
    in_the_way.rmdir()
    granted(other.take(URL))
    assert refused(mine.take(URL)).job == "other"


def test_the_folder_is_the_users_and_can_be_chosen(tmp_path: Path) -> None:
    assert state_folder({"XDG_STATE_HOME": str(tmp_path)}) == tmp_path / "scorer" / "hosts"
    usual = state_folder({})
    assert usual.is_absolute()
    assert state_folder({"XDG_STATE_HOME": "relative"}) == usual


def test_where_no_other_run_can_be_everything_is_granted() -> None:
    claims = NoClaims()
    claims.name("job")
    granted(claims.take(URL)).release()
    granted(claims.take(URL))
    claims.close()
