"""Numbers are rounded to two digits of their error, or to three."""

import decimal
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wna_tf.experiments.reporting.rounding import rounded

ANY = st.floats(-1e12, 1e12, allow_nan=False)
ERRORS = st.floats(1e-12, 1e12)


@pytest.mark.parametrize(
    "value, error, text",
    [
        (90.17, 0.01026, "90.170 ± 0.010"),
        (90.17, None, "90.2"),
        (70, 10, "70 ± 10"),
        (1234.5, 123, "1230 ± 120"),
        (0.5, 0.0996, "0.50 ± 0.10"),  # The error carries to another first digit.
        (99.96, None, "100"),
        (50, 0, "50.0 ± 0.0"),
        (0.03, 1e-18, "0.0300 ± 0.0000"),
        (6.1e-7, 2e-8, "(6.10 ± 0.20)e-7"),
        (6.1e-7, None, "6.10e-7"),
        (-0.0001, 0.1, "0.00 ± 0.10"),
        (0, None, "0"),
        (float("nan"), 0.1, "nan"),
        (float("inf"), None, "inf"),
    ],
)
def test_what_is_written(value, error, text):
    assert rounded(value, error).text == text


def test_latex_has_powers_of_ten():
    assert rounded(90.17, 0.01026).latex == r"$90.170 \pm 0.010$"
    assert rounded(6.1e-7, 2e-8).latex == r"$(6.10 \pm 0.20) \times 10^{-7}$"
    assert rounded(-6.1e-7).latex == r"$-6.10 \times 10^{-7}$"


def exact(text, number):
    return Decimal(text).scaleb(number.exponent)


def decimals(text):
    return len(text.partition(".")[2])


@given(ANY, ERRORS)
@example(0.1, 0.0996)
@example(999.9, 9.99)
def test_a_number_has_the_decimals_of_two_digits_of_its_error(value, error):
    number = rounded(value, error)
    shown, spread = exact(number.value, number), exact(number.error, number)
    place = Decimal(f"{error:.1e}").adjusted() - 1  # That of the second digit.
    if value and place < Decimal(repr(value)).adjusted() - 16:
        return  # Three digits, as without an error.
    half = Decimal(1).scaleb(place) / 2
    assert abs(shown - Decimal(repr(value))) <= half
    assert abs(spread - Decimal(repr(error))) <= half
    # Both are multiples of that place, and are written with the same decimals.
    with decimal.localcontext(prec=100):
        assert shown % (2 * half) == spread % (2 * half) == 0
    assert decimals(number.value) == decimals(number.error)
    assert Decimal(number.value) or not number.value.startswith("-")


@given(ANY)
def test_a_number_without_an_error_has_three_digits(value):
    number = rounded(value)
    assert not number.error
    shown = exact(number.value, number)
    assert float(shown) == pytest.approx(float(f"{value:.2e}"), rel=1e-12)
