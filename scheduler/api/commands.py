"""/api/commands: what was asked of nodes, engine and scheduler, and what became of it (SPEC S7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from portfolios.api.kit import paging
from portfolios.api.kit.errors import NOT_FOUND, ApiError
from portfolios.api.kit.rights import sees_all, visible
from portfolios.api.kit.route import ApiView, route
from portfolios.models import Command
from scheduler import views_data
from scheduler.api import shapes

TAG = "commands"
_FILTERS = ("state", "command_type", "target_id", "node_id")


class Commands(ApiView):
    @route(
        "command_list",
        "The commands, with their fate",
        tag=TAG,
        query=shapes.COMMAND_QUERY,
        answer=paging.page_of(shapes.COMMAND),
    )
    def get(self, request: Request, query: Mapping[str, Any]) -> Response:
        """The newest first: those for one's own portfolios, for staff all."""
        chosen = _mine(request).filter(**{name: query[name] for name in _FILTERS if name in query})
        found, count = paging.rows(chosen, query)
        return Response(paging.document(request, query, count, found, views_data.command))


class OneCommand(ApiView):
    @route("command_get", "A command", tag=TAG, answer=shapes.COMMAND)
    def get(self, request: Request, command_id: str) -> Response:
        """With what became of it."""
        found = _mine(request).filter(command_id=command_id).first()
        if found is None:
            raise ApiError(NOT_FOUND, f"there is no command {command_id[:50]!r}, or it is somebody else's")
        return Response(views_data.command(found))


def _mine(request: Request) -> QuerySet[Command]:
    if sees_all(request.user):
        return Command.objects.all()
    return Command.objects.filter(target_id__in=visible(request.user).order_by().values("id"))
