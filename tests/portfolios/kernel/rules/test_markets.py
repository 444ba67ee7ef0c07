"""The other markets' lots, ticks, fees and limits."""

from __future__ import annotations

from datetime import date

import pytest

from portfolios.kernel.money import to_units
from portfolios.kernel.orders import BUY, SELL
from portfolios.kernel.rules import rules_for
from portfolios.kernel.rules.hk import HkRules


def test_a_market_without_rules_is_refused_by_name():
    with pytest.raises(ValueError, match="mars"):
        rules_for("mars")


@pytest.mark.parametrize("market", ["cn", "hk", "us", "futures"])
def test_every_market_says_what_it_is(market):
    rules = rules_for(market)
    assert rules.market == market
    assert rules.currency in ("CNY", "HKD", "USD")
    assert rules.fees("600519.SH", BUY, 0, 0, date(2024, 1, 2)).total == 0


def test_hong_kong_trades_in_board_lots_of_the_issuer_and_sells_odd_ones_whole():
    rules = HkRules(lots={"00005.HK": 400})
    assert rules.round_lot("00005.HK", BUY, 1_000) == 800
    assert rules.round_lot("00700.HK", BUY, 1_050) == 1_000
    assert rules.round_lot("00700.HK", SELL, 150, 150) == 150


@pytest.mark.parametrize(
    ("price", "before", "after"),
    [(0.2, 0.001, 0.001), (15, 0.02, 0.01), (30, 0.05, 0.02), (60, 0.05, 0.05), (150, 0.1, 0.1)],
)
def test_hong_kongs_price_step_grows_with_the_price_and_shrank_in_2025(price, before, after):
    rules = rules_for("hk")
    assert rules.tick_size("00700.HK", date(2025, 8, 1), to_units(float(price))) == to_units(before)
    assert rules.tick_size("00700.HK", date(2025, 8, 4), to_units(float(price))) == to_units(after)


def test_hong_kongs_stamp_duty_is_rounded_up_to_the_dollar_on_both_sides():
    rules = rules_for("hk", commission_rate=0.0)
    amount = to_units(10_001)
    for direction in (BUY, SELL):
        in_2022 = rules.fees("00700.HK", direction, amount, 100, date(2022, 6, 1)).tax
        in_2024 = rules.fees("00700.HK", direction, amount, 100, date(2024, 6, 3)).tax
        levies_2022 = to_units(0.27) + to_units(0.02) + to_units(0.5)
        levies_2024 = to_units(0.27) + to_units(0.02) + to_units(0.57)
        assert in_2022 == to_units(14) + levies_2022
        assert in_2024 == to_units(11) + levies_2024


def test_american_sellers_pay_the_sec_and_finra_by_date():
    rules = rules_for("us", commission_rate=0.0)
    amount = to_units(1_000_000)
    assert rules.fees("AAPL.US", BUY, amount, 5_000, date(2024, 6, 3)).tax == 0
    assert rules.fees("AAPL.US", SELL, amount, 5_000, date(2024, 6, 3)).tax == to_units(27.8) + to_units(0.83)
    assert rules.fees("AAPL.US", SELL, amount, 5_000, date(2025, 6, 3)).tax == to_units(0.83)
    assert rules.fees("AAPL.US", SELL, amount, 10**6, date(2025, 6, 3)).tax == to_units(8.3)


def test_american_prices_step_finer_below_a_dollar():
    rules = rules_for("us")
    assert rules.tick_size("AAPL.US", date(2024, 1, 2), to_units(1.0)) == to_units(0.01)
    assert rules.tick_size("AAPL.US", date(2024, 1, 2), to_units(0.99)) == to_units(0.0001)


def test_index_futures_move_ten_percent_inwards_to_the_step_and_need_margin():
    rules = rules_for("futures")
    low, high = rules.limits("IF2612.CFX", to_units(3801.4), date(2026, 1, 5))
    assert (low, high) == (to_units(3421.4), to_units(4181.4))
    assert rules.multiplier("IF2612.CFX") == 300
    assert rules.margin_rate("IF2612.CFX") == 120_000
    assert rules.limits("RB2610.SHF", to_units(3500.0), date(2026, 1, 5)) is None
    assert rules.shorting and not rules.t_plus
