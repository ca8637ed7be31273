"""`scorer` that begins to worry about the disk at a megabyte instead of a gigabyte, and publishes small parts.

For tests only: run it in place of `python -m scorer`. Nothing but the sizes differs from the real command.
"""

from scorer import publish
from scorer.cli import main
from scorer.dispatch import ledger

publish.MIN_FREE_BYTES = 1 << 20
publish.PART_ROWS = 40
publish.PART_AGE_S = 0.1
ledger.PUBLISH_EVERY_S = 0.05
ledger.RETRY_S = 0.2
main()
