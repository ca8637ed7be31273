"""A disk of a few megabytes in a mount namespace of its own, and a command that runs on it: `unshare -rm python ...`.

Arguments: where to mount it, its size, where its `runs` folder is copied at the end, then the command. SIGUSR1 fills it
to the last byte, SIGUSR2 frees it again.
"""

import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path


def main() -> int:
    """Mount, run, copy; return the command's exit code."""
    place, size, kept, *command = sys.argv[1:]
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)
    filler = Path(place) / "filler"

    def fill(*_: object) -> None:
        with filler.open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(1 << 16))

    def free(*_: object) -> None:
        filler.unlink()

    signal.signal(signal.SIGUSR1, fill)
    signal.signal(signal.SIGUSR2, free)
    with subprocess.Popen(command) as process:
        code = process.wait()
    shutil.copytree(Path(place) / "runs", kept)
    return code


if __name__ == "__main__":
    sys.exit(main())
