"""A little exchange around a portfolio: ticks in, orders matched, feedback back, all in one thread and in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from portfolios.kernel.config import PortfolioConfig, parse
from portfolios.kernel.events import Cause, Feedback, FeedbackType, PriceUpdate
from portfolios.kernel.exchange import Expired, Fill, Resting, advance, match, rest
from portfolios.kernel.money import to_float, to_units
from portfolios.kernel.orders import Cancel, Intent, Order
from portfolios.kernel.portfolio import Portfolio
from portfolios.kernel.rules import MarketRules, rules_for

PORTFOLIO_ID = "0b7d0a52-6d43-4c83-9d7a-1f5c9a6f1e11"
TOPIC = "ginkgo.live.market.data"
CODE = "600519.SH"
FIRST_DAY = datetime(2024, 1, 2, tzinfo=UTC)  # a Tuesday

_STATUS: dict[str, str] = {
    "order_ack": "accepted",
    "order_partially_filled": "partially_filled",
    "order_filled": "filled",
    "order_rejected": "rejected",
    "order_cancelled": "cancelled",
}


def config(
    strategy: str = "TrendFollowStrategy",
    params: Mapping[str, Any] | None = None,
    *,
    risks: Mapping[str, Mapping[str, Any]] | None = None,
    sizer: str = "FixedAmountSizer",
    sizer_params: Mapping[str, Any] | None = None,
    codes: Iterable[str] = (CODE,),
    policy: Mapping[str, Any] | None = None,
) -> PortfolioConfig:
    if params is None and strategy == "TrendFollowStrategy":
        params = {"short_period": 2, "long_period": 3}
    if sizer_params is None:
        sizer_params = {"amount": 100_000} if sizer == "FixedAmountSizer" else {}
    return parse(
        {
            "strategy": {"name": strategy, "params": dict(params or {})},
            "risk_managements": [{"name": name, "params": dict(given)} for name, given in (risks or {}).items()],
            "sizer": {"name": sizer, "params": dict(sizer_params)},
            "codes": list(codes),
            "policy": dict(policy or {}),
        }
    )


def day(number: int) -> datetime:
    """The `number`-th weekday from FIRST_DAY on, midnight UTC."""
    at = FIRST_DAY
    for _ in range(number):
        at += timedelta(days=3 if at.weekday() == 4 else 1)
    return at


def close_of(number: int) -> datetime:
    """15:00 Shanghai of the `number`-th weekday."""
    return day(number) + timedelta(hours=7)


def tick(price: float, at: datetime, code: str = CODE, **fields: Any) -> PriceUpdate:
    return PriceUpdate(code=code, timestamp=at, price=price, **fields)


class Market:
    """Applies each tick to the portfolio, then shows it to the resting orders, then applies the feedback."""

    def __init__(
        self, config: PortfolioConfig, cash: float = 1_000_000, rules: MarketRules | None = None, slippage: float = 0.0
    ) -> None:
        self.rules = rules or rules_for("cn")
        self.portfolio = Portfolio(PORTFOLIO_ID, config, self.rules, to_units(cash))
        self.slippage = slippage
        self.offset = 0
        self.pseq = 0
        self.book: dict[str, Resting] = {}
        self.fills: list[Fill] = []
        self.expired: list[Expired] = []
        self.intents: list[Intent] = []

    @property
    def orders(self) -> list[Order]:
        return [intent for intent in self.intents if isinstance(intent, Order)]

    @property
    def cancels(self) -> list[Cancel]:
        return [intent for intent in self.intents if isinstance(intent, Cancel)]

    def closes(self, prices: Iterable[float], code: str = CODE, start: int = 0) -> None:
        """One close a day, with the previous one as `prev_close`."""
        last: float | None = None
        for number, price in enumerate(prices, start):
            self.show(tick(price, close_of(number), code, prev_close=last))
            last = price

    def show(self, event: PriceUpdate) -> list[Intent]:
        at = Cause(TOPIC, 0, self.offset)
        self.offset += 1
        intents = self.portfolio.apply(event, at)
        self.intents += intents
        for order_id in list(self.book):
            self._match(order_id, event, at)
        for intent in intents:
            self._take(intent)
        return intents

    def _match(self, order_id: str, event: PriceUpdate, at: Cause) -> None:
        order = self.book[order_id]
        done = match(order, event, at, self.rules, self.slippage)
        if isinstance(done, Expired):
            del self.book[order_id]
            self.expired.append(done)
            self.answer("order_cancelled", order_id, done.timestamp, reason="expired")
        elif done is not None:
            self.fills.append(done)
            self.book[order_id] = advance(order, at, done)
            if done.remaining == 0:
                del self.book[order_id]
            self.answer_fill(done)

    def _take(self, intent: Intent) -> None:
        if isinstance(intent, Order):
            self.book[intent.order_id] = rest(intent, self.rules)
            self.answer("order_ack", intent.order_id, intent.timestamp)
        elif self.book.pop(intent.order_id, None) is not None:
            self.answer("order_cancelled", intent.order_id, intent.timestamp, reason="cancelled")

    def answer_fill(self, fill: Fill) -> None:
        self.answer(
            "order_filled" if fill.remaining == 0 else "order_partially_filled",
            fill.order_id,
            fill.timestamp,
            fill_id=fill.fill_id,
            code=fill.code,
            direction=fill.direction,
            filled_volume=fill.volume,
            remaining_volume=fill.remaining,
            filled_price=to_float(fill.price),
            filled_amount=to_float(fill.amount),
            commission=to_float(fill.commission),
            tax=to_float(fill.tax),
        )

    def answer(self, event_type: FeedbackType, order_id: str, at: datetime, **fields: Any) -> Feedback:
        self.pseq += 1
        feedback = Feedback(
            event_type=event_type,
            timestamp=at,
            order_id=order_id,
            portfolio_id=PORTFOLIO_ID,
            seq=1,
            pseq=self.pseq,
            status=_STATUS[event_type],
            **fields,
        )
        self.portfolio.apply(feedback, Cause("ginkgo.live.orders.feedback", 0, self.pseq))
        return feedback
