"""Books what the broker reports: order states, fills, and the feedback about them, each once (SPEC M2).

A report says all that the broker knows of an order, so booking it is a comparison with what is booked already: a
report that is repeated, late, or was cut short by a crash ends in the same books.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from market.brokers.port import Execution, Report
from market.engine.feedback import Answers
from market.engine.transactions import writing
from market.models import CancelRequest, Fill, Order
from market.models.order import TERMINAL, OrderState
from portfolios.kernel.money import to_decimal, to_float

_CONFIRMED_BY = (OrderState.NEW, OrderState.SENDING)
_NEVER_WORKS = (OrderState.CANCELLED, OrderState.REJECTED)


@dataclass(frozen=True)
class Contradiction:
    """The broker says something of an order that cannot be true by our books."""

    order_id: str
    what: str


class Booked(NamedTuple):
    """How many answers that gave, what does not fit, and the orders that work at the broker though they have ended in
    our books: another engine, or an operator, held them to be lost on their way."""

    answers: int
    wrong: list[Contradiction]
    ended: list[Order]


def record(reports: Sequence[Report], broker: str) -> Booked:
    """Book reports of `broker`. Raises django.db.Error."""
    by_id = {report.order_id: report for report in reports}
    portfolios = Order.objects.filter(order_id__in=list(by_id)).order_by().values_list("portfolio_id", flat=True)
    wrong: list[Contradiction] = []
    ended: list[Order] = []
    with writing():
        answers = Answers(set(portfolios))
        orders = Order.objects.order_by().in_bulk(list(by_id))
        booked: dict[str, set[str]] = defaultdict(set)
        reported = [order_id for order_id, report in by_id.items() if report.executions]
        if reported:
            rows = Fill.objects.filter(broker=broker, order_id__in=reported).order_by()
            for order_id, fill_id in rows.values_list("order_id", "fill_id"):
                booked[order_id].add(fill_id)
        fills: list[Fill] = []
        for order_id, report in by_id.items():
            order = orders.get(order_id)
            if order is None:
                wrong.append(Contradiction(order_id, "the broker has an order that is not in our books"))
                continue
            before = (order.state, order.seq)
            _acknowledge(order, report, answers)
            for execution in report.executions:
                if execution.fill_id not in booked[order_id]:
                    fills.append(_fill(order, report, execution, broker, answers))
            _end(order, report, answers)
            if report.state == "working" and order.state in _NEVER_WORKS:
                ended.append(order)
            if order.filled_volume > order.volume:
                wrong.append(Contradiction(order_id, f"{order.filled_volume} of {order.volume} were filled"))
            if (order.state, order.seq) != before:
                order.save(update_fields=["state", "seq", "filled_volume", "reason", "updated_at"])
        if fills:
            Fill.objects.bulk_create(fills)
        over = [each.order_id for each in orders.values() if each.state in TERMINAL]
        if over:
            CancelRequest.objects.filter(order_id__in=over, done=False).update(done=True)
        told = answers.save()
    return Booked(told, wrong, ended)


def end_unsent(orders: Sequence[Order], reason: str) -> int:
    """End orders of which the broker has never heard, and never will: `order_cancelled` with `reason`."""
    with writing():
        answers = Answers({order.portfolio_id for order in orders})
        fresh = Order.objects.filter(order_id__in=[order.order_id for order in orders], state__in=_CONFIRMED_BY)
        for order in fresh:
            order.state, order.reason = OrderState.CANCELLED, reason
            answers.tell(order, "order_cancelled", order.event_time, reason=reason)
            order.save(update_fields=["state", "seq", "reason", "updated_at"])
            CancelRequest.objects.filter(order_id=order.order_id, done=False).update(done=True)
        return answers.save()


def _acknowledge(order: Order, report: Report, answers: Answers) -> None:
    if order.state in _CONFIRMED_BY and report.state != "rejected":
        order.state = OrderState.ACCEPTED
        answers.tell(order, "order_ack", order.event_time)


def _fill(order: Order, report: Report, execution: Execution, broker: str, answers: Answers) -> Fill:
    order.filled_volume += execution.volume
    whole = order.filled_volume >= order.volume
    # A fill that comes after the end (the broker was quicker than our cancel) is told, but does not reopen the order.
    if order.state not in TERMINAL:
        order.state = OrderState.FILLED if whole else OrderState.PARTIALLY_FILLED
    pseq = answers.tell(
        order,
        "order_filled" if whole else "order_partially_filled",
        execution.timestamp,
        fill_id=execution.fill_id,
        code=order.code,
        direction=order.direction,
        filled_volume=execution.volume,
        remaining_volume=max(order.volume - order.filled_volume, 0),
        filled_price=to_float(execution.price),
        filled_amount=to_float(execution.amount),
        commission=to_float(execution.commission),
        tax=to_float(execution.tax),
        **_seen(report),
    )
    return Fill(
        fill_id=execution.fill_id,
        broker=broker,
        order_id=order.order_id,
        portfolio_id=order.portfolio_id,
        code=order.code,
        direction=order.direction,
        volume=execution.volume,
        price=to_decimal(execution.price),
        amount=to_decimal(execution.amount),
        commission=to_decimal(execution.commission),
        tax=to_decimal(execution.tax),
        event_time=execution.timestamp,
        pseq=pseq,
    )


def _end(order: Order, report: Report, answers: Answers) -> None:
    if order.state in TERMINAL or report.state not in ("cancelled", "rejected"):
        return
    order.reason = report.reason[:300]
    if report.state == "rejected":
        order.state = OrderState.REJECTED
        answers.tell(order, "order_rejected", report.ended_at or order.event_time, reason=order.reason)
    else:
        order.state = OrderState.CANCELLED
        answers.tell(
            order, "order_cancelled", report.ended_at or order.event_time, reason=order.reason, **_seen(report)
        )


def _seen(report: Report) -> dict[str, str]:
    return {"seen": report.seen} if report.seen else {}
