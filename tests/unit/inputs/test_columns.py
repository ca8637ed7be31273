from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scorer.errors import UsageError
from scorer.inputs import Dataset, choose_text_column, keep_types, map_columns, open_dataset

Make = Callable[..., Dataset]


@pytest.fixture
def table(tmp_path: Path) -> Make:
    def make(**columns: object) -> Dataset:
        pq.write_table(pa.table(columns), tmp_path / "d.parquet")
        return open_dataset(str(tmp_path / "d.parquet"))

    return make


@pytest.mark.parametrize("name", ["text", "content", "code", "prompt"])
def test_the_usual_names_come_first_in_their_order(table: Make, name: str) -> None:
    later = ["text", "content", "code", "prompt"]
    later = later[later.index(name) :]
    dataset = table(**{n: ["x"] for n in reversed(later)}, story=["much longer than the others"])
    assert choose_text_column(dataset) == (name, "by its name")


def test_a_usual_name_that_holds_no_text_is_passed_over(table: Make) -> None:
    assert choose_text_column(table(text=[1], content=[b"bytes"], code=["x"]))[0] == "code"


def test_the_only_text_column_is_chosen(table: Make) -> None:
    assert choose_text_column(table(id=[1], body=["x"], raw=[b"x"])) == ("body", "the only text column")


def test_the_longest_of_several_is_chosen_and_said_why(table: Make) -> None:
    column, why = choose_text_column(table(title=["abc", "abc"], body=["é" * 50, None], author=["x", "y"]))
    assert column == "body"
    assert "25 characters on average" in why


def test_a_dictionary_column_is_text(table: Make) -> None:
    assert choose_text_column(table(body=pa.array(["x"]).dictionary_encode()))[0] == "body"


def test_without_text_the_columns_are_listed(table: Make) -> None:
    with pytest.raises(UsageError, match=r"no text column .*\ncolumns: id \(int64\), raw \(binary\)"):
        choose_text_column(table(id=[1], raw=[b"x"]))


def test_variables_take_columns_of_their_own_name_silently(table: Make) -> None:
    assert map_columns(table(code=["x"], name=["y"]), ["name", "code"], {}) == ({"name": "name", "code": "code"}, [])


def test_the_choice_for_text_is_reported(table: Make) -> None:
    mapping, notes = map_columns(table(code=["x"], lang=["py"]), ["text", "lang"], {})
    assert mapping == {"text": "code", "lang": "lang"}
    assert notes == ["`text` is filled from the column `code` (by its name)"]


def test_an_explicit_column_wins(table: Make) -> None:
    dataset = table(text=["x"], body=["y"], n=[1])
    assert map_columns(dataset, ["text", "body"], {"text": "body", "body": "n"}) == ({"text": "body", "body": "n"}, [])


@pytest.mark.parametrize(
    ("variables", "explicit", "message"),
    [
        (["code"], {"code": "bdoy"}, r"--column code=bdoy: .* no column `bdoy`; did you mean `body`\?\ncolumns: body"),
        (["code"], {"coed": "body"}, r"no variable `coed`; did you mean `code`\?\nit has code"),
        ([], {"code": "body"}, r"no variable `code`\nit has none"),
        (["Body_"], {}, r"no column for the template's `Body_`; did you mean `body`\?\n.*--column Body_=NAME"),
        (["a", "body", "b"], {}, r"no column for the template's `a`, `b`\n"),
        (["raw"], {}, "`raw` for `raw` holds bytes, not text"),
    ],
)
def test_a_wrong_name_gets_the_nearest_valid_one(
    table: Make, variables: list[str], explicit: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        map_columns(table(body=["x"], raw=[b"x"]), variables, explicit)


def test_a_wide_table_is_listed_in_part(table: Make) -> None:
    dataset = table(**{f"c{i}": [i] for i in range(40)})
    with pytest.raises(UsageError, match=r"c11 \(int64\) and 28 more"):
        map_columns(dataset, ["zzz"], {})


def test_kept_columns_have_their_own_types_in_the_order_given(table: Make) -> None:
    dataset = table(a=pa.array([1], pa.timestamp("ns", "UTC")), b=pa.array(["x"]).dictionary_encode(), c=[1])
    types = keep_types(dataset, ["b", "a", "b"], {"c"})
    assert list(types.items()) == [("b", pa.string()), ("a", pa.timestamp("ns", "UTC"))]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("scor", r"--keep scor: .* no column `scor`; did you mean `score`\?"),
        ("score", "--keep score: the results have a column `score` of their own"),
        ("Row", "--keep Row: the results have a column `row` of their own"),
        ("m", r"--keep m: a column of type map<.*> cannot be kept"),
    ],
)
def test_a_column_that_cannot_be_kept_is_refused(table: Make, column: str, message: str) -> None:
    dataset = table(score=[1], Row=[1], m=pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())))
    with pytest.raises(UsageError, match=message):
        keep_types(dataset, [column], {"row", "score"})


def test_kept_columns_that_sql_would_not_tell_apart_are_refused(table: Make) -> None:
    with pytest.raises(UsageError, match="--keep Lang: it differs from `lang` only in upper and lower case"):
        keep_types(table(lang=["x"], Lang=["y"]), ["lang", "Lang"], {"score"})
