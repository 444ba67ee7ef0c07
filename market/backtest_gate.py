"""A backtest's pre-trade checks: the engine's own, over an account that is kept from the backtest's answers.

`settings.GINKGO_PRETRADE` names `EngineGate`, so that `portfolios.backtest` need not know of it. The minute in which
orders are counted is one of event time: a backtest has no other.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta

import msgspec
from django.conf import settings

from market import pretrade
from market.engine.account import Account, Commitments, Pending, cash_held
from portfolios.kernel.events import Feedback
from portfolios.kernel.money import to_units
from portfolios.kernel.orders import Order
from portfolios.kernel.portfolio import Portfolio

_MINUTE = timedelta(minutes=1)
_OVER = ("order_filled", "order_rejected", "order_cancelled")


class EngineGate:
    """Judges the orders of one backtest, and hears what became of them; the limits are the configuration's."""

    def __init__(self) -> None:
        config = settings.GINKGO.engine
        self._limits = pretrade.Limits(
            max_orders_per_minute=config.max_orders_per_minute,
            max_order_value=to_units(config.max_order_value),
            max_daily_turnover=to_units(config.max_daily_turnover),
            max_order_age=config.max_order_age,
        )
        self._portfolio: Portfolio | None = None
        self._account = Account(0)
        self._open: dict[str, tuple[Order, Pending]] = {}
        self._recent: deque[datetime] = deque()

    def __call__(self, order: Order, portfolio: Portfolio) -> str | None:
        """The reason why the engine would reject the order, or None."""
        if self._portfolio is None:
            self._portfolio = portfolio
            self._account = Account(portfolio.initial_cash)
        while self._recent and self._recent[0] <= order.timestamp - _MINUTE:
            self._recent.popleft()
        rules = portfolio.rules
        self._account.mark(portfolio.price_of)
        price = portfolio.price_of(order.code)
        quote = pretrade.Quote(price, order.timestamp) if price else None
        around = pretrade.Surroundings(
            on=True,
            market=rules.market,
            rules=rules,
            account=self._account,
            commitments=Commitments([pending for _, pending in self._open.values()]),
            limits=self._limits,
            recent_orders=len(self._recent),
            quote=quote,
            moment=order.timestamp,
            follows_the_log=True,
            st=order.code in portfolio.config.policy.st,
        )
        reason = pretrade.check(order, around)
        self._recent.append(order.timestamp)
        if reason is None:
            reserved = pretrade.reservation(order, quote, rules)
            session = rules.order_session(order.timestamp).ordinal
            held, margin_rate = self._account.held(order.code), rules.margin_rate(order.code)
            cash = cash_held(order.direction, reserved, margin_rate, held)
            pending = Pending(order.code, order.direction, order.volume, reserved, session, cash)
            self._open[order.order_id] = order, pending
        return reason

    def hear(self, feedback: Feedback) -> None:
        """An answer to an order: what is filled is booked, what is over is no longer open."""
        known = self._open.get(feedback.order_id)
        if known is None or self._portfolio is None:
            return
        order, pending = known
        if feedback.filled_volume is not msgspec.UNSET:
            session = self._portfolio.rules.session_at(feedback.timestamp).ordinal
            fees = sum(to_units(each) for each in (feedback.commission, feedback.tax) if each is not msgspec.UNSET)
            amount = to_units(feedback.filled_amount) if feedback.filled_amount is not msgspec.UNSET else 0
            rules = self._portfolio.rules
            contract = rules.multiplier(order.code), rules.margin_rate(order.code)
            self._account.book(order.code, order.direction, feedback.filled_volume, amount, fees, session, *contract)
            remaining = pending.remaining - feedback.filled_volume
            reserved = pending.reserved * remaining // pending.remaining
            cash = pending.cash * remaining // pending.remaining
            self._open[order.order_id] = order, pending._replace(remaining=remaining, reserved=reserved, cash=cash)
        if feedback.event_type in _OVER:
            del self._open[feedback.order_id]
