"""`scorer` with parts of a few rows and a fraction of a second, so that a short run publishes all the time.

For tests only: run it in place of `python -m scorer`. Nothing but the sizes differs from the real command.
"""

from scorer import publish
from scorer.cli import main
from scorer.dispatch import ledger

publish.PART_ROWS = 40
publish.PART_AGE_S = 0.1
ledger.PUBLISH_EVERY_S = 0.05
main()
