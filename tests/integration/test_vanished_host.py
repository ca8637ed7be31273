"""A machine that falls asleep or off the network closes no connection: what becomes of a request to it."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("vanishing.py")


def why_not() -> str | None:
    """Why this machine lets us make no network of our own; None if it does."""
    if not sys.platform.startswith("linux"):
        return "only Linux has network namespaces"
    cable = ["ip", "link", "add", "cable", "type", "veth", "peer", "name", "end"]
    try:
        tried = subprocess.run(["unshare", "-rn", *cable], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        return str(error)
    return tried.stderr.strip() if tried.returncode else None


pytestmark = pytest.mark.skipif((reason := why_not()) is not None, reason=f"no network of our own: {reason}")


def test_a_request_to_a_machine_that_vanished_over_it_does_not_hang_until_its_rows_deadline() -> None:
    asked = subprocess.run(["unshare", "-rn", sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert asked.stdout.startswith("UnclearFault dropped: connection lost: "), asked.stderr
