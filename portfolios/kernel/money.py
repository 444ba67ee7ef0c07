"""Money of the kernel: whole numbers of 0.0001 of the currency, so that books are exact.

Why 0.0001: it is the finest price step of any market here (funds and some foreign shares trade in 0.001, US
shares below a dollar in 0.0001), so every price, and every price times a whole volume, is a whole number of
units; and integers add up without rounding, print alike everywhere and are as quick as floats. Rates (fees,
slippage) are applied by functions that say how they round.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

UNIT = 10_000
CENT = UNIT // 100


def to_units(amount: float | int | Decimal | str) -> int:
    """Units of an amount of currency, rounded half away from zero: `to_units(9.99)` is 99_900.

    A float is read as the decimal number it prints as; exact for amounts below 10^11.
    """
    if isinstance(amount, float):
        scaled = amount * UNIT
        return int(scaled + 0.5) if scaled >= 0 else -int(0.5 - scaled)
    if isinstance(amount, int):
        return amount * UNIT
    return int((Decimal(amount) * UNIT).to_integral_value(ROUND_HALF_UP))


def to_decimal(units: int) -> Decimal:
    """The exact amount, with four places: `to_decimal(99_900)` is Decimal("9.9900")."""
    return Decimal(units).scaleb(-4)


def to_float(units: int) -> float:
    """The amount as the nearest float, as it goes on the wire."""
    return units / UNIT


def ceil_to(units: int, step: int) -> int:
    return -(-units // step) * step


def round_to_cent(numerator: int, denominator: int) -> int:
    """`numerator / denominator` units, rounded half up to the cent. Both positive."""
    step = denominator * CENT
    return (2 * numerator + step) // (2 * step) * CENT
