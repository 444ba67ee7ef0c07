"""The other markets' lots, ticks, fees and limits."""

from __future__ import annotations

from datetime import date
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolios.kernel.money import CENT, UNIT, to_units
from portfolios.kernel.orders import BUY, SELL
from portfolios.kernel.rules import COMMISSION_RATES, commission_rate_of, hk, rules_for, us
from portfolios.kernel.rules.dated import Dated
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
    ("price", "before", "phase_1", "phase_2"),
    [
        (0.25, 0.001, 0.001, 0.001), (0.255, 0.005, 0.005, 0.005), (0.5, 0.005, 0.005, 0.005),
        (0.51, 0.01, 0.01, 0.005), (10, 0.01, 0.01, 0.005), (10.02, 0.02, 0.01, 0.01), (20, 0.02, 0.01, 0.01),
        (30, 0.05, 0.02, 0.02), (50.05, 0.05, 0.05, 0.05), (100, 0.05, 0.05, 0.05),
        (200, 0.1, 0.1, 0.1), (500, 0.2, 0.2, 0.2),
        (500.5, 0.5, 0.5, 0.5), (5001, 5, 5, 5), (20_000, 5, 5, 5),
    ],
)  # fmt: skip
def test_hong_kongs_price_step_grows_with_the_price_and_shrank_twice(price, before, phase_1, phase_2):
    rules, units = rules_for("hk"), to_units(float(price))
    assert rules.tick_size("00700.HK", date(2025, 8, 1), units) == to_units(float(before))
    assert rules.tick_size("00700.HK", date(2025, 8, 4), units) == to_units(float(phase_1))
    assert rules.tick_size("00700.HK", date(2026, 7, 31), units) == to_units(float(phase_1))
    assert rules.tick_size("00700.HK", date(2026, 8, 3), units) == to_units(float(phase_2))


@pytest.mark.parametrize(
    ("day", "stamp_duty", "sfc", "afrc", "trading", "settlement"),
    [
        (date(2014, 10, 31), 11, 0.30, 0, 0.50, 2),
        (date(2021, 7, 30), 11, 0.27, 0, 0.50, 2),
        (date(2021, 8, 2), 14, 0.27, 0, 0.50, 2),
        (date(2022, 1, 3), 14, 0.27, 0.02, 0.50, 2),
        (date(2023, 1, 3), 14, 0.27, 0.02, 0.57, 2),
        (date(2023, 11, 16), 14, 0.27, 0.02, 0.57, 2),
        (date(2023, 11, 17), 11, 0.27, 0.02, 0.57, 2),
        (date(2025, 6, 27), 11, 0.27, 0.02, 0.57, 2),
        (date(2025, 6, 30), 11, 0.27, 0.02, 0.57, 0.42),
    ],
)
def test_hong_kong_takes_its_fees_of_the_day_on_both_sides(day, stamp_duty, sfc, afrc, trading, settlement):
    rules, amount = rules_for("hk", commission_rate=0.0), to_units(10_001)
    expected = sum(to_units(float(each)) for each in (stamp_duty, sfc, afrc, trading, settlement))
    for direction in (BUY, SELL):
        assert rules.fees("00700.HK", direction, amount, 100, day) == (0, expected)


def test_hong_kongs_settlement_fee_had_bounds_until_it_became_a_share():
    rules = rules_for("hk", commission_rate=0.0)
    before, after = date(2025, 6, 27), date(2025, 6, 30)
    much = to_units(10_000_000)
    others = to_units(10_000 + 270 + 15 + 565)
    assert rules.fees("00700.HK", BUY, much, 100, before).tax == others + to_units(100)
    assert rules.fees("00700.HK", BUY, much, 100, after).tax == others + to_units(420)


@pytest.mark.parametrize(
    ("day", "sec", "finra"),
    [
        (date(2018, 5, 21), 23.1, 0.60), (date(2018, 5, 22), 13.0, 0.60), (date(2021, 12, 31), 5.1, 0.60),
        (date(2022, 1, 3), 5.1, 0.65), (date(2023, 1, 3), 22.9, 0.73), (date(2024, 5, 21), 8.0, 0.83),
        (date(2024, 5, 22), 27.8, 0.83), (date(2025, 5, 14), 0, 0.83), (date(2026, 1, 2), 0, 0.98),
        (date(2026, 4, 2), 0, 0.98), (date(2026, 4, 6), 20.6, 0.98), (date(2026, 10, 1), 20.6, 0),
        (date(2026, 12, 31), 20.6, 0), (date(2027, 1, 4), 20.6, 1.16),
    ],
)  # fmt: skip
def test_american_sellers_pay_the_sec_and_finra_by_date(day, sec, finra):
    rules, amount = rules_for("us"), to_units(1_000_000)
    assert rules.fees("AAPL.US", BUY, amount, 5_000, day) == (0, 0)
    assert rules.fees("AAPL.US", SELL, amount, 5_000, day) == (0, to_units(float(sec)) + to_units(float(finra)))


def test_finras_fee_has_a_cap_and_both_are_rounded_up_to_the_cent():
    rules = rules_for("us")
    assert rules.fees("AAPL.US", SELL, to_units(1.0), 10**6, date(2025, 6, 3)).tax == to_units(8.3)
    assert rules.fees("AAPL.US", SELL, to_units(1.0), 1, date(2024, 6, 3)).tax == to_units(0.02)


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


