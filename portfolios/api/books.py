"""/api/portfolio/{id}/status, positions, revisions, export, and /api/portfolio/import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from portfolios import reading as figures
from portfolios import services
from portfolios.api import components, reading, shapes
from portfolios.api.kit import audit, paging, versions
from portfolios.api.kit.errors import invalid
from portfolios.api.kit.rights import visible
from portfolios.api.kit.route import ApiView, route
from portfolios.api.kit.shapes import BOOLEAN, text
from portfolios.api.portfolios import created
from portfolios.api_keys import TRADE
from portfolios.errors import InvalidConfig
from portfolios.kernel.config import Fault
from portfolios.lookup import locked
from portfolios.models import Checkpoint, Revision

TAG = "portfolios"


class Status(ApiView):
    @route("portfolio_status", "How it does", tag=TAG, answer=shapes.PORTFOLIO_STATUS)
    def get(self, request: Request, portfolio_id: str) -> Response:
        """As of now from Redis, or as of its last checkpoint."""
        found = reading.one(request, portfolio_id)
        state = figures.figures_of([found])
        return Response(figures.status_of(found, state.get(found.id)))


class Positions(ApiView):
    @route("portfolio_positions", "What it holds", tag=TAG, answer=shapes.POSITIONS)
    def get(self, request: Request, portfolio_id: str) -> Response:
        """As of its last checkpoint."""
        mine = Checkpoint.objects.filter(portfolio_id=portfolio_id, portfolio__in=visible(request.user))
        saved = mine.only("state").first()
        if saved is None:
            raise reading.missing(portfolio_id)
        held = figures.positions_in(bytes(saved.state))
        return Response({"portfolio_id": portfolio_id, "positions": held})


class Revisions(ApiView):
    @route(
        "portfolio_revisions",
        "Every version of its configuration",
        tag=TAG,
        query=paging.page_query(),
        answer=paging.page_of(shapes.REVISION),
    )
    def get(self, request: Request, portfolio_id: str, query: Mapping[str, Any]) -> Response:
        """The newest first: who, when, what changed."""
        mine = Revision.objects.filter(portfolio_id=portfolio_id, portfolio__in=visible(request.user))
        found, count = paging.rows(mine.select_related("author").order_by("-version"), query)
        if not count:  # every portfolio has a first one
            raise reading.missing(portfolio_id)
        return Response(paging.document(request, query, count, found, _revision))


class Export(ApiView):
    @route(
        "portfolio_export",
        "As one document",
        tag=TAG,
        query={
            "type": "object",
            "properties": {"state": {**BOOLEAN, "default": False, "description": "With its last checkpoint's state."}},
            "additionalProperties": False,
        },
        answer=shapes.EXPORT,
    )
    def get(self, request: Request, portfolio_id: str, query: Mapping[str, Any]) -> Response:
        """As `/api/portfolio/import` takes it."""
        found = reading.one(request, portfolio_id)
        return Response(services.export_portfolio(found, with_state=query["state"]))


class Import(ApiView):
    @route(
        "portfolio_import",
        "A portfolio from an exported document",
        tag=TAG,
        scope=TRADE,
        writes=True,
        versioned=True,
        query={
            "type": "object",
            "properties": {
                "portfolio_id": text("Whose next version it becomes; none: it becomes a new portfolio.", minLength=1),
                "account": text("In which a new one trades; none: the paper account.", minLength=1, maxLength=100),
                "confirm": {**BOOLEAN, "default": False, "description": "That real money is meant."},
            },
            "additionalProperties": False,
        },
        body=shapes.IMPORT,
        status=201,
        answer=shapes.PORTFOLIO,
    )
    def post(self, request: Request, query: Mapping[str, Any], body: Mapping[str, Any]) -> Response:
        """A new portfolio of the caller's, or with `portfolio_id` the next version of that one. A state in the document
        is taken over. It is checked like a configuration given by hand."""
        target, seen = query.get("portfolio_id"), versions.expected(request, {})
        has: dict[str, Any] = {}
        if target is not None:
            reading.exists(request, target)
            old = locked(target)
            versions.compare(old, seen)
            has = old.config
        try:
            components.check(body["portfolio"]["config"], has)
            made = services.import_portfolio(
                body,
                request.user,
                target,
                author=request.user,
                account=query.get("account"),
                confirmed=query["confirm"],
            )
        except InvalidConfig as error:
            raise invalid([_within_document(fault) for fault in error.faults]) from None
        audit.record(request, "portfolio.import", made.id, {"config": (has or None, made.config)})
        return created(request, made)


def _revision(revision: Revision) -> dict[str, Any]:
    return {
        "version": revision.version,
        "author": revision.author.get_username() if revision.author else None,
        "created_at": revision.created_at,
        "change": revision.change,
        "config": revision.config,
    }


def _within_document(fault: Fault) -> Fault:
    """A fault with its path in the document."""
    head = fault.path.partition(".")[0].partition("[")[0]
    if head in ("ginkgo_export", "portfolio", "state"):
        return fault
    if head in ("strategy", "risk_managements", "sizer", "codes", "policy"):
        return Fault(f"portfolio.config.{fault.path}", fault.message)
    return Fault(f"portfolio.{fault.path}", fault.message)
