"""Numbers in tables, rounded to what is known of them."""

import decimal
import math
from decimal import Decimal
from typing import NamedTuple

# Digits of an error, of a number without one, and of float64.
_OF_ERROR, _ALONE, _DIGITS = 2, 3, 15
# Powers of ten of numbers that are written without one.
_PLAIN = range(-3, 6)


class Rounded(NamedTuple):
    """A number as it is written: `(value ± error) 10^exponent`.

    Attributes:
        value: Its digits.
        error: Those of its error, with as many decimals; "" if it has none.
        exponent: A power of ten.
    """

    value: str
    error: str
    exponent: int

    @property
    def text(self) -> str:
        """The number in plain text."""
        number = f"{self.value} ± {self.error}" if self.error else self.value
        if not self.exponent:
            return number
        return f"({number})e{self.exponent}" if self.error else f"{number}e{self.exponent}"

    @property
    def latex(self) -> str:
        """The number in LaTeX's mathematics."""
        number = rf"{self.value} \pm {self.error}" if self.error else self.value
        if not self.exponent:
            return f"${number}$"
        number = f"({number})" if self.error else number
        return rf"${number} \times 10^{{{self.exponent}}}$"


def rounded(value: float, error: float | None = None) -> Rounded:
    """Rounds a number to two digits of its error, or to three digits if it has none.

    Args:
        value: The number.
        error: Its error, at least 0; None if it is not known. One of 0 rounds nothing off: the
            number has three digits, and so it has without an error.
    """
    if not math.isfinite(value):
        return Rounded(str(value), "", 0)
    number = Decimal(repr(float(value)))
    if error is None or not math.isfinite(error):
        place = _place(number, _ALONE)
        return _write(number, None, place)
    spread = Decimal(repr(float(error)))
    # An error behind float64's digits is that of adding up equal numbers.
    is_known = spread and not (number and spread.adjusted() < number.adjusted() - _DIGITS)
    place = _place(spread, _OF_ERROR) if is_known else _place(number, _ALONE)
    return _write(number, spread, place)


def _place(number: Decimal, digits: int) -> int:
    """Returns the power of ten of the last digit that is kept of a number."""
    if not number:
        return 0
    place = number.adjusted() - digits + 1
    # Rounding may carry to another first digit: 0.0996 is 0.10 with two digits.
    return _quantize(number, place).adjusted() - digits + 1


def _quantize(number: Decimal, place: int) -> Decimal:
    with decimal.localcontext(prec=1000):
        return number.quantize(Decimal(1).scaleb(place), decimal.ROUND_HALF_EVEN) + 0  # Not -0.


def _write(number: Decimal, error: Decimal | None, place: int) -> Rounded:
    parts = [_quantize(part, place) for part in (number, error) if part is not None]
    largest = max((part.adjusted() for part in parts if part), default=0)
    exponent = 0 if largest in _PLAIN else largest
    # Digits before the point that are not known are zeros.
    texts = [f"{part.scaleb(-exponent):f}" for part in parts]
    return Rounded(texts[0], texts[1] if error is not None else "", exponent)
