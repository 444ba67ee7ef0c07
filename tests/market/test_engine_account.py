"""A portfolio's account as the engine keeps it is the portfolio's own, in every market; and what its orders need."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market import pretrade
from market.engine.account import Account, Commitments, Pending, cash_held
from portfolios.kernel.money import to_units
from portfolios.kernel.orders import BUY, SELL, Order
from portfolios.kernel.rules import rules_for
from tests.market.desk_support import LIMITS, MORNING
from tests.portfolios.kernel.test_conservation import CASH, Unruly, walk
from tests.portfolios.kernel.test_snapshots import MARKETS

CODE = "IF2612.CFX"
RULES = rules_for("futures")
CONTRACT = {"multiplier": RULES.multiplier(CODE), "margin_rate": RULES.margin_rate(CODE)}
LOT = to_units(4000) * CONTRACT["multiplier"]


@pytest.mark.parametrize("market", MARKETS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_from_its_fills_alone_it_comes_to_the_portfolios_own_cash_and_positions(market: str, seed: int) -> None:
    traded = Unruly(market, seed)
    walk(traded, market, 60)
    account, rules = Account(to_units(CASH)), traded.rules
    for fill in traded.fills:
        account.book(
            fill.code, fill.direction, fill.volume, fill.amount, fill.commission + fill.tax,
            rules.session_at(fill.timestamp).ordinal, rules.multiplier(fill.code), rules.margin_rate(fill.code),
        )  # fmt: skip
    account.mark(traded.portfolio.price_of)
    own = traded.portfolio
    assert account.cash == own.cash
    assert account.positions() == {code: each.volume for code, each in own.positions.items()}
    assert account.available >= own.available_cash  # which also knows its open orders


def order(direction: int, volume: int = 1) -> Order:
    return Order(
        order_id="o", portfolio_id="p", code=CODE, direction=direction, order_type="market", volume=volume, price=None,
        cause="t:0:1:0", timestamp=MORNING,
    )  # fmt: skip


def reason(account: Account, wanted: Order, price: float = 4000, pending: list[Pending] | None = None) -> str | None:
    around: dict[str, Any] = {
        "on": True,
        "market": "futures",
        "rules": RULES,
        "account": account,
        "commitments": Commitments(pending),
        "limits": dataclasses.replace(LIMITS, max_order_value=10**15),
        "quote": pretrade.Quote(to_units(price), MORNING),
    }
    account.mark(lambda _code: to_units(price))
    return pretrade.check(wanted, pretrade.Surroundings(**around))


def trading(cash: int, *fills: tuple[int, int, float], at: datetime = MORNING) -> Account:
    """An account in currency, and its fills of lots without fees: direction, volume, price."""
    account = Account(to_units(cash))
    for direction, volume, price in fills:
        amount = to_units(price) * volume * CONTRACT["multiplier"]
        account.book(CODE, direction, volume, amount, 0, RULES.session_at(at).ordinal, **CONTRACT)
    return account


@pytest.mark.parametrize("direction", [BUY, SELL])
def test_a_contract_takes_its_margin_and_not_its_value(direction: int) -> None:
    # 4,000 points × 300 × 12 % is 144,000, and 27.60 of fees.
    assert reason(trading(144_028), order(direction)) is None
    assert reason(trading(144_027), order(direction)) == "insufficient_cash"


def test_open_orders_and_what_is_held_tie_up_their_margin() -> None:
    account = trading(300_000, (BUY, 1, 4000))
    assert reason(account, order(BUY)) is None
    held_back = cash_held(BUY, LOT, CONTRACT["margin_rate"], 1)
    assert held_back == to_units(144_000)
    pending = [Pending(CODE, BUY, 1, LOT, 0, held_back)]
    assert reason(account, order(BUY), pending=pending) == "insufficient_cash"


def test_what_is_lost_at_todays_price_cannot_be_spent() -> None:
    account = trading(300_000, (BUY, 1, 4000))
    assert reason(account, order(BUY), price=3900) == "insufficient_cash"
    assert account.cash == to_units(300_000)


def test_closing_needs_no_cash_and_holds_none_back() -> None:
    account = trading(144_000, (SELL, 1, 4000))
    assert reason(account, order(BUY), price=4040) is None
    assert cash_held(BUY, LOT, CONTRACT["margin_rate"], -1) == 0


def test_a_close_pays_its_profit() -> None:
    assert trading(144_000, (SELL, 1, 4000), (BUY, 1, 3990)).cash == to_units(144_000 + 10 * 300)
