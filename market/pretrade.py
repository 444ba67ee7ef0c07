"""Pre-trade checks: may this order trade? A pure function of the order and what the engine knows (SPEC M2).

Where no price of the instrument is known, what depends on one is left to the exchange: a check never guesses. Values
of market orders are judged at the last price seen, which is never more than what the portfolio itself held back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from market.engine.account import Account, Commitments, cash_held
from portfolios.kernel.codes import fault_of
from portfolios.kernel.money import to_units
from portfolios.kernel.orders import BUY, Order
from portfolios.kernel.rules import MarketRules, Session


@dataclass(frozen=True)
class Limits:
    """What one portfolio may do. Money in units of 0.0001; `max_order_age` in seconds, None: any age."""

    max_orders_per_minute: int
    max_order_value: int
    max_daily_turnover: int
    max_order_age: float | None = None


@dataclass(frozen=True)
class Shared:
    """What an account allows its portfolios together (None: no limit), and how much of it they have used: orders in the
    last minute, and the value of the day's fills and open orders. Money in units of 0.0001."""

    max_orders_per_minute: int | None = None
    max_order_value: int | None = None
    max_daily_turnover: int | None = None
    recent_orders: int = 0
    turnover: int = 0


class Quote(NamedTuple):
    """The last price seen of an instrument (units), its event time, and the previous session's close, if known."""

    price: int
    timestamp: datetime
    prev_close: int | None = None


@dataclass(frozen=True)
class Surroundings:
    """All that a check looks at beside the order.

    `market` and `st` are the portfolio's; `rules` None: the market has none here. `moment` is the present of the
    broker's market (None: unknown); with `follows_the_log` it fills an order from its cause on, however late it comes.
    `at_its_broker`: the portfolio's account is at this broker. `shared`: what the account limits, if it does.
    """

    on: bool
    market: str
    rules: MarketRules | None
    account: Account
    commitments: Commitments
    limits: Limits
    recent_orders: int = 0
    quote: Quote | None = None
    moment: datetime | None = None
    follows_the_log: bool = False
    st: bool = False
    at_its_broker: bool = True
    shared: Shared | None = None


def check(order: Order, around: Surroundings) -> str | None:
    """The reason why `order` must not trade, or None: it may."""
    if not around.on:
        return "engine_stopped"
    if not around.at_its_broker:
        # Paper must never become real money, nor the other way round, because another broker was configured.
        return "other_broker"
    if fault_of(order.code, around.market) is not None:
        return "bad_code"
    rules = around.rules
    if rules is None:
        return "market_not_supported"
    session = rules.order_session(order.timestamp)
    quote = _usable(around.quote, session)
    value = _value(order, quote, rules)
    return (
        _form(order, rules, session)
        or _timely(order, session, around)
        or _frequency(around)
        or _price_limit(order, session, quote, around)
        or _position(order, session, around)
        or _size(order, value, session, around)
        or _account(value, around.shared)
        or _cash(order, value, session, around)
    )


def reservation(order: Order, quote: Quote | None, rules: MarketRules) -> int:
    """Units of money that the order stands for while it is open, fees of a buy included; 0 if nobody knows."""
    session = rules.order_session(order.timestamp)
    value = _value(order, _usable(quote, session), rules)
    return value + _fees(order, value, session, rules) if value and order.direction == BUY else value


def _usable(quote: Quote | None, session: Session) -> Quote | None:
    """A price of a later session says nothing about an order that comes late."""
    return None if quote is None or quote.timestamp >= session.end else quote


def _value(order: Order, quote: Quote | None, rules: MarketRules) -> int:
    if order.price is not None:
        price = to_units(order.price)
    elif quote is not None:
        price = quote.price
    else:
        return 0
    return price * order.volume * rules.multiplier(order.code)


def _fees(order: Order, value: int, session: Session, rules: MarketRules) -> int:
    return rules.fees(order.code, order.direction, value, order.volume, session.day).total


def _form(order: Order, rules: MarketRules, session: Session) -> str | None:
    if order.volume <= 0:
        return "bad_volume"
    if (order.price is None) != (order.order_type == "market"):
        return "bad_price"
    if order.price is not None:
        if not math.isfinite(order.price) or order.price <= 0:
            return "bad_price"
        if to_units(order.price) % rules.tick_size(order.code, session.day):
            return "price_step"
    return None


def _timely(order: Order, session: Session, around: Surroundings) -> str | None:
    if around.moment is None:
        return None
    age = around.limits.max_order_age
    if age is not None and around.moment - order.timestamp > timedelta(seconds=age):
        return "too_old"
    return "session_over" if around.moment >= session.end and not around.follows_the_log else None


def _frequency(around: Surroundings) -> str | None:
    return "order_rate" if around.recent_orders >= around.limits.max_orders_per_minute else None


def _price_limit(order: Order, session: Session, quote: Quote | None, around: Surroundings) -> str | None:
    rules = around.rules
    if order.price is None or quote is None or quote.prev_close is None or rules is None:
        return None
    if quote.timestamp < session.start:
        return None  # that close is not yet the one this session's limits follow from
    limits = rules.limits(order.code, quote.prev_close, session.day, around.st)
    return None if limits is None or limits[0] <= to_units(order.price) <= limits[1] else "price_limit"


def _position(order: Order, session: Session, around: Surroundings) -> str | None:
    rules = around.rules
    assert rules is not None
    if order.direction == BUY:
        return None if rules.round_lot(order.code, BUY, order.volume) == order.volume else "lot_size"
    selling = around.commitments.selling(order.code)
    free = around.account.held(order.code) - selling
    if not rules.shorting and order.volume > free:
        return "insufficient_position"
    settled = around.account.sellable(order.code, session.ordinal, rules.t_plus) - selling
    if not rules.shorting and order.volume > settled:
        return "t_plus_1"
    # At the close the portfolio still counts by the day that ends, the order already trades in the next one.
    today = around.account.sellable(order.code, rules.session_at(order.timestamp).ordinal, rules.t_plus) - selling
    if any(
        rules.round_lot(order.code, order.direction, order.volume, most) == order.volume for most in (settled, today)
    ):
        return None
    return "lot_size"


def _size(order: Order, value: int, session: Session, around: Surroundings) -> str | None:
    if value > around.limits.max_order_value:
        return "order_value"
    so_far = around.account.turnover(session.ordinal) + around.commitments.value(session.ordinal)
    return "daily_turnover" if so_far + value > around.limits.max_daily_turnover else None


def _account(value: int, shared: Shared | None) -> str | None:
    if shared is None:
        return None
    if shared.max_orders_per_minute is not None and shared.recent_orders >= shared.max_orders_per_minute:
        return "account_order_rate"
    if shared.max_order_value is not None and value > shared.max_order_value:
        return "account_order_value"
    if shared.max_daily_turnover is not None and shared.turnover + value > shared.max_daily_turnover:
        return "account_daily_turnover"
    return None


def _cash(order: Order, value: int, session: Session, around: Surroundings) -> str | None:
    rules = around.rules
    assert rules is not None
    margin_rate = rules.margin_rate(order.code)
    if not margin_rate and order.direction != BUY:
        return None
    held = around.account.held(order.code)
    if margin_rate and held * order.direction < 0 and order.volume <= abs(held):
        return None  # it frees margin
    free = around.account.available - around.commitments.cash()
    needed = cash_held(order.direction, value, margin_rate, 0) + _fees(order, value, session, rules) if value else 1
    return "insufficient_cash" if needed > free else None
