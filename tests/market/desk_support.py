"""What the engine's tests share: portfolios, messages about orders, and an engine's intake with prices as given."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User

from market.alerting import Alerter
from market.brokers import book
from market.brokers.port import Report, Ticket
from market.brokers.simulation import SimulatedBroker
from market.engine.books import Books
from market.engine.desk import Desk
from market.engine.intake import Intake
from market.engine.rulebook import Rulebook
from market.engine.voice import Voice
from market.messages import Feedback, OrderCancel, OrderSubmission, PriceUpdate, decode_feedback
from market.models import BrokerOrder, Order, OutboxMessage
from market.pretrade import Limits, Quote
from market.topics import MARKET_DATA
from portfolios.kernel.events import Cause
from portfolios.kernel.exchange import Expired, advance, match
from portfolios.kernel.orders import order_id
from portfolios.kernel.rules import MarketRules, rules_for
from portfolios.models import Assignment, Checkpoint, Portfolio

MORNING = datetime(2024, 3, 5, 2, 0, tzinfo=UTC)
"""Tuesday, 10:00 in Shanghai."""
NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
LIMITS = Limits(max_orders_per_minute=600, max_order_value=10**7 * 10**4, max_daily_turnover=10**9 * 10**4)
EPOCH = 7

_numbers = itertools.count(1)


class Weekdays(Rulebook):
    """The real rules, on a calendar that needs no time to be made."""

    def __init__(self) -> None:
        super().__init__(settings.GINKGO.home, 0.0003)

    def _make(self, market: str) -> MarketRules | None:
        return rules_for(market) if market == "cn" else None


@dataclass
class Prices:
    """The last prices that the broker has seen, as the test says."""

    quotes: dict[str, Quote] = field(default_factory=dict)
    follows_the_log: bool = True

    def quote(self, code: str) -> Quote | None:
        return self.quotes.get(code)

    def moment(self, code: str) -> datetime | None:
        quote = self.quotes.get(code)
        return quote.timestamp if quote else None


def make_intake(limits: Limits = LIMITS, prices: Prices | None = None) -> Intake:
    return Intake(Books(Weekdays()), limits, prices or Prices(), "simulation")


def make_portfolio(cash: int = 1_000_000, epoch: int = EPOCH, **fields: Any) -> Portfolio:
    owner, _ = User.objects.get_or_create(username="owner")
    portfolio = Portfolio.objects.create(
        name=f"portfolio {next(_numbers)}", owner=owner, initial_cash=Decimal(cash), config={}, **fields
    )
    Assignment.objects.create(portfolio=portfolio, node_id="node-1", epoch=epoch)
    Checkpoint.objects.create(portfolio=portfolio, epoch=epoch)
    return portfolio


def submission(portfolio: Portfolio | str, offset: int | None = None, **changes: Any) -> OrderSubmission:
    """A buy of 100 at the market, caused by a tick of the morning; each is another order."""
    portfolio_id = portfolio if isinstance(portfolio, str) else portfolio.id
    cause = changes.get("cause") or f"{MARKET_DATA['cn']}:3:{next(_numbers) if offset is None else offset}:0"
    fields: dict[str, Any] = {
        "timestamp": MORNING,
        "order_id": order_id(portfolio_id, cause, 0),
        "portfolio_id": portfolio_id,
        "epoch": EPOCH,
        "code": "600519.SH",
        "direction": 1,
        "order_type": "market",
        "volume": 100,
        "price": None,
        "cause": cause,
    }
    return OrderSubmission(**{**fields, **changes})


def cancel_of(order: OrderSubmission, **changes: Any) -> OrderCancel:
    fields: dict[str, Any] = {
        "timestamp": MORNING,
        "cancel_id": str(uuid.uuid4()),
        "order_id": order.order_id,
        "portfolio_id": order.portfolio_id,
        "epoch": EPOCH,
        "cause": f"{MARKET_DATA['cn']}:3:{next(_numbers)}:0",
    }
    return OrderCancel(**{**fields, **changes})


def told(portfolio: Portfolio) -> list[Feedback]:
    """All feedback of a portfolio in the outbox, in the order of `pseq`."""
    rows = OutboxMessage.objects.filter(portfolio=portfolio).order_by("pseq")
    return [decode_feedback(row.message.encode()) for row in rows]


def state_of(order: OrderSubmission) -> str:
    return str(Order.objects.get(order_id=order.order_id).state)


class Alerts(Alerter):
    """Keeps what was raised: (type, message)."""

    def __init__(self) -> None:
        self.raised: list[tuple[str, str]] = []

    def raise_alert(self, alert_type: str, severity: Any, message: str, *_: Any, **__: Any) -> bool:
        self.raised.append((alert_type, message))
        return True


class Died(BaseException):
    """The process ends here: nothing catches it."""


class Market(SimulatedBroker):
    """The simulated broker's real book, its exchange driven by hand; dies or does not answer where the test wants."""

    def __init__(self) -> None:
        self.alerts = Alerts()
        super().__init__(self.alerts)
        self._rulebook = Weekdays()
        self.fail_before: dict[str, BaseException] = {}
        self.fail_after: dict[str, BaseException] = {}
        self.followed: set[str] = set()
        self.unfollowed: set[str] = set()

    def submit(self, tickets: Sequence[Ticket]) -> list[Report]:
        return self._failing("submit", lambda: super(Market, self).submit(tickets))

    def cancel(self, order_id: str, at: datetime, reason: str, cause: str = "") -> Report | None:
        return self._failing("cancel", lambda: super(Market, self).cancel(order_id, at, reason))

    def query(self, order_ids: Sequence[str]) -> dict[str, Report]:
        return self._failing("query", lambda: super(Market, self).query(order_ids))

    def follow(self, order_ids: Iterable[str]) -> None:
        self.followed |= set(order_ids)

    def unfollow(self, order_ids: Iterable[str]) -> None:
        self.unfollowed |= set(order_ids)

    def trade(self, price: float, offset: int = 10**6, volume: int | None = None, at: datetime | None = None) -> None:
        """One tick of 600519.SH meets every order that works."""
        tick = PriceUpdate(code="600519.SH", timestamp=at or MORNING, price=price, prev_close=10.0, volume=volume)
        rules = rules_for("cn")
        place = Cause(MARKET_DATA["cn"], 3, offset)
        for placed in book.working(BrokerOrder.objects.values_list("order_id", flat=True)):
            result = match(placed.resting, tick, place, rules)
            if isinstance(result, Expired):
                book.change([book.Change(placed, placed.resting, expired_at=result.timestamp)])
            elif result is not None:
                book.change([book.Change(placed, advance(placed.resting, place, result), [result])])
            self._tell({placed.resting.order_id})

    def _failing(self, what: str, work: Callable[[], Any]) -> Any:
        if what in self.fail_before:
            raise self.fail_before.pop(what)
        done = work()
        if what in self.fail_after:
            raise self.fail_after.pop(what)
        return done


def everybody(_: str) -> bool:
    return True


def make_desk(market: Market, limits: Limits = LIMITS, sole: Callable[[str], bool] = everybody) -> Desk:
    """An engine as it is after a start: all that it knows is in the database. `sole`: see Desk."""
    books = Books(Weekdays())
    intake = Intake(books, limits, market, market.name)
    return Desk(books, intake, market, Voice(market.alerts), lambda: None, sole)


def events(portfolio: Portfolio) -> list[str]:
    return [each.event_type.removeprefix("order_") for each in told(portfolio)]


def submitted_twice() -> list[str]:
    """By the broker's book: what should never be, except where a crash left a doubt that only sending settles."""
    return list(BrokerOrder.objects.exclude(submitted_count=1).values_list("order_id", flat=True))