def test_futures_pay_the_exchange_a_share_or_by_the_lot():
    rules, day = rules_for("futures"), date(2026, 1, 5)
    value = to_units(3_800 * 300)
    assert rules.fees("IF2612.CFX", BUY, value, 1, day) == (0, to_units(26.22))
    assert rules.fees("T2612.CFX", SELL, to_units(1_085_000 * 3), 3, day) == (0, to_units(9))
    assert rules_for("futures", commission_rate=0.00001).fees("IF2612.CFX", BUY, value, 1, day).commission == 11_40_00


@pytest.mark.parametrize(
    ("code", "multiplier", "tick"),
    [("IH2612.CFX", 300, 0.2), ("IC2612.CFX", 200, 0.2), ("IM2612.CFX", 200, 0.2), ("TS2612.CFX", 20_000, 0.002),
     ("TF2612.CFX", 10_000, 0.005), ("TL2612.CFX", 10_000, 0.01), ("AU2612.SHF", 1000, 0.02), ("cu2612.SHF", 5, 10.0),
     ("SC2612.INE", 1000, 0.1), ("i2612.DCE", 100, 0.5), ("jm2612.DCE", 60, 0.5), ("CF612.ZCE", 5, 5.0)],
)  # fmt: skip
def test_a_contract_has_its_size_and_its_price_step(code, multiplier, tick):
    rules = rules_for("futures")
    assert rules.multiplier(code) == multiplier
    assert rules.tick_size(code, date(2026, 1, 5)) == to_units(tick)


def test_each_market_has_a_commission_of_its_own_unless_one_is_given():
    day, amount = date(2024, 6, 3), to_units(100_000)
    own = {market: rules_for(market).fees("X", BUY, amount, 100, day).commission for market in COMMISSION_RATES}
    assert own == {"cn": to_units(30), "hk": to_units(30), "us": 0, "futures": 0}
    given = {m: rules_for(m, commission_rate=0.001).fees("X", BUY, amount, 100, day).commission for m in own}
    assert given == dict.fromkeys(own, to_units(100))


@pytest.mark.parametrize(
    ("given", "rate"),
    [(None, None), (0.0002, 0.0002), ({"hk": 0.001}, 0.001), ({"cn": 0.001}, None), (0, 0.0), ({}, None)],
)  # fmt: skip
def test_a_configured_commission_is_one_for_all_markets_or_by_market(given, rate):
    assert commission_rate_of(given, "hk") == rate


@pytest.mark.parametrize("given", ["0.0003", 1, -0.1, True, {"hk": "much"}, {"mars": 0.1}, [0.1]])
def test_a_commission_that_is_none_is_refused(given):
    with pytest.raises(ValueError, match="commission_rate"):
        commission_rate_of(given, "hk")


@pytest.mark.parametrize("rows", [(), ((date(2024, 1, 2), 1), (date(2024, 1, 1), 2)), ((date(2024, 1, 1), 1),) * 2])
def test_a_table_out_of_order_is_refused(rows):
    with pytest.raises(ValueError, match="order of their dates"):
        Dated(*rows)


AMOUNTS = st.integers(1, 10**11)
DAYS = st.dates(date(2009, 1, 1), date(2029, 1, 1))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["cn", "hk", "us", "futures"]), AMOUNTS, AMOUNTS, st.integers(1, 10_000), DAYS,
       st.sampled_from((BUY, SELL)))  # fmt: skip
def test_a_later_fill_of_an_order_never_costs_less_than_nothing(market, amount, more, volume, day, direction):
    rules = rules_for(market)
    code = {"cn": "600519.SH", "hk": "00700.HK", "us": "AAPL.US", "futures": "IF2612.CFX"}[market]
    first = rules.fees(code, direction, amount, volume, day)
    both = rules.fees(code, direction, amount + more, 2 * volume, day)
    assert both.commission >= first.commission >= 0
    assert both.tax >= first.tax >= 0
    assert all(each % CENT == 0 for each in (*first, *both))


@settings(max_examples=200, deadline=None)
@given(AMOUNTS, st.integers(1, 10_000), DAYS)
def test_fees_abroad_are_the_sum_of_the_dated_tables(amount, volume, day):
    def share(table, rounding):
        return (Decimal(amount) * table.at(day) / 10**9 / CENT).to_integral_value(rounding) * CENT

    levies = sum(share(table, ROUND_HALF_UP) for table in (hk._SFC_LEVY, hk._AFRC_LEVY, hk._TRADING_FEE))
    duty = (Decimal(amount) * hk._STAMP_DUTY.at(day) / 10**9 / UNIT).to_integral_value(ROUND_CEILING) * UNIT
    bounds = hk._SETTLEMENT.at(day)
    settlement = (Decimal(amount) * bounds.share / 10**9 / CENT).to_integral_value(ROUND_HALF_UP) * CENT
    settlement = min(max(settlement, bounds.least), bounds.most if bounds.most is not None else settlement)
    assert rules_for("hk").fees("00700.HK", SELL, amount, volume, day).tax == levies + duty + settlement

    taf = us._TAF.at(day)
    activity = (min(Decimal(volume * taf.a_share) / 100, taf.cap) / CENT).to_integral_value(ROUND_CEILING) * CENT
    assert (
        rules_for("us").fees("AAPL.US", SELL, amount, volume, day).tax == share(us._SEC_FEE, ROUND_CEILING) + activity
    )
