"""Kill real runs as often as wanted and print what it cost: `python tests/crash/campaign.py --kills 200`.

Any broken promise ends it with a traceback, and keeps the job's folder.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from killing import Report, campaign  # noqa: E402  (needs the path)

KILLS_A_JOB = 10


def main() -> None:
    """Run campaigns of ten kills, by turns with parts of usual and of tiny size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began = time.monotonic()
    found: list[Report] = []
    while (left := options.kills - sum(len(report.deaths) for report in found)) > 0:
        seed = options.seed + len(found)
        folder = Path(tempfile.mkdtemp(prefix=f"kill-{seed}-"))
        print(f"seed {seed}: {folder}", flush=True)  # noqa: T201
        found.append(campaign(folder, min(left, KILLS_A_JOB), seed, small_parts=bool(seed % 2)))
        print("  " + "\n  ".join(found[-1].lines()), flush=True)  # noqa: T201
    total = Report(
        tuple(death for report in found for death in report.deaths),
        sum(report.rows for report in found),
        sum(report.repeats for report in found),
        sum(report.hedges for report in found),
        sum(report.parts for report in found),
    )
    print("\n".join(["all:", *total.lines(), f"{time.monotonic() - began:.0f} s"]))  # noqa: T201


if __name__ == "__main__":
    main()
