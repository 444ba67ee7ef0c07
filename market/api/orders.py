"""/api/portfolio/{id}/orders and fills: what it asked of the market, and what it got."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from market.models import Fill, Order
from market.models.order import OrderState
from portfolios.api import reading
from portfolios.api.kit import paging
from portfolios.api.kit.moments import MOMENT_IN, moment
from portfolios.api.kit.rights import sees_all
from portfolios.api.kit.route import ApiView, route
from portfolios.api.kit.shapes import COUNT, MOMENT, answer, choices, described, maybe, named, text
from portfolios.api.shapes import ID, MONEY

M = TypeVar("M", bound=Model)

TAG = "portfolios"
STATE = choices("OrderState", OrderState.values)
DIRECTION = {"type": "integer", "enum": [1, -1], "description": "1 buys, -1 sells."}
_WINDOW: dict[str, Any] = {
    "since": described(MOMENT_IN, "Of this moment or later."),
    "until": described(MOMENT_IN, "Before this moment."),
}
_CODE = text(maxLength=20)
ORDER = named(
    "Order",
    answer(
        order_id=text(),
        portfolio_id=ID,
        epoch=COUNT,
        code=text(),
        direction=DIRECTION,
        order_type=choices("OrderType", ["limit", "market"]),
        volume=COUNT,
        price=maybe(MONEY),
        state=STATE,
        filled_volume=COUNT,
        broker=text(),
        reason=text("Why it was rejected or cancelled."),
        cause=text("topic:partition:offset:n of the message it answers."),
        event_time=described(MOMENT, "The cause's own time."),
        received_at=MOMENT,
        updated_at=MOMENT,
    ),
)
ORDER_QUERY = paging.page_query(
    ["-received_at", "event_time", "code", "state", "volume"], state=STATE, code=_CODE, direction=DIRECTION, **_WINDOW
)
FILL = named(
    "Fill",
    answer(
        fill_id=text(),
        order_id=text(),
        portfolio_id=ID,
        code=text(),
        direction=DIRECTION,
        volume=COUNT,
        price=MONEY,
        amount=MONEY,
        commission=MONEY,
        tax=MONEY,
        broker=text(),
        event_time=MOMENT,
        recorded_at=MOMENT,
    ),
)
FILL_QUERY = paging.page_query(
    ["-event_time", "code", "volume", "amount"], code=_CODE, direction=DIRECTION, order_id=text(maxLength=36), **_WINDOW
)


class Orders(ApiView):
    @route("portfolio_orders", "Its orders", tag=TAG, query=ORDER_QUERY, answer=paging.page_of(ORDER))
    def get(self, request: Request, portfolio_id: str, query: Mapping[str, Any]) -> Response:
        """As the engine accepted them, the newest first. `since` and `until` are of `received_at`."""
        chosen = _of(request, Order.objects.all(), portfolio_id, query, ("state", "code", "direction"), "received_at")
        return _page(request, portfolio_id, query, chosen, _order)


class Fills(ApiView):
    @route("portfolio_fills", "Its fills", tag=TAG, query=FILL_QUERY, answer=paging.page_of(FILL))
    def get(self, request: Request, portfolio_id: str, query: Mapping[str, Any]) -> Response:
        """What was traded, the newest first. `since` and `until` are of `event_time`."""
        chosen = _of(request, Fill.objects.all(), portfolio_id, query, ("code", "direction", "order_id"), "event_time")
        return _page(request, portfolio_id, query, chosen, _fill)


def _of(
    request: Request,
    rows: QuerySet[M],
    portfolio_id: str,
    query: Mapping[str, Any],
    filters: tuple[str, ...],
    time: str,
) -> QuerySet[M]:
    wanted: dict[str, Any] = {"portfolio_id": portfolio_id}
    if not sees_all(request.user):
        wanted["portfolio__owner_id"] = request.user.pk
    wanted |= {name: query[name] for name in filters if name in query}
    if "since" in query:
        wanted[f"{time}__gte"] = moment(query["since"])
    if "until" in query:
        wanted[f"{time}__lt"] = moment(query["until"])
    return rows.filter(**wanted)


def _page(
    request: Request, portfolio_id: str, query: Mapping[str, Any], chosen: QuerySet[Any], shown: Callable[[Any], Any]
) -> Response:
    found, count = paging.rows(chosen, query)
    if not found:  # where there are rows they are the caller's own
        reading.exists(request, portfolio_id)
    return Response(paging.document(request, query, count, found, shown))


def _order(order: Order) -> dict[str, Any]:
    return {
        "order_id": order.order_id,
        "portfolio_id": order.portfolio_id,
        "epoch": order.epoch,
        "code": order.code,
        "direction": order.direction,
        "order_type": order.order_type,
        "volume": order.volume,
        "price": order.price,
        "state": order.state,
        "filled_volume": order.filled_volume,
        "broker": order.broker,
        "reason": order.reason,
        "cause": order.cause,
        "event_time": order.event_time,
        "received_at": order.received_at,
        "updated_at": order.updated_at,
    }


def _fill(fill: Fill) -> dict[str, Any]:
    return {
        "fill_id": fill.fill_id,
        "order_id": fill.order_id,
        "portfolio_id": fill.portfolio_id,
        "code": fill.code,
        "direction": fill.direction,
        "volume": fill.volume,
        "price": fill.price,
        "amount": fill.amount,
        "commission": fill.commission,
        "tax": fill.tax,
        "broker": fill.broker,
        "event_time": fill.event_time,
        "recorded_at": fill.recorded_at,
    }
