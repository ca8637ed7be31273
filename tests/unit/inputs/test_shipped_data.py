import ast
import warnings
from pathlib import Path

import pyarrow as pa

from scorer.inputs import choose_text_column, keep_types, open_dataset

SHIPPED = Path(__file__).parents[3] / "data" / "functions.parquet"


def test_the_shipped_functions_are_what_their_page_says() -> None:
    dataset = open_dataset(str(SHIPPED))
    assert dataset.rows == 1200
    assert dataset.schema.names == ["name", "module", "code", "docstring", "lines"]
    assert dataset.schema.field("lines").type == pa.int32()
    assert choose_text_column(dataset) == ("code", "by its name")
    assert list(keep_types(dataset, dataset.schema.names, {"row", "score"})) == dataset.schema.names
    assert SHIPPED.stat().st_size < 700_000


def test_every_shipped_function_is_whole() -> None:
    dataset = open_dataset(str(SHIPPED))
    rows = [row for _, batch in dataset.read(dataset.schema.names) for row in batch.to_pylist()]
    for row in rows:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # newer Pythons dislike an old escape or two
            warnings.simplefilter("ignore", DeprecationWarning)
            (function,) = ast.parse(row["code"]).body
        assert function.name == row["name"].rsplit(".")[-1]
        assert ast.get_docstring(function) == row["docstring"]
        assert row["code"].count("\n") == row["lines"]
