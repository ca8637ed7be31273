import pytest

from scorer.core.utf8 import check_utf8
from scorer.errors import UsageError


@pytest.mark.parametrize("name", ["", "rows.parquet", "café 日本.parquet"])
def test_any_characters_are_a_name(name: str) -> None:
    check_utf8(name, "dataset")


def test_a_byte_that_is_none_is_shown_in_one_printable_line() -> None:
    with pytest.raises(UsageError) as error:
        check_utf8("/data/caf\udce9.parquet", "dataset")
    assert str(error.value) == r"dataset /data/caf\xe9.parquet is not UTF-8, which all names here must be: rename it"
