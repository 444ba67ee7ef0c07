"""/api/scheduler/status, /api/schedule/plan, history, migrate, rebalance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import F, OuterRef, QuerySet, Subquery
from rest_framework.request import Request
from rest_framework.response import Response

from portfolios.api import reading
from portfolios.api.kit import audit, paging
from portfolios.api.kit.errors import CONFLICT, NOT_FOUND, UNAVAILABLE, ApiError
from portfolios.api.kit.rights import sees_all, visible
from portfolios.api.kit.route import ApiView, route
from portfolios.api_keys import OPERATE
from portfolios.models import Assignment
from scheduler import operations, views_data
from scheduler.api import shapes
from scheduler.models import Node, Plan, PlannedMove

TAG = "scheduler"
_NO_PLAN: Mapping[str, Any] = {"version": 0, "created_at": None, "trigger": "", "moves": [], "unplaced": {}}
_SORTED_BY = {"name": "portfolio__name"}


class Status(ApiView):
    @route("scheduler_status", "How the scheduler does", tag=TAG, answer=shapes.SCHEDULER)
    def get(self, request: Request) -> Response:
        """From Redis and MySQL."""
        return Response(views_data.status())


class CurrentPlan(ApiView):
    @route("schedule_plan", "Who runs what as of now", tag=TAG, query=shapes.PLAN_QUERY, answer=shapes.PLAN)
    def get(self, request: Request, query: Mapping[str, Any]) -> Response:
        """With what is moving, and the last version's moves and unplaced portfolios; of one's own portfolios, for staff
        of all (who is not staff gets the moves of this page's)."""
        last: Any = Plan.objects.values("version", "created_at", "trigger", "moves", "unplaced").first()
        version: Mapping[str, Any] = last or _NO_PLAN
        asked = {**query, "ordering": _sorted_by(query["ordering"])}
        found, count = paging.rows(_placements(request, query), asked, tie="portfolio_id")
        mine = None if sees_all(request.user) else {row["portfolio_id"] for row in found}
        page = paging.document(request, query, count, found, lambda row: _placement(row, version["unplaced"]))
        return Response(
            {
                "version": version["version"],
                "created_at": version["created_at"],
                "trigger": version["trigger"],
                "count": page["count"],
                "next": page["next"],
                "previous": page["previous"],
                "portfolios": page["results"],
                "moves": [_move(m) for m in version["moves"] if mine is None or m["portfolio_id"] in mine],
                "unplaced": {k: v for k, v in version["unplaced"].items() if mine is None or k in mine},
            }
        )


class History(ApiView):
    @route(
        "schedule_history",
        "The versions of the plan",
        tag=TAG,
        query=paging.page_query(),
        answer=paging.page_of(shapes.PLAN_VERSION),
    )
    def get(self, request: Request, query: Mapping[str, Any]) -> Response:
        """The newest first, each with what moved and why."""
        mine = None if sees_all(request.user) else set(visible(request.user).values_list("id", flat=True))
        found, count = paging.rows(Plan.objects.order_by("-version"), query)
        return Response(paging.document(request, query, count, found, lambda plan: _version(plan, mine)))


class Migrate(ApiView):
    @route(
        "schedule_migrate",
        "Move a portfolio to another node",
        tag=TAG,
        scope=OPERATE,
        writes=True,
        atomic=False,
        body=shapes.MIGRATE,
        answer=shapes.MIGRATING,
        errors={404: "There is no such portfolio or node."},
        example={"portfolio_id": "7d5e…", "source_node": "execution_node_001", "target_node": "execution_node_002"},
        answered={
            "success": True, "portfolio_id": "7d5e…", "status": "migrating", "source_node": "execution_node_001",
            "target_node": "execution_node_002", "estimated_time": 30,
        },
    )  # fmt: skip
    def post(self, request: Request, body: Mapping[str, Any]) -> Response:
        """The source's last checkpoint and the hand-over are one transaction; then the target starts it. `source_node`,
        if given, must be where it is."""
        portfolio_id, target = body["portfolio_id"], body["target_node"]
        reading.exists(request, portfolio_id)
        if not Node.objects.filter(node_id=target).exists():
            raise ApiError(NOT_FOUND, f"there is no node {target!r}: see /api/nodes")
        found = operations.migrate(portfolio_id, target, body.get("source_node", ""), request.user.get_username())
        if not found.accepted:
            raise ApiError(CONFLICT, found.reason)
        audit.record(request, "portfolio.migrate", portfolio_id, {"node_id": (found.source_node, target)})
        return Response(
            {
                "success": True,
                "portfolio_id": portfolio_id,
                "status": "migrating",
                "source_node": found.source_node,
                "target_node": found.target_node,
                "estimated_time": found.estimated_time,
            }
        )


class Rebalance(ApiView):
    @route(
        "schedule_rebalance",
        "Balance the nodes now",
        tag=TAG,
        scope=OPERATE,
        writes=True,
        atomic=False,
        answer=shapes.ACCEPTED,
    )
    def post(self, request: Request) -> Response:
        """To within one portfolio, as far as the moves of one tick go."""
        found = operations.rebalance(request.user.get_username())
        if not found.accepted:
            raise ApiError(UNAVAILABLE, found.reason)
        audit.record(request, "schedule.rebalance", "", audit.NO_CHANGE)
        return Response({"success": True, "message": "the scheduler is asked to balance"})


def _placements(request: Request, query: Mapping[str, Any]) -> QuerySet[Assignment, dict[str, Any]]:
    chosen = Assignment.objects.all()
    if not sees_all(request.user):
        chosen = chosen.filter(portfolio__owner_id=request.user.pk)
    for name in ("node_id", "portfolio_id"):
        if name in query:
            chosen = chosen.filter(**{name: query[name]})
    moving = PlannedMove.objects.filter(portfolio_id=OuterRef("portfolio_id")).values("target")[:1]
    named = {"name": F("portfolio__name"), "desired": F("portfolio__desired_state"), "status": F("portfolio__status")}
    columns = ("portfolio_id", "node_id", "epoch", "reason")
    found: QuerySet[Assignment, dict[str, Any]] = chosen.annotate(moving_to=Subquery(moving)).values(
        *columns, "moving_to", **named
    )
    return found


def _sorted_by(ordering: str) -> str:
    sign, name = ("-", ordering[1:]) if ordering.startswith("-") else ("", ordering)
    return f"{sign}{_SORTED_BY.get(name, name)}"


def _placement(row: Mapping[str, Any], unplaced: Mapping[str, str]) -> dict[str, Any]:
    return {
        "portfolio_id": row["portfolio_id"],
        "name": row["name"],
        "desired_state": row["desired"],
        "status": row["status"],
        "node_id": row["node_id"],
        "epoch": row["epoch"],
        "moving_to": row["moving_to"] or "",
        "reason": unplaced.get(row["portfolio_id"], row["reason"]),
    }


def _version(plan: Plan, mine: set[str] | None) -> dict[str, Any]:
    return {
        "version": plan.version,
        "created_at": plan.created_at,
        "trigger": plan.trigger,
        "node_count": plan.node_count,
        "portfolio_count": len(plan.placements),
        "moves": [_move(m) for m in plan.moves if mine is None or m["portfolio_id"] in mine],
        "unplaced": {k: v for k, v in plan.unplaced.items() if mine is None or k in mine},
    }


def _move(move: Mapping[str, Any]) -> dict[str, Any]:
    return {name: str(move.get(name) or "") for name in ("portfolio_id", "source", "target", "kind", "reason")}
