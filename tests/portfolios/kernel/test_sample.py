"""Seven real codes from 2019 to 2026 through every strategy: the fills keep the rules, the books keep the money."""

from __future__ import annotations

import csv
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import marina_rules
import pytest
from marina_rules.check import check_rows

from portfolios.kernel.events import PriceUpdate
from portfolios.kernel.money import to_decimal, to_float, to_units
from portfolios.kernel.orders import BUY
from portfolios.kernel.rules import rules_for
from portfolios.kernel.rules.cn import scope_of
from tests.portfolios.kernel.harness import Market, config, tick

STRATEGIES: dict[str, dict[str, Any]] = {
    "TrendFollowStrategy": {"short_period": 5, "long_period": 20},
    "MeanReversionStrategy": {"period": 20, "entry": 1.5},
    "MomentumStrategy": {"period": 10, "buy_above": 3},
    "DualThrustStrategy": {"sessions": 4},
}
RISKS: dict[str, dict[str, Any]] = {
    "PositionRatioRisk": {"max_position_ratio": 0.2},
    "LossLimitRisk": {"loss_limit": 8},
    "ProfitTargetRisk": {"profit_target": 25},
}
CASH = 1_000_000


@cache
def sample() -> list[PriceUpdate]:
    ticks = []
    for path in sorted((Path(marina_rules.DATA_DIR) / "samples" / "cn_bars").glob("*.csv")):
        exchange, digits = path.stem.split(".")
        with path.open() as file:
            # The first row jumps from a price that was not adjusted.
            for row in list(csv.DictReader(file))[1:]:
                at = datetime.fromisoformat(row["date"]).replace(tzinfo=UTC) + timedelta(hours=7)
                price, before = round(float(row["close"]), 2), round(float(row["preclose"]), 2)
                code = f"{digits}.{exchange.upper()}"
                ticks.append(tick(price, at, code, prev_close=before, open=price, high=price, low=price, close=price))
    return sorted(ticks, key=lambda each: (each.timestamp, each.code))


@cache
def traded(strategy: str) -> Market:
    days: list[date] = sorted({each.timestamp.date() for each in sample()})
    market = Market(
        config(strategy, STRATEGIES[strategy], risks=RISKS, codes=sorted({each.code for each in sample()})),
        CASH, rules_for("cn", days), slippage=0.001,
    )  # fmt: skip
    for each in sample():
        market.show(each)
    return market


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_fill_breaks_a_rule_of_its_day(strategy):
    before = {(each.code, each.timestamp): each.prev_close for each in sample()}
    rows = [
        {
            "date": fill.timestamp.date().isoformat(),
            "code": fill.code,
            "side": "buy" if fill.direction == BUY else "sell",
            "price": to_float(fill.price),
            "prev_close": before[fill.code, fill.timestamp],
            "scope": scope_of(fill.code),
            "market": "XSHG" if fill.code.endswith("SH") else "XSHE",
            "turnover": to_float(fill.amount),
            "fee": to_float(fill.commission + fill.tax),
        }
        for fill in traded(strategy).fills
    ]
    assert len(rows) > 50
    assert check_rows(rows, strict=True)["findings"] == []


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_cash_is_what_was_given_less_what_the_fills_cost_to_the_last_decimal(strategy):
    market = traded(strategy)
    cash = Decimal(CASH)
    held: dict[str, int] = defaultdict(int)
    for fill in market.fills:
        cash -= fill.direction * to_decimal(fill.price) * fill.volume
        cash -= to_decimal(fill.commission) + to_decimal(fill.tax)
        held[fill.code] += fill.direction * fill.volume
        assert held[fill.code] >= 0
    portfolio = market.portfolio
    assert to_decimal(portfolio.cash) == cash
    assert {code: each.volume for code, each in portfolio.positions.items()} == {c: v for c, v in held.items() if v}
    assert portfolio.initial_cash + portfolio.realised + portfolio.unrealised == portfolio.total_value


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_nothing_is_sold_on_the_day_it_was_bought_or_traded_at_its_own_signal(strategy):
    market = traded(strategy)
    caused = {order.order_id: order.timestamp for order in market.orders}
    bought: dict[str, date] = {}
    for fill in market.fills:
        assert fill.timestamp > caused[fill.order_id]
        day = fill.timestamp.date()
        if fill.direction == BUY:
            bought[fill.code] = day
        else:
            assert bought[fill.code] < day


def test_a_strategy_that_buys_all_it_can_never_spends_cash_it_has_not():
    market = Market(
        config(params={"short_period": 2, "long_period": 5}, sizer="RatioSizer", sizer_params={"ratio": 1.0},
               codes=sorted({each.code for each in sample()}), policy={"pyramiding": True}),
        50_000, slippage=0.001,
    )  # fmt: skip
    for each in sample()[:4_000]:
        market.show(each)
        assert market.portfolio.cash >= market.portfolio.frozen >= 0
    assert len(market.fills) > 100
    assert market.portfolio.cash >= to_units(0)
