"""Bars out of prices: aligned, right-closed, ended by the clock of the events."""

from __future__ import annotations

from datetime import timedelta

import pytest

from portfolios.kernel.bars import BarBuilder
from portfolios.kernel.orders import BUY
from portfolios.kernel.rules import rules_for
from tests.portfolios.kernel import scripted
from tests.portfolios.kernel.harness import Market, close_of, config, day, tick

RULES = rules_for("cn")
OPEN = day(0) + timedelta(hours=1, minutes=30)


def add(builder: BarBuilder, seconds: float, price: float, bar: str = "1m", volume: int | None = 10):
    event = tick(price, OPEN + timedelta(seconds=seconds), volume=volume)
    return builder.add(event, bar, RULES.session_at(event.timestamp))


def test_a_bar_holds_what_came_up_to_its_end_and_ends_with_the_first_price_after_it():
    builder = BarBuilder()
    assert [add(builder, *each) for each in [(1, 10.0), (30, 10.5), (59, 9.5)]] == [[], [], []]
    (bar,) = add(builder, 61, 11.0)
    assert (bar.open, bar.high, bar.low, bar.close, bar.price, bar.volume) == (10.0, 10.5, 9.5, 9.5, 9.5, 30)
    assert bar.timestamp == OPEN + timedelta(seconds=59)


def test_a_price_at_the_very_end_ends_the_bar_at_once():
    builder = BarBuilder()
    add(builder, 1, 10.0)
    (bar,) = add(builder, 60, 10.2)
    assert (bar.close, bar.timestamp) == (10.2, OPEN + timedelta(seconds=60))
    assert add(builder, 61, 10.3) == []


def test_one_price_may_end_two_bars():
    builder = BarBuilder()
    add(builder, 1, 10.0)
    assert [bar.close for bar in add(builder, 120, 10.2)] == [10.0, 10.2]


@pytest.mark.parametrize(("bar", "seconds"), [("1m", 60), ("5m", 300), ("15m", 900), ("1h", 1800)])
def test_bars_are_aligned_to_the_clock(bar, seconds):
    builder = BarBuilder()
    assert add(builder, 1, 10.0, bar) == []
    assert len(add(builder, seconds, 10.0, bar)) == 1


def test_without_volumes_a_bar_has_none():
    builder = BarBuilder()
    add(builder, 1, 10.0, volume=None)
    assert add(builder, 60, 10.0, volume=None)[0].volume is None


def test_a_daily_close_ends_its_day_at_once_so_the_order_trades_the_next_day():
    daily, ticks = (Market(config(scripted.PATH, {"script": [0, 1]}, policy={"bar": bar})) for bar in ("1d", "tick"))
    for market in (daily, ticks):
        market.closes([10.0, 10.1, 10.2])
    assert daily.orders == ticks.orders
    assert [fill.price for fill in daily.fills] == [102_000]


def test_periods_count_bars_but_risk_rules_see_every_price():
    market = Market(
        config(scripted.PATH, {"script": [1]}, policy={"bar": "1h"}, risks={"LossLimitRisk": {"loss_limit": 5}})
    )
    for seconds, price in [(1, 10.0), (1800, 10.1), (1801, 10.1)]:
        market.show(tick(price, OPEN + timedelta(seconds=seconds)))
    assert [order.direction for order in market.orders] == [BUY]
    assert market.orders[0].timestamp == OPEN + timedelta(seconds=1800)
    market.show(tick(9.3, day(1) + timedelta(hours=2), prev_close=10.1))
    assert len(market.orders) == 2


def test_a_strategy_is_told_of_sessions_by_its_bars():
    market = Market(
        config("DualThrustStrategy", {"sessions": 1, "k_up": 0.5, "k_down": 0.5}, policy={"bar": "1m"}), slippage=0
    )
    for number in range(3):
        for minute, price in enumerate([10.0, 11.0, 10.0]):
            market.show(tick(price, day(number) + timedelta(hours=2, minutes=minute, seconds=30), prev_close=10.0))
    memory = market.portfolio._watches["600519.SH"].memory
    # The last bar of a day comes with the first price of the next one and still belongs to its own day.
    assert (memory.highs, memory.lows, memory.closes) == ([11.0], [10.0], [10.0])
    assert (memory.upper, memory.lower) == (10.5, 9.5)
    assert market.orders[0].direction == BUY


def test_the_close_of_the_session_ends_a_day_that_goes_on_with_prices_after_it():
    builder = BarBuilder()
    session = RULES.session_on(day(0).date())
    assert builder.add(tick(10.0, close_of(0) - timedelta(hours=1)), "1d", session) == []
    (bar,) = builder.add(tick(10.4, close_of(0)), "1d", session)
    assert bar.close == 10.4
