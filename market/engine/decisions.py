"""What an operator decides about an order of which the broker cannot tell (SPEC M2).

It is booked as the broker's own report would be, by the same transaction, so the portfolio is told like any other time,
and what the broker says of the order later on is compared with it. Who decided what stands in the command log.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from django.conf import settings

from market.brokers.port import Execution, Report
from market.engine.feedback import Answers
from market.engine.recording import end_unsent, record
from market.engine.rulebook import Rulebook
from market.engine.transactions import writing
from market.models import Fill, Order
from market.models.order import TERMINAL, OrderState
from portfolios import command_log
from portfolios.errors import PortfolioError
from portfolios.kernel.money import to_units
from portfolios.models import Command
from portfolios.models.command import CommandState

_UNCONFIRMED = (OrderState.NEW, OrderState.SENDING)
_REASONS = {
    "cancelled": "ended at the broker",
    "rejected": "rejected by the broker",
}
_NEVER_HAD = "the broker never had it"
_COMMAND = "order.decide"
_DOUBTED_FOR = timedelta(days=7)
"""No order works for longer than its session: what the broker does not know by then it will not know."""


class Undecidable(PortfolioError):
    """It cannot be decided so; the message says why."""


class Verdict(StrEnum):
    ACCEPTED = "accepted"
    FILLED = "filled"
    REJECTED = "rejected"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Trade:
    """What was traded, as the broker says: `price` of one, in the currency; `volume` None: all that is open; the fees
    None: as the market's rules have them; `fill_id` "": one is made up, and the broker's own report of the same trade,
    should it ever come, is then another."""

    price: float
    volume: int | None = None
    commission: float | None = None
    tax: float | None = None
    fill_id: str = ""


def find(order_id: str) -> Order:
    """An order that is open. Raises Undecidable, django.db.Error."""
    order = Order.objects.select_related("portfolio").filter(order_id=order_id).first()
    if order is None:
        raise Undecidable(f"there is no order {order_id}")
    if order.state in TERMINAL:
        raise Undecidable(f"order {order_id} is over: it is {order.state}")
    return order


def decide(
    order: Order, verdict: Verdict, who: str, at: datetime, reason: str = "", trade: Trade | None = None
) -> Order:
    """Book `verdict` as of `at`, in `who`'s name; the order as it stands after it.

    `order` is as `find` gave it. Raises Undecidable: nothing was booked; django.db.Error.
    """
    if (trade is not None) != (verdict is Verdict.FILLED):
        raise Undecidable("a fill needs its price, and nothing else has one")
    with writing():
        Answers({order.portfolio_id})  # its lock: nothing is booked about it meanwhile
        if find(order.order_id).seq != order.seq:
            raise Undecidable(f"order {order.order_id} has changed meanwhile: look at it again")
        if verdict is Verdict.CANCELLED and order.state in _UNCONFIRMED:
            booked = end_unsent([order], reason or _NEVER_HAD)
        else:
            booked = record([_report(order, verdict, at, reason, trade)], order.broker).answers
        if not booked:
            raise Undecidable(f"order {order.order_id} has this already")
        after = Order.objects.get(order_id=order.order_id)
        _write_down(after, verdict, who, at, reason, trade)
    return after


def ended_by_hand() -> list[tuple[str, str]]:
    """Orders, and their portfolios, that an operator has said to have ended, in the last days: should the broker have
    one all the same, and it works, no news will say so. Raises django.db.Error.
    """
    since = datetime.now(UTC) - _DOUBTED_FOR
    decided = Command.objects.filter(command_type=_COMMAND, created_at__gt=since).values_list("target_id", flat=True)
    orders = Order.objects.filter(order_id__in=list(decided), state__in=(OrderState.CANCELLED, OrderState.REJECTED))
    return list(orders.order_by().values_list("order_id", "portfolio_id"))


def _report(order: Order, verdict: Verdict, at: datetime, reason: str, trade: Trade | None) -> Report:
    if trade is not None:
        execution = _execution(order, trade, at)
        whole = order.filled_volume + execution.volume == order.volume
        return Report(order.order_id, "filled" if whole else "working", executions=(execution,))
    if verdict is not Verdict.CANCELLED and order.state not in _UNCONFIRMED:
        raise Undecidable(f"order {order.order_id} was accepted before: it is {order.state}")
    if verdict is Verdict.ACCEPTED:
        return Report(order.order_id, "working")
    return Report(
        order.order_id,
        "rejected" if verdict is Verdict.REJECTED else "cancelled",
        reason or _REASONS[verdict],
        at,
    )


def _execution(order: Order, trade: Trade, at: datetime) -> Execution:
    left = order.volume - order.filled_volume
    volume = left if trade.volume is None else trade.volume
    if not 0 < volume <= left:
        raise Undecidable(f"{left} of order {order.order_id} are open, not {volume}")
    price = to_units(trade.price)
    if price <= 0:
        raise Undecidable(f"{trade.price} is not a price")
    fill_id = trade.fill_id or f"operator-{order.order_id}-{order.filled_volume}"
    if len(fill_id) > 64:
        raise Undecidable("a fill's id has at most 64 characters")
    if Fill.objects.filter(broker=order.broker, fill_id=fill_id).exclude(order_id=order.order_id).exists():
        raise Undecidable(f"fill {fill_id} is another order's")
    amount, commission, tax = _worth(order, price, volume, at)
    return Execution(
        fill_id,
        volume,
        price,
        amount,
        commission if trade.commission is None else to_units(trade.commission),
        tax if trade.tax is None else to_units(trade.tax),
        at,
    )


def _worth(order: Order, price: int, volume: int, at: datetime) -> tuple[int, int, int]:
    """Amount, commission and tax, in units, by the rules of its market."""
    rate = settings.GINKGO.brokers.get(order.broker, {}).get("commission_rate")
    rules = Rulebook(settings.GINKGO.home, rate)(order.portfolio.market)
    if rules is None:
        return price * volume, 0, 0
    amount, day = price * volume * rules.multiplier(order.code), rules.session_at(at).day
    before = sum(to_units(each) for each in Fill.objects.filter(order=order).values_list("amount", flat=True))
    paid = rules.fees(order.code, order.direction, before, order.filled_volume, day)
    fees = rules.fees(order.code, order.direction, before + amount, order.filled_volume + volume, day)
    return amount, fees.commission - paid.commission, fees.tax - paid.tax


def _write_down(after: Order, verdict: Verdict, who: str, at: datetime, reason: str, trade: Trade | None) -> None:
    params: dict[str, Any] = {"verdict": str(verdict), "reason": reason, "portfolio_id": after.portfolio_id}
    if trade is not None:
        params |= {"price": trade.price, "volume": trade.volume, "fill_id": trade.fill_id}
    Command.objects.create(
        command_type=_COMMAND,
        target_id=after.order_id,
        params=params,
        state=CommandState.DONE,
        issued_by=who[:150],
        door=command_log.DIRECT,
        result=f"the order is {after.state}",
        started_at=at,
        finished_at=at,
    )
