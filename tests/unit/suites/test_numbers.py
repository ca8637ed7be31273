"""Which number a completion ends on, however it is written, and what is no number to read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.suites.numbers import number


@given(
    st.integers(-(10**12), 10**12), st.sampled_from(["{}", "#### {}", "\\boxed{{{}}}", "The answer is {}.", "x = {}"])
)
def test_a_number_is_found_again_in_every_form(value: int, form: str) -> None:
    assert number(form.format(f"{value:,}")) == str(value)
    assert number(form.format(f"{value}.00")) == str(value)


@given(st.integers(1, 10**9))
def test_currency_and_sign_come_in_either_order(value: int) -> None:
    assert number(f"-${value:,}") == number(f"$-{value}") == f"-{value}"


@given(st.integers(), st.integers(0, 40))
def test_a_number_is_exact_however_many_digits_it_has(value: int, zeros: int) -> None:
    assert number(str(value)) == str(value)
    assert number(f"{value}.{zeros * '0'}1") == f"{value}.{zeros * '0'}1"
    assert number(f"{value:,}.{'0' * (zeros + 1)}") == str(value)


@pytest.mark.parametrize("text", ["9" * 1_000_001, "-$" + "1,234" * 200, "0." + "1" * 500, "1{,}000" * 100])
def test_endless_digits_are_no_number_and_no_part_of_them_is_one(text: str) -> None:
    assert number(text) is None
    assert number(f"#### {text}") is None
    assert number(f"{text} = 18") == "18"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"\boxed{70\,000}", "70000"),
        (r"\boxed{10,\!000}", "10000"),
        (r"\boxed{\$1,\!200}", "1200"),
        (r"\boxed{1\ 234}", "1234"),
        (r"That makes $70\,000$", "70000"),
        ("#### 1\u202f234", "1234"),
        ("about 1\u00a0234\u00a0567 in all", "1234567"),
        ("The answer is $1'000$", "1000"),
        ("It is 12\u2019345.", "12345"),
    ],
)
def test_what_separates_thousands_in_latex_and_abroad_is_part_of_the_number(text: str, value: str) -> None:
    assert number(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("#### 1 000", "1000"),
        ("#### $12 345 678.50", "12345678.5"),
        ("#### 1 000 dollars", "1000"),
        ("#### 4 * 250 = 1 000", "1000"),
        (r"\boxed{1 000 \text{ cm}^2}", "1000"),
        ("The answer is 1 000.", "1000"),
        ("**Answer:** 1 000 km", "1000"),
        ("1 000 000", "1000000"),
        ("So it is:\n**1 000**\n", "1000"),
        ("The answer is 3 500 ml bottles", "3"),
        ("#### 5 100% of them", "5"),
        ("He has 1 234", "234"),
        ("#### 12 34", "12"),
    ],
)
def test_plain_spaces_are_part_of_a_number_only_where_nothing_else_is_said(text: str, value: str) -> None:
    assert number(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"\boxed{18 \text{ cm}^2}", "18"),
        (r"\boxed{12\ \text{m}^{2}}", "12"),
        (r"\boxed{9\,\mathrm{kg\,m^{-3}}}", "9"),
        ("The area is 18 cm^2.", "18"),
        ("The area is 18 cm2.", "18"),
        (r"The angle is 90^\circ", "90"),
    ],
)
def test_the_power_of_a_unit_is_no_number(text: str, value: str) -> None:
    assert number(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"\boxed{1.5\times10^3}", "1500"),
        (r"\boxed{1.5 \times 10^{-2}}", "0.015"),
        ("1.5 \u00d7 10\u00b3 of them", "1500"),
        ("#### 2 * 10**6", "2000000"),
        ("1e5", "100000"),
        ("-2.5E-3", "-0.0025"),
        ("#### 10^3", "1000"),
        ("3/4", "0.75"),
        ("#### -$3/4", "-0.75"),
        ("The answer is 2/6.", "1/3"),
        ("18 / 3", "6"),
        (r"\boxed{-\dfrac{7}{3}}", "-7/3"),
        (r"\boxed{\frac{-1}{4}}", "-0.25"),
        (r"The answer is \frac12", "0.5"),
        ("#### 2 1/2 cups", "2.5"),
        (r"\boxed{1\frac{1}{3}}", "4/3"),
    ],
)
def test_fractions_and_powers_of_ten_are_read_as_their_value(text: str, value: str) -> None:
    assert number(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "1/0",
        "on 3/4/2024",
        "1 5/3",
        "#### 2^10",
        "5³",
        r"#### 2\sqrt{3}",
        r"The answer is \sqrt{5}",
        r"\boxed{\frac{\pi}{2}}",
        r"\boxed{\frac{\sqrt{3}}{2}}",
        "The answer is 2π",
        "2½",
        "#### 1.000.000",
        r"\boxed{0.\overline{3}}",
        "1e999",
        "1e99999999999",
        "1/" + "3" * 300,
    ],
)
def test_what_only_begins_like_a_number_is_not_read_as_another(text: str) -> None:
    assert number(text) is None


@given(st.integers(-(10**6), 10**6), st.integers(1, 10**6))
def test_a_fraction_is_read_the_same_in_each_way_of_writing_it(top: int, under: int) -> None:
    written = number(f"{top}/{under}")

    assert written is not None
    assert number(rf"\boxed{{\frac{{{top}}}{{{under}}}}}") == number(written) == written
