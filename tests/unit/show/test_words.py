import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from scorer.show.words import (
    about,
    coming,
    duration,
    figure,
    file_size,
    harmless,
    one_line,
    padded,
    rate,
    rate_unit,
    shortened,
    table,
)

NOON = 1_795_262_400.0
HOUR = 3600.0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "?"),
        (0, "0s"),
        (59.9, "59s"),
        (60, "1m"),
        (3599, "59m"),
        (3600, "1h00"),
        (47 * 3600 + 59 * 60, "47h59"),
        (48 * 3600, "2d 0h"),
        (350 * 3600, "14d 14h"),
        (2400 * 3600, "100d"),
        (1e9, "11,574d"),
        (4e11, "100+ years"),
        (math.inf, "100+ years"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [
        (0, "0.0 kB"),
        (230, "0.2 kB"),
        (30_400, "30.4 kB"),
        (99_949, "99.9 kB"),
        (100_000, "0.1 MB"),
        (1_234_500_000, "1,234.5 MB"),
    ],
)
def test_sizes_of_small_files_are_not_nothing(size_bytes: int, words: str) -> None:
    assert file_size(size_bytes) == words


@given(st.floats(0, 1e9))
def test_a_duration_never_says_sixty_of_anything(seconds: float) -> None:
    assert duration(seconds) not in ("60s", "60m")
    assert "h60" not in duration(seconds)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "nobody knows how long"),
        (0.2, "a second or two"),
        (40, "40 seconds"),
        (45 * 60, "45 minutes"),
        (2.5 * HOUR, "2.5 hours"),
        (14 * HOUR, "14 hours"),
        (14.4 * 24 * HOUR, "14 days"),
        (3.26 * 24 * HOUR, "3.3 days"),
        (math.inf, "100 years or more"),
    ],
)
def test_a_guess_is_said_roughly(seconds: float | None, words: str) -> None:
    assert about(seconds) == words


@pytest.mark.parametrize(
    ("rows_per_s", "words"),
    [
        (0, "0.0 rows/s"),
        (1234.5, "1,234.5 rows/s"),
        (1, "1.0 rows/s"),
        (0.5, "30.0 rows/min"),
        (0.01, "36.0 rows/h"),
    ],
)
def test_rates_are_in_the_unit_that_is_easiest_to_think_of(rows_per_s: float, words: str) -> None:
    assert rate(rows_per_s) == words
    assert rate_unit(rows_per_s)[1] == words.split()[1]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0"),
        (0.0123, "0.012"),
        (0.12, "0.12"),
        (9.994, "9.99"),
        (9.996, "10.0"),
        (34.56, "34.6"),
        (99.96, "100"),
        (2345.6, "2,346"),
        (12_345_678, "12.3M"),
    ],
)
def test_figures_have_the_digits_that_count(value: float, words: str) -> None:
    assert figure(value) == words


@given(st.floats(0, 9e8))
def test_a_figure_always_fits_its_column(value: float) -> None:
    assert len(figure(value)) <= 7


def test_an_end_to_come_is_said_with_the_clock_the_day_or_the_date() -> None:
    assert coming(NOON + 60, NOON)[2] == ":"
    assert coming(NOON + 26 * HOUR, NOON)[3:4] == " "
    assert coming(NOON + 10 * 24 * HOUR, NOON) == "Tue 1 Dec"
    assert coming(NOON + 300 * 24 * HOUR, NOON) == "September 2027"


@given(st.text())
def test_harmless_text_holds_nothing_that_moves_a_cursor_and_keeps_the_rest(text: str) -> None:
    safe = harmless(text)
    assert all(char.isprintable() or char in "\n\t" for char in safe)
    assert len(safe) == len(text)
    assert all(kept == char or kept == " " for kept, char in zip(safe, text, strict=True))
    assert one_line(text).isprintable()


def test_direction_overrides_escapes_and_control_characters_become_spaces() -> None:
    assert harmless("a\x1b[2J\u202eb\u2066c\x9bd\x00e\u200bf\rg\nh") == "a [2J b c d e f g\nh"
    assert harmless("déjà 漢字 🎉") == "déjà 漢字 🎉"


@given(st.text(), st.integers(1, 30))
def test_shortened_text_fits_its_columns(text: str, cells: int) -> None:
    assert cell_len(shortened(text, cells)) <= cells
    if cell_len(one_line(text)) <= cells:
        assert shortened(text, cells) == one_line(text)


def test_what_was_cut_says_so() -> None:
    assert shortened("a long sentence", 8) == "a long…"
    assert shortened("漢字漢字", 5) == "漢字…"
    assert shortened("abc", 0) == ""


def test_a_table_sets_numbers_to_the_right_and_words_to_the_left() -> None:
    assert table(("host", "rows"), [("a", 1), ("long name", 12_345)]).splitlines() == [
        "host         rows",
        "a               1",
        "long name  12,345",
    ]
    assert table(("x", "y"), []) == "x  y"
    assert table(("s",), [(1.25,), (1000.0,)]).splitlines() == ["      s", "    1.2", "1,000.0"]


def test_a_table_stands_straight_whatever_is_in_its_cells() -> None:
    lines = table(("host", "x"), [("漢字", "|"), ("two\nlines\x1b[2J", "|"), ("plain", "|")]).splitlines()
    assert len(lines) == 4
    assert len({cell_len(line) for line in lines[1:]}) == 1
    assert padded("漢", 4) == "漢  "
    assert padded("漢", 4, right=True) == "  漢"


@pytest.mark.parametrize("seconds", [4e11, 1e300, math.inf])
def test_an_end_beyond_all_calendars_is_no_date(seconds: float) -> None:
    assert coming(NOON + seconds, NOON) == "in 100+ years"
