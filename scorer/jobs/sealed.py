"""A job's results as a table of a database that can reach nothing else: no file, no extension, no setting.

DuckDB reads the files as Arrow batches that are handed to it, so it needs no access of its own. Memory is bounded, and
what does not fit goes into the scratch folder.
"""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    import duckdb

MEMORY_LIMIT = "512MB"
TABLE = "results"


def sealed(files: Sequence[Path], schema: pa.Schema, scratch_dir: Path) -> "duckdb.DuckDBPyConnection":
    """Return a database with the files' rows as its table `results`, in their readable columns; to be closed."""
    import duckdb
    import pyarrow.dataset

    settings = {
        "memory_limit": MEMORY_LIMIT,
        "temp_directory": str(scratch_dir),
        "threads": "2",
        "TimeZone": "UTC",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "python_enable_replacements": "false",
    }
    database = duckdb.connect(":memory:")
    for name, value in settings.items():
        database.execute(f"SET {name} = '{value.replace(chr(39), chr(39) * 2)}'")
    known = readable(schema)
    found = pyarrow.dataset.dataset([str(path) for path in files], known, format="parquet") if files else None
    database.register(TABLE, known.empty_table() if found is None else found)
    database.execute("SET enable_external_access = false")
    database.execute("SET lock_configuration = true")
    return database


def readable(schema: pa.Schema) -> pa.Schema:
    """Return those columns that DuckDB knows: it takes no table with types such as half floats.

    Nor does its SQL have a way to write some names, such as the empty one of an index that pandas wrote.
    """
    import duckdb

    known = []
    with closing(duckdb.connect(":memory:")) as database:
        for field in schema:
            if not field.name or "\0" in field.name:
                continue
            try:
                database.register("one", pa.schema([field]).empty_table())
            except duckdb.Error:
                # not only NotImplementedException: a decimal of negative scale is an error of its inside to it
                continue
            known.append(field)
    return pa.schema(known)
