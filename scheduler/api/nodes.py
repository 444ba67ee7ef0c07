"""/api/nodes: what runs portfolios, how it does, and whether it is in service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import Count, OuterRef, Subquery
from django.db.models.functions import Coalesce
from rest_framework.request import Request
from rest_framework.response import Response

from portfolios.api.kit import audit, paging
from portfolios.api.kit.errors import NOT_FOUND, ApiError
from portfolios.api.kit.rights import sees_all
from portfolios.api.kit.route import ApiView, route
from portfolios.api_keys import OPERATE
from portfolios.models import Assignment
from scheduler import operations, views_data
from scheduler.api import shapes
from scheduler.models import Node

TAG = "nodes"


class Nodes(ApiView):
    @route("node_list", "The nodes there are", tag=TAG, query=shapes.NODE_QUERY, answer=paging.page_of(shapes.NODE))
    def get(self, request: Request, query: Mapping[str, Any]) -> Response:
        """Every node that the scheduler has ever seen, with its live figures while its heart beats."""
        chosen = Node.objects.filter(**{name: query[name] for name in ("state", "enabled") if name in query})
        of_it = Assignment.objects.filter(node_id=OuterRef("node_id")).order_by().values("node_id")
        owned = Coalesce(Subquery(of_it.annotate(number=Count("pk")).values("number")), 0)
        found, count = paging.rows(chosen.annotate(owned=owned), query)
        assigned = {row.node_id: row.owned for row in found}  # type: ignore[attr-defined]
        return Response(paging.document(request, query, count, views_data.node_list(found, assigned)))


class OneNode(ApiView):
    @route("node_get", "A node", tag=TAG, answer=shapes.NODE_DETAIL)
    def get(self, request: Request, node_id: str) -> Response:
        """With the portfolios assigned to it: one's own, for staff all."""
        row = Node.objects.filter(node_id=node_id).first()
        if row is None:
            raise _unknown(node_id)
        rows = Assignment.objects.filter(node_id=node_id).order_by("portfolio__name", "portfolio_id")
        assigned = list(rows.values_list("portfolio_id", "portfolio__name", "epoch", "portfolio__owner_id"))
        (found,) = views_data.node_list([row], {node_id: len(assigned)})
        all_of_them = sees_all(request.user)
        found["assigned"] = [
            {"portfolio_id": portfolio_id, "name": name, "epoch": epoch}
            for portfolio_id, name, epoch, owner in assigned
            if all_of_them or owner == request.user.pk
        ]
        return Response(found)


class Disable(ApiView):
    @route(
        "node_disable", "Take a node out of service", tag=TAG, scope=OPERATE, writes=True, atomic=False,
        answer=shapes.NODE_CHANGED,
    )  # fmt: skip
    def post(self, request: Request, node_id: str) -> Response:
        """What it has moves away, and it gets nothing until it is enabled."""
        return _set(request, node_id, enabled=False, message="it is drained: what it has moves away")


class Enable(ApiView):
    @route(
        "node_enable", "Put a node back into service", tag=TAG, scope=OPERATE, writes=True, atomic=False,
        answer=shapes.NODE_CHANGED,
    )  # fmt: skip
    def post(self, request: Request, node_id: str) -> Response:
        """It gets its share again."""
        return _set(request, node_id, enabled=True, message="it is in service again")


def _set(request: Request, node_id: str, enabled: bool, message: str) -> Response:
    before = Node.objects.filter(node_id=node_id).values_list("enabled", flat=True).first()
    if before is None:
        raise _unknown(node_id)
    found = (operations.enable if enabled else operations.drain)(node_id, request.user.get_username())
    if not found.accepted:
        raise ApiError(NOT_FOUND, found.reason)
    changes = {} if before == enabled else {"enabled": (before, enabled)}
    audit.record(request, "node.enable" if enabled else "node.disable", node_id, changes)
    return Response({"success": True, "node_id": node_id, "enabled": enabled, "message": message})


def _unknown(node_id: str) -> ApiError:
    return ApiError(NOT_FOUND, f"there is no node {node_id[:100]!r}: see /api/nodes")
