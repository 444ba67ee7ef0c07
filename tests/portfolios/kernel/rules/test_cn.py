"""A-share rules are those of the dated tables, to the cent and the tick."""

from __future__ import annotations

from datetime import date, timedelta

import marina_rules
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolios.kernel.money import CENT, to_float, to_units
from portfolios.kernel.orders import BUY, SELL
from portfolios.kernel.rules import rules_for
from portfolios.kernel.rules.cn import scope_of

RULES = rules_for("cn")
EXCHANGE = {"SH": "XSHG", "SZ": "XSHE", "BJ": "BJSE"}
DAYS = st.dates(date(2015, 8, 1), date(2026, 12, 31))


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["600519.SH", "000001.SZ", "300059.SZ", "688981.SH", "430047.BJ", "510300.SH"]),
    st.integers(1, 200_000), DAYS, st.booleans(),
)  # fmt: skip
def test_price_limits_are_those_of_the_table(code, cents, day, st_flag):
    scope = scope_of(code, st_flag)
    market = EXCHANGE[code[-2:]]
    prev_close = cents / 100
    try:
        expected = marina_rules.limit_price(prev_close, scope, day.isoformat(), market=market)
    except KeyError:
        assert RULES.limits(code, to_units(prev_close), day, st_flag) is None or market == "BJSE"
        return
    if market == "BJSE":
        # No tick of that exchange is on record; the table's own fallback is the same 0.01.
        expected = marina_rules.limit_price(prev_close, scope, day.isoformat(), market=market, decimals=2)
    assert expected is not None
    low, high = RULES.limits(code, to_units(prev_close), day, st_flag)
    assert to_float(high) == pytest.approx(expected[0], abs=1e-9)
    assert low == max(to_units(float(expected[1])), RULES.tick_size(code, day))


def test_special_treatment_narrows_the_band_until_its_reform():
    prev_close = to_units(10.0)
    assert RULES.limits("600519.SH", prev_close, date(2026, 7, 3), True) == (to_units(9.5), to_units(10.5))
    assert RULES.limits("600519.SH", prev_close, date(2026, 7, 6), True) == (to_units(9.0), to_units(11.0))
    assert RULES.limits("300059.SZ", prev_close, date(2020, 8, 21)) == (to_units(9.0), to_units(11.0))
    assert RULES.limits("300059.SZ", prev_close, date(2020, 8, 24)) == (to_units(8.0), to_units(12.0))


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 10**11), DAYS, st.sampled_from((BUY, SELL)))
def test_fees_are_commission_and_the_dated_taxes_each_to_the_cent(amount, day, direction):
    fees = RULES.fees("600519.SH", direction, amount, 100, day)
    stamp = marina_rules.rule_at("stamp_duty_sell", day.isoformat()) if direction == SELL else 0
    transfer = marina_rules.rule_at("transfer_fee_each_side", day.isoformat())
    assert fees.commission % CENT == fees.tax % CENT == 0
    assert fees.commission == max(to_units(5), fees.commission)
    assert abs(fees.commission - max(amount * 0.0003, to_units(5))) <= CENT / 2 + 1
    assert abs(fees.tax - amount * stamp - amount * transfer) <= CENT + 2


@pytest.mark.parametrize(
    ("day", "sold", "bought"),
    [(date(2022, 4, 28), 102_00, 2_00), (date(2022, 4, 29), 101_00, 1_00), (date(2023, 8, 28), 51_00, 1_00)],
)
def test_taxes_change_on_their_day(day, sold, bought):
    amount = to_units(100_000)
    assert RULES.fees("600519.SH", SELL, amount, 100, day).tax == sold * CENT
    assert RULES.fees("600519.SH", BUY, amount, 100, day).tax == bought * CENT


def test_funds_pay_commission_only():
    fees = RULES.fees("510300.SH", SELL, to_units(100_000), 100, date(2024, 1, 2))
    assert fees == (to_units(30), 0)


def test_the_minimum_commission_counts_once_an_order():
    day = date(2024, 1, 2)
    first = RULES.fees("600519.SH", BUY, to_units(1_000), 100, day)
    both = RULES.fees("600519.SH", BUY, to_units(30_000), 300, day)
    assert first.commission == to_units(5)
    assert both.commission == to_units(9)


@pytest.mark.parametrize(
    ("code", "direction", "volume", "held", "lot"),
    [
        ("600519.SH", BUY, 99, 0, 0),
        ("600519.SH", BUY, 299, 0, 200),
        ("688981.SH", BUY, 199, 0, 0),
        ("688981.SH", BUY, 201, 0, 201),
        ("430047.BJ", BUY, 101, 0, 101),
        ("600519.SH", SELL, 150, 150, 150),
        ("600519.SH", SELL, 150, 250, 100),
        ("600519.SH", SELL, 50, 50, 50),
        ("600519.SH", BUY, -5, 0, 0),
    ],
)
def test_lots_are_those_of_the_board_and_odd_ones_are_sold_whole(code, direction, volume, held, lot):
    assert RULES.round_lot(code, direction, volume, held) == lot


@pytest.mark.parametrize(
    ("code", "scope"),
    [("600519.SH", "main_board"), ("688981.SH", "star"), ("300059.SZ", "chinext"), ("301499.SZ", "chinext"),
     ("000001.SZ", "main_board"), ("430047.BJ", "bse"), ("510300.SH", "etf"), ("159915.SZ", "etf"),
     ("900901.SH", "b_share"), ("200002.SZ", "b_share")],
)  # fmt: skip
def test_a_code_tells_its_board(code, scope):
    assert scope_of(code) == scope


def test_the_rules_hold_on_every_day_that_they_were_asked_out_of_order():
    day = date(2019, 1, 2)
    rules = rules_for("cn")
    answers = [rules.limits("300059.SZ", to_units(10.0), day + timedelta(days=step)) for step in (0, 900, 1, 901)]
    assert answers[0] == answers[2] != answers[1] == answers[3]
