"""/api/portfolio/{id}/deposit, withdraw, correct, adjustments: what a person changes in its books."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from portfolios import adjustments, services
from portfolios.api import reading, shapes
from portfolios.api.kit import audit, paging
from portfolios.api.kit.route import ApiView, route
from portfolios.api_keys import TRADE
from portfolios.errors import InvalidConfig
from portfolios.kernel.config import Fault
from portfolios.models import Adjustment

TAG = "portfolios"


class Deposit(ApiView):
    @route(
        "portfolio_deposit", "Put cash in", tag=TAG, scope=TRADE, writes=True, status=201,
        body=shapes.CASH_MOVED, answer=shapes.ADJUSTMENT, example={"amount": 10000, "reason": "a bonus"},
    )  # fmt: skip
    def post(self, request: Request, portfolio_id: str, body: Mapping[str, Any]) -> Response:
        """No profit: what profit is measured from moves with it. Booked at once where no node runs the portfolio, else
        by its node, between two events."""
        reading.exists(request, portfolio_id)
        asked = services.deposit(portfolio_id, body["amount"], body["reason"], request.user)
        return _told(request, "portfolio.deposit", asked)


class Withdraw(ApiView):
    @route(
        "portfolio_withdraw", "Take cash out", tag=TAG, scope=TRADE, writes=True, status=201,
        body=shapes.CASH_MOVED, answer=shapes.ADJUSTMENT, example={"amount": "2500.50", "reason": "rent"},
    )  # fmt: skip
    def post(self, request: Request, portfolio_id: str, body: Mapping[str, Any]) -> Response:
        """At most what is available. Where a node runs the portfolio, it is that node which books or refuses it: look
        at its `state` among the adjustments."""
        reading.exists(request, portfolio_id)
        asked = services.withdraw(portfolio_id, body["amount"], body["reason"], request.user)
        return _told(request, "portfolio.withdraw", asked)


class Correct(ApiView):
    @route(
        "portfolio_correct", "Put its books right", tag=TAG, scope=TRADE, writes=True, status=201,
        body=shapes.CORRECTION, answer=shapes.ADJUSTMENT,
        example={"code": "600519.SH", "volume": 100, "price": 1500.5, "reason": "a transfer in kind"},
    )  # fmt: skip
    def post(self, request: Request, portfolio_id: str, body: Mapping[str, Any]) -> Response:
        """Either `cash`, so much more or, negative, less; or `code` with `volume`, so much more of it at `price` (its
        cost) or, negative, less (without a price at its average cost)."""
        reading.exists(request, portfolio_id)
        if ("cash" in body) == ("code" in body):
            raise InvalidConfig([Fault("cash", "or code with volume: correct one of them")])
        if "cash" in body:
            if not {"volume", "price"}.isdisjoint(body):
                raise InvalidConfig([Fault("volume", "and price belong to a code, not to cash")])
            asked = services.correct_cash(portfolio_id, body["cash"], body["reason"], request.user)
        else:
            if "volume" not in body:
                raise InvalidConfig([Fault("volume", "is required with a code")])
            asked = services.correct_position(
                portfolio_id, body["code"], body["volume"], body["reason"], body.get("price"), request.user
            )
        return _told(request, "portfolio.correct", asked)


class Adjustments(ApiView):
    @route(
        "portfolio_adjustments",
        "Its deposits, withdrawals and corrections",
        tag=TAG,
        query=paging.page_query(state=shapes.ADJUSTMENT_STATE, kind=shapes.ADJUSTMENT_KIND),
        answer=paging.page_of(shapes.ADJUSTMENT),
    )
    def get(self, request: Request, portfolio_id: str, query: Mapping[str, Any]) -> Response:
        """The newest first: who, when, why, and what became of each."""
        reading.exists(request, portfolio_id)
        chosen = Adjustment.objects.filter(portfolio_id=portfolio_id).select_related("author", "entry").order_by("-id")
        chosen = chosen.filter(**{name: query[name] for name in ("state", "kind") if name in query})
        found, count = paging.rows(chosen, query)
        return Response(paging.document(request, query, count, found, adjustments.facts))


def _told(request: Request, action: str, asked: Adjustment) -> Response:
    facts = adjustments.facts(asked)
    told = ("code", "volume", "price", "reason") if asked.code else ("amount", "reason")
    audit.record(request, action, asked.portfolio_id, {name: (None, _plain(facts[name])) for name in told})
    return Response(facts, status=201)


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, int | str) else str(value)
