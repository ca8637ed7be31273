import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from scorer.core.nonce import nonce_of

rows = st.dictionaries(st.text(max_size=5), st.text(max_size=20) | st.integers() | st.none(), max_size=4)


def test_it_is_sixteen_small_letters_and_digits() -> None:
    found = nonce_of({"text": "a"})
    assert len(found) == 16
    assert found.isalnum()
    assert found == found.lower()


def test_it_is_the_same_in_every_process_whatever_the_order_of_the_columns() -> None:
    values = r"{'n': 1.5, 'tags': ['x', None], 'text': 'a\ud800\0b'}"
    here = nonce_of({"text": "a\ud800\0b", "tags": ["x", None], "n": 1.5})
    code = f"from scorer.core.nonce import nonce_of; print(nonce_of({values}))"
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here


def test_jobs_of_before_can_be_gone_on_with_because_it_never_changes() -> None:
    assert nonce_of({"text": "The parcel came late."}) == "av2guixwrbo4i3vc"


def test_what_goes_from_one_column_to_the_next_is_another_row() -> None:
    same_letters = [{"a": "xy", "b": "z"}, {"a": "x", "b": "yz"}, {"a": "xyz", "b": ""}, {"a": "xyz"}, {"ab": "xyz"}]
    assert len({nonce_of(values) for values in same_letters}) == len(same_letters)


@given(rows, rows)
def test_different_rows_have_different_ones(a: dict[str, object], b: dict[str, object]) -> None:
    printed = [sorted((name, str(value)) for name, value in row.items()) for row in (a, b)]
    assert (nonce_of(a) == nonce_of(b)) == (printed[0] == printed[1])


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_row_that_quotes_the_nonce_of_what_it_was_before_has_a_new_one(text: str, more: str) -> None:
    quoting = f"{text}{nonce_of({'text': text})}{more}"
    assert nonce_of({"text": quoting}) not in quoting
