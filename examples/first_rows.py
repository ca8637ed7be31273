"""Print the first results of a job: `python examples/first_rows.py runs/demo`.

A job's results are a folder of Parquet files that any reader opens as one table, also while the job still runs.
"""

import sys
from pathlib import Path

import pandas as pd

job = Path(sys.argv[1])
results = pd.read_parquet(job / "results", dtype_backend="numpy_nullable").sort_values("row")
wanted = ["row", "module", "name", "score", "reason", "status", "host"]

print(f"The first of {len(results)} rows in {job / 'results'}:")
print(results[[c for c in wanted if c in results]].head(8).to_string(index=False, max_colwidth=48))
