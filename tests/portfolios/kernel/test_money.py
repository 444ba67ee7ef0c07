from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolios.kernel.money import CENT, round_to_cent, to_decimal, to_float, to_units


@pytest.mark.parametrize(
    ("amount", "units"),
    [(9.99, 99_900), (-9.99, -99_900), (1, 10_000), ("0.00005", 1), (Decimal("-0.00005"), -1), (0.0001, 1)],
)
def test_an_amount_of_any_kind_becomes_whole_units_rounded_half_away_from_zero(amount, units):
    assert to_units(amount) == units


@settings(max_examples=200)
@given(st.integers(-(10**14), 10**14))
def test_units_survive_the_wire_and_the_database(units):
    assert to_units(to_float(units)) == units
    assert to_units(to_decimal(units)) == units


def test_fees_are_rounded_half_up_to_the_cent():
    assert round_to_cent(10_049, 1) == 100 * CENT
    assert round_to_cent(10_050, 1) == 101 * CENT
    assert round_to_cent(0, 7) == 0
